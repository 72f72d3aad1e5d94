import json
from pathlib import Path

import av
import numpy as np
import pytest

import run_live
from realtime_polyp.sources import FileSource
from realtime_polyp.sources.hdr import nits_to_pq
from realtime_polyp.sources.picture import RgbConverter

BT2020, LIMITED, PQ, HLG = 9, 1, 16, 18
LUMA = np.array([0.2627, 0.6780, 0.0593])  # of BT.2020
TO_BT2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])  # BT.2087
SIZE, COLOUR = (64, 48), (140, 80, 60)


def pq_code(nits: np.ndarray) -> np.ndarray:
    return nits_to_pq(nits)


def hlg_code(nits: np.ndarray) -> np.ndarray:
    """What a camera stores so that the reference display of 1000 cd/m2 shows this light (ITU-R BT.2100)."""
    display = nits / 1000
    scene = display * max(float(LUMA @ display), 1e-9) ** (1 / 1.2 - 1)
    return np.where(
        scene <= 1 / 12, np.sqrt(3 * scene), 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    )


CODES = {PQ: pq_code, HLG: hlg_code}


def hdr_frame(nits_bt709: np.ndarray, transfer: int, matrix: int = BT2020) -> av.VideoFrame:
    """A flat yuv420p10 frame of this light, cd/m2, given in BT.709's primaries."""
    red, green, blue = code = CODES[transfer](TO_BT2020 @ nits_bt709)
    luma = float(LUMA @ code)
    yuv = (64 + 876 * luma, 512 + 896 * (blue - luma) / 1.8814, 512 + 896 * (red - luma) / 1.4746)
    frame = av.VideoFrame(*SIZE, "yuv420p10le")
    frame.colorspace, frame.color_range, frame.color_trc, frame.color_primaries = matrix, LIMITED, transfer, 9
    for plane, value in zip(frame.planes, yuv, strict=True):
        plane.update(np.full(plane.buffer_size // 2, round(value), np.uint16).tobytes())
    return frame


def shown(nits: float, transfer: int = PQ) -> int:
    """The 8-bit code of a grey."""
    return int(RgbConverter()(hdr_frame(np.full(3, nits), transfer))[20, 20, 1])


@pytest.mark.parametrize("transfer", [PQ, HLG])
@pytest.mark.parametrize("colour", [(140, 80, 60), (60, 60, 60), (30, 120, 70), (5, 5, 5)])
@pytest.mark.parametrize("matrix", [BT2020, 2])
def test_light_below_the_shoulder_has_the_colours_of_sdr(
    transfer: int, colour: tuple[int, int, int], matrix: int
) -> None:
    """Light of SDR whose white is 203 cd/m2, as ITU-R BT.2408 converts it to HDR."""
    image = RgbConverter()(hdr_frame(203 * (np.array(colour) / 255) ** 2.4, transfer, matrix))
    assert image.shape == (SIZE[1], SIZE[0], 3)
    assert np.abs(image.astype(int) - colour).max() <= 4


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_brighter_light_keeps_its_order_up_to_white(transfer: int) -> None:
    codes = [shown(nits, transfer) for nits in (100, 150, 203, 300, 500, 800)]
    assert codes == sorted(set(codes))
    assert 220 <= codes[2] <= 240  # a white page
    assert shown(1000, transfer) >= 253


def test_light_beyond_the_peak_is_white() -> None:
    assert [shown(nits) for nits in (1000, 4000, 10_000)] == [255, 255, 255]


def test_bright_colours_keep_their_hue() -> None:
    red, green, blue = (int(value) for value in RgbConverter()(hdr_frame(np.array([600, 150, 100.0]), PQ))[20, 20])
    light = np.array([red, green, blue]) ** 2.4
    assert light / light[0] == pytest.approx([1, 0.25, 1 / 6], abs=0.02)


def write_hdr(path: Path, transfer: int) -> Path:
    """Three frames of one colour."""
    with av.open(path, "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p10le"
        context = stream.codec_context
        context.colorspace, context.color_range, context.color_trc, context.color_primaries = 9, LIMITED, transfer, 9
        for index in range(3):
            frame = hdr_frame(203 * (np.array(COLOUR) / 255) ** 2.4, transfer)
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_a_file_is_shown_as_sdr(tmp_path: Path, transfer: int) -> None:
    frames = list(FileSource(write_hdr(tmp_path / "a.mkv", transfer)).frames())
    assert len(frames) == 3
    assert {frame.conversions for frame in frames} == {({PQ: "PQ", HLG: "HLG"}[transfer] + " shown as SDR",)}
    assert np.abs(frames[-1].image.astype(int) - COLOUR).max() <= 4


def test_saved_video_is_sdr_and_tagged_so(tmp_path: Path) -> None:
    path, saved, summary = write_hdr(tmp_path / "a.mkv", PQ), tmp_path / "o.mp4", tmp_path / "s.json"
    arguments = ["--headless", "--detector", "none", "--segmenter", "none", "--source", path]
    assert run_live.main([str(one) for one in (*arguments, "--save", saved, "--summary", summary)]) == 0
    assert json.loads(summary.read_text())["conversions"] == ["PQ shown as SDR"]
    with av.open(str(saved)) as container:
        frame = next(container.decode(video=0))
    assert (frame.color_trc, frame.color_primaries, frame.colorspace) == (6, 6, 6)  # BT.601, as its size is
    assert np.abs(RgbConverter()(frame)[8, 8].astype(int) - COLOUR).max() <= 8
