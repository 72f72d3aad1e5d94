"""What a person is told about a session that is not complete."""

import pytest
from media import write_clip
from test_store import random_result

from realtime_polyp.recording.matroska import last_time_s
from realtime_polyp.recording.store import SessionStore
from realtime_polyp.review.recorded import RecordedSession


def make(folder, *, source=None, original=None, picture_s=None, facts=None):
    """A session of two frames that ended in an orderly way unless `facts` says otherwise."""
    folder.mkdir(exist_ok=True)
    store = SessionStore(folder)
    given = {"source": source or {"path": None}, "original": original or {"how": "packets", "file": "original.mkv"}}
    for name, value in (given | ({"ended": {"how": "ended"}} if facts is None else facts)).items():
        store.set_fact(name, value)
    for index in range(2):
        store.add_result(random_result(index), session_s=index / 25, picture_s=picture_s)
    store.close()
    return RecordedSession(folder)


def test_complete_session_lacks_nothing(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", count=5)
    source = {"path": str(clip), "size_bytes": clip.stat().st_size}
    assert make(tmp_path / "s", source=source, original={"how": "reference", "file": None}).problems == ()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda clip: clip.unlink(), "the picture is gone: there is no {clip}"),
        (lambda clip: clip.write_bytes(b"1234"),
         "the picture may be another: {clip} has 4 bytes, and had {size} when it was recorded"),
    ],
)  # fmt: skip
def test_source_that_is_referred_to_may_change(tmp_path, change, problem):
    clip = write_clip(tmp_path / "a.mp4", count=5)
    size = clip.stat().st_size
    session = make(
        tmp_path / "s", source={"path": str(clip), "size_bytes": size}, original={"how": "reference", "file": None}
    )
    change(clip)
    assert session.problems == (problem.format(clip=clip, size=size),)


def test_picture_and_results_of_different_length_are_told_apart(tmp_path):
    (tmp_path / "s").mkdir()
    path = write_clip(tmp_path / "s" / "original.mkv", count=20, rate=10)
    assert last_time_s(path) == pytest.approx(1.9)
    assert make(tmp_path / "s", picture_s=1.8).problems == ()
    (tmp_path / "s" / "session.sqlite").unlink()
    assert make(tmp_path / "s", picture_s=3.9).problems == ("the last 2.0 s of the picture are missing",)
    (tmp_path / "s" / "session.sqlite").unlink()
    assert make(tmp_path / "s", picture_s=0.4).problems == (
        "of the last 1.5 s there is only the picture, without results",
    )


def test_end_of_a_file_that_was_cut_short_is_found(tmp_path):
    path = write_clip(
        tmp_path / "a.mkv", count=40, rate=10, container_options={"cluster_time_limit": "0"}, options={"bf": "0"}
    )
    data = path.read_bytes()
    ends = []
    for part in (0.8, 0.9, 0.97):
        path.write_bytes(data[: round(len(data) * part)])
        ends.append(last_time_s(path))
    assert ends == sorted(ends) and 0 < ends[0] < ends[2] < 3.9
    path.write_bytes(b"")
    assert last_time_s(path) is None


def test_reason_of_an_early_end_is_told(tmp_path):
    facts = {"failed": {"reason": "database or disk is full", "session_s": 0.04}}
    session = make(tmp_path / "s", original={"how": "none", "file": None}, facts=facts)
    assert session.problems == (
        "recording ended early, after 0:00.0: database or disk is full",
        "the picture was not recorded",
    )


@pytest.mark.parametrize(
    "after_cluster",
    [
        b"\xe7\x81\x05\xa0\x80",  # ends with a group of blocks without content
        b"\xe7\x40\xc8" + b"\xff" * 200 + b"\xa3\x84\x81\x00\x00\x80",  # a timestamp of 200 bytes, and a block
    ],
)
def test_bytes_of_a_picture_that_look_like_a_cluster_are_none(tmp_path, after_cluster):
    path = tmp_path / "original.mkv"
    path.write_bytes(b"\x1f\x43\xb6\x75\xff" + after_cluster)
    assert last_time_s(path) is None
