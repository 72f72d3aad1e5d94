"""HDR video as SDR: PQ and HLG pictures in BT.2020 become BT.709 pictures, as the models and most screens expect them.

FFmpeg's zscale and libplacebo are not in PyAV's build, and its lut3d takes 40 ms for 1080p. Here, FFmpeg converts YUV
to RGB, and one pass over the pixels does the rest with tables.
"""

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from realtime_polyp.compiled import compiled
from realtime_polyp.field_of_view import Image

Transfer = Literal["PQ", "HLG"]

RGB_FORMAT = "gbrp10le"
"""Pixel format of the pictures that are tone-mapped: 8 bits of PQ would show bands in dark parts."""

REFERENCE_WHITE_NITS = 203.0
"""Light of a white page in HDR video (ITU-R BT.2408), cd/m2. It becomes SDR's white, dimmed by the shoulder."""

_TRANSFERS: dict[int, Transfer] = {16: "PQ", 18: "HLG"}  # keys: transfer characteristics of ITU-T H.273
_PEAK_NITS = 1000.0  # of HLG's reference display, and of what most PQ video is graded on; what is brighter is white
_HLG_GAMMA = 1.2  # of the reference display's system gamma (BT.2100)
_SDR_GAMMA = 2.4  # BT.1886
_CODES, _STEPS = 1024, 4096
_TOP = (_STEPS - 1) ** 2
_LUMINANCE = np.array([0.2627, 0.6780, 0.0593], np.float32)  # of BT.2020's primaries
_TO_BT709 = np.array(
    [[1.660491, -0.587641, -0.072850], [-0.124550, 1.132900, -0.008349], [-0.018151, -0.100579, 1.118730]], np.float32
)  # ITU-R BT.2087: linear light


def transfer_of(frame: VideoFrame) -> Transfer | None:
    """Return which HDR curve a frame is tagged with; None for SDR."""
    return _TRANSFERS.get(int(frame.color_trc))


@dataclass(frozen=True)
class _Tables:
    """The peak's light is _TOP; so is SDR's white. Tables by light are read at its square root, (_STEPS,).

    Attributes:
        light: of each code of a channel, (_CODES,): of the display for PQ, of the scene for HLG.
        display_gain: factor from the scene's light to the display's, by the luma of a pixel, (_CODES,); (1,) for PQ.
        tone_gain: factor from the display's light to SDR's, by the light of the largest channel.
        sdr: 8-bit code by SDR's light.
    """

    light: NDArray[np.float32]
    display_gain: NDArray[np.float32]
    tone_gain: NDArray[np.float32]
    sdr: NDArray[np.uint8]


def tone_map(frame: VideoFrame, transfer: Transfer) -> Image:
    """Return a frame of RGB_FORMAT, full range, as an image (H, W, 3) uint8 RGB in BT.709.

    Light up to half of the reference white keeps its brightness; from there a shoulder (the EETF of ITU-R BT.2390)
    leads to 1000 cd/m2. It is applied to the largest channel, so that no hue changes. 1080p takes 18 ms (PQ) or 26 ms
    (HLG) on one thread of a 2-core AVX512 CPU, and FFmpeg's conversion before it 5 ms.
    """
    tables = _tables(transfer)
    green, blue, red = (_plane(frame, index) for index in range(3))
    image = np.empty((frame.height, frame.width, 3), np.uint8)
    _map(red, green, blue, tables.light, tables.display_gain, tables.tone_gain, tables.sdr, image)
    return image


def _plane(frame: VideoFrame, index: int) -> NDArray[np.uint16]:
    plane = frame.planes[index]
    lines = np.frombuffer(plane, np.uint16).reshape(-1, plane.line_size // 2)  # type: ignore[call-overload]
    return lines[: frame.height, : frame.width]  # type: ignore[no-any-return]


@cache
def _tables(transfer: Transfer) -> _Tables:
    code, steps = np.arange(_CODES) / (_CODES - 1), np.linspace(0, 1, _STEPS)
    light, display_gain = pq_to_nits(code) / _PEAK_NITS, np.ones(1)
    if transfer == "HLG":
        light = hlg_to_scene(code)
        display_gain = np.maximum(light, light[1]) ** (_HLG_GAMMA - 1)
    nits = np.maximum(steps**2, steps[1] ** 2) * _PEAK_NITS
    tone_gain = tone_curve(nits) / nits * (_PEAK_NITS / REFERENCE_WHITE_NITS)
    sdr = np.round(255 * steps ** (2 / _SDR_GAMMA)).astype(np.uint8)
    return _Tables(_TOP * light.astype(np.float32), display_gain.astype(np.float32), tone_gain.astype(np.float32), sdr)


def pq_to_nits(code: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the light of PQ codes 0..1 (SMPTE ST 2084), cd/m2."""
    power = np.asarray(code) ** (1 / 78.84375)
    nits: NDArray[np.float64] = 10_000 * (np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)) ** (
        1 / 0.1593017578125
    )
    return nits


def nits_to_pq(nits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return PQ codes 0..1 of light, cd/m2."""
    power = (np.asarray(nits) / 10_000) ** 0.1593017578125
    code: NDArray[np.float64] = ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    return code


def hlg_to_scene(code: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the scene's light of HLG codes, both 0..1 (ARIB STD-B67)."""
    bright = (np.exp((code - 0.55991073) / 0.17883277) + 0.28466892) / 12
    return np.where(code <= 0.5, code**2 / 3, bright)


def tone_curve(nits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map light up to _PEAK_NITS to at most the reference white, cd/m2: the EETF of ITU-R BT.2390, section 5.4.1."""
    top = float(nits_to_pq(np.float64(_PEAK_NITS)))  # type: ignore[arg-type]
    code, target = nits_to_pq(nits) / top, float(nits_to_pq(np.float64(REFERENCE_WHITE_NITS))) / top  # type: ignore[arg-type]
    knee = 1.5 * target - 0.5
    t = np.clip((code - knee) / (1 - knee), 0, 1)
    shoulder = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * target
    return pq_to_nits(np.where(code < knee, code, shoulder) * top)


@compiled(nogil=True, fastmath=True)
def _map(
    red: NDArray[np.uint16],
    green: NDArray[np.uint16],
    blue: NDArray[np.uint16],
    light: NDArray[np.float32],
    display_gain: NDArray[np.float32],
    tone_gain: NDArray[np.float32],
    sdr: NDArray[np.uint8],
    image: NDArray[np.uint8],
) -> None:
    """Fill `image` (H, W, 3) from planes (H, W) of 10 bits; see `_Tables`."""
    (rr, rg, rb), (gr, gg, gb), (br, bg, bb) = _TO_BT709[0], _TO_BT709[1], _TO_BT709[2]
    lr, lg, lb = _LUMINANCE
    zero, top = np.float32(0), np.float32(_TOP)
    for y in range(red.shape[0]):
        for x in range(red.shape[1]):
            r, g, b = light[red[y, x]], light[green[y, x]], light[blue[y, x]]
            if len(display_gain) > 1:
                gain = display_gain[int(lr * red[y, x] + lg * green[y, x] + lb * blue[y, x])]
                r, g, b = r * gain, g * gain, b * gain
            u = max(rr * r + rg * g + rb * b, zero)
            v = max(gr * r + gg * g + gb * b, zero)
            w = max(br * r + bg * g + bb * b, zero)
            gain = tone_gain[int(np.sqrt(min(max(u, v, w), top)))]
            image[y, x, 0] = sdr[int(np.sqrt(min(u * gain, top)))]
            image[y, x, 1] = sdr[int(np.sqrt(min(v * gain, top)))]
            image[y, x, 2] = sdr[int(np.sqrt(min(w * gain, top)))]
