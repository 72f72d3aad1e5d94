"""The state of the tracks, and the compiled functions that advance all of them by a frame, or by many.

Boxes that reach the display threshold start and continue tracks; weaker boxes only continue them (two thresholds, as in
ByteTrack, Zhang et al., ECCV 2022). Tracks are warped with the camera motion before they are matched (as in BoT-SORT,
Aharon et al., 2022), and each has its own Kalman filter for the motion that remains (as in SORT, Bewley et al.,
ICIP 2016). Camera shake moves boxes by more than their size, and blur lowers scores for a few frames. Polyps are few
and far apart, so greedy matching by overlap gives the same pairs as an optimal assignment.

The times confirm_s, hold_s and release_s (`TemporalConfig`) decide what a user notices: when a box appears, how long it
survives frames without a detection, and when it disappears.

A track is one row of float64, so that a recorded hour is filtered again in a moment; the constants below name its
columns.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.compiled import compiled
from realtime_polyp.geometry import pairwise_iou
from realtime_polyp.packets import LONGEST_STEP_S, Boxes, Detections, Mask, Track
from realtime_polyp.temporal import kalman
from realtime_polyp.temporal.appearance import Appearance
from realtime_polyp.temporal.association import greedy, proximity
from realtime_polyp.temporal.camera_motion import STILL, Motion
from realtime_polyp.temporal.config import DETECTOR_SCORES, Evidence, TemporalConfig, evidence_weight

Rows = NDArray[np.float64]
"""Tracks (n, COLUMNS)."""

SCORE = kalman.VALUES  # running average of the scores of its boxes
FIRST_S, SEEN_S = 21, 22  # times of its first and of its latest box, video seconds
EVIDENCE_S = 23  # weighted time during which boxes supported the track, less the penalties
DRAWN = 24  # 1: it is visible
NUMBER = 25  # public id, assigned when the track is first shown; 0 before
KEY = 26  # unique internal id
APPEARANCE_S = 27  # time of its appearance, for re-identification, video seconds
APPEARANCE_AT = 28  # entry of the batch that it was taken from; -1: there is none
APPEARANCE_BOX = 29  # the box (4) that it was taken of
COLUMNS = 33

APPEARANCE_EVERY_S = 0.25
"""How often a track's appearance is refreshed."""

SEARCH_SCALE = 2.0
"""A lost polyp is looked for around its box, in a box of this many times its width and height."""

SINGLE_S = 0.2
"""What a box is worth that starts a track at a low frame rate: evidence of so many seconds, if it has full weight."""

_LOW_RATE_S, _UNKNOWN_RATE_S = 0.15, 5.0  # two steps between these, s, are a low frame rate
_ROUNDING_S = 1e-6
_SCORE_S = 0.15  # time constant of a track's score
_WEAK_NOISE = 3.0  # measurement noise of a box with score 0, relative to one with score 1
_LEAST_NEAR = np.float32(1e-6)

# The columns of the rows that `write_rows` gives, one for each track of a frame. The first is the frame's entry in the
# batch; review puts the frame's number there.
OUT_ENTRY, OUT_ID, OUT_X1, OUT_SCORE, OUT_STATE, OUT_AGE_S, OUT_UNSEEN_S, OUT_COLUMNS = 0, 1, 2, 6, 7, 8, 9, 10
OUT_BOX = slice(OUT_X1, OUT_X1 + 4)
TENTATIVE, SHOWN, HELD = 0.0, 1.0, 2.0
"""Values of OUT_STATE."""


@dataclass(frozen=True)
class TrackerInput:
    """What one frame gives to the tracker.

    Attributes:
        detections: the frame's boxes, including those below start_score.
        mask: the segmenter's probability map; None without a segmenter.
        pts_s: time of the frame, video seconds.
        motion: motion of the camera since the previous frame.
        extract: returns the appearance of a box (4,) of this frame, for re-identification; None: tracks are not
            re-identified.
        start_score: lowest score of a box that starts a track; weaker boxes only continue one.
        evidence: evidence weights of the detections' scores.
        is_clear: the frame's quality is good; in unclear frames detections have less weight.
    """

    detections: Detections
    mask: Mask | None
    pts_s: float
    motion: Motion = STILL
    extract: Callable[[Boxes], Appearance | None] | None = None
    start_score: float = 0.0
    evidence: Evidence = DETECTOR_SCORES
    is_clear: bool = True


class Rules(NamedTuple):
    """Fields of `TemporalConfig` and `Evidence`, as compiled functions take them."""

    curve: NDArray[np.float64]
    confirm_s: float
    hold_s: float
    release_s: float
    reid_window_s: float
    gap_s: float
    least_iou: float
    unclear_weight: float
    measurement_noise: float
    process_noise: float
    penalty: float
    miss_penalty: float
    start_score: float


def rules_of(config: TemporalConfig, evidence: Evidence, start_score: float) -> Rules:
    """Collect the rules; start_score: lowest score of a box that starts a track."""
    times = (config.confirm_s, config.hold_s, config.release_s, config.reid_window_s, config.gap_s)
    noise = (config.least_iou, config.unclear_weight, config.measurement_noise, config.process_noise)
    penalties = (evidence.penalty, evidence.miss_penalty)
    return Rules(evidence.curve, *(float(value) for value in (*times, *noise, *penalties, start_score)))


class Batch(NamedTuple):
    """Many frames for `run`; see `review.cue_table.CueTable`.

    Attributes:
        pts_s: (n,) video seconds.
        starts: (n + 1,) detections `starts[i]:starts[i + 1]` are those of frame i.
        boxes, scores: (m, 4) and (m,) float32; of each frame best first.
        camera: (n, 2, 3) float32 and zooms: (n,), as `Motion`.
        is_known, cut: (n,) as `Motion.known` and `Motion.cut`.
        is_clear: (n,) the frame's quality is good.
        resets: (n,) nothing is continued from the frame before: another size of the picture.
        can_see: (n,) an appearance can be taken in this frame.
    """

    pts_s: NDArray[np.float64]
    starts: NDArray[np.int64]
    boxes: Boxes
    scores: NDArray[np.float32]
    camera: NDArray[np.float32]
    zooms: NDArray[np.float64]
    is_known: NDArray[np.bool_]
    cut: NDArray[np.bool_]
    is_clear: NDArray[np.bool_]
    resets: NDArray[np.bool_]
    can_see: NDArray[np.bool_]


NO_ROWS: Rows = np.zeros((0, COLUMNS))


def box_of(row: Rows) -> Boxes:
    """Return the box (4,) xyxy px of a track (COLUMNS,)."""
    return kalman.to_box(row)


def to_track(row: Rows, pts_s: float) -> Track:
    """Return the track (COLUMNS,) as it appears in a `Result`; a track without a number has a negative id."""
    unseen_s = pts_s - float(row[SEEN_S])
    state = "tentative" if not row[DRAWN] else "held" if unseen_s > 0 else "shown"
    identity = int(row[NUMBER]) or -int(row[KEY])
    return Track(identity, box_of(row), float(row[SCORE]), state, pts_s - float(row[FIRST_S]), unseen_s)  # type: ignore[arg-type]


@compiled()
def advance(
    tracks: Rows, lost: Rows, boxes: Boxes, scores: NDArray[np.float32], camera: NDArray[np.float32], zoom: float,
    is_known: bool, is_clear: bool, pts_s: float, step_s: float, single_s: float, next_key: int, rules: Rules,
) -> tuple[Rows, Rows, int]:  # fmt: skip
    """Predict, associate and update all tracks by a frame, and start new ones.

    tracks, lost: (n, COLUMNS) and (m, COLUMNS); those in `lost` are only remembered. boxes (k, 4), scores (k,): the
    frame's detections. camera (2, 3), zoom, is_known: see `Motion`. single_s: see `evidence_of_one`. Returns the
    tracks, the lost ones and the next free key.
    """
    alive = np.empty((len(tracks) + len(scores), COLUMNS))
    remembered = np.empty((len(lost) + len(tracks), COLUMNS))
    n_alive, n_lost = 0, 0
    for i in range(len(lost)):
        _predict(lost[i], remembered[n_lost], camera, zoom, step_s, rules)
        if pts_s - lost[i, SEEN_S] <= rules.reid_window_s:
            n_lost += 1
    for i in range(len(tracks)):
        _predict(tracks[i], alive[n_alive], camera, zoom, step_s, rules)
        # A polyp that is found in one orientation only is missed in every second frame, at any frame rate.
        limit_s = rules.release_s if tracks[i, NUMBER] else max(rules.gap_s, 2 * step_s)
        if pts_s - tracks[i, SEEN_S] <= max(limit_s, step_s) + _ROUNDING_S:
            n_alive += 1
        elif tracks[i, NUMBER]:
            _copy(alive[n_alive], remembered[n_lost])
            n_lost += 1
    track_of = _associate(alive[:n_alive], boxes, scores, is_known, rules)
    for i in range(n_alive):
        alive[i, EVIDENCE_S] -= rules.miss_penalty * step_s if _is_missed(track_of, i) else 0.0
        alive[i, EVIDENCE_S] = max(0.0, alive[i, EVIDENCE_S])
    for index in range(len(scores)):
        if track_of[index] >= 0:
            track = alive[track_of[index]]
            if not is_known:
                kalman.allow_for_jolt(track, boxes[index])
            _update(track, boxes[index], float(scores[index]), is_clear, pts_s, step_s, rules)
        elif scores[index] >= np.float32(rules.start_score):
            _start(alive[n_alive], boxes[index], float(scores[index]), is_clear, pts_s, single_s, next_key, rules)
            n_alive, next_key = n_alive + 1, next_key + 1
    for i in range(n_alive):
        _update_visibility(alive[i], pts_s, rules)
    return alive[:n_alive], remembered[:n_lost], next_key


@compiled()
def run(
    tracks: Rows, lost: Rows, next_key: int, before_s: float, now_s: float, entry: int, end: int, batch: Batch,
    floor: float, rules: Rules, out: Rows,
) -> tuple[Rows, Rows, int, float, float, int, int, bool]:  # fmt: skip
    """Filter the frames `entry` to `end` of a batch, as `Tracker.update` does, until a track needs a number.

    before_s, now_s: times of the two frames before; NaN: there is none. floor: lowest score of a box that is used. out:
    (r, OUT_COLUMNS) takes the tracks of each frame; where it is full, the function returns.

    Returns tracks, lost, next_key, before_s, now_s, the frame that is next, the rows of `out` that are used, and
    whether a track of the frame before that one needs a number. Its rows are not in `out` then.
    """
    used = 0
    while entry < end:
        if batch.resets[entry]:
            tracks, lost, before_s, now_s = tracks[:0], lost[:0], math.nan, math.nan
        first, last = batch.starts[entry], batch.starts[entry + 1]
        while last > first and batch.scores[last - 1] < np.float32(floor):
            last -= 1
        if (
            not len(tracks)
            and not len(lost)
            and not (last > first and batch.scores[first] >= np.float32(rules.start_score))
        ):
            before_s, now_s, entry = now_s, batch.pts_s[entry], entry + 1
            continue  # nothing is followed or remembered, and only a strong box begins something
        if used + len(tracks) + last - first > len(out):
            return tracks, lost, next_key, before_s, now_s, entry, used, False
        pts_s = batch.pts_s[entry]
        single_s = evidence_of_one(before_s, now_s, pts_s)
        step_s, tracks, lost = keep_time(tracks, lost, now_s, pts_s, batch.cut[entry])
        before_s, now_s = now_s, pts_s
        tracks, lost, next_key = advance(
            tracks, lost, batch.boxes[first:last], batch.scores[first:last], batch.camera[entry], batch.zooms[entry],
            batch.is_known[entry], batch.is_clear[entry], pts_s, step_s, single_s, next_key, rules,
        )  # fmt: skip
        entry += 1
        if needs_number(tracks):
            return tracks, lost, next_key, before_s, now_s, entry, used, True
        _note_appearances(tracks, entry - 1, pts_s, batch.is_clear[entry - 1], batch.can_see[entry - 1])
        used = write_rows(tracks, entry - 1, pts_s, out, used)
    return tracks, lost, next_key, before_s, now_s, entry, used, False


@compiled()
def evidence_of_one(before_s: float, now_s: float, pts_s: float) -> float:
    """Return the evidence of a track's first box with full weight, s.

    before_s, now_s: times of the two frames before; NaN: there is none. At usual rates the first box counts nothing:
    neighbouring frames show the same, and only what lasts is shown. Frames that are far apart are independent, and a
    polyp may be in one of them alone.
    """
    step_s, step_before_s = pts_s - now_s, now_s - before_s
    is_low = _LOW_RATE_S <= step_s <= _UNKNOWN_RATE_S and _LOW_RATE_S <= step_before_s <= _UNKNOWN_RATE_S
    return SINGLE_S if is_low else 0.0


@compiled()
def keep_time(tracks: Rows, lost: Rows, now_s: float, pts_s: float, cut: bool) -> tuple[float, Rows, Rows]:
    """Return the seconds since the previous frame, 0 when there is nothing to continue, and what is still followed.

    now_s: time of the previous frame; NaN: there is none. After a step of the clock backwards or above LONGEST_STEP_S
    everything is forgotten. At a cut all tracks end; shown ones can be re-identified.
    """
    step_s = 0.0 if math.isnan(now_s) else pts_s - now_s
    if step_s < 0 or step_s > LONGEST_STEP_S:
        return 0.0, tracks[:0], lost[:0]
    if not cut or not len(tracks):
        return step_s, tracks, lost
    shown, count = np.empty((len(lost) + len(tracks), COLUMNS)), 0
    for i in range(len(lost)):
        _copy(lost[i], shown[count])
        count += 1
    for i in range(len(tracks)):
        if tracks[i, NUMBER]:
            _copy(tracks[i], shown[count])
            count += 1
    return step_s, tracks[:0], shown[:count]


@compiled()
def needs_number(tracks: Rows) -> bool:
    """Whether a track was just shown for the first time."""
    for i in range(len(tracks)):
        if tracks[i, DRAWN] and not tracks[i, NUMBER]:
            return True
    return False


@compiled()
def needs_appearance(track: Rows, pts_s: float, is_clear: bool) -> bool:
    """Whether to take a visible track's appearance: when it is shown first, then at intervals in clear frames.

    A polyp that was out of sight is shown again after some frames; until then its box may lie beside it.
    """
    if track[SEEN_S] != pts_s or not track[DRAWN]:
        return False
    if track[APPEARANCE_AT] < 0:
        return True
    return is_clear and pts_s - track[APPEARANCE_S] >= APPEARANCE_EVERY_S


@compiled()
def write_rows(tracks: Rows, entry: int, pts_s: float, out: Rows, used: int) -> int:
    """Write the tracks of a frame to `out` from row `used` on; returns the rows that are used then."""
    box = np.empty(4, np.float32)
    for i in range(len(tracks)):
        at, unseen_s = used + i, pts_s - tracks[i, SEEN_S]
        kalman.write_box(tracks[i], box)
        out[at, OUT_ENTRY] = entry
        out[at, OUT_ID] = tracks[i, NUMBER] if tracks[i, NUMBER] else -tracks[i, KEY]
        for side in range(4):
            out[at, OUT_X1 + side] = box[side]
        out[at, OUT_SCORE] = tracks[i, SCORE]
        out[at, OUT_STATE] = TENTATIVE if not tracks[i, DRAWN] else HELD if unseen_s > 0 else SHOWN
        out[at, OUT_AGE_S], out[at, OUT_UNSEEN_S] = pts_s - tracks[i, FIRST_S], unseen_s
    return used + len(tracks)


@compiled()
def take_appearance(track: Rows, entry: int, pts_s: float) -> None:
    """Note that a track's appearance is that of its present box in a frame."""
    box = np.empty(4, np.float32)
    kalman.write_box(track, box)
    track[APPEARANCE_S], track[APPEARANCE_AT] = pts_s, entry
    for side in range(4):
        track[APPEARANCE_BOX + side] = box[side]


@compiled()
def _note_appearances(tracks: Rows, entry: int, pts_s: float, is_clear: bool, can_see: bool) -> None:
    for i in range(len(tracks)):
        if needs_appearance(tracks[i], pts_s, is_clear):
            take_appearance(tracks[i], entry if can_see else -1, pts_s)


@compiled()
def _copy(row: Rows, into: Rows) -> None:
    for column in range(COLUMNS):
        into[column] = row[column]


@compiled()
def _predict(track: Rows, into: Rows, camera: NDArray[np.float32], zoom: float, step_s: float, rules: Rules) -> None:
    """Advance a track by `step_s`: warp it with the camera, then apply its own velocity."""
    _copy(track, into)
    kalman.warp(into, camera, zoom)
    kalman.predict(into, step_s, rules.process_noise)


@compiled()
def _associate(
    tracks: Rows, boxes: Boxes, scores: NDArray[np.float32], is_known: bool, rules: Rules
) -> NDArray[np.int64]:
    """Match predicted tracks with detections: strong boxes by IoU, weak boxes by IoU, then strong boxes by proximity.

    Where the camera's motion is not known, strong boxes may lie further away; see `_associate_after_jolt`.

    Returns for each detection the index of its track, or -1.
    """
    track_of = np.empty(len(boxes), np.int64)
    for j in range(len(boxes)):
        track_of[j] = -1
    if not len(tracks) or not len(boxes):
        return track_of
    own = np.empty((len(tracks), 4), np.float32)
    for i in range(len(tracks)):
        kalman.write_box(tracks[i], own[i])
    for attempt in range(3):
        least = _LEAST_NEAR if attempt == 2 else np.float32(rules.least_iou)
        likeness = proximity(own, boxes) if attempt == 2 else pairwise_iou(own, boxes)
        for i in range(len(tracks)):
            is_matched = not _is_missed(track_of, i)
            for j in range(len(boxes)):
                is_strong = scores[j] >= np.float32(rules.start_score)
                if is_matched or track_of[j] >= 0 or is_strong == (attempt == 1):
                    likeness[i, j] = -1  # not to be matched now
        found = greedy(likeness, least)
        for k in range(len(found)):
            track_of[found[k, 1]] = found[k, 0]
    if not is_known:
        _associate_after_jolt(tracks, proximity(own, boxes, SEARCH_SCALE), boxes, scores, track_of, rules)
    return track_of


@compiled()
def _associate_after_jolt(
    tracks: Rows, near: NDArray[np.float32], boxes: Boxes, scores: NDArray[np.float32], track_of: NDArray[np.int64],
    rules: Rules,
) -> None:  # fmt: skip
    """Continue numbered tracks with strong boxes within SEARCH_SCALE: the camera moved too fast to be followed.

    near: proximity (n, m) of tracks and boxes within SEARCH_SCALE. A track and a box are matched only if each is the
    only one within the other's reach. Where there are more, the appearance decides once a new track is shown
    (`Tracker`). The track begins its motion anew at the box, and is shown there once it is confirmed again.
    """
    was_free = track_of < 0
    for j in range(len(boxes)):
        if not was_free[j] or scores[j] < np.float32(rules.start_score):
            continue
        reached, track = 0, 0
        for i in range(len(tracks)):
            if tracks[i, NUMBER] and near[i, j] >= _LEAST_NEAR:
                reached, track = reached + 1, i
        rivals = 0
        for k in range(len(boxes)):
            if was_free[k] and scores[k] >= np.float32(rules.start_score) and near[track, k] >= _LEAST_NEAR:
                rivals += 1
        if reached == 1 and rivals == 1 and _is_missed(track_of, track):
            track_of[j] = track
            kalman.initiate(tracks[track], boxes[j], rules.measurement_noise)
            tracks[track, DRAWN], tracks[track, EVIDENCE_S] = 0.0, 0.0


@compiled()
def _is_missed(track_of: NDArray[np.int64], track: int) -> bool:
    """Whether no detection continues a track."""
    for j in range(len(track_of)):
        if track_of[j] == track:
            return False
    return True


@compiled()
def _update(track: Rows, box: Boxes, score: float, is_clear: bool, pts_s: float, step_s: float, rules: Rules) -> None:
    """Correct a predicted track with a detection and add its evidence."""
    kalman.correct(track, box, rules.measurement_noise * (1 + (_WEAK_NOISE - 1) * (1 - score)))
    since_s = pts_s - track[SEEN_S]
    # A polyp that was shown before gets full weight from the threshold on.
    if track[NUMBER] and score >= rules.start_score:
        evidence = 1.0
    else:
        evidence = evidence_weight(score, rules.start_score, rules.curve, rules.penalty)
    evidence *= 1.0 if is_clear else rules.unclear_weight
    most_s = max(rules.confirm_s, rules.hold_s)
    track[SCORE] += (1 - math.exp(-since_s / _SCORE_S)) * (score - track[SCORE])
    track[SEEN_S] = pts_s
    track[EVIDENCE_S] = min(max(0.0, track[EVIDENCE_S] + evidence * step_s), most_s)


@compiled()
def _start(
    track: Rows, box: Boxes, score: float, is_clear: bool, pts_s: float, single_s: float, key: int, rules: Rules
) -> None:
    """Start a tentative track from a detection."""
    for column in range(COLUMNS):
        track[column] = 0.0
    kalman.initiate(track, box, rules.measurement_noise)
    track[SCORE], track[FIRST_S], track[SEEN_S], track[KEY], track[APPEARANCE_AT] = score, pts_s, pts_s, key, -1
    if single_s > 0:
        weight = evidence_weight(score, rules.start_score, rules.curve, rules.penalty)
        weight *= 1.0 if is_clear else rules.unclear_weight
        track[EVIDENCE_S] = min(max(0.0, weight * single_s), max(rules.confirm_s, rules.hold_s))


@compiled()
def _update_visibility(track: Rows, pts_s: float, rules: Rules) -> None:
    """Show a track once it has enough evidence; hide it after hold_s without a box, or when no evidence is left."""
    enough = track[EVIDENCE_S] >= rules.confirm_s - _ROUNDING_S or (track[DRAWN] and track[EVIDENCE_S] > 0)
    track[DRAWN] = 1.0 if enough and pts_s - track[SEEN_S] <= rules.hold_s + _ROUNDING_S else 0.0
