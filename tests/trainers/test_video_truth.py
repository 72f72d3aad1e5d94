"""Truth files from CVAT and COCO-video, and what is told where the labels are not of the video."""

import json
import re
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from media import write_clip
from pycocotools import mask as coco_mask

from realtime_polyp.metrics.run_lengths import decode, encode
from realtime_polyp.metrics.truth import VideoTruth, read_truth
from trainers import video_truth
from trainers.video.labels import Clock, read_clock
from trainers.video.truth_coco import read_coco_video
from trainers.video.truth_cvat import read_cvat

SIZE = (96, 64)
META = """<meta><task><size>12</size><start_frame>0</start_frame><stop_frame>{stop}</stop_frame>{filter}
<original_size><width>{width}</width><height>64</height></original_size></task></meta>"""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "v.mp4")


def cvat(*tracks: str, stop: int = 11, width: int = 96, filter: str = "") -> str:
    meta = META.format(stop=stop, width=width, filter=filter and f"<frame_filter>{filter}</frame_filter>")
    return f'<?xml version="1.0"?><annotations><version>1.1</version>{meta}{"".join(tracks)}</annotations>'


def track(number: int, *shapes: str, label: str = "polyp") -> str:
    return f'<track id="{number}" label="{label}" source="manual">{"".join(shapes)}</track>'


def box(frame: int, x: float, *, outside: int = 0, attributes: Mapping[str, str] | None = None) -> str:
    inner = "".join(f'<attribute name="{name}">{text}</attribute>' for name, text in (attributes or {}).items())
    return (
        f'<box frame="{frame}" keyframe="1" outside="{outside}" occluded="0" xtl="{x}" ytl="10" xbr="{x + 20}" '
        f'ybr="30" z_order="0">{inner}</box>'
    )


def made(clip: Path, kind: str, text: str, *more: str) -> VideoTruth:
    source, out = clip.with_name(f"labels.{kind}"), clip.with_name("truth.json")
    source.write_bytes(text.encode("utf-8", "surrogateescape"))
    option = "--cvat" if kind == "xml" else "--coco-video"
    video_truth.main([option, str(source), "--video", str(clip), "--out", str(out), *more])
    return read_truth(out)


def refused(clip: Path, kind: str, text: str, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    with pytest.raises(SystemExit) as end:
        made(clip, kind, text, *more)
    assert end.value.code == 2
    return capsys.readouterr().err


# the video


def test_the_clock_of_a_video_is_exact(clip: Path, tmp_path: Path) -> None:
    clock = read_clock(clip)
    assert (clock.size, clock.rate_hz, clock.count) == (SIZE, Fraction(10), 12)
    ntsc = write_clip(tmp_path / "n.mp4", count=30, rate=Fraction(30000, 1001))  # type: ignore[arg-type]
    assert read_clock(ntsc).rate_hz == Fraction(30000, 1001)
    uneven = write_clip(tmp_path / "u.mkv", times_ms=[0, 100, 200, 900, 1000, 1100, 1800, 1900, 2000, 2100, 2200, 2300])
    with pytest.raises(ValueError, match="has no even rate"):
        read_clock(uneven)


def test_what_is_no_video_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such video"):
        read_clock(tmp_path / "none.mp4")
    (tmp_path / "text.mp4").write_text("text")
    with pytest.raises(ValueError, match="is a text file, not a video"):
        read_clock(tmp_path / "text.mp4")


# CVAT


def test_boxes_of_cvat_every_frame_or_keyframes_only(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keyframes = track(4, box(1, 0), box(5, 40), box(7, 40, outside=1), box(9, 8), box(10, 8, outside=1))
    known = made(clip, "xml", cvat(keyframes, track(7, box(9, 50), box(10, 50), box(11, 80))))
    boxes = {index: frame.polyps[4].tolist() for index, frame in enumerate(known.frames) if 4 in frame.polyps}
    assert sorted(boxes) == [1, 2, 3, 4, 5, 6, 9]  # straight between keyframes, still until it goes outside
    assert boxes[2] == [10, 10, 30, 30] and boxes[6] == boxes[5] == [40, 10, 60, 30]
    assert known.frames[11].polyps[7].tolist() == [80, 10, 96, 30]  # cut to the picture
    text = "12 frames of 96x64 at 10 Hz, 1.2 s: 2 polyps in 9 frames, difficult ones in 0, 0 cuts"
    assert text in capsys.readouterr().out


def test_faint_cuts_and_numbers_of_cvat(clip: Path) -> None:
    there = track(0, box(0, 0, attributes={"polyp": "3", "faint": "true"}), box(1, 0, attributes={"polyp": "3"}))
    back = track(1, box(6, 0, attributes={"polyp": "3"}))
    pale = track(2, box(3, 30), box(4, 30), label="faint")
    cut = track(5, box(8, 0, outside=1), box(7, 0), label="cut")
    known = made(clip, "xml", cvat(there, back, pale, cut), "--cut", "2")
    assert [sorted(frame.polyps) for frame in known.frames[:7]] == [[], [3], [], [], [], [], [3]]
    assert set(known.frames[0].difficult) == {3} and set(known.frames[3].difficult) == {2}
    assert [index for index, frame in enumerate(known.frames) if frame.cut] == [2, 7]


def test_outlines_of_cvat(clip: Path) -> None:
    polygon = '<polygon frame="{}" outside="0" points="10.0,10.0;30.0,10.0;30.0,20.0;10.0,20.0"/>'
    mask = '<mask frame="{}" outside="0" rle="1,2,2,2,1" left="5" top="6" width="4" height="2"/>'
    shapes = [track(1, polygon.format(0), polygon.format(1)), track(2, mask.format(0), mask.format(1))]
    frame = made(clip, "xml", cvat(*shapes)).frames[0]
    drawn = decode(frame.masks[1])
    assert drawn[10:20, 10:30].all() and drawn.sum() == 200 and frame.polyps[1].tolist() == [10, 10, 30, 20]
    assert decode(frame.masks[2])[6:8, 5:9].tolist() == [[0, 1, 1, 0], [0, 1, 1, 0]]
    assert frame.polyps[2].tolist() == [6, 6, 8, 8]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (cvat(track(1, box(0, 0), box(1, 0)), width=100), "pictures of (100, 64) px, the video's are (96, 64) px"),
        (cvat(track(1, box(0, 0), box(1, 0)), stop=8), "frames 0 to 8 of 12 are labelled"),
        (cvat(track(1, box(10, 0), box(12, 0))), "frame 12 is labelled, and the video has frames 0 to 11"),
        (cvat(track(1, box(0, 0))), "track 1 is one frame long: draw each polyp as a track"),
        (cvat(track(1, '<ellipse frame="0"/>')), "track 1 holds a ellipse: draw polyps as box, polygon, mask"),
        (cvat(track(1, box(0, 0), box(1, 0)).replace("<box", '<box rotation="5"')), "holds a rotated box"),
        (cvat(track(1, box(0, 0), box(1, 0)).replace('xtl="0"', "")), "'xtl' is missing"),
        (cvat(track(1, box(0, 0), box(1, 0)), track(1, box(1, 0), box(2, 0))), "frame 1 has polyp 1 twice"),
        (cvat(track(3, box(0, 0, attributes={"polyp": "1"})), track(1, box(4, 0), box(5, 0))), "is also the number"),
        (cvat(track(1, '<polygon frame="0" points="1,1;2,2"/>', box(1, 0))), "a polygon needs three corners"),
        ("<annotations><image/></annotations>", "is not an export in the format 'CVAT for video 1.1'"),
        ("nonsense", "is not an XML file"),
    ],
)  # fmt: skip
def test_what_cvat_cannot_mean_is_said(clip: Path, capsys: pytest.CaptureFixture[str], text: str, said: str) -> None:
    assert said in refused(clip, "xml", text, capsys)


def test_every_second_frame_labelled_is_filled_in(clip: Path) -> None:
    shapes = [box(frame, 2 * frame) for frame in range(0, 12, 2)]
    known = made(clip, "xml", cvat(track(1, *shapes), stop=10, filter="step=2"))
    assert [frame.polyps[1][0] for frame in known.frames[:11]] == [2 * index for index in range(11)]
    assert [index for index, frame in enumerate(known.frames) if frame.labelled] == [
        0,
        2,
        4,
        6,
        8,
        10,
    ]  # only those seen


MASK = '<mask frame="0" outside="0" rle="{rle}" left="5" top="6" width="{width}" height="2"/>'
ENTITIES = '<!DOCTYPE a [<!ENTITY l "ha">' + "".join(
    f'<!ENTITY {name} "{10 * f"&{before};"}">' for before, name in zip("lmnopqrs", "mnopqrst", strict=True)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (cvat(track(0, box(1, 9), box(2_000_000_000, 9, outside=1))), "from frame 1 to before frame 2000000000"),
        (cvat(track(0, box(1, 9), box(2_000_000_000, 9))), "from frame 1 to before frame 2000000000"),
        (cvat(track(0, box(1, 9, outside=1), box(9**11, 9, outside=1), box(-3, 9))), "frame -3 is labelled"),
        (cvat(track(0, box(int("9" * 400), 9))), "is not a whole number"),
        (cvat(track(0, box(0, float("inf")), box(1, 0))), "'inf' is not a finite number"),
        (cvat(track(0, box(0, 2e9), box(1, 0))), "track 0, frame 0: the box [2000000000.0"),
        (cvat(track(0, box(0, 5), box(1, 0)).replace('xbr="25"', 'xbr="5"')), "must have x1 < x2"),
        (cvat(track(0, '<polygon frame="0" points="2e9,1;2,2;3,9"/>', box(1, 0))), "frame 0: a polygon has a"),
        (cvat(track(0, '<polygon frame="0" points="1,nan;2,2;3,9"/>', box(1, 0))), "'nan' is not a finite number"),
        (cvat(track(0, MASK.format(rle="1,99999999999,2", width=4), box(1, 0))), "frame 0: a mask does not fill"),
        (cvat(track(0, MASK.format(rle="-1,9", width=4), box(1, 0))), "does not fill its box"),
        (cvat(track(0, MASK.format(rle="8", width="1e300"), box(1, 0))), "does not fill its box"),
        (cvat(*(track(number, box(0, 0), box(11, 0)) for number in range(101))), "more than 100 polyps a frame"),
        (cvat().replace("<annotations>", ENTITIES + "]><annotations>&t;"), "it contains <!DOCTYPE, which is"),
        ("<annotations>" + "<track>" * 100_000, "it has elements more than 64 deep"),
        ("<annotations>", "is not an XML file: no element found"),
        ("", "is not an XML file: no element found"),
        (cvat(track("9" * 5000, box(0, 0))), "is not a whole number"),  # type: ignore[arg-type]
        (cvat(track(1, f"<{'x' * 5000}/>")), f"track 1 holds a {'x' * 40}...: draw polyps as box"),
        ("<svg/>", "is not an export in the format 'CVAT for video 1.1'"),
        ("\udcff\udcfe<annotations/>", "is not an XML file: it is not text in UTF-8 (byte 0)"),
    ],
)  # fmt: skip
def test_damaged_cvat_is_one_sentence(clip: Path, capsys: pytest.CaptureFixture[str], text: str, said: str) -> None:
    words = refused(clip, "xml", text, capsys)
    assert said in words and "labels.xml" in words and words.count("\n") == 1 and len(words) < 500


# COCO


def coco(**changes: Any) -> dict[str, Any]:
    images = [
        {
            "id": 100 + index,
            "video_id": 1,
            "frame_id": index,
            "file_name": f"{index:06d}.png",
            "width": 96,
            "height": 64,
        }
        for index in range(12)
    ]
    annotations = [
        {"id": 1, "image_id": 103, "category_id": 1, "instance_id": 5, "bbox": [10, 20, 30, 15]},
        {"id": 2, "image_id": 104, "category_id": 1, "instance_id": 5, "bbox": [0, 0, 1, 1],
         "segmentation": [[10, 20, 40, 20, 40, 35, 10, 35]]},
        {"id": 3, "image_id": 104, "category_id": 1, "instance_id": 6, "bbox": [50, 20, 10, 10], "faint": True},
    ]  # fmt: skip
    videos = [{"id": 1, "name": "v", "width": 96, "height": 64}]
    return {"videos": videos, "images": images, "annotations": annotations, "categories": [], **changes}


def test_coco_vid(clip: Path) -> None:
    known = made(clip, "json", json.dumps(coco()), "--cut", "9")
    assert known.frames[3].polyps[5].tolist() == known.frames[4].polyps[5].tolist() == [10, 20, 40, 35]
    assert set(known.frames[4].difficult) == {6} and known.frames[9].cut and not known.frames[5].polyps
    assert decode(known.frames[4].masks[5]).sum() == 450 and not known.frames[3].masks


def test_coco_as_cvat_exports_it(clip: Path) -> None:
    """No videos, numbers in the files' names and ids among the attributes."""
    content = coco(videos=[])
    content["images"] = [
        {"id": one["id"], "file_name": f"frame_{one['frame_id']:06d}.PNG"} for one in content["images"]
    ]
    content["annotations"] = [
        {"id": 1, "image_id": 102, "bbox": [1, 2, 3, 4], "attributes": {"track_id": 8, "faint": False}},
        {"id": 2, "image_id": 103, "bbox": [1, 2, 3, 4], "attributes": {"track_id": 8, "faint": True}},
    ]
    known = made(clip, "json", json.dumps(content))
    assert set(known.frames[2].polyps) == {8} and set(known.frames[3].difficult) == {8}


def test_youtube_vis_and_the_video_among_several(clip: Path) -> None:
    mask = np.zeros(SIZE[::-1], np.uint8)
    mask[4:8, 10:30] = 1
    runs = coco_mask.encode(np.asfortranarray(mask))
    whole = {"size": [64, 96], "counts": [int(value) for value in _uncompressed(mask)]}
    outlines = [None, {"size": [64, 96], "counts": runs["counts"].decode()}, whole, *[None] * 9]
    tracks = [
        {"id": 2, "video_id": 1, "bboxes": [[0, 0, 9, 9], [10, 4, 20, 4], [10, 4, 20, 4], *[None] * 9],
         "segmentations": outlines},
        {"id": 3, "video_id": 2, "bboxes": [[0, 0, 9, 9]] * 12},
    ]  # fmt: skip
    videos = [{"id": 1, "file_name": "v.mp4"}, {"id": 2, "file_name": "w.mp4"}]
    known = made(clip, "json", json.dumps({"videos": videos, "annotations": tracks}))
    assert [sorted(frame.polyps) for frame in known.frames[:4]] == [[2], [2], [2], []]
    assert (decode(known.frames[1].masks[2]) == mask).all() and (decode(known.frames[2].masks[2]) == mask).all()
    assert known.frames[0].polyps[2].tolist() == [0, 0, 9, 9]


def _uncompressed(mask: np.ndarray) -> list[int]:
    """COCO's plain run lengths: column by column, the first run of zeros."""
    flat = mask.flatten(order="F")
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [1 - flat[-1]]])))
    return np.diff(np.concatenate([[0], edges])).tolist()


def test_uncompressed_run_lengths_of_the_test_are_coco_s() -> None:
    mask = np.zeros((4, 3), np.uint8)
    mask[1:3, 1] = 1
    assert _uncompressed(mask) == [5, 2, 5]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (coco(videos=[{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]), "holds a, b, and v.mp4 is not one of them"),
        (coco(videos=[{"id": 1, "name": "v", "width": 10, "height": 64}]), "pictures of (10, 64) px"),
        (coco(annotations=[{"id": 7, "image_id": 103, "bbox": [1, 2, 3, 4]}]), "annotation 7 does not say which polyp"),
        (
            coco(annotations=[{"id": 7, "image_id": 103, "instance_id": 1}]),
            "7 in frame 3: it has neither a bbox",
        ),
        ({"videos": []}, "`annotations` is missing"),
        ([], "not a COCO file of a video"),
    ],
)
def test_what_coco_cannot_mean_is_said(clip: Path, capsys: pytest.CaptureFixture[str], content: Any, said: str) -> None:
    assert said in refused(clip, "json", json.dumps(content), capsys)


def outlined(segmentation: Any, **more: Any) -> dict[str, Any]:
    return coco(annotations=[{"id": 7, "image_id": 103, "instance_id": 4, "segmentation": segmentation, **more}])


def boxed(*bbox: Any) -> dict[str, Any]:
    return coco(annotations=[{"id": 7, "image_id": 103, "instance_id": 4, "bbox": list(bbox)}])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (outlined([[2e9, 20, 50, 20, 40, 60]]), "annotation 7 in frame 3: a polygon has a corner at x = 2000000000.0"),
        (outlined([[5, 20, 50, "a", 40, 60]]), "annotation 7 in frame 3: a polygon has a corner at 'a'"),
        (outlined([5, 20, 50, 9, 40, 60]), "a polygon needs three corners"),
        (outlined("abc"), "must be a list of polygons"),
        (outlined({"size": [64, 96], "counts": ""}), "annotation 7 in frame 3: a mask's counts are empty"),
        (outlined({"size": [64, 96], "counts": [1, 2]}), "add up to 3 px, its size is 64 x 96 = 6,144"),
        (outlined({"size": [64, 2**31], "counts": "0"}), "has the size [64, 2147483648], the video's"),
        (outlined({"counts": "0"}), "a mask has the size None"),
        (boxed(1, 2, 3), "annotations[0].bbox"),
        (boxed(1, 2, 3, "4"), "annotations[0].bbox[3]"),
        (boxed(1, 2, 3, 1e13), "annotations[0].bbox[3]"),
        (boxed(1, 2, -3, 4), "annotation 7 in frame 3: a box must have x1 < x2"),
        (boxed(1e9, 2, 3, 4), "annotation 7 in frame 3: the box [1000000000.0"),
        (coco(annotations=[{"id": 7, "image_id": 103, "instance_id": -1}]), "7 is not of a polyp with a number"),
        (coco(images=[{"id": 1, "frame_id": -1}]), "images[0].frame_id"),
        (coco(images=[{"id": 1, "file_name": "x" + "9" * 30}]), "image 1 has neither a frame_id nor a number"),
        (coco(annotations=[{"id": "x" * 5000, "image_id": 103, "instance_id": 1}]), f"{'x' * 40}... in frame 3"),
        (coco(videos=3), "`videos`: expected `array`, got `int`"),
        ({"videos": [{"id": 1}], "annotations": [{"id": 1, "video_id": 1}]}, "annotation 1 has no bboxes"),
        ({"videos": [{"id": 1}], "annotations": [{"id": 1, "video_id": 1, "bboxes": [None], "segmentations": [1, 2]}]},
         "1 bboxes and 2 segmentations"),
    ],
)  # fmt: skip
def test_damaged_coco_is_one_sentence(clip: Path, capsys: pytest.CaptureFixture[str], content: Any, said: str) -> None:
    words = refused(clip, "json", json.dumps(content), capsys)
    assert said in words and "labels.json" in words and words.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"annotations": [{"id": 1' + "0" * 400 + "}]}", "is too large a number in line 1"),
        ('{"annotations": [{"bbox": [1, 2, 3, Infinity]}]}', "Infinity is not a valid number in line 1"),
        ("\udcff", "not text in UTF-8"),
    ],
)
def test_text_that_is_no_coco_is_one_sentence(
    clip: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    words = refused(clip, "json", text, capsys)
    assert said in words and "labels.json" in words and words.count("\n") == 1


def test_one_source_is_asked_for(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        video_truth.main(["--video", str(clip), "--out", "t.json"])
    assert (
        end.value.code == 2
        and "one of the arguments --cvat --coco-video --labelme --yolo is" in capsys.readouterr().err
    )
    assert "frame 12 is labelled" in refused(clip, "xml", cvat(), capsys, "--cut", "12")


# the document


def examples(language: str) -> list[str]:
    """The document's blocks in one language."""
    text = (ROOT / "docs" / "video_truth.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_every_example_of_the_document_is_read(tmp_path: Path) -> None:
    path = tmp_path / "example"
    (xml,), (truth, coco_vid) = examples("xml"), examples("json")
    empty = encode(np.zeros((720, 1280), np.bool_))
    path.write_text(truth.replace('"..."', json.dumps(empty["counts"])))  # the document leaves the run lengths out
    known = read_truth(path)
    assert known.rate_hz == Fraction(30000, 1001) and known.frames[1].motion is not None and known.frames[2].cut
    clock = Clock((1280, 720), Fraction(30), 20)
    path.write_text(xml)
    labels = read_cvat(path, clock).labels
    assert {frame: [(one.id, one.difficult) for one in labels[frame]] for frame in labels} == {
        12: [(0, True)],
        13: [(0, False)],
    }
    path.write_text(coco_vid)
    assert [one.id for one in read_coco_video(path, clock, video="V.mp4").labels[12]] == [4]
