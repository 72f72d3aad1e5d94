"""The state of one track, and the functions that advance it by a frame.

Boxes that reach the display threshold start and continue tracks; weaker boxes only continue them (two thresholds, as in
ByteTrack, Zhang et al., ECCV 2022). Tracks are warped with the camera motion before they are matched (as in BoT-SORT,
Aharon et al., 2022), and each has its own Kalman filter for the motion that remains (as in SORT, Bewley et al.,
ICIP 2016). Camera shake moves boxes by more than their size, and blur lowers scores for a few frames. Polyps are few
and far apart, so greedy matching by overlap gives the same pairs as an optimal assignment.

The times confirm_s, hold_s and release_s (`TemporalConfig`) decide what a user notices: when a box appears, how long it
survives frames without a detection, and when it disappears.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from realtime_polyp.packets import Boxes, Detections, Mask, Track
from realtime_polyp.temporal import kalman
from realtime_polyp.temporal.appearance import Appearance
from realtime_polyp.temporal.association import match, match_near
from realtime_polyp.temporal.camera_motion import STILL, Motion
from realtime_polyp.temporal.config import DETECTOR_SCORES, Evidence, TemporalConfig

_ROUNDING_S = 1e-6
_SCORE_S = 0.15  # time constant of a track's score
_WEAK_NOISE = 3.0  # measurement noise of a box with score 0, relative to one with score 1


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


@dataclass(frozen=True)
class TrackState:
    """The memory of one track.

    Attributes:
        key: unique internal id.
        number: public id, assigned when the track is first shown; None before.
        state: Kalman state, centre and size with their velocities.
        covariance: covariance of the state.
        score: running average of the scores of its boxes.
        first_s: time of its first box, video seconds.
        seen_s: time of its latest box, video seconds.
        evidence_s: weighted time during which boxes supported the track, less the penalties.
        drawn: the track is visible.
        appearance: image patch for re-identification.
        appearance_s: time of that patch, video seconds.
    """

    key: int
    number: int | None
    state: kalman.State
    covariance: kalman.Covariance
    score: float
    first_s: float
    seen_s: float
    evidence_s: float = 0.0
    drawn: bool = False
    appearance: Appearance | None = None
    appearance_s: float = 0.0

    @property
    def is_confirmed(self) -> bool:
        """The track has been shown, and keeps its number."""
        return self.number is not None

    @property
    def box(self) -> Boxes:
        """(4,) xyxy px."""
        return kalman.to_box(self.state)


def new_track(key: int, index: int, frame: TrackerInput, config: TemporalConfig) -> TrackState:
    """Start a tentative track from detection `index`."""
    state, covariance = kalman.initiate(frame.detections.boxes[index], config.measurement_noise)
    return TrackState(key, None, state, covariance, float(frame.detections.scores[index]), frame.pts_s, frame.pts_s)


def predict(track: TrackState, motion: Motion, step_s: float, config: TemporalConfig) -> TrackState:
    """Advance a track by `step_s`: warp it with the camera, then apply its own velocity."""
    state = kalman.warp(track.state, motion.matrix, motion.zoom)
    covariance = track.covariance * motion.zoom**2
    state, covariance = kalman.predict(state, covariance, step_s, config.process_noise)
    return replace(track, state=state, covariance=covariance)


def is_alive(track: TrackState, pts_s: float, step_s: float, config: TemporalConfig) -> bool:
    """Whether the track's latest box is recent enough to continue it; at low frame rates, the previous frame is."""
    limit_s = config.release_s if track.is_confirmed else config.gap_s
    return pts_s - track.seen_s <= max(limit_s, step_s) + _ROUNDING_S


def associate(tracks: Sequence[TrackState], frame: TrackerInput, config: TemporalConfig) -> dict[int, int]:
    """Match predicted tracks with detections: strong boxes by IoU, weak boxes by IoU, then strong boxes by proximity.

    Returns: {index of the track: index of the detection}.
    """
    strong = frame.detections.scores >= frame.start_score
    pairs: dict[int, int] = {}
    for candidates, by_proximity in ((strong, False), (~strong, False), (strong, True)):
        free = [index for index in range(len(tracks)) if index not in pairs]
        left = [index for index in np.flatnonzero(candidates) if index not in pairs.values()]
        boxes, found = [tracks[index].box for index in free], frame.detections.boxes[left]
        matches = match_near(boxes, found) if by_proximity else match(boxes, found, config.least_iou)
        pairs |= {free[track]: int(left[detection]) for track, detection in matches.items()}
    return pairs


def update(track: TrackState, index: int, frame: TrackerInput, step_s: float, config: TemporalConfig) -> TrackState:
    """Correct a predicted track with detection `index` and add its evidence."""
    score = float(frame.detections.scores[index])
    noise = config.measurement_noise * (1 + (_WEAK_NOISE - 1) * (1 - score))
    state, covariance = kalman.correct(track.state, track.covariance, frame.detections.boxes[index], noise)
    since_s = frame.pts_s - track.seen_s
    # A polyp that was shown before gets full weight from the threshold on.
    reappears = track.is_confirmed and score >= frame.start_score
    evidence = 1.0 if reappears else frame.evidence.weight(score, frame.start_score)
    evidence = evidence * (1.0 if frame.is_clear else config.unclear_weight)
    most_s = max(config.confirm_s, config.hold_s)
    gain = 1 - float(np.exp(-since_s / _SCORE_S))
    return replace(
        track,
        state=state,
        covariance=covariance,
        score=track.score + gain * (score - track.score),
        seen_s=frame.pts_s,
        evidence_s=min(max(0.0, track.evidence_s + evidence * step_s), most_s),
    )


def mark_missed(track: TrackState, frame: TrackerInput, step_s: float) -> TrackState:
    """Reduce the evidence of a predicted track that no box continues."""
    return replace(track, evidence_s=max(0.0, track.evidence_s - frame.evidence.miss_penalty * step_s))


def update_visibility(track: TrackState, pts_s: float, config: TemporalConfig) -> TrackState:
    """Show a track once it has enough evidence; hide it after hold_s without a box, or when no evidence is left."""
    has_evidence = track.evidence_s >= config.confirm_s - _ROUNDING_S or (track.drawn and track.evidence_s > 0)
    return replace(track, drawn=has_evidence and pts_s - track.seen_s <= config.hold_s + _ROUNDING_S)


def to_track(track: TrackState, pts_s: float) -> Track:
    """Return the track as it appears in a `Result`; a track without a number has a negative id."""
    unseen_s = pts_s - track.seen_s
    state = "tentative" if not track.drawn else "held" if unseen_s > 0 else "shown"
    return Track(track.number or -track.key, track.box, track.score, state, pts_s - track.first_s, unseen_s)  # type: ignore[arg-type]
