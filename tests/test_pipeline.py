"""The straight line without threads: the same however a video is cut, and honest about what it saw."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import (
    RATE_HZ,
    ConstantDetector,
    FakeDetector,
    FakeSegmenter,
    ScriptedSource,
    assert_same_results,
    frames_of,
    picture,
    pipeline_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from media import cut_file, write_clip
from numpy.typing import NDArray

from realtime_polyp.config import PipelineConfig
from realtime_polyp.engines import open_detector, open_segmenter
from realtime_polyp.engines.weights import WEIGHTS_FOLDER
from realtime_polyp.field_of_view import whole
from realtime_polyp.packets import Frame, Result
from realtime_polyp.pipeline import Pipeline, run_inline
from realtime_polyp.session import Session
from realtime_polyp.sources import FileSource
from realtime_polyp.temporal.filter import detections_at

RAW = PipelineConfig(temporal=None)
ALONE = list(run_inline(frames_of(45), pipeline_of()))


@settings(max_examples=12)
@given(st.lists(st.integers(1, 9), min_size=45, max_size=45))
def test_results_do_not_depend_on_how_the_video_is_cut(lengths: list[int]) -> None:
    frames, pipeline, found = frames_of(45), pipeline_of(), list[Result]()
    while frames:
        length = lengths.pop()
        found += pipeline.analyse(frames[:length])
        frames = frames[length:]
    assert_same_results(found, ALONE)


def installed_int8(task: str) -> str | None:
    manifest = json.loads((WEIGHTS_FOLDER / "manifest.json").read_text())
    return next(
        (name for name, entry in manifest.items() if entry["task"] == task and "int8-xml" in entry["files"]), None
    )


def real_pipeline() -> Pipeline:
    detector, segmenter = installed_int8("detector"), installed_int8("segmenter")
    assert detector, "the project ships an INT8 detector"
    return Pipeline(
        open_detector(detector, "openvino-int8"),
        open_segmenter(segmenter, "openvino-int8") if segmenter else None,
        PipelineConfig(score_threshold=0.0),
    )


def test_threads_and_cuts_change_nothing_with_the_real_int8_engines(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", count=24, size=(320, 240), rate=RATE_HZ, draw=picture)
    pipeline = real_pipeline()
    alone = list(run_inline(FileSource(clip).frames(), pipeline))
    assert all(len(result.detections) for result in alone) and any(result.tracks for result in alone)
    pipeline.reset()
    shown: list[Result] = []
    session = Session(FileSource(clip), pipeline, shown.append)
    session.start()
    assert session.wait(60)
    assert_same_results(shown, alone)
    pipeline.reset()
    frames = list(FileSource(clip).frames())
    assert_same_results([*pipeline.analyse(frames[:7]), *pipeline.analyse(frames[7:])], alone)


def test_boxes_and_mask_lie_on_the_polyp_in_source_pixels() -> None:
    result = pipeline_of(config=RAW).analyse(frames_of(1, (480, 360)))[0]
    rows, columns = np.nonzero(result.frame.image[..., 2] > 200)
    true = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert result.detections.boxes[0] == pytest.approx(true, abs=360 / 64)  # a pixel of the model's
    assert result.mask is not None
    found = result.mask.to_source(360, 480)
    truth = result.frame.image[..., 2] > 200
    assert (found & truth).sum() / (found | truth).sum() > 0.85


@pytest.mark.parametrize(("detector", "segmenter"), [(True, False), (False, True), (False, False)])
def test_either_engine_may_be_absent(detector: bool, segmenter: bool) -> None:
    pipeline = Pipeline(FakeDetector() if detector else None, FakeSegmenter() if segmenter else None)
    results = list(run_inline(frames_of(10), pipeline))
    assert [result.frame.index for result in results] == list(range(10))
    assert all((len(result.detections) > 0) == detector for result in results)
    assert all((result.mask is not None) == segmenter for result in results)
    assert ("detect" in results[0].stages_ms) == detector and ("segment" in results[0].stages_ms) == segmenter
    assert all(duration_ms >= 0 for result in results for duration_ms in result.stages_ms.values())


def test_a_frame_s_stages_are_its_share_of_the_batch() -> None:
    results = pipeline_of(FakeDetector(delay_s=0.02)).analyse(frames_of(4))
    shares_ms = [result.stages_ms["detect"] for result in results]
    assert len(set(shares_ms)) == 1 and sum(shares_ms) >= 20


def test_models_of_different_sizes_each_get_their_own() -> None:
    detector = ConstantDetector([[0, 0, 50, 50]], [0.9], size=(100, 200))
    result = Pipeline(detector, FakeSegmenter(), RAW).analyse(
        [Frame(0, 0.0, 0.0, np.full((50, 100, 3), 99, np.uint8))]
    )[0]
    assert result.detections.boxes.tolist() == [[0, 0, 25, 25]] and result.mask is not None


def test_no_frames_no_results() -> None:
    assert pipeline_of().analyse([]) == []


@pytest.mark.parametrize("name", ["score_threshold", "nms_iou"])
@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan")])
def test_a_configuration_out_of_range_is_refused_with_its_value(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must lie in .0, 1., got {value}"):
        PipelineConfig(**{name: value})


def test_the_threshold_may_change_while_running() -> None:
    pipeline = pipeline_of(config=RAW)
    assert len(pipeline.analyse(frames_of(1))[0].detections) == 1
    pipeline.set_score_threshold(0.1)
    assert len(pipeline.analyse(frames_of(1))[0].detections) == 2
    pipeline.set_score_threshold(0.95)
    assert len(pipeline.analyse(frames_of(1))[0].detections) == 0


def test_a_frame_looked_at_again_leaves_no_trace() -> None:
    frames = frames_of(45)
    pipeline, found = pipeline_of(), list[Result]()
    for frame in frames:
        found += pipeline.analyse([frame])
        again = detections_at(found[-1].raw, pipeline.config, 0.1)
        assert len(again) == len(found[-1].detections) + 1
    assert_same_results(found, ALONE)


def test_warming_up_and_resetting_leave_no_trace() -> None:
    pipeline = pipeline_of()
    pipeline.warm_up()
    assert_same_results(list(run_inline(frames_of(45), pipeline)), ALONE)
    pipeline.reset()
    assert_same_results(list(run_inline(frames_of(45), pipeline)), ALONE)


def test_what_was_found_while_warming_up_is_forgotten() -> None:
    detector = ConstantDetector([[10, 10, 40, 40]], [0.9])
    cold, warm = Pipeline(detector, None), Pipeline(detector, None)
    warm.warm_up()
    assert_same_results(list(run_inline(frames_of(10), warm)), list(run_inline(frames_of(10), cold)))


def test_without_smoothing_each_detection_is_a_track_shown_at_once() -> None:
    result = pipeline_of(config=replace(RAW, score_threshold=0.0)).analyse(frames_of(1))[0]
    assert [track.state for track in result.tracks] == ["shown", "shown"]
    assert [track.box.tolist() for track in result.tracks] == result.detections.boxes.tolist()


def test_black_and_frozen_pictures_are_told_from_living_ones() -> None:
    black = [Frame(i, i / RATE_HZ, 0.0, np.zeros((72, 96, 3), np.uint8)) for i in range(3)]
    frozen = [Frame(i, i / RATE_HZ, 0.0, picture(0)) for i in range(3, 3 + 2 * RATE_HZ)]
    signals = [result.signal for result in run_inline([*black, *frozen], pipeline_of())]
    assert signals[:3] == ["black"] * 3
    assert signals[3 : 3 + RATE_HZ] == ["ok"] * RATE_HZ and set(signals[4 + RATE_HZ :]) == {"frozen"}
    assert {result.signal for result in ALONE} == {"ok"}


def test_a_change_of_size_in_the_middle_is_followed() -> None:
    small, large = frames_of(5), [replace(f, index=f.index + 5, pts_s=f.pts_s + 0.2) for f in frames_of(5, (192, 144))]
    results = list(run_inline([*small, *large], pipeline_of()))
    assert [result.field_of_view for result in results] == [whole(frame.image) for frame in [*small, *large]]
    assert [result.to_dict()["mask"]["size"] for result in results] == [[72, 96]] * 5 + [[144, 192]] * 5


def test_the_public_function_refuses_at_once_and_analyses_in_order(
    tmp_path: Path, fake_engines: dict[str, object]
) -> None:
    import realtime_polyp

    with pytest.raises(ValueError, match="nowhere.mp4 does not exist"):
        realtime_polyp.analyse("nowhere.mp4", detector="fake", segmenter="fake")
    clip = write_clip(tmp_path / "a.mp4", count=5)
    with pytest.raises(ValueError, match="unknown detector 'crystal-ball'"):
        realtime_polyp.analyse(clip, detector="crystal-ball")
    results = list(realtime_polyp.analyse(clip, detector="fake", segmenter=None))
    assert [result.frame.index for result in results] == list(range(5)) and results[0].mask is None


def test_the_scripted_source_is_a_source() -> None:
    assert [frame.index for frame in ScriptedSource(3).frames()] == [0, 1, 2]


def test_a_box_of_the_old_picture_is_not_held_over_one_of_another_size() -> None:
    large, small = frames_of(12, (192, 144)), frames_of(3)
    later = [replace(frame, pts_s=0.48 + frame.pts_s, image=np.full_like(frame.image, 120)) for frame in small]
    results = list(run_inline([*large, *later], pipeline_of()))
    assert any(track.visible for track in results[11].tracks)
    assert not any(track.visible for result in results[12:] for track in result.tracks)


def test_tracks_stay_inside_the_field_though_the_polyp_leaves_it() -> None:
    class Leaving(ConstantDetector):
        """A box that walks out of the picture on the right."""

        step = 0

        def __call__(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            left = 40.0 + 4 * self.step
            self.step += 1
            box = np.float32([[[left, 20, left + 24, 44]]])
            return box, np.float32([[0.9 if left < 96 else 0.0]])

    results = list(run_inline(frames_of(30), Pipeline(Leaving([[0, 0, 1, 1]], [0.9], size=(72, 96)), None)))
    boxes = np.array([track.box for result in results for track in result.tracks])
    assert len(boxes) > 10
    assert boxes.min() >= 0 and boxes[:, 2].max() <= 96 and boxes[:, 3].max() <= 72
    assert (boxes[:, 2] > boxes[:, 0]).all() and (boxes[:, 3] > boxes[:, 1]).all()


def test_a_damaged_recording_warns_after_what_could_be_read(tmp_path: Path, fake_engines: dict[str, object]) -> None:
    import realtime_polyp

    clip = cut_file(write_clip(tmp_path / "a.mkv", count=40), 0.6)
    with pytest.warns(RuntimeWarning, match="damaged"):
        results = list(realtime_polyp.analyse(clip, detector="fake", segmenter=None))
    assert 0 < len(results) < 40
