"""H.264 compression as a recorder does it: each image is encoded and decoded again, in memory."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from realtime_polyp.field_of_view import Image

BT709, LIMITED, FULL = 1, 1, 2  # numbers of H.273 and FFmpeg
_OPTIONS = {"preset": "superfast", "tune": "zerolatency", "crf": "22", "threads": "1", "g": "90"}


@dataclass(frozen=True)
class CompressedFrame:
    """One frame after compression.

    Attributes:
        packet: the frame in the H.264 stream.
        image: (H, W, 3) uint8 RGB, the decoded packet.
    """

    packet: bytes
    image: Image


def compress(images: Iterable[Image], *, rate_hz: Fraction) -> Iterator[CompressedFrame]:
    """Encode images (H, W, 3) as one stream, one packet per image (x264's zerolatency)."""
    encoder: VideoCodecContext | None = None
    decoder, scaler = Decoder(), VideoReformatter()
    for index, image in enumerate(images):
        if encoder is None:
            encoder = _open_encoder(image, rate_hz)
        rgb = VideoFrame.from_ndarray(image, format="rgb24")
        frame = scaler.reformat(rgb, format="yuv420p", dst_colorspace=BT709, dst_color_range=LIMITED, threads=1)
        frame.pts, frame.time_base = index, 1 / rate_hz
        packet = b"".join(bytes(one) for one in encoder.encode(frame))
        yield CompressedFrame(packet, decoder(packet))


class Decoder:
    """Decodes the packets of one stream, in order from the first."""

    def __init__(self) -> None:
        self._codec = av.CodecContext.create("h264", "r")
        self._codec.thread_count = 1
        self._scaler = VideoReformatter()

    def __call__(self, packet: bytes) -> Image:
        """Decode a packet to an image (H, W, 3) uint8 RGB.

        Raises:
            ValueError: the packet does not hold exactly one picture.
        """
        frames = self._codec.decode(av.Packet(packet))
        if len(frames) != 1:
            raise ValueError(f"a packet of {len(packet)} bytes holds {len(frames)} pictures instead of one")
        rgb = self._scaler.reformat(frames[0], format="rgb24", src_colorspace=BT709, dst_color_range=FULL, threads=1)
        return np.asarray(rgb.to_ndarray(), np.uint8)


def _open_encoder(image: Image, rate_hz: Fraction) -> VideoCodecContext:
    codec = av.CodecContext.create("libx264", "w")
    codec.width, codec.height, codec.pix_fmt = image.shape[1], image.shape[0], "yuv420p"
    codec.framerate, codec.time_base, codec.options = rate_hz, 1 / rate_hz, dict(_OPTIONS)
    codec.colorspace, codec.color_range = BT709, LIMITED
    return codec
