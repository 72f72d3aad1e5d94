"""Outputs on file systems that ignore case, and in the folder of pictures that is the source."""

import os
from pathlib import Path

import pytest

from realtime_polyp.outputs import OutputError, OutputSpec
from realtime_polyp.outputs.paths import check_outputs


def ignore_case(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let another spelling of a file's name lead to it, as on most disks of macOS and Windows."""
    usual = os.path.samefile

    def samefile(one: Path, other: Path) -> bool:
        if os.path.dirname(one) == os.path.dirname(other) and str(one).casefold() == str(other).casefold():
            return os.path.exists(one) or os.path.exists(other)
        return usual(one, other)

    monkeypatch.setattr(os.path, "samefile", samefile)


@pytest.mark.parametrize(("one", "other"), [("a.jsonl", "A.jsonl"), ("stra\u00dfe.jsonl", "STRASSE.jsonl")])
def test_two_spellings_of_one_new_file_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one: str, other: str
) -> None:
    spec = OutputSpec(results=tmp_path / one, events=tmp_path / other)
    check_outputs(["pattern"], [spec])  # this file system keeps them apart
    ignore_case(monkeypatch)
    with pytest.raises(OutputError, match="it is another output"):
        check_outputs(["pattern"], [spec])
    check_outputs(["pattern"], [OutputSpec(results=tmp_path / one, events=tmp_path / f"other-{other}")])
    assert not list(tmp_path.iterdir())


def test_pictures_of_alarms_do_not_join_the_pictures_of_the_source(tmp_path: Path) -> None:
    stills = tmp_path / "stills"
    stills.mkdir()
    (tmp_path / "link").symlink_to(stills)
    for folder in (stills, tmp_path / "link", stills / ".." / "stills"):
        with pytest.raises(OutputError, match="it is the source"):
            check_outputs([str(stills)], [OutputSpec(pictures=folder)])
    check_outputs([str(stills)], [OutputSpec(pictures=stills / "alarms")])  # folders inside are not read
    check_outputs([str(stills)], [OutputSpec(results=stills / "a.jsonl", save=stills / "a.mp4")])
    assert not list(stills.iterdir())
