from pathlib import Path

import pytest
from media import number_of, write_clip

from realtime_polyp.review.pictures import PictureFile
from realtime_polyp.sources.base import SourceError
from realtime_polyp.sources.file import FileSource

COUNT = 60


def clip(folder: Path, name: str = "clip.mp4") -> tuple[Path, list[float]]:
    """A clip of numbered pictures, and their times as the source gives them."""
    path = write_clip(folder / name, count=COUNT, rate=25, options={"g": "12", "bf": "2"})
    times_s = [frame.pts_s for frame in FileSource(path).frames()]
    assert len(times_s) == COUNT
    return path, times_s


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.ts", "clip.avi"])
def test_any_picture_is_found_by_its_time(tmp_path, name):
    path, times_s = clip(tmp_path, name)
    pictures = PictureFile(path)
    for number in (30, 3, COUNT - 1, 0, 44, 43, 45):
        found = pictures.at(times_s[number])
        assert found and number_of(found.image) == number and found.time_s == pytest.approx(times_s[number], abs=1e-6)
    pictures.close()


def test_steps_back_and_forward_through_the_whole_file_within_little_memory(tmp_path):
    path, times_s = clip(tmp_path)
    pictures = PictureFile(path, memory_bytes=100_000)  # ten pictures
    back, time_s = [], times_s[-1] + 1.0
    while found := pictures.before(time_s):
        back.append(number_of(found.image))
        time_s = found.time_s
        assert pictures.kept_bytes <= 100_000
    assert back == list(range(COUNT))[::-1]
    forward = [back[-1]]
    while found := pictures.after(time_s):
        forward.append(number_of(found.image))
        time_s = found.time_s
    assert forward == list(range(COUNT))


def test_time_between_two_pictures_has_no_picture_of_its_own(tmp_path):
    path, times_s = clip(tmp_path)
    pictures = PictureFile(path)
    between_s = (times_s[7] + times_s[8]) / 2
    assert pictures.at(between_s) is None and pictures.at(times_s[-1] + 5) is None
    shown = [pictures.shown_at(time_s) for time_s in (between_s, times_s[-1] + 5, 0.0)]
    assert [number_of(one.image) for one in shown if one] == [7, COUNT - 1, 0]


def test_file_without_video_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("no video")
    with pytest.raises(SourceError, match="is a text file, not a video"):
        PictureFile(tmp_path / "notes.txt")
