"""The line above the picture: menus, title, research-use notice, and a warning when an engine is unverified."""

from PyQt5.QtCore import Qt
from PyQt5.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QWidget

from realtime_polyp.viewer.status import ElidedLabel
from realtime_polyp.viewer.theme import RESEARCH_ONLY, UNVERIFIED


def make_top(menu: QWidget, title: str, *, unverified: bool) -> QWidget:
    """All of it on one line: the height belongs to the picture."""
    banner = QWidget()
    banner.setObjectName("banner")
    banner.setAttribute(Qt.WA_StyledBackground)
    row = QHBoxLayout(banner)
    row.setContentsMargins(0, 0, 14, 0)
    row.setSpacing(14)
    menu.setSizePolicy(QSizePolicy.Maximum, QSizePolicy.Preferred)
    row.addWidget(menu)
    name = ElidedLabel()
    name.setText(title)
    name.setToolTip(title)
    row.addWidget(name, 1)
    if unverified:
        warning = QLabel(UNVERIFIED)
        warning.setObjectName("unverified")
        warning.setToolTip("This engine has not passed the accuracy gate: run python -m calibration.gate")
        row.addWidget(warning)
    research = QLabel(RESEARCH_ONLY)
    research.setObjectName("research")
    row.addWidget(research)
    return banner
