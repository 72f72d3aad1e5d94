"""The page of cards and cameras, offscreen."""

from fractions import Fraction
from typing import Any

from conftest import needs

from realtime_polyp.sources.capture_modes import CaptureRequest, Details, Input, Mode
from realtime_polyp.sources.devices import Device

pytestmark = needs("qt")
CARD = Details((Mode("yuyv422", (1280, 720), (Fraction(60), Fraction(30))),), (Input(0, "HDMI"),), "uvcvideo")
FOUND = [(Device("/dev/video0", "Grabber"), CARD), (Device("/dev/video2", "Scope"), Details(problem="it is busy"))]


def shown(page: Any) -> list[str]:
    top = [page.tree.topLevelItem(index) for index in range(page.tree.topLevelItemCount())]
    return [text for item in top for text in (item.text(0), *(item.child(n).text(0) for n in range(item.childCount())))]


def test_every_device_is_shown_with_inputs_and_modes_and_the_first_is_chosen(qtbot: Any) -> None:
    from PyQt5.QtWidgets import QDialogButtonBox

    from realtime_polyp.viewer.device_page import Chosen, DevicePage

    page = DevicePage(None, lambda: FOUND)
    qtbot.addWidget(page)
    open_button = page.buttons.button(QDialogButtonBox.Open)
    assert page.chosen is None and not open_button.isEnabled()
    qtbot.waitUntil(lambda: page.tree.topLevelItemCount() == 2)
    assert shown(page) == [
        "Grabber   /dev/video0",
        "input 0: HDMI",
        "1280 x 720   60 Hz   yuyv422, uncompressed",
        "1280 x 720   30 Hz   yuyv422, uncompressed",
        "Scope   /dev/video2",
        "it is busy",
    ]
    assert page.chosen == Chosen("/dev/video0") and open_button.isEnabled()
    grabber = page.tree.topLevelItem(0)
    page.tree.setCurrentItem(grabber.child(0))
    assert page.chosen == Chosen("/dev/video0", CaptureRequest(input=0))
    page.tree.setCurrentItem(grabber.child(2))
    assert page.chosen == Chosen("/dev/video0", CaptureRequest((1280, 720), Fraction(30), "yuyv422"))
    open_button.click()
    assert page.result() == page.Accepted
    page.end()


def test_without_a_device_the_page_says_so(qtbot: Any) -> None:
    from realtime_polyp.viewer.device_page import DevicePage

    page = DevicePage(None, list)
    qtbot.addWidget(page)
    qtbot.waitUntil(lambda: page.hint.text().startswith("No capture device was found"))
    assert page.chosen is None
    page.end()


def test_the_chosen_mode_is_asked_of_the_device_and_of_nothing_else() -> None:
    from dataclasses import replace

    from realtime_polyp.cli.options import parse
    from realtime_polyp.viewer.host import Host
    from realtime_polyp.viewer.shell import with_capture

    host, asked = Host(), CaptureRequest((1280, 720), Fraction(30), "yuyv422")
    options = parse(["--capture-size", "640x480", "0"])
    host.capture = asked
    assert with_capture(options, host, named=False).capture == asked and host.capture is None
    assert with_capture(options, host, named=False).capture == CaptureRequest((640, 480))
    video = replace(options, sources=("a.mp4",))
    host.capture = asked
    assert with_capture(video, host, named=False).capture == CaptureRequest()
    assert with_capture(video, host, named=True).capture == CaptureRequest((640, 480)), "refused by name"


def test_a_mode_that_was_not_opened_is_asked_of_no_other_device(qtbot: Any, monkeypatch: Any) -> None:
    from PyQt5.QtWidgets import QWidget

    from realtime_polyp.recent import Recent
    from realtime_polyp.viewer import opening
    from realtime_polyp.viewer.device_page import Chosen
    from realtime_polyp.viewer.host import Host, Request

    window, host, left, asked = QWidget(), Host(), list[Request](), CaptureRequest(input=2)
    qtbot.addWidget(window)
    opener = opening.Opener(window, host, say=lambda text: None, leave=left.append)
    monkeypatch.setattr(opening, "ask_device", lambda parent: Chosen("/dev/video0", asked))
    monkeypatch.setattr(opener, "_confirmed", lambda: False)  # the live session that plays is not left
    opener.ask_device()
    assert host.capture is None and not left
    monkeypatch.setattr(opener, "_confirmed", lambda: True)
    opener.ask_device()
    assert host.capture == asked and left == [Recent("source", "/dev/video0")]
    opener.open(Recent("source", "/dev/video2"))
    assert host.capture is None and left[1:] == [Recent("source", "/dev/video2")]
    opener.close()
