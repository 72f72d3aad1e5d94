"""The list of what was opened last."""

from pathlib import Path

import pytest

from realtime_polyp.recent import Recent, add_recent, forget_recent, read_recent


def test_the_newest_is_first_and_nothing_is_listed_twice(tmp_path: Path) -> None:
    path = tmp_path / "new" / "recent.toml"
    places = ['b "ö".mp4', "/dev/video0", 'b "ö".mp4', *(f"{number}.mp4" for number in range(8)), "/dev/video0"]
    for place in places:
        add_recent(path, Recent("source", place))
    add_recent(path, Recent("session", "one"))
    assert [one.place for one in read_recent(path)] == ["one", "/dev/video0", *(f"{n}.mp4" for n in range(7, -1, -1))]
    assert path.stat().st_mode & 0o777 == 0o600
    forget_recent(path)
    assert read_recent(path) == [] and not path.exists()


def test_a_password_is_never_stored(tmp_path: Path) -> None:
    add_recent(tmp_path / "recent.toml", Recent("source", "rtsp://user:secret@scope.example/1"))
    assert not (tmp_path / "recent.toml").exists()


@pytest.mark.parametrize(
    "text", ["[[recent]", "recent = 3", "[[recent]]\nkind = 'source'", "[[recent]]\nkind='x'\nplace=''"]
)
def test_a_damaged_list_is_empty(tmp_path: Path, text: str) -> None:
    (tmp_path / "recent.toml").write_text(text, encoding="utf-8")
    assert read_recent(tmp_path / "recent.toml") == []
