"""Colours, sizes and fixed notices. Dark, for a dimmed endoscopy room: only the picture is bright."""

from realtime_polyp.viewer.condition import Tone

BACKGROUND = "#0b0d10"
BAR = "#15191e"
LINE = "#262d35"
TEXT = "#dfe5ea"
DIM = "#8a96a2"
ACCENT = "#40e080"
TONES: dict[Tone, str] = {"good": "#40e080", "busy": "#5db4ff", "warn": "#ffc23d", "bad": "#ff5a52"}
TEXT_PX, SMALL_PX = 15, 13

RESEARCH_ONLY = "Research use only \u2013 not a medical device"
UNVERIFIED = "UNVERIFIED ENGINE \u2013 accuracy not proven"

STYLE = f"""
QWidget {{ background: {BAR}; color: {TEXT}; font-size: {TEXT_PX}px; }}
QToolTip {{ background: {LINE}; color: {TEXT}; border: 1px solid {DIM}; padding: 4px; font-size: {SMALL_PX}px; }}
QToolButton {{ border: 1px solid transparent; border-radius: 6px; padding: 5px 5px; background: transparent; }}
QToolButton:hover {{ background: {LINE}; }}
QToolButton:pressed {{ background: #33404c; }}
QToolButton:disabled {{ color: #4b555f; }}
QToolButton:checked {{ background: #1d3a2a; border-color: #2f6b49; color: {ACCENT}; }}
QSlider::groove:horizontal {{ height: 4px; background: #3a444e; border-radius: 2px; }}
QSlider::sub-page:horizontal {{ height: 4px; margin: 6px 0; background: {DIM}; border-radius: 2px; }}
QSlider::add-page:horizontal {{ background: transparent; }}
QSlider::handle:horizontal {{ width: 16px; height: 16px; margin: -6px 0; border-radius: 8px; background: {TEXT}; }}
QSlider::handle:horizontal:hover {{ background: white; }}
#banner, #banner QLabel {{ background: {BACKGROUND}; color: {DIM}; font-size: {SMALL_PX}px; }}
#banner #research {{ color: {TONES["warn"]}; }}
#banner #unverified {{ background: {TONES["bad"]}; color: {BACKGROUND}; font-weight: bold; padding: 1px 8px; }}
#status QLabel {{ font-size: {TEXT_PX}px; }}
#help {{ background: rgba(11, 13, 16, 235); border: 1px solid {LINE}; border-radius: 12px; padding: 18px 26px; }}
"""
