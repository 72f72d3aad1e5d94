"""The pixel aspect of each picture of a stream, which may change with any packet, as where 4:3 and 16:9 are joined."""

from collections import deque
from fractions import Fraction

from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

_LONGEST_DELAY = 64  # packets in a decoder; H.264 has at most 16


class PixelAspects:
    """Follows the pixel aspect, width over height, that the decoder reads from a stream of packets.

    PyAV gives a picture no aspect, and its decoder gives that of the newest packet, which is ahead of the pictures:
    the time stamp tells a picture's packet. An aspect of the container's own (MP4, Matroska) holds for all pictures,
    as in FFmpeg.

    stream: before its first packet is decoded. by_packet: False for a decoder with frame threads, which reads packets
    later than it takes them: its newest aspect is used, right to within a picture.
    """

    def __init__(self, stream: VideoStream, *, by_packet: bool = True) -> None:
        self._decoder, self._by_packet = stream.codec_context, by_packet
        self._stated = stream.sample_aspect_ratio
        self._follows = self._stated == self._decoder.sample_aspect_ratio
        self._inside: deque[tuple[int, Fraction | None]] = deque(maxlen=_LONGEST_DELAY)

    def add_packet(self, packet: "Packet[VideoStream] | None") -> None:
        """Note the aspect of a packet that was just decoded."""
        if self._follows and self._by_packet and packet is not None and packet.pts is not None:
            self._inside.append((packet.pts, self._decoder.sample_aspect_ratio))

    def take(self, picture: VideoFrame) -> Fraction | None:
        """Return a decoded picture's aspect, once for each picture; None if it has none."""
        if not self._follows:
            return self._stated
        for place, (pts, aspect) in enumerate(self._inside):
            if pts == picture.pts:
                del self._inside[place]
                return aspect
        return self._decoder.sample_aspect_ratio  # without time stamps

    def clear(self) -> None:
        """Forget the packets in the decoder."""
        self._inside.clear()
