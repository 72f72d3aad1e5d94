"""Polyps followed from frame to frame.

Boxes that reach the threshold start and continue tracks; weaker ones only continue them (two thresholds, after
ByteTrack, Zhang et al., ECCV 2022). Tracks are carried along with the camera before anything is matched (as BoT-SORT
does), and each has a Kalman filter of its own for what remains (as in SORT, Bewley et al., ICIP 2016). Why these: a
scope's shake moves every box by more than its size, blur lowers scores for a few frames, and polyps are few and
apart, so that greedy pairs by overlap do what an optimal assignment would. Confirm, hold and release are what an
endoscopist feels: when a box appears, how long it survives frames that miss it, when it goes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from realtime_polyp.packets import Boxes, Detections, Track
from realtime_polyp.temporal import kalman
from realtime_polyp.temporal.appearance import Appearance
from realtime_polyp.temporal.association import match, match_near
from realtime_polyp.temporal.camera_motion import Motion
from realtime_polyp.temporal.config import DETECTOR_SCORES, Evidence, TemporalConfig

_ROUNDING_S = 1e-6
_SCORE_S = 0.15  # time constant of a track's score
_WEAK_NOISE = 3.0  # a box of score 0 strays by so much more than one of score 1


@dataclass(frozen=True)
class TrackState:
    """A track's memory. number: what a person reads, given when confirmed. first_s, seen_s: when found first and last.

    found_s: for how long boxes found it, each for what its score is worth, less the time unseen since.
    drawn: it is on the screen. looks: as of appearance_s.
    """

    key: int
    number: int | None
    state: kalman.State
    covariance: kalman.Covariance
    score: float
    first_s: float
    seen_s: float
    found_s: float = 0.0
    drawn: bool = False
    looks: Appearance | None = None
    appearance_s: float = 0.0

    @property
    def confirmed(self) -> bool:
        return self.number is not None

    @property
    def box(self) -> Boxes:
        return kalman.box_of(self.state)


@dataclass(frozen=True)
class Step:
    """What one frame brings. start_score: what a box must reach to start a track or to help confirm it. evidence: what
    the scores are worth. trusted: the view is clear; where it is not, what is found counts less."""

    detections: Detections
    motion: Motion
    pts_s: float
    step_s: float
    start_score: float = 0.0
    evidence: Evidence = DETECTOR_SCORES
    trusted: bool = True


def alive(path: TrackState, step: Step, config: TemporalConfig) -> bool:
    """Seen lately enough to be continued; at a low rate, in the frame before."""
    limit_s = config.release_s if path.confirmed else config.gap_s
    return step.pts_s - path.seen_s <= max(limit_s, step.step_s) + _ROUNDING_S


def predicted(path: TrackState, step: Step, config: TemporalConfig) -> TrackState:
    """Where it should be now: carried with the camera, then on by its own velocity."""
    state = kalman.carried(path.state, step.motion.matrix, step.motion.zoom)
    covariance = path.covariance * step.motion.zoom**2
    state, covariance = kalman.predict(state, covariance, step.step_s, config.process_noise)
    return replace(path, state=state, covariance=covariance)


def paired(paths: Sequence[TrackState], step: Step, config: TemporalConfig) -> dict[int, int]:
    """Pairs {path: detection}: strong boxes by overlap, weak boxes by overlap, then strong boxes by nearness."""
    strong = step.detections.scores >= step.start_score
    pairs: dict[int, int] = {}
    for wanted, near in ((strong, False), (~strong, False), (strong, True)):
        free = [index for index in range(len(paths)) if index not in pairs]
        left = [index for index in np.flatnonzero(wanted) if index not in pairs.values()]
        boxes = step.detections.boxes[left]
        tracks = [paths[index].box for index in free]
        found = match_near(tracks, boxes) if near else match(tracks, boxes, config.least_iou)
        pairs |= {free[track]: int(left[detection]) for track, detection in found.items()}
    return pairs


def seen(path: TrackState, index: int, step: Step, config: TemporalConfig) -> TrackState:
    """A predicted path with the box that continues it."""
    score = float(step.detections.scores[index])
    noise = config.measurement_noise * (1 + (_WEAK_NOISE - 1) * (1 - score))
    state, covariance = kalman.correct(path.state, path.covariance, step.detections.boxes[index], noise)
    since_s = step.pts_s - path.seen_s
    worth = _worth(path, score, step) * (1.0 if step.trusted else config.unclear_weight)
    weight = 1 - float(np.exp(-since_s / _SCORE_S))
    return replace(
        path,
        state=state,
        covariance=covariance,
        score=path.score + weight * (score - path.score),
        seen_s=step.pts_s,
        found_s=min(max(0.0, path.found_s + worth * step.step_s), _most_s(config)),
    )


def _worth(path: TrackState, score: float, step: Step) -> float:
    """What a box of this score tells of the path: a polyp that was shown before is believed from the threshold on."""
    known = path.confirmed and score >= step.start_score
    return 1.0 if known else step.evidence.worth(score, step.start_score)


def unseen(path: TrackState, step: Step) -> TrackState:
    """A predicted path that no box continues: what speaks for it runs out."""
    return replace(path, found_s=max(0.0, path.found_s - step.evidence.missed * step.step_s))


def judged(path: TrackState, pts_s: float, config: TemporalConfig) -> TrackState:
    """Whether it is drawn: once found for long enough, until unseen for too long or nothing speaks for it any more."""
    drawn = ripe(path, config) or (path.drawn and path.found_s > 0)
    return replace(path, drawn=drawn and pts_s - path.seen_s <= config.hold_s + _ROUNDING_S)


def _most_s(config: TemporalConfig) -> float:
    return max(config.confirm_s, config.hold_s)


def born(key: int, index: int, step: Step, config: TemporalConfig) -> TrackState:
    state, covariance = kalman.begin(step.detections.boxes[index], config.measurement_noise)
    return TrackState(key, None, state, covariance, float(step.detections.scores[index]), step.pts_s, step.pts_s)


def may_start(index: int, step: Step) -> bool:
    return bool(step.detections.scores[index] >= step.start_score)


def ripe(path: TrackState, config: TemporalConfig) -> bool:
    """Found for long enough to be shown."""
    return path.found_s >= config.confirm_s - _ROUNDING_S


def as_track(path: TrackState, pts_s: float) -> Track:
    unseen_s = pts_s - path.seen_s
    state = "tentative" if not path.drawn else "held" if unseen_s > 0 else "shown"
    return Track(path.number or -path.key, path.box, path.score, state, pts_s - path.first_s, unseen_s)  # type: ignore[arg-type]
