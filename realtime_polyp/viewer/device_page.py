"""The page of cards and cameras: what each offers, to be opened in the mode that is chosen."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from PyQt5.QtCore import Qt, QTimer
from PyQt5.QtWidgets import QDialog, QDialogButtonBox, QLabel, QTreeWidget, QTreeWidgetItem, QVBoxLayout, QWidget

from realtime_polyp.sources.capture_modes import CaptureRequest, Details, Mode, rate_text
from realtime_polyp.sources.devices import Device, list_devices, read_details
from realtime_polyp.viewer.forms import FORM_STYLE
from realtime_polyp.viewer.theme import BACKGROUND, LINE

_STYLE = f"""{FORM_STYLE}
QTreeWidget {{ background: {BACKGROUND}; border: 1px solid {LINE}; border-radius: 8px; padding: 4px; outline: none; }}
QTreeWidget::item {{ padding: 5px 4px; }}
QTreeWidget::item:selected, QTreeWidget::item:hover, QTreeWidget::branch:selected {{ background: {LINE}; }}
"""
_POLL_MS = 50
_SIZE = (720, 520)
_HINT = "Open a card or camera as it is best, or choose one of its inputs or modes."
_NONE = "No capture device was found. Plug one in; on Linux, the user must be in the group video."

Found = list[tuple[Device, Details]]


@dataclass(frozen=True)
class Chosen:
    """A device, and what is asked of it."""

    place: str
    request: CaptureRequest = CaptureRequest()


def find_all() -> Found:
    """Every device with what it offers; it may take a second for each."""
    return [(device, read_details(device.place)) for device in list_devices()]


def ask_device(parent: QWidget, find: Callable[[], Found] = find_all) -> Chosen | None:
    """Show the page; returns what was chosen, or None after Cancel."""
    page = DevicePage(parent, find)
    try:
        return page.chosen if page.exec_() else None
    finally:
        page.end()


class DevicePage(QDialog):
    """See `ask_device`. Devices are asked on a thread: a driver may hang.

    Attributes:
        chosen: what is selected; None: nothing.
    """

    def __init__(self, parent: QWidget | None, find: Callable[[], Found] = find_all) -> None:
        super().__init__(parent)
        self.setWindowTitle("Cards and cameras")
        self.setStyleSheet(_STYLE)
        self.resize(*_SIZE)
        self.tree = QTreeWidget()
        self.tree.setHeaderHidden(True)
        self.tree.itemSelectionChanged.connect(self._enable)
        self.tree.itemActivated.connect(lambda item: self._accept())
        self.hint = QLabel("Asking the devices ...")
        self.hint.setWordWrap(True)
        self.buttons = QDialogButtonBox(QDialogButtonBox.Open | QDialogButtonBox.Cancel)
        self.buttons.accepted.connect(self._accept)
        self.buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        for widget in (self.hint, self.tree, self.buttons):
            column.addWidget(widget)
        self._enable()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="devices")
        self._finding: Future[Found] | None = self._pool.submit(find)
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._poll)
        self._timer.start(_POLL_MS)

    @property
    def chosen(self) -> Chosen | None:
        items = self.tree.selectedItems()
        found = items[0].data(0, Qt.UserRole) if items else None
        return found if isinstance(found, Chosen) else None

    def end(self) -> None:
        self._timer.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _poll(self) -> None:
        if self._finding is None or not self._finding.done():
            return
        self._timer.stop()
        finding, self._finding = self._finding, None
        found = finding.result()
        self.hint.setText(_HINT if found else _NONE)
        for device, details in found:
            self._add(device, details)

    def _add(self, device: Device, details: Details) -> None:
        top = _item(f"{device.name}   {device.place}", Chosen(device.place))
        if details.problem:
            top.addChild(_item(details.problem, None))
        for one in details.inputs:
            top.addChild(_item(str(one), Chosen(device.place, CaptureRequest(input=one.number))))
        for mode in details.modes:
            for text, request in mode_lines(mode):
                top.addChild(_item(text, Chosen(device.place, request)))
        self.tree.addTopLevelItem(top)
        top.setExpanded(True)
        if self.tree.topLevelItemCount() == 1:
            self.tree.setCurrentItem(top)

    def _enable(self) -> None:
        self.buttons.button(QDialogButtonBox.Open).setEnabled(self.chosen is not None)

    def _accept(self) -> None:
        if self.chosen:
            self.accept()


def mode_lines(mode: Mode) -> list[tuple[str, CaptureRequest]]:
    """One line for each rate of a mode, with what it asks for."""
    kind = "uncompressed" if mode.is_uncompressed else "compressed"
    name = f"{mode.size[0]} x {mode.size[1]}"
    if not mode.rates_hz:
        return [(f"{name}   {mode.format}, {kind}", CaptureRequest(mode.size, None, mode.format))]
    return [
        (f"{name}   {rate_text(rate_hz)}   {mode.format}, {kind}", CaptureRequest(mode.size, rate_hz, mode.format))
        for rate_hz in mode.rates_hz
    ]


def _item(text: str, chosen: Chosen | None) -> QTreeWidgetItem:
    item = QTreeWidgetItem([text])
    item.setData(0, Qt.UserRole, chosen)
    if chosen is None:
        item.setFlags(Qt.ItemIsEnabled)
    return item
