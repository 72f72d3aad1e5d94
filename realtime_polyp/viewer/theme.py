"""Colours, sizes and fixed notices. Dark, for a dimmed endoscopy room: only the picture is bright."""

import re
from typing import TYPE_CHECKING

from realtime_polyp.viewer.condition import Tone

if TYPE_CHECKING:
    from PyQt5.QtWidgets import QWidget

BACKGROUND = "#0b0d10"
BAR = "#15191e"
LINE = "#262d35"
TEXT = "#dfe5ea"
DIM = "#8a96a2"
ACCENT = "#40e080"
TONES: dict[Tone, str] = {"good": "#40e080", "busy": "#5db4ff", "warn": "#ffc23d", "bad": "#ff5a52"}
MARK = "#c9a2ff"
"""Of the flags of marked moments, in the polyp list and on the timeline."""
TEXT_PX, SMALL_PX = 15, 13

RESEARCH_ONLY = "Research use only \u2013 not a medical device"
UNVERIFIED = "UNVERIFIED ENGINE \u2013 accuracy not proven"

SCALES = (1.0, 1.25, 1.5, 2.0, 2.5, 3.0)
"""Sizes of everything around the picture: large windows are seen from further away, or have finer pixels."""

_ROOMY = (1280, 800)  # window for which the smallest scale is made, px


def scale_of(width: int, height: int) -> float:
    """The scale for a window of this size, px."""
    room = min(width / _ROOMY[0], height / _ROOMY[1])
    return max((scale for scale in SCALES if scale <= room), default=SCALES[0])


def scaled(sheet: str, scale: float) -> str:
    """A style sheet with all its px, but for single ones, at a scale."""
    return re.sub(r"\b(\d+)px", lambda px: f"{round(int(px[1]) * scale) if int(px[1]) > 1 else 1}px", sheet)


def restyle(widget: "QWidget", sheet: str) -> None:
    """Give a widget a style sheet unless it has it: Qt lays the widget out anew, whether or not anything changed."""
    if widget.styleSheet() != sheet:
        widget.setStyleSheet(sheet)


def style_of(scale: float) -> str:
    """The style sheet at a scale."""

    def px(size: float) -> str:
        return f"{round(size * scale)}px"

    return f"""
QWidget {{ background: {BAR}; color: {TEXT}; font-size: {px(TEXT_PX)}; }}
QToolTip {{ background: {LINE}; color: {TEXT}; border: 1px solid {DIM}; padding: {px(4)}; font-size: {px(SMALL_PX)}; }}
QToolButton {{ border: 1px solid transparent; border-radius: {px(6)}; padding: {px(3)}; background: transparent; }}
QToolButton:hover {{ background: {LINE}; }}
QToolButton:pressed {{ background: #33404c; }}
QToolButton:disabled {{ color: #4b555f; }}
QToolButton:checked {{ background: #1d3a2a; border-color: #2f6b49; color: {ACCENT}; }}
QSlider::groove:horizontal {{ height: {px(4)}; background: #3a444e; border-radius: {px(2)}; }}
QSlider::sub-page:horizontal {{ height: {px(4)}; margin: {px(6)} 0; background: {DIM}; border-radius: {px(2)}; }}
QSlider::add-page:horizontal {{ background: transparent; }}
QSlider::handle:horizontal {{ width: {px(16)}; height: {px(16)}; margin: -{px(6)} 0; border-radius: {px(8)};
  background: {TEXT}; }}
QSlider::handle:horizontal:hover {{ background: white; }}
#elapsed {{ font-weight: bold; }}
#total {{ color: {DIM}; }}
#speed {{ border-color: #3a444e; }}
#banner, #banner QLabel {{ background: {BACKGROUND}; color: {DIM}; font-size: {px(SMALL_PX)}; }}
#banner #research {{ color: {TONES["warn"]}; }}
#banner #unverified {{ background: {TONES["bad"]}; color: {BACKGROUND}; font-weight: bold; padding: 1px {px(8)}; }}
#status QLabel {{ font-size: {px(TEXT_PX)}; }}
#prompt {{ background: rgba(11, 13, 16, 235); border: 1px solid {DIM}; border-radius: {px(10)}; color: white;
  font-size: {px(19)}; font-weight: bold; padding: {px(8)} {px(16)}; }}
#help, #legend {{ background: rgba(11, 13, 16, 235); border: 1px solid {LINE}; border-radius: {px(12)};
  padding: {px(18)} {px(26)}; }}
"""
