"""The few words of RTSP that a receiver needs (RFC 2326), over one TCP connection with interleaved RTP."""

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Iterator

_SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=loopback\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n"
    "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=control:track1\r\n"
)
_ANSWERS = {
    "OPTIONS": "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n",
    "SETUP": "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n",
    "DESCRIBE": f"Content-Type: application/sdp\r\nContent-Length: {len(_SDP)}\r\n",
}
_POLL_S = 0.1
_LARGEST = 65_535


def serve_rtsp(
    connection: socket.socket, stop: threading.Event, encode_to: Callable[[str, threading.Event], None]
) -> None:
    """Answer one receiver until it leaves or `stop` is set.

    encode_to: encodes RTP packets and sends them to an address on loopback, until the event is set; it is called on a
    thread when the receiver says PLAY.
    """
    connection.settimeout(_POLL_S)
    left = threading.Event()
    with socket.socket(type=socket.SOCK_DGRAM) as packets:
        packets.bind(("127.0.0.1", 0))
        packets.settimeout(_POLL_S)
        threads = (
            threading.Thread(target=encode_to, args=(f"rtp://127.0.0.1:{packets.getsockname()[1]}", left), daemon=True),
            threading.Thread(target=_forward, args=(packets, connection, left), daemon=True),
        )
        try:
            for method, number in _requests(connection, stop, left):
                body = _SDP if method == "DESCRIBE" else ""
                head = f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\nSession: 1\r\n{_ANSWERS.get(method, '')}\r\n"
                connection.sendall((head + body).encode())
                if method == "PLAY":
                    for thread in threads:
                        thread.start()
                if method == "TEARDOWN":
                    return
        finally:
            left.set()
            for thread in threads:
                if thread.ident is not None:
                    thread.join(5)


def _requests(connection: socket.socket, stop: threading.Event, left: threading.Event) -> Iterator[tuple[str, str]]:
    """Yield (method, CSeq) of each request; what the receiver reports about RTP is passed over."""
    data = b""
    while not stop.is_set() and not left.is_set():
        try:
            more = connection.recv(4096)
        except TimeoutError:
            continue
        except OSError:
            return
        if not more:
            return
        data += more
        while found := re.search(rb"([A-Z_]+) rtsp://[^\r]*\r\n(.*?)\r\n\r\n", data, re.DOTALL):
            data = data[found.end() :]
            number = re.search(rb"CSeq: *(\d+)", found[2], re.IGNORECASE)
            yield found[1].decode(), number[1].decode() if number else "0"


def _forward(packets: socket.socket, connection: socket.socket, left: threading.Event) -> None:
    """Put each RTP packet into the connection, on channel 0."""
    while not left.is_set():
        with contextlib.suppress(TimeoutError):
            packet = packets.recv(_LARGEST)
            try:
                connection.settimeout(2.0)
                connection.sendall(b"$\0" + len(packet).to_bytes(2, "big") + packet)
            except OSError:
                left.set()
