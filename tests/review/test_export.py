"""What persons said, for other programs: COCO for the trainers, the truth format, CVAT."""

import json
import sqlite3
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from media import write_clip
from recorded_toys import RATE_HZ, SIZE, make_session, picture, true_box

from realtime_polyp.geometry import iou_matrix
from realtime_polyp.metrics.truth import read_truth
from realtime_polyp.review.action_log import ActionLog
from realtime_polyp.review.actions import DrawnBox, SamePolyp, Stretch, Verdict
from realtime_polyp.review.export import PictureRules, export_session, main
from realtime_polyp.review.fill import fill
from realtime_polyp.review.recorded import RecordedSession
from realtime_polyp.review.video_clock import ExportError
from trainers import check_data
from trainers.data.stills import read_mask, read_stills
from trainers.video.labels import read_clock, truth_of
from trainers.video.truth_cvat import read_cvat

COUNT = 40
EVERY_FRAME = PictureRules(every_s=0)


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("video") / "disc.mp4"
    options = {"crf": "12", "preset": "ultrafast"}
    return write_clip(
        path, count=COUNT, size=SIZE, rate=RATE_HZ, options=options, draw=lambda index, _: picture(index + 1)
    )


@pytest.fixture
def folder(tmp_path, video) -> Path:
    """A session in which track 1 is seen in frames 1 to 14 and 26 to 40."""
    return make_session(tmp_path / "session", COUNT, unseen=range(15, 26), video=video)


def mark(folder: Path, *said) -> None:
    with ActionLog(folder) as log:
        for one in said:
            log.add(one)


def marked(folder: Path, first: int, last: int) -> Stretch:
    filled = fill(RecordedSession(folder), {first: true_box(first), last: true_box(last)})
    boxes = tuple((one.number, tuple(one.box.tolist())) for one in filled)
    return Stretch(-1, (first, last), boxes, tuple((one.number, dict(one.outline)) for one in filled if one.outline))


def test_coco_is_read_and_checked_by_the_trainers(folder, tmp_path, capsys):
    mark(folder, Verdict(1, accepted=True))
    out = tmp_path / "out"
    sentence = export_session(folder, "coco", out, EVERY_FRAME)
    assert "29 pictures with 29 polyps, 0 without a polyp" in sentence
    stills = read_stills(out / "train.json", out)
    assert len(stills) == 29 and {one.group for one in stills} == {"session"}
    first = stills[0]
    assert float(iou_matrix(first.boxes, true_box(1)[None])[0, 0]) > 0.8
    assert read_mask(first.mask_path).sum() == pytest.approx(
        np.pi / 4 * np.prod(true_box(1)[2:] - true_box(1)[:2]), rel=0.2
    )
    shown = cv2.imread(str(first.image_path))[..., ::-1].astype(float)
    assert np.abs(shown - picture(1)).mean() < 8
    (out / "val.json").write_text('{"images": [], "annotations": []}')
    check_data.main(["--data", str(out)])
    assert "29" in capsys.readouterr().out


def test_pictures_are_some_time_apart_and_false_alarms_hold_no_polyp(folder, tmp_path):
    mark(folder, Verdict(1, accepted=False))
    assert "4 pictures with 0 polyps, 4 without" in export_session(folder, "coco", tmp_path / "out")


def test_frames_without_an_outline_are_left_out_or_get_an_ellipse(folder, tmp_path):
    mark(folder, Verdict(1, accepted=True), replace(marked(folder, 16, 20), outlines=()))
    assert "5 frames without an outline" in export_session(folder, "coco", tmp_path / "a", EVERY_FRAME)
    ellipses = export_session(folder, "coco", tmp_path / "b", replace(EVERY_FRAME, ellipses=True))
    assert "34 pictures with 34 polyps" in ellipses


def test_truth_has_accepted_corrected_and_marked_polyps(folder, tmp_path):
    moved = (5.0, 6.0, 40.0, 50.0)
    mark(folder, Verdict(1, accepted=True), DrawnBox(1, 3, moved), DrawnBox(1, 4, None), marked(folder, 16, 20))
    export_session(folder, "truth", tmp_path / "truth.json")
    truth = read_truth(tmp_path / "truth.json")
    assert len(truth.frames) == COUNT and truth.rate_hz == RATE_HZ and truth.size == SIZE
    assert truth.frames[2].polyps[1].tolist() == list(moved) and not truth.frames[3].polyps
    assert list(truth.frames[17].polyps) == [2] and not truth.frames[21].polyps
    assert all(frame.labelled for frame in truth.frames) and truth.frames[5].motion is not None


def test_same_polyp_has_one_number(folder, tmp_path):
    mark(folder, Verdict(1, accepted=True), marked(folder, 14, 26), SamePolyp(-1, 1))
    export_session(folder, "truth", tmp_path / "truth.json")
    assert {tuple(frame.polyps) for frame in read_truth(tmp_path / "truth.json").frames} == {(1,)}


def test_frames_of_alarms_that_nobody_judged_are_not_labelled(folder, tmp_path):
    mark(folder, marked(folder, 16, 20))  # within the only alarm, which blinked there
    with pytest.raises(ExportError, match="nothing in .* was judged: accept or reject its alarms first"):
        export_session(folder, "truth", tmp_path / "truth.json")


def test_cvat_is_read_back_by_the_trainers(folder, tmp_path, video):
    mark(folder, Verdict(1, accepted=True), marked(folder, 16, 20))
    export_session(folder, "cvat", tmp_path / "annotations.xml")
    export_session(folder, "truth", tmp_path / "truth.json")
    clock = read_clock(video)
    read = truth_of(read_cvat(tmp_path / "annotations.xml", clock), clock, name="cvat")
    truth = read_truth(tmp_path / "truth.json")
    for ours, theirs in zip(truth.frames, read.frames, strict=True):
        assert set(ours.polyps) == set(theirs.polyps)
        for identity, box in ours.polyps.items():
            np.testing.assert_allclose(box, theirs.polyps[identity], atol=0.02)


def test_verdict_on_another_analysis_is_found_by_its_place(folder, tmp_path):
    box = tuple(true_box(30).tolist())
    mark(folder, Verdict(7, accepted=True, first=25, last=39, at=30, box=box))
    assert "1 polyps" in export_session(folder, "truth", tmp_path / "truth.json")


@pytest.mark.parametrize("kind", ["coco", "truth", "cvat"])
def test_nothing_is_overwritten(folder, tmp_path, kind):
    mark(folder, Verdict(1, accepted=True))
    export_session(folder, kind, tmp_path / "out")
    with pytest.raises(ExportError, match="nothing is overwritten"):
        export_session(folder, kind, tmp_path / "out")


def test_video_that_is_gone_is_one_sentence(tmp_path, capsys):
    folder = make_session(tmp_path / "session", 5, video=tmp_path / "gone.mp4")
    mark(folder, Verdict(1, accepted=True))
    with pytest.raises(SystemExit) as left:
        main([str(folder), "--format", "truth", "--out", str(tmp_path / "truth.json")])
    assert left.value.code == 2
    assert "gone.mp4, which is gone: put it back" in capsys.readouterr().err


def change(folder: Path, statement: str, *values) -> None:
    """Change a recorded session."""
    database = sqlite3.connect(folder / "session.sqlite")
    database.execute(statement, values)
    database.commit()
    database.close()


def test_stills_have_the_size_that_was_analysed(folder, tmp_path):
    """A picture with an odd number of rows and columns is recorded with one more."""
    change(folder, "UPDATE frames SET width = width - 1, height = height - 1")
    mark(folder, Verdict(1, accepted=True))
    out = tmp_path / "out"
    export_session(folder, "coco", out)
    entry = json.loads((out / "train.json").read_text())["images"][0]
    sizes = {cv2.imread(str(out / entry[name])).shape[:2] for name in ("file_name", "mask_name")}
    assert sizes == {(entry["height"], entry["width"])} == {(SIZE[1] - 1, SIZE[0] - 1)}


def test_stills_of_another_split_are_not_overwritten(folder, tmp_path):
    mark(folder, Verdict(1, accepted=True))
    export_session(folder, "coco", tmp_path / "out")
    with pytest.raises(ExportError, match=r"session_000001\.png exists, .* nothing is overwritten"):
        export_session(folder, "coco", tmp_path / "out", PictureRules(split="val"))
    assert not (tmp_path / "out" / "val.json").exists()


def test_session_in_the_working_folder_has_its_own_name(folder, tmp_path, monkeypatch):
    mark(folder, Verdict(1, accepted=True))
    monkeypatch.chdir(folder)
    export_session(Path(), "coco", tmp_path / "out")
    assert {path.name[:8] for path in (tmp_path / "out" / "images").iterdir()} == {"session_"}


def test_every_box_of_cvat_is_a_key_frame(folder, tmp_path):
    """CVAT reads no other boxes of a track: it would fill in between the first and the last."""
    mark(folder, Verdict(1, accepted=True))
    export_session(folder, "cvat", tmp_path / "annotations.xml")
    boxes = list(ElementTree.parse(tmp_path / "annotations.xml").iter("box"))
    assert len(boxes) > 29 and {box.get("keyframe") for box in boxes} == {"1"}


def test_frames_of_an_accepted_polyp_that_were_not_analysed_are_not_labelled(folder, tmp_path):
    for table in ("outputs", "cues", "tracks"):
        change(folder, f"DELETE FROM {table} WHERE number BETWEEN 5 AND 8")
    change(folder, "UPDATE frames SET analysed = 0 WHERE number BETWEEN 5 AND 8")
    mark(folder, Verdict(1, accepted=True), DrawnBox(1, 6, (5.0, 6.0, 40.0, 50.0)))
    sentence = export_session(folder, "truth", tmp_path / "truth.json")
    assert sentence.endswith("; 3 frames of accepted polyps have no recorded box and are left out")
    frames = read_truth(tmp_path / "truth.json").frames
    assert [number for number, one in enumerate(frames, 1) if not one.labelled] == [5, 7, 8] and frames[5].polyps


def test_frames_of_a_polyp_that_was_accepted_at_other_settings_are_not_labelled(tmp_path, video):
    folder = make_session(tmp_path / "session", COUNT, unseen=range(15, 41), video=video)
    elsewhere = Verdict(2, accepted=True, first=25, last=30, at=27, box=(5.0, 5.0, 30.0, 30.0))
    mark(folder, Verdict(1, accepted=True), elsewhere)
    export_session(folder, "truth", tmp_path / "a.json")
    unlabelled = [place for place, one in enumerate(read_truth(tmp_path / "a.json").frames) if not one.labelled]
    assert unlabelled == list(range(24, 30))
    mark(folder, replace(elsewhere, accepted=False))
    export_session(folder, "truth", tmp_path / "b.json")
    assert all(one.labelled for one in read_truth(tmp_path / "b.json").frames)


def test_box_that_a_person_took_away_is_gone_under_every_number_of_the_polyp(folder, tmp_path):
    box = (5.0, 6.0, 40.0, 50.0)
    mark(folder, Verdict(1, accepted=True), Stretch(-1, (5,), ((5, box),)), SamePolyp(-1, 1), DrawnBox(-1, 5, None))
    export_session(folder, "truth", tmp_path / "truth.json")
    frames = read_truth(tmp_path / "truth.json").frames
    assert not frames[4].polyps and list(frames[3].polyps) == list(frames[5].polyps) == [1]


def test_video_that_was_replaced_or_never_recorded_is_one_sentence(folder, tmp_path, video):
    mark(folder, Verdict(1, accepted=True))
    for source, problem in (
        ({"path": str(video), "name": video.name, "size_bytes": 1}, "has another size than the video"),
        ({"path": None, "name": "scope"}, "has no video: it was not recorded"),
    ):
        change(folder, "UPDATE facts SET value = ? WHERE name = 'source'", json.dumps(source))
        with pytest.raises(ExportError, match=problem):
            export_session(folder, "truth", tmp_path / "truth.json")
