"""Capture devices: what they offer, by recorded answers, and which of it is chosen."""

import errno
import struct
from fractions import Fraction
from pathlib import Path

import pytest

from realtime_polyp.sources import capture_modes, devices, negotiation, v4l2
from realtime_polyp.sources.base import SourceError
from realtime_polyp.sources.capture import CaptureSource
from realtime_polyp.sources.capture_modes import CaptureRequest, Details, Input, Mode, choose_mode, shortfall
from realtime_polyp.sources.ffmpeg_devices import parse_modes
from realtime_polyp.sources.negotiation import explain, open_capture

YUYV, MJPG = (int.from_bytes(name, "little") for name in (b"YUYV", b"MJPG"))
HD, VGA, FULL = (1280, 720), (640, 480), (1920, 1080)
# The answers of an HDMI card, as fields of the structures: {request: {index and what was asked: fields}}.
CARD = {
    v4l2.QUERYCAP: {(): (b"uvcvideo", b"USB3 HDMI Capture", b"usb-1", 0x60500, 0x84A00001, 0x04200001, 0, 0, 0)},
    v4l2.ENUM_INPUT: {
        (0,): (0, b"HDMI", 2, 0, 0, 0, 0x2, 0, 0, 0, 0),
        (1,): (1, b"Composite", 2, 0, 0, 0, 0, 0, 0, 0, 0),
    },
    v4l2.ENUM_FMT: {
        (0, 1): (0, 1, 0, b"YUYV 4:2:2", YUYV, 0, 0, 0, 0),
        (1, 1): (1, 1, 1, b"Motion-JPEG", MJPG, 0, 0, 0, 0),
    },
    v4l2.ENUM_SIZES: {
        (0, YUYV): (0, YUYV, 1, *HD, 0, 0, 0, 0, 0, 0),
        (1, YUYV): (1, YUYV, 1, *VGA, 0, 0, 0, 0, 0, 0),
        (0, MJPG): (0, MJPG, 3, 640, 1920, 2, 480, 1080, 2, 0, 0),
    },
    v4l2.ENUM_RATES: {
        (0, YUYV, *HD): (0, YUYV, *HD, 1, 1, 30, 0, 0, 0, 0, 0, 0),
        (1, YUYV, *HD): (1, YUYV, *HD, 1, 1001, 60000, 0, 0, 0, 0, 0, 0),
        (0, YUYV, *VGA): (0, YUYV, *VGA, 1, 1, 30, 0, 0, 0, 0, 0, 0),
        **{(0, MJPG, *size): (0, MJPG, *size, 2, 1, 60, 1, 5, 0, 0, 0, 0) for size in (VGA, (720, 576), HD, FULL)},
    },
}


def recorded(answers: dict[v4l2._Request, dict[tuple[int, ...], tuple[object, ...]]]) -> v4l2.Ioctl:
    """An ioctl that gives these answers, and EINVAL where there is none, as a driver does at the end of a list."""
    known = {request.number: (request, found) for request, found in answers.items()}

    def ioctl(handle: int, number: int, argument: bytearray) -> None:
        request, found = known[number]
        for asked, fields in found.items():
            if struct.unpack_from(f"<{len(asked)}I", argument) == asked:
                struct.pack_into(request.form, argument, 0, *fields)
                return
        raise OSError(errno.EINVAL, "Invalid argument")

    return ioctl


def card_details() -> Details:
    return v4l2.read_details("/dev/video0", recorded(CARD), lambda place: 7)  # type: ignore[arg-type]


def test_requests_are_those_of_the_kernel() -> None:
    requests = (v4l2.QUERYCAP, v4l2.ENUM_FMT, v4l2.ENUM_INPUT, v4l2.ENUM_SIZES, v4l2.ENUM_RATES)
    assert [one.number for one in requests] == [0x80685600, 0xC0405602, 0xC050561A, 0xC02C564A, 0xC034564B]


def test_a_card_tells_inputs_formats_sizes_and_rates() -> None:
    details = card_details()
    assert (details.driver, details.problem) == ("uvcvideo", "")
    assert [str(one) for one in details.inputs] == ["input 0: HDMI, no signal", "input 1: Composite"]
    assert [str(one) for one in details.modes] == [
        "yuyv422 1280x720 59.94 Hz, 30 Hz",
        "yuyv422 640x480 30 Hz",
        "mjpeg 640x480 60 Hz, 50 Hz, 30 Hz, 25 Hz, 5 Hz",
        "mjpeg 720x576 60 Hz, 50 Hz, 30 Hz, 25 Hz, 5 Hz",
        "mjpeg 1280x720 60 Hz, 50 Hz, 30 Hz, 25 Hz, 5 Hz",
        "mjpeg 1920x1080 60 Hz, 50 Hz, 30 Hz, 25 Hz, 5 Hz",
        "mjpeg 640x480 to 1920x1080 60 Hz, 50 Hz, 30 Hz, 25 Hz, 5 Hz",
    ]


@pytest.mark.parametrize(
    ("status", "text"),
    [(0x10000, "HDMI, no synchronization lock"), (0x20002, "HDMI, no signal, no equalizer lock"), (0x30, "HDMI")],
)
def test_what_is_wrong_with_a_signal_has_the_kernel_s_words(status: int, text: str) -> None:
    answers = CARD | {v4l2.ENUM_INPUT: {(0,): (0, b"HDMI", 2, 0, 0, 0, status, 0, 0, 0, 0)}}
    details = v4l2.read_details("/dev/video0", recorded(answers), lambda place: 7)  # type: ignore[arg-type]
    assert [str(one) for one in details.inputs] == [f"input 0: {text}"]


def test_what_is_no_capture_device_says_so() -> None:
    metadata = {v4l2.QUERYCAP: {(): (b"uvcvideo", b"Metadata", b"usb-1", 0, 0x84A00001, 0x04A00000, 0, 0, 0)}}
    asked = v4l2.read_details("/dev/video1", recorded(metadata), lambda place: 7)  # type: ignore[arg-type]
    assert asked.problem == "Metadata takes no pictures" and not asked.modes
    assert v4l2.read_details("/dev/null").problem == "/dev/null is no capture device: inappropriate ioctl for device"
    assert v4l2.read_details("/dev/video77").problem == "/dev/video77 cannot be asked: no such file or directory"


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [
        (CaptureRequest(), ("mjpeg", FULL, 30)),
        (CaptureRequest(HD, Fraction(60)), ("yuyv422", HD, Fraction(60000, 1001))),
        (CaptureRequest(HD), ("yuyv422", HD, 30)),
        (CaptureRequest(HD, Fraction(60), "mjpeg"), ("mjpeg", HD, 60)),
        (CaptureRequest(VGA, Fraction(60)), ("mjpeg", VGA, 60)),
        (CaptureRequest(VGA, Fraction(30)), ("yuyv422", VGA, 30)),
        (CaptureRequest((3840, 2160)), ("mjpeg", FULL, 30)),
        (CaptureRequest(format="nv12"), ("mjpeg", FULL, 30)),
        (CaptureRequest(format="yuyv422"), ("yuyv422", HD, 30)),
    ],
)
def test_the_nearest_mode_is_chosen_uncompressed_where_that_is_as_fast(
    asked: CaptureRequest, chosen: tuple[str, tuple[int, int], Fraction]
) -> None:
    found = choose_mode(card_details().modes, asked)
    assert (found.format, found.size, found.rate_hz) == chosen


def test_a_webcam_is_not_asked_for_a_large_picture_that_stutters() -> None:
    modes = [
        Mode("yuyv422", FULL, (Fraction(5),)),
        Mode("yuyv422", HD, (Fraction(10),)),
        Mode("yuyv422", VGA, (Fraction(30),)),
    ]
    assert choose_mode(modes).size == VGA
    assert choose_mode([*modes, Mode("mjpeg", HD, (Fraction(30),))]) == CaptureRequest(HD, Fraction(30), "mjpeg")
    assert choose_mode([], asked := CaptureRequest(VGA)) == asked


def test_what_was_not_got_is_named() -> None:
    asked = CaptureRequest(FULL, Fraction(60), "yuyv422")
    assert shortfall(asked, FULL, Fraction(60000, 1001), "yuyv422") == ""
    assert shortfall(asked, HD, Fraction(30), "mjpeg") == (
        "1280 x 720 instead of 1920 x 1080, 30 Hz instead of 60 Hz, mjpeg instead of yuyv422"
    )
    assert shortfall(CaptureRequest(), HD, None, "mjpeg") == ""


LAVFI = "testsrc2=size=64x48:rate=25:duration=1"


def test_a_device_says_what_it_sends() -> None:
    source = CaptureSource(LAVFI, format="lavfi")
    assert explain(source, CaptureRequest()) == f"{LAVFI} sends 64 x 48 at 25 Hz as wrapped_avframe"
    assert explain(source, CaptureRequest(VGA)).endswith("; less than was asked for: 64 x 48 instead of 640 x 480")
    source.close()


def test_a_device_is_opened_in_the_mode_that_fits_and_else_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[dict[str, object]] = []

    def open_it(device: str, **mode: object) -> CaptureSource:
        opened.append(mode)
        if mode["size"]:
            raise SourceError("Invalid argument")
        return CaptureSource(LAVFI, format="lavfi")

    monkeypatch.setattr(negotiation, "CaptureSource", open_it)
    monkeypatch.setattr(negotiation, "read_details", lambda device: card_details())
    open_capture("/dev/video0").close()
    assert [one["size"] for one in opened] == [FULL, None] and opened[0]["pixel_format"] == "mjpeg"
    with pytest.raises(SourceError, match="Invalid argument"):
        open_capture("/dev/video0", CaptureRequest(HD))
    with pytest.raises(SourceError, match=r"has no input 4; it has 0 \(HDMI\), 1 \(Composite\)"):
        open_capture("/dev/video0", CaptureRequest(input=4))


def test_devices_are_described_with_what_they_offer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "list_devices", lambda: [devices.Device("/dev/video0", "Grabber")])
    monkeypatch.setattr(devices, "read_details", lambda place: card_details())
    lines = devices.describe_devices().splitlines()
    assert lines[:4] == [
        "/dev/video0  Grabber  (uvcvideo)",
        "  input 0: HDMI, no signal",
        "  input 1: Composite",
        "  yuyv422 1280x720 59.94 Hz, 30 Hz",
    ]
    monkeypatch.setattr(devices, "list_devices", list)
    assert devices.describe_devices() == "No capture device was found."


def test_directshow_and_avfoundation_by_recorded_logs() -> None:
    dshow = """[dshow @ 0000] DirectShow video device options (from video devices)
 Pin "Capture" (alternative pin name "0")
  pixel_format=yuyv422  min s=640x480 fps=5 max s=640x480 fps=30
  pixel_format=yuyv422  min s=640x480 fps=5 max s=640x480 fps=30 (tv, bt470bg)
  vcodec=mjpeg  min s=1920x1080 fps=59.9402 max s=1920x1080 fps=59.9402
"""
    assert [str(one) for one in parse_modes(dshow, "dshow")] == [
        "yuyv422 640x480 30 Hz, 25 Hz, 5 Hz",
        "mjpeg 1920x1080 59.94 Hz",
    ]
    avfoundation = """Supported modes:
[avfoundation @ 0x1]   640x480@[15.000000 30.000000]fps
[avfoundation @ 0x1]   1920x1080@[30.000030 30.000030]fps
"""
    assert [str(one) for one in parse_modes(avfoundation, "avfoundation")] == [
        "uyvy422 640x480 30 Hz, 25 Hz, 15 Hz",
        "uyvy422 1920x1080 30 Hz",
    ]


def test_inputs_have_numbers_and_names() -> None:
    assert str(Input(2, "SDI")) == "input 2: SDI" and capture_modes.rate_text(Fraction(30000, 1001)) == "29.97 Hz"


def test_options_ask_a_device_and_refuse_other_sources(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from realtime_polyp.cli.main import main
    from realtime_polyp.cli.options import parse

    words = "--capture-size 1920x1080 --capture-rate 59.94 --capture-format nv12 --capture-input 1".split()
    assert parse(["0", *words]).capture == CaptureRequest(FULL, Fraction("59.94"), "nv12", 1)
    assert parse(["0", "--capture-rate", "60000/1001"]).capture.rate_hz == Fraction(60000, 1001)
    for wrong in (
        ["--capture-size", "1920"],
        ["--capture-rate", "0"],
        ["--capture-format", "a b"],
        ["--capture-input", "-1"],
    ):
        with pytest.raises(SystemExit) as caught:
            parse(["0", *wrong])
        assert caught.value.code == 2
    assert main(["--list-devices"]) == 0 and capsys.readouterr().out
    assert main([str(tmp_path / "a.mp4"), "--headless", "--capture-size", "64x48"]) == 2
    assert "is no capture device" in capsys.readouterr().err
