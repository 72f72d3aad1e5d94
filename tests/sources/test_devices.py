"""The list of capture devices."""

from pathlib import Path

import pytest

from realtime_polyp.sources import devices
from realtime_polyp.sources.devices import Device, list_devices


def test_devices_have_their_makers_names_and_nodes_without_pictures_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for node, index, name in (("video0", "0", "Grabber\n"), ("video1", "1", "Grabber\n"), ("video2", None, None)):
        (tmp_path / node).mkdir()
        if index is not None and name is not None:
            (tmp_path / node / "index").write_text(index, encoding="utf-8")
            (tmp_path / node / "name").write_text(name, encoding="utf-8")
    monkeypatch.setattr(devices, "_KERNEL", tmp_path)
    monkeypatch.setattr(devices, "find_devices", lambda: [f"/dev/video{number}" for number in range(3)])
    assert list_devices() == [Device("/dev/video0", "Grabber"), Device("/dev/video2", "/dev/video2")]
