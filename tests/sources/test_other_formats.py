"""Formats that are known and not read: each is named, with the command that makes a video or stills of it."""

import struct
from pathlib import Path

import pytest

from realtime_polyp.console import EXIT_BAD_INPUT
from realtime_polyp.sources import SourceError, open_source

_SYNTAXES = "1.2.840.10008.1.2"


def _dicom(syntax: str) -> bytes:
    """The head of a DICOM file, PS3.10: preamble, magic, file meta information."""
    text = syntax.encode() + b"\0" * (len(syntax) % 2)
    version = b"\x02\x00\x01\x00OB\0\0" + struct.pack("<I", 2) + b"\0\1"
    element = b"\x02\x00\x10\x00UI" + struct.pack("<H", len(text)) + text
    length = b"\x02\x00\x00\x00UL" + struct.pack("<HI", 4, len(version + element))
    return bytes(128) + b"DICM" + length + version + element + bytes(3000)


def _animated_webp() -> bytes:
    chunk = b"VP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + (63).to_bytes(3, "little") + (47).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", len(chunk) + 4) + b"WEBP" + chunk


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.dcm", _dicom(f"{_SYNTAXES}.4.102"), r"a\.dcm is a DICOM file with H\.264 video, .*gdcmraw -i"),
        ("a", _dicom(f"{_SYNTAXES}.4.101.1"), r"a is a DICOM file with MPEG-2 video, .*gdcmraw -i"),
        ("a.mp4", _dicom(f"{_SYNTAXES}.4.107"), r"a\.mp4 is a DICOM file with H\.265 video"),
        ("a.dcm", _dicom(f"{_SYNTAXES}.1"), r"a\.dcm is a DICOM file, .*dcm2img --all-frames --write-png"),
        ("a.dcm", _dicom(f"{_SYNTAXES}.4.50"), r"a\.dcm is a DICOM file, .*dcm2img"),
        ("a.dcm", _dicom(f"{_SYNTAXES}.4.102")[:180], r"a\.dcm is a DICOM file, .*dcm2img"),
        ("a.dcm", bytes(128) + b"DICM", r"a\.dcm is a DICOM file, .*dcm2img"),
        ("a.webp", _animated_webp(), r"a\.webp is an animated WebP, .*convert .* -coalesce"),
    ],
)
def test_a_known_format_is_named_with_the_way_out(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=message) as failure:
        open_source(str(tmp_path / name))
    assert str(failure.value).count(". ") == 0


def test_the_command_line_refuses_it_with_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from realtime_polyp.cli.main import main

    (tmp_path / "scope").write_bytes(_dicom(f"{_SYNTAXES}.4.102"))
    assert main(["--headless", "--source", str(tmp_path / "scope")]) == EXIT_BAD_INPUT
    assert capsys.readouterr().err.count("\n") == 1
