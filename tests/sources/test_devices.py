"""The list of capture devices, and their names for FFmpeg."""

import sys
from pathlib import Path

import pytest

from realtime_polyp.sources import CaptureSource, SourceError, capture, devices, v4l2
from realtime_polyp.sources.capture_modes import Details
from realtime_polyp.sources.devices import Device, list_devices


def test_devices_have_their_makers_names_and_nodes_without_pictures_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = (
        ("video0", "0", "Grabber\n"),
        ("video1", "1", "Grabber\n"),
        ("video2", None, None),
        ("video3", "1", "Quad\n"),
    )
    for node, index, name in nodes:
        (tmp_path / node).mkdir()
        if index is not None and name is not None:
            (tmp_path / node / "index").write_text(index, encoding="utf-8")
            (tmp_path / node / "name").write_text(name, encoding="utf-8")
    monkeypatch.setattr(devices, "_KERNEL", tmp_path)
    monkeypatch.setattr(devices, "find_devices", lambda: [f"/dev/video{number}" for number in range(4)])
    problems = {"/dev/video1": "Grabber takes no pictures", "/dev/video3": ""}  # the second channel of a card
    monkeypatch.setattr(v4l2, "read_details", lambda place: Details(problem=problems[place]))
    assert list_devices() == [
        Device("/dev/video0", "Grabber"),
        Device("/dev/video2", "/dev/video2"),
        Device("/dev/video3", "Quad"),
    ]


def test_directshow_has_names_of_devices_and_no_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [("@device_pnp_1", "Grabber"), ("@device_pnp_2", "Webcam")]
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(capture, "find_names", lambda format: found)
    for device, name in {
        "1": "video=@device_pnp_2",
        "@device_pnp_1": "video=@device_pnp_1",
        "video=Webcam": "video=Webcam",
        "7": "video=7",
    }.items():
        assert capture.device_name(device) == name
    with pytest.raises(SourceError, match=r"device video=@device_pnp_2 \(dshow\) .*Devices found: Grabber, Webcam\."):
        CaptureSource(1)
    with pytest.raises(SourceError, match=r"device card \(nonesuch\)"):
        CaptureSource("card", format="nonesuch")
