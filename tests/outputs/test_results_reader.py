"""What was on the screen: results as they come and as they are read, dropped frames, another video's results."""

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import SIZE, FakeDetector, FakeSegmenter, frames_of

from realtime_polyp.metrics.run_lengths import decode
from realtime_polyp.metrics.truth import TrueFrame, VideoTruth
from realtime_polyp.outputs.results_reader import ShownFrame, on_screen, read_results, shown_of
from realtime_polyp.packets import Result
from realtime_polyp.pipeline import Pipeline, run_inline

HERE = np.array([[10, 10, 50, 50]], np.float32)


def truth(count: int, *, cuts: tuple[int, ...] = (), rate_hz: int = 10) -> VideoTruth:
    frames = [TrueFrame({}, {}, index in cuts) for index in range(count)]
    return VideoTruth("t.json", SIZE, Fraction(rate_hz), frames)


def shown(index: int, *, rate_hz: int = 10) -> ShownFrame:
    return ShownFrame(index, index / rate_hz, HERE, np.array([1]), np.array([0.9], np.float32))


def visible(known: VideoTruth, indices: list[int]) -> str:
    return "".join("x" if len(one.boxes) else "-" for one in on_screen(known, [shown(one) for one in indices]).frames)


@pytest.fixture(scope="module")
def results() -> list[Result]:
    pipeline = Pipeline(FakeDetector(), FakeSegmenter())  # type: ignore[arg-type]
    return list(run_inline(frames_of(12), pipeline))


def write(path: Path, results: list[Result], *, end: str = "\n") -> Path:
    path.write_text("\n".join(json.dumps(result.to_dict()) for result in results) + end)
    return path


def test_a_result_and_its_line_in_the_file_are_the_same(results: list[Result], tmp_path: Path) -> None:
    read = read_results(write(tmp_path / "r.jsonl", results))
    direct = [shown_of(result) for result in results]
    assert any(len(one.boxes) for one in direct) and all(one.mask is not None for one in direct)
    for one, other in zip(read, direct, strict=True):
        assert (one.index, one.mask) == (other.index, other.mask) and one.ids.tolist() == other.ids.tolist()
        assert np.allclose(one.boxes, other.boxes, atol=0.006) and np.allclose(one.scores, other.scores, atol=1e-4)
        assert np.allclose(one.detections.boxes, other.detections.boxes, atol=0.006)
        assert one.outline_boxes is not None and other.outline_boxes is not None
        assert np.allclose(one.outline_boxes, other.outline_boxes, atol=0.006, equal_nan=True)
    assert any(np.allclose(one.boxes, one.outline_boxes, atol=0.02) for one in read if len(one.boxes))


def test_a_file_of_an_earlier_version_has_the_mask_at_its_boxes(results: list[Result], tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", results[-1:])
    line = json.loads(path.read_text())
    (track,) = line["tracks"]
    del track["drawn_box"], track["outline"]
    path.write_text(json.dumps(line) + "\n")
    (read,) = read_results(path)
    assert read.outline_boxes is None and read.boxes[0] == pytest.approx(track["box"], abs=0.006)
    assert read.mask is not None and decode(read.mask).any()


@pytest.mark.parametrize("outline", [[1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6, 7], [1e5, 2, 3, 4, 5, 6]])
def test_an_outline_that_is_none_is_refused(outline: list[float], results: list[Result], tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", results[-1:])
    line = json.loads(path.read_text())
    line["tracks"][0]["outline"] = outline
    path.write_text(json.dumps(line) + "\n")
    with pytest.raises(ValueError, match=r"line 1 of .*r\.jsonl"):
        read_results(path)


def test_without_a_detector_the_whole_mask_is_read_back(results: list[Result], tmp_path: Path) -> None:
    alone = [replace(result, tracks=(), has_detector=False) for result in results]
    read = read_results(write(tmp_path / "r.jsonl", alone))
    assert [one.mask for one in read] == [shown_of(result).mask for result in alone]
    assert decode(read[-1].mask or {}).any()
    (line,) = [json.loads(text) for text in (tmp_path / "r.jsonl").read_text().splitlines()[-1:]]
    del line["has_detector"]
    (tmp_path / "r.jsonl").write_text(json.dumps(line) + "\n")
    assert not decode(read_results(tmp_path / "r.jsonl")[0].mask or {}).any()


def test_tentative_tracks_and_dead_pictures_show_nothing(results: list[Result], tmp_path: Path) -> None:
    last = results[-1]
    hidden = replace(last, tracks=tuple(replace(track, state="tentative") for track in last.tracks))
    black = replace(last, signal="black")
    for result in (hidden, black):
        (read,) = read_results(write(tmp_path / "r.jsonl", [result]))
        assert not len(read.boxes) and not len(shown_of(result).boxes)
    assert not len(shown_of(black).detections) and shown_of(black).mask is None
    assert len(shown_of(hidden).detections) and shown_of(last, mask=False).mask is None


def test_a_last_line_cut_short_is_left_out(results: list[Result], tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", results, end='\n{"index": 12, "pt')
    assert [one.index for one in read_results(path)] == list(range(12))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no whole line"),
        ('{"index": 0}\n', "line 1 of .* is not a result of run_live: `pts_s` is missing"),
        (
            "nonsense\n",
            r"line 1 of .* is not a result of run_live: it is not JSON \(expecting value in line 1, column 1\)",
        ),
        ("[1]\n", "line 1 of .* is not a result of run_live: expected `object`, got `array`"),
    ],
)
def test_what_is_no_results_file_is_said(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match=said):
        read_results(path)
    with pytest.raises(FileNotFoundError, match="no such results file"):
        read_results(tmp_path / "none.jsonl")


def test_a_dropped_frame_keeps_what_was_shown_for_a_fifth_of_a_second() -> None:
    assert visible(truth(8), [0, 5]) == "xxx--xxx"
    assert on_screen(truth(8), [shown(0), shown(5)]).unanswered == 6


def test_nothing_is_kept_across_a_cut_or_shown_before_the_first_result() -> None:
    assert visible(truth(8, cuts=(4,)), [1, 3, 6]) == "-xxx--xx"


def changed(index: int, **changes: Any) -> list[ShownFrame]:
    return [shown(0), replace(shown(index), **changes)]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (changed(0), "results of frame 0 come after those of frame 0: t.json needs the video once"),
        (changed(9), "describes 8 frames and the video has more"),
        (changed(5, pts_s=0.9), "another rate, or frames left out"),
        (changed(1, mask={"size": [1, 1], "counts": ""}), r"the result of frame 1 is of \(1, 1\) px: another video"),
    ],
)
def test_results_of_another_video_are_refused(found: list[ShownFrame], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        on_screen(truth(8), found)
