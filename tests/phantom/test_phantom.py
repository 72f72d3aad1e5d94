"""The phantom renderer, and the committed demo clip against its committed truth."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import av
import numpy as np
import pytest
from conftest import ROOT
from pycocotools import mask as coco_mask

ASSETS = ROOT / "assets"
sys.path.insert(0, str(ASSETS))

import make_phantom  # noqa: E402  (needs the path above)
from phantom.clip import MIN_AREA_SHARE, render_frame, tight_box, write_clip  # noqa: E402
from phantom.scene import SCRIPT_S, Scene, build_scene, camera_at, frame_count  # noqa: E402
from phantom.screen import build_screen, place  # noqa: E402

SIZE = (160, 90)


@pytest.fixture(scope="module")
def scene() -> Scene:
    """The whole journey in 15 frames, one every two seconds of the script."""
    return build_scene(seconds=1.5, fps=(10, 1))


@pytest.fixture(scope="module")
def frames(scene):
    screen = build_screen(scene, *SIZE)
    return [render_frame(scene, screen, index) for index in range(frame_count(scene))]


@pytest.fixture(scope="module")
def truth():
    return json.loads((ASSETS / "demo_truth.json").read_text())


def stretches_without(truth) -> list[float]:
    """Lengths in s of the runs of frames without a polyp."""
    fps, runs = truth["video"]["fps"], [0]
    for frame in truth["frames"]:
        runs = [*runs, 0] if frame["polyps"] else [*runs[:-1], runs[-1] + 1]
    return [run * fps[1] / fps[0] for run in runs]


def test_same_seed_same_pixels(scene, frames):
    again = build_scene(seconds=1.5, fps=(10, 1))
    frame = render_frame(again, build_screen(again, *SIZE), 7, threads=3)
    assert np.array_equal(frame.image, frames[7].image)
    assert [polyp.box for polyp in frame.polyps] == [polyp.box for polyp in frames[7].polyps]


def test_boxes_are_tight_and_lie_in_the_field(frames):
    x1, y1, x2, y2 = place(*SIZE).field
    for polyp in (polyp for frame in frames for polyp in frame.polyps):
        assert polyp.box == tight_box(polyp.mask)
        assert x1 <= polyp.box[0] < polyp.box[2] <= x2 and y1 <= polyp.box[1] < polyp.box[3] <= y2
        assert polyp.mask.sum() >= MIN_AREA_SHARE * (x2 - x1) * (y2 - y1)


def test_polyps_enter_and_leave(frames):
    seen = [frozenset(polyp.id for polyp in frame.polyps) for frame in frames]
    assert frozenset() in seen and len(frozenset.union(*seen)) >= 4
    assert not seen[0]


def test_picture_is_lit_and_the_screen_around_it_dark(frames):
    x1, y1, x2, y2 = place(*SIZE).field
    for frame in frames:
        field = frame.image[y1:y2, x1:x2].astype(float)
        assert 90 < field.mean() < 170
        red, green, blue = field.mean(axis=(0, 1))
        assert red > 1.3 * green > 1.3 * blue
        assert frame.image[:, x1 - 2].max() < 30 and frame.image[:, x2 + 1].max() < 30


def test_layout_boxes_do_not_overlap():
    for size in (SIZE, (320, 180), (1280, 720), (640, 480), (1920, 1080)):
        layout = place(*size)
        assert layout.guide[2] <= layout.field[0] and layout.still[2] <= layout.field[0]
        assert layout.still[3] <= layout.guide[1] and layout.field[2] <= size[0] and layout.field[3] <= size[1]


def test_bad_sizes_and_rates_name_the_value():
    with pytest.raises(ValueError, match="101x60"):
        place(101, 60)
    with pytest.raises(ValueError, match="-1"):
        build_scene(seconds=-1)
    with pytest.raises(SystemExit):
        make_phantom.parse_args(["--size", "big"])
    assert make_phantom.parse_args(["--fps", "30000/1001"]).fps == (30000, 1001)


def test_camera_moves_smoothly_and_its_axes_stay_square(scene):
    scene = replace(scene, seconds=SCRIPT_S, fps=(30, 1))
    cameras = [camera_at(scene, index) for index in range(0, round(SCRIPT_S * 30), 3)]
    steps = [np.linalg.norm(b.origin - a.origin) for a, b in zip(cameras, cameras[1:], strict=False)]
    turns = [np.linalg.norm(b.axes[2] - a.axes[2]) for a, b in zip(cameras, cameras[1:], strict=False)]
    assert max(steps) < 0.3 and max(turns) < 0.35
    assert all(np.allclose(camera.axes @ camera.axes.T, np.eye(3), atol=1e-9) for camera in cameras)


def test_a_small_clip_and_its_truth_agree(scene, tmp_path):
    scene = replace(scene, seconds=0.5, fps=(12, 1))
    write_clip(scene, tmp_path / "a.mp4", tmp_path / "a.json", size=SIZE)
    truth = json.loads((tmp_path / "a.json").read_text())
    with av.open(str(tmp_path / "a.mp4")) as container:
        decoded = [frame.time for frame in container.decode(video=0)]
    assert np.allclose(decoded, [frame["pts_s"] for frame in truth["frames"]], atol=1e-4)
    assert truth["video"] == {"file": "a.mp4", "width": 160, "height": 90, "fps": [12, 1], "frames": 6}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.mp4"]


def test_committed_clip_is_as_its_truth_says(truth):
    video = truth["video"]
    with av.open(str(ASSETS / video["file"])) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height, stream.frames) == (video["width"], video["height"], video["frames"])
        assert [stream.average_rate.numerator, stream.average_rate.denominator] == video["fps"]
        assert 20 <= float(stream.duration * stream.time_base) <= 40
        first = [frame for frame, _ in zip(container.decode(stream), range(3), strict=False)]
    assert [frame.time for frame in first] == pytest.approx([frame["pts_s"] for frame in truth["frames"][:3]], abs=1e-4)
    assert len(truth["frames"]) == video["frames"] and (video["width"], video["height"]) == (1280, 720)


def test_committed_truth_is_sound(truth):
    size = [truth["video"]["height"], truth["video"]["width"]]
    assert [frame["index"] for frame in truth["frames"]] == list(range(truth["video"]["frames"]))
    assert len({polyp["id"] for frame in truth["frames"] for polyp in frame["polyps"]}) == len(truth["polyps"]) >= 5
    assert sum(length >= 3 for length in stretches_without(truth)) >= 2
    for polyp in (polyp for frame in truth["frames"][::40] for polyp in frame["polyps"]):
        assert polyp["mask"]["size"] == size
        mask = coco_mask.decode({"size": size, "counts": polyp["mask"]["counts"].encode()}).astype(bool)
        assert list(tight_box(mask)) == polyp["box"]


def test_committed_polyps_stand_out_in_the_committed_picture(truth):
    """A frame decoded from the clip shows at the truth's mask what the truth says: tissue, not the screen."""
    entry = max(truth["frames"], key=lambda frame: sum(p["box"][3] - p["box"][1] for p in frame["polyps"]))
    fps = truth["video"]["fps"]
    with av.open(str(ASSETS / truth["video"]["file"])) as container:
        container.seek(round(entry["pts_s"] * 1e6))
        image = next(
            frame.to_ndarray(format="rgb24")
            for frame in container.decode(video=0)
            if frame.time >= entry["pts_s"] - 0.5 * fps[1] / fps[0]
        )
    for polyp in entry["polyps"]:
        mask = coco_mask.decode(polyp["mask"]).astype(bool)
        red, green, _ = image[mask].mean(axis=0)
        assert red > 90 and red > 1.2 * green


def test_committed_files_are_small():
    assert (ASSETS / "demo.mp4").stat().st_size < 6e6
    assert (ASSETS / "demo_truth.json").stat().st_size < 1.5e6
