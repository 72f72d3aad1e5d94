"""Names files that hold pictures and are not read here, and says which command makes a video or stills of them."""

import struct
from pathlib import Path

from realtime_polyp.messages import shorten_path

_DICOM_AT = 128  # a preamble of any content comes first, then "DICM" (DICOM PS3.10, 7.1)
_TRANSFER_SYNTAX = b"\x02\x00\x10\x00UI"  # tag (0002,0010); the header is always explicit little endian
_DICOM_VIDEO = {  # transfer syntaxes, by the number behind 1.2.840.10008.1.2.4 (DICOM PS3.6, table A-1)
    **dict.fromkeys((100, 101), "MPEG-2"),
    **dict.fromkeys((102, 103, 104, 105, 106), "H.264"),
    **dict.fromkeys((107, 108), "H.265"),
}
_WEBP_ANIMATED = 0x02  # flag of the chunk VP8X


def explain_other_format(path: Path, head: bytes) -> str | None:
    """Return one sentence with the name of the format and the way out; None for anything else.

    head: the first 4096 bytes of the file, or all of a shorter one. The file's name does not matter.
    """
    name = shorten_path(path)
    if head[_DICOM_AT : _DICOM_AT + 4] == b"DICM":
        return _explain_dicom(name, _dicom_video(head))
    if head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and head[20:21] and head[20] & _WEBP_ANIMATED:
        return (
            f"{name} is an animated WebP, which is not read here: write its pictures out with "
            f'ImageMagick (convert "{name}" -coalesce FOLDER/%06d.png), then open the folder with --rate.'
        )
    return None


def _explain_dicom(name: str, codec: str | None) -> str:
    if codec:
        return (
            f"{name} is a DICOM file with {codec} video, which is not read here: write the video out with "
            f'GDCM (gdcmraw -i "{name}" -o video.mp4), then open video.mp4.'
        )
    return (
        f"{name} is a DICOM file, which is not read here: write its pictures out with "
        f'DCMTK (dcm2img --all-frames --write-png "{name}" FOLDER/frame), then open the folder.'
    )


def _dicom_video(head: bytes) -> str | None:
    """Return the codec of a DICOM file whose pixels are a video stream; None for stills and unknown ones."""
    place = head.find(_TRANSFER_SYNTAX, _DICOM_AT)
    if place < 0 or len(head) < place + 8:
        return None
    (length,) = struct.unpack_from("<H", head, place + 6)
    parts = head[place + 8 : place + 8 + length].rstrip(b"\0 ").split(b".")
    video = parts[:7] == b"1.2.840.10008.1.2.4".split(b".") and len(parts) > 7 and parts[7].isdigit()
    return _DICOM_VIDEO.get(int(parts[7])) if video else None
