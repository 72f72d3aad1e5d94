"""Opens every FFmpeg input: the named file, address or device, and nothing else.

FFmpeg follows references: a playlist leads to other files and hosts, a session description opens ports, and a name
with %03d is a series of files. Each kind of source therefore has lists of allowed formats and protocols, which FFmpeg
applies to nested inputs too. Formats that a later FFmpeg adds are not allowed until they are listed here.
"""

import errno
import urllib.error
import urllib.request
from base64 import b64encode
from email.message import Message
from http.client import HTTPException
from io import BytesIO
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

import av
import av.error
from av.codec.hwaccel import HWAccel
from av.container import InputContainer

from realtime_polyp.image_files import MAX_PIXELS, ImageError, check_image_file, check_picture_size, is_image
from realtime_polyp.messages import shorten_path
from realtime_polyp.sources.addresses import check_address, hide_secrets, host_of
from realtime_polyp.sources.base import SourceError
from realtime_polyp.sources.gif import add_delays
from realtime_polyp.sources.other_formats import explain_other_format
from realtime_polyp.sources.paths import check_file, path_error

# Containers and raw streams of recorders, cameras and video software, by FFmpeg's names.
_RECORDINGS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,asf,asf_o,flv,live_flv,kux,mpeg,mpegts,mpegtsraw,mpegvideo,m4v,h261,h263,"
    "h264,hevc,vvc,evc,av1,obu,ivf,vc1,vc1test,dirac,dnxhd,cavsvideo,avs2,avs3,apv,mjpeg,mjpeg_2000,smjpeg,mpjpeg,"
    "ingenient,mxg,mxf,gxf,lxf,dv,ogg,nut,nuv,rm,ivr,wtv,ty,pva,nsv,yuv4mpegpipe,gif,apng,swf,flic,film_cpk,cine,"
    "dhav,ifv,iv8,hxvs,luodat,nc,lmlm4,simbiosis_imx,v210,v210x,mlv,r3d,rpl,viv,vivo,xmv,pmp,psxstr,roq,smk,bink"
)
_PICTURES = "jpeg_pipe,jpegls_pipe,png_pipe,bmp_pipe,tiff_pipe,webp_pipe,j2k_pipe"
_FILE_FORMATS = f"{_RECORDINGS},{_PICTURES}"
FILE_PLAYLISTS, _NETWORK_PLAYLISTS = "hls,concat", "hls,dash"
_PLAYLIST_PROTOCOLS = "rtsp,rtsps,http,https,httpproxy,tls,tcp,crypto,data"

_PROTOCOLS = {  # by scheme; other schemes are refused. FFmpeg follows a redirect of RTSP only if rtsp is listed.
    "rtsp": "rtp,srtp,udp,tcp",
    "rtsps": "rtp,srtp,udp,tcp,tls",
    "rtmp": "rtmp,tcp",
    "rtmps": "rtmps,tls,tcp",
    "srt": "srt",
    "udp": "udp",
    "rtp": "rtp,srtp,udp",
    "tcp": "tcp",
    "http": "http,tcp",
    "https": "https,http,httpproxy,tls,tcp",
}
_NETWORK_FORMATS = {"rtsp": "rtsp", "rtsps": "rtsp", "rtp": "rtp"}  # in addition to those of recordings
_HTTP = ("http", "https")
_REDIRECTS_ALLOWED = 5
_NO_PROTOCOL = "none"

_FILE_PLAYLIST_STARTS = (b"#extm3u", b"ffconcat")
_OTHER_STARTS = (b"<mpd", b"[playlist]", b"v=0", b"<smil", b"<asx", b"[reference]")
_XML_ROOTS = (b"<mpd", b"<compositionplaylist", b"<smil", b"<playlist")
_JPEG, _STILL_JPEGS = b"\xff\xd8", (".jpg", ".jpeg")
_LARGEST_GIF_BYTES = 1 << 28
_CURE = "add --allow-playlists to open it anyway"

NOT_ALLOWED = f"the stream leads to other addresses (a playlist or a redirect), or is not a video; {_CURE}"
"""FFmpeg reports "invalid argument" for a well-formed address whose format or protocol is not allowed."""


def open_file(path: Path, *, allow_playlists: bool = False, hwaccel: HWAccel | None = None) -> InputContainer:
    """Open a video file. Raises SourceError if it is not a video, or leads to other files without `allow_playlists`."""
    check_file(path)
    _check_picture_file(path)
    formats = f"{_FILE_FORMATS},{FILE_PLAYLISTS}" if allow_playlists else _FILE_FORMATS
    options = _limits(formats, "file,crypto,data" if allow_playlists else "file")
    try:
        container = av.open(
            _gif_with_delays(path) or f"file:{path}",  # a name such as a:b.mp4 or http:x is still a file
            "r",
            format=_picture_format(path),
            options=options,
            metadata_errors="replace",
            hwaccel=hwaccel,
        )
    except av.error.FFmpegError as error:
        raise SourceError(_explain_file_error(path, error, allow_playlists)) from None
    return _limit_pictures(container, shorten_path(path))


def open_network(
    url: str, *, options: dict[str, str], timeout_s: tuple[float, float], allow_playlists: bool = False
) -> InputContainer:
    """Open a network stream; see `NetworkSource`. A server may redirect to itself, not to another host or port.

    timeout_s: limits of opening and of one read, s. Raises FFmpegError, and SourceError for an address not allowed.
    """
    scheme = network_scheme(url)
    limits = _network_limits(scheme, allow_playlists)
    for _ in range(_REDIRECTS_ALLOWED):
        try:
            address = f"{scheme}{url[len(scheme) :]}"  # FFmpeg knows schemes in lower case alone
            container = av.open(address, "r", options=limits | options, timeout=timeout_s, metadata_errors="replace")
            return _limit_pictures(container, hide_secrets(url))
        except av.error.OSError as error:
            redirected = error.errno == errno.EIO and scheme in _HTTP and not allow_playlists
            target = _redirect_target(url, timeout_s[0]) if redirected else None
            if target is None:
                raise
            url, scheme = target, network_scheme(target)
            limits = _network_limits(scheme, allow_playlists)
    raise SourceError(f"{hide_secrets(url)} is redirected more than {_REDIRECTS_ALLOWED} times.")


def open_device(
    name: str, *, format: str, options: dict[str, str], timeout_s: tuple[float, float] | None
) -> InputContainer:
    """Open a capture device or a test pattern. Raises FFmpegError, or ValueError for an unknown format."""
    container = av.open(
        name,
        "r",
        format=format,
        options=_limits(format, _NO_PROTOCOL) | options,
        timeout=timeout_s,
        metadata_errors="replace",
    )
    return _limit_pictures(container, name)


def network_scheme(url: str) -> str:
    """Return the scheme of an address that can be opened. Raises SourceError for any other."""
    scheme = url.partition("://")[0].lower()
    if scheme not in _PROTOCOLS:
        shown = hide_secrets(url)
        raise SourceError(f"{shown} has the scheme {scheme!r}; allowed are {', '.join(sorted(_PROTOCOLS))}.")
    return check_address(url)


def _limits(formats: str, protocols: str) -> dict[str, str]:
    """Return options for FFmpeg. `max_pixels` limits the decoders that probe the streams."""
    return {"format_whitelist": formats, "protocol_whitelist": protocols, "max_pixels": str(MAX_PIXELS)}


def _network_limits(scheme: str, allow_playlists: bool) -> dict[str, str]:
    formats = ",".join(filter(None, (_FILE_FORMATS, _NETWORK_FORMATS.get(scheme))))
    if allow_playlists:
        return _limits(f"{formats},{_NETWORK_PLAYLISTS}", f"{_PROTOCOLS[scheme]},{_PLAYLIST_PROTOCOLS}")
    limits = _limits(formats, _PROTOCOLS[scheme])
    return limits | {"max_redirects": "0"} if scheme in _HTTP else limits


def _limit_pictures(container: InputContainer, name: str) -> InputContainer:
    """Limit the size of pictures that the decoders accept, and return the container.

    Raises SourceError if the stored size exceeds the limit.
    """
    for stream in container.streams.video:
        context = stream.codec_context
        if context is None or not (context.width and context.height):
            continue
        try:
            check_picture_size(context.width, context.height)
        except ImageError as error:
            container.close()
            raise SourceError(f"{name} has too large a picture: {error}.") from None
        context.options = {**context.options, "max_pixels": str(MAX_PIXELS)}
    return container


def _check_picture_file(path: Path) -> None:
    """Raise SourceError for a still that is too large, and for a known format that is not read here.

    A recording made of JPEGs is no still and may be large.
    """
    head = _head(path)
    if other := explain_other_format(path, head):
        raise SourceError(other)
    if not is_image(head) or (head.startswith(_JPEG) and path.suffix.lower() not in _STILL_JPEGS):
        return
    try:
        check_image_file(path)
    except ImageError as error:
        raise SourceError(f"{shorten_path(path)} is a still that cannot be read: {error}.") from None


def _picture_format(path: Path) -> str | None:
    """Return FFmpeg's format for a still whose name looks like a pattern of files, such as a%03d.png; else None."""
    kinds = {b"\xff\xd8": "jpeg_pipe", b"\x89P": "png_pipe", b"BM": "bmp_pipe", b"II": "tiff_pipe", b"MM": "tiff_pipe"}
    head = _head(path)
    return kinds.get(head[:2], "webp_pipe") if "%" in path.name and is_image(head) else None


def _gif_with_delays(path: Path) -> BytesIO | None:
    """Return a GIF file whose pictures had no delay; None for any other file."""
    if not _head(path).startswith(b"GIF8") or path.stat().st_size > _LARGEST_GIF_BYTES:
        return None
    data = add_delays(path.read_bytes())
    return None if data is None else BytesIO(data)


def _head(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(4096)
    except OSError as error:
        raise path_error(path, error) from None


def _explain_file_error(path: Path, error: av.error.FFmpegError, allow_playlists: bool) -> str:
    """Return one sentence on why the file could not be opened."""
    name, head = shorten_path(path), _head(path)
    if isinstance(error, av.error.PermissionError):
        return f"{name} may not be read by this user: {error.strerror}."
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith(_FILE_PLAYLIST_STARTS):
        if allow_playlists:
            return f"{name} is a playlist whose files cannot be read: {str(error.strerror).lower()}."
        return f"{name} is a playlist, which leads to other files: open one of those, or {_CURE}."
    if start.startswith(_OTHER_STARTS) or (start.startswith(b"<?xml") and any(root in start for root in _XML_ROOTS)):
        return f"{name} is a playlist or a session description, not a video: open the video that it refers to."
    if head[4:8] in (b"ftyp", b"mdat", b"wide", b"free"):
        return f"{name} is an MP4 recording that was not finished: its index (the moov atom) is missing or damaged."
    if _is_text(head):
        return f"{name} is a text file, not a video."
    if isinstance(error, av.error.ArgumentError):  # not on the list of formats
        return f"{name} is not a video of a kind that is read here, such as MP4, Matroska, AVI or MPEG."
    return f"{name} is not a video that can be read: {str(error.strerror).lower()}."


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # else only the last character is cut off
            return False
        text = head[: error.start].decode("utf-8")
    return not any(ord(letter) < 32 and letter not in "\t\n\r\f\x1b" for letter in text)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Returns a redirect to the caller instead of following it."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> None:
        return None


def _redirect_target(url: str, timeout_s: float) -> str | None:
    """Return the address on the same server that a server redirects to; None if it does not redirect.

    Raises SourceError if it has another host or port; from HTTP to HTTPS, both at their usual ports, is allowed.
    """
    location = _location(url, timeout_s)
    if location is None:
        return None
    target = urljoin(_without_user(url), location)
    same_port = _port(target) == _port(url) or (_port(url), _port(target)) == (80, 443)
    if host_of(target) != host_of(url) or not same_port or urlsplit(target).scheme.lower() not in _HTTP:
        raise SourceError(
            f"{hide_secrets(url)} leads to another address, {hide_secrets(target)}: give that one if it is meant."
        )
    user, mark, _ = urlsplit(url).netloc.rpartition("@")
    parts = urlsplit(target)
    return urlunsplit(parts._replace(netloc=user + mark + parts.netloc.rpartition("@")[2]))


def _port(url: str) -> int | None:
    """Return the port of an HTTP address; None if it is malformed."""
    parts = urlsplit(url)
    try:
        return parts.port or {"http": 80, "https": 443}.get(parts.scheme.lower())
    except ValueError:
        return None


def _location(url: str, timeout_s: float) -> str | None:
    """Ask a server for a stream and return the address that it redirects to, if it does."""
    headers = {"User-Agent": "realtime-polyp", "Range": "bytes=0-0"}
    user, mark, _ = urlsplit(url).netloc.rpartition("@")
    if mark:
        headers["Authorization"] = "Basic " + b64encode(unquote(user).encode()).decode("ascii")
    try:
        request = urllib.request.Request(_without_user(url), headers=headers)
        urllib.request.build_opener(_NoRedirect).open(request, timeout=timeout_s).close()
    except urllib.error.HTTPError as answer:
        with answer:
            found: Message = answer.headers
            return found.get("Location") if 300 <= answer.code < 400 else None
    except (OSError, ValueError, HTTPException):  # no valid answer
        return None
    return None


def _without_user(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
