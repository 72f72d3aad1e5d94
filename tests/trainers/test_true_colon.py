"""TRUE-Colon's own package and the project's event metrics agree on random timelines, where both define a figure."""

import numpy as np
import pytest

from realtime_polyp.metrics.events import SeenFrame, event_figures, video_record
from realtime_polyp.metrics.frames import count_frames
from realtime_polyp.metrics.overlaps import LEAST_IOU
from trainers.video.true_colon_figures import TrueColon, evaluate_frames, to_dict, to_text

RATE_HZ = 30.0
SAME_IOU = float(np.nextafter(LEAST_IOU, 0.0))  # theirs is exceeded, ours reached


def random_timeline(seed: int) -> list[SeenFrame]:
    """Polyps that come, stay and go; boxes on them, beside them and where there are none."""
    dice = np.random.default_rng(seed)
    count = int(dice.integers(40, 300))
    spans = {}
    for identity in range(int(dice.integers(1, 5))):
        first = int(dice.integers(0, count - 10))
        spans[identity] = (first, min(count, first + int(dice.integers(5, 150))), dice.uniform(0.0, 0.9))
    frames = []
    for number in range(count):
        polyps, shown = {}, []
        for identity, (first, end, found) in spans.items():
            if first <= number < end:
                corner = np.array([100 * identity + number % 7, 10 + number % 5])
                polyps[identity] = np.concatenate([corner, corner + (60, 40)]).astype(np.float32)
                if dice.random() < found:
                    shown.append(polyps[identity] + dice.integers(-12, 13, 4).astype(np.float32))
        if dice.random() < 0.1:
            corner = dice.integers(0, 500, 2)
            shown.append(np.concatenate([corner, corner + dice.integers(10, 80, 2)]).astype(np.float32))
        boxes = np.array(shown, np.float32).reshape(-1, 4)
        frames.append(SeenFrame(number / RATE_HZ, polyps, {}, boxes))
    return frames


@pytest.mark.parametrize("seed", range(40))
def test_both_agree_on_random_timelines(seed: int) -> None:
    frames = random_timeline(seed)
    theirs = to_dict(evaluate_frames(frames, rate_hz=RATE_HZ, iou=SAME_IOU))
    counts, record = count_frames(frames), video_record(frames, period_s=1 / RATE_HZ)
    ours = event_figures([record])
    assert theirs["frame_tpr"] == counts.sensitivity
    assert theirs["frame_fpr"] == (None if counts.specificity is None else pytest.approx(1 - counts.specificity))
    assert (theirs["lesions"], theirs["lesions"] - theirs["detected_any"]) == (ours.polyps, ours.missed)
    records = evaluate_frames(frames, rate_hz=RATE_HZ, iou=SAME_IOU).lesions
    latencies = {int(one.lesion_id.removeprefix("video_")): one.latency_seconds for one in records}
    assert latencies == {
        polyp.id: None if polyp.first_shown_s is None else pytest.approx(polyp.first_shown_s) for polyp in record.polyps
    }


def test_any_overlap_counts_and_difficult_polyps_do_not() -> None:
    box, beside = np.float32([0, 0, 40, 40]), np.float32([[38, 38, 80, 80]])
    frames = [
        SeenFrame(0.0, {1: box}, {}, beside),
        SeenFrame(0.1, {}, {2: box}, beside),
        SeenFrame(0.2, {}, {}, beside),
    ]
    found = to_dict(evaluate_frames(frames, rate_hz=10))
    assert (found["frame_tpr"], found["frame_fpr"], found["lesions"], found["detected_any"]) == (1.0, 1.0, 1, 1)
    assert to_dict(evaluate_frames(frames, rate_hz=10, iou=0.2))["frame_tpr"] == 0.0


def test_videos_add_up_and_none_has_no_figure() -> None:
    one, other = (evaluate_frames(random_timeline(seed), rate_hz=RATE_HZ) for seed in (1, 2))
    both = to_dict(one + other)
    assert both["lesions"] == to_dict(one)["lesions"] + to_dict(other)["lesions"]
    assert f"of {both['lesions']} polyps" in to_text(one + other)
    empty = to_dict(TrueColon((), ()))
    assert empty["frame_tpr"] is empty["mean_latency_s"] is None and "frame TPR -" in to_text(TrueColon((), ()))
    assert evaluate_frames([], rate_hz=RATE_HZ) == TrueColon((), ())
    silent = evaluate_frames([SeenFrame(0.0)], rate_hz=RATE_HZ)
    assert (to_dict(silent)["frame_fpr"], to_dict(silent)["lesions"]) == (0.0, 0)
