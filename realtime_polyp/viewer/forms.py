"""How menus, dialogs and the start page look: as dark as the window."""

from realtime_polyp.viewer.theme import ACCENT, BACKGROUND, BAR, DIM, LINE, SMALL_PX, TEXT, TEXT_PX, TONES

FORM_STYLE = f"""
QWidget {{ background: {BAR}; color: {TEXT}; font-size: {TEXT_PX}px; }}
QToolTip {{ background: {LINE}; color: {TEXT}; border: 1px solid {DIM}; padding: 4px; font-size: {SMALL_PX}px; }}
QMenuBar {{ background: {BACKGROUND}; color: {DIM}; padding: 1px 6px; }}
QMenuBar::item {{ background: transparent; padding: 4px 10px; border-radius: 4px; }}
QMenuBar::item:selected {{ background: {LINE}; color: {TEXT}; }}
QMenu {{ background: {BAR}; border: 1px solid #3a444e; padding: 6px 0; }}
QMenu::item {{ padding: 6px 26px 6px 20px; }}
QMenu::item:selected {{ background: #33404c; }}
QMenu::item:disabled {{ color: #6b7681; }}
QMenu::separator {{ height: 1px; background: {LINE}; margin: 5px 12px; }}
QPushButton {{ background: {LINE}; border: 1px solid #3a444e; border-radius: 8px; padding: 8px 16px; }}
QPushButton:hover, QPushButton:focus {{ background: #33404c; border-color: {DIM}; }}
QPushButton:default {{ border-color: {ACCENT}; }}
QPushButton:disabled {{ color: #6b7681; }}
QLineEdit, QDoubleSpinBox, QComboBox {{
    background: {BACKGROUND}; border: 1px solid #3a444e; border-radius: 6px; padding: 6px 8px; font-size: {TEXT_PX}px;
}}
QComboBox::drop-down {{ border: none; width: 26px; }}
QComboBox QAbstractItemView {{ background: {BAR}; border: 1px solid #3a444e; selection-background-color: #33404c; }}
QLineEdit:focus, QDoubleSpinBox:focus, QComboBox:focus {{ border-color: {ACCENT}; }}
QDoubleSpinBox:disabled, QLineEdit:disabled {{ color: #6b7681; }}
QCheckBox {{ spacing: 10px; padding: 3px 0; }}
QCheckBox:focus {{ color: white; }}
QCheckBox::indicator {{
    width: 16px; height: 16px; border: 1px solid {DIM}; border-radius: 4px; background: {BACKGROUND};
}}
QCheckBox::indicator:checked {{ background: {ACCENT}; border-color: {ACCENT}; }}
QScrollArea {{ border: none; }}
QListWidget {{ background: {BACKGROUND}; border: 1px solid {LINE}; border-radius: 8px; padding: 4px; outline: none; }}
QListWidget::item {{ padding: 7px 8px; border-radius: 5px; }}
QListWidget::item:selected, QListWidget::item:hover {{ background: {LINE}; color: {TEXT}; }}
QScrollBar:vertical {{ background: transparent; width: 10px; }}
QScrollBar::handle:vertical {{ background: #3a444e; border-radius: 5px; min-height: 24px; }}
QScrollBar::add-line, QScrollBar::sub-line {{ height: 0; }}
#title {{ font-size: 30px; font-weight: bold; color: white; }}
#heading {{ color: {DIM}; font-size: {SMALL_PX}px; font-weight: bold; }}
#dim {{ color: {DIM}; font-size: {SMALL_PX}px; }}
#research {{ color: {TONES["warn"]}; font-size: {TEXT_PX}px; }}
#problem {{ color: {TONES["warn"]}; font-size: {TEXT_PX}px; }}
#hint {{ background: transparent; color: {DIM}; font-size: {SMALL_PX}px; }}
#choice {{ text-align: left; padding: 13px 18px; font-size: 17px; }}
"""
