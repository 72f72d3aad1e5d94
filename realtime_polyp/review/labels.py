"""The labels of a session: what persons have accepted and drawn, frame by frame, numbered for other programs."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from realtime_polyp.geometry import iou_matrix
from realtime_polyp.metrics.run_lengths import RunLengths, encode_outlines
from realtime_polyp.packets import Mask
from realtime_polyp.postprocess.polyp_shape import PolypShape, polyp_shapes
from realtime_polyp.review.actions import Box, Judgement, Verdict
from realtime_polyp.review.alarms import SessionAlarm, find_alarms
from realtime_polyp.review.recorded import FrameTable, RecordedSession
from realtime_polyp.review.tracks import TrackTable, recorded_tracks

BoxAt = Callable[[int], Box | None]
"""Returns a polyp's box in a frame by its number; None where it is not shown."""

_SAME_IOU = 0.3
_OUTLINE_IOU = 0.5
_MASK_LEVEL = 0.5
_MIN_REGION_PX = 25  # of the model's resolution


@dataclass(frozen=True)
class LabelledPolyp:
    """One polyp in one frame.

    Attributes:
        id: 1, 2, ...: the number on the screen; polyps that a person marked follow the last of these.
        box: xyxy source px.
        outline: run lengths of the picture's size; None where there is none.
        drawn: a person drew the box or marked the polyp; False: an accepted box of the recording.
    """

    id: int
    box: Box
    outline: RunLengths | None
    drawn: bool


@dataclass(frozen=True)
class SessionLabels:
    """The labels of a session.

    Attributes:
        polyps: {number of a frame: its polyps}; only frames with a polyp are listed.
        labelled: numbers of the frames in which everything is known: all of the session if every alarm was judged, else
            the frames of judged alarms and marked polyps; without those of `boxless`.
        false_alarms: numbers of the frames of rejected alarms.
        open_alarms: how many alarms nobody has judged.
        boxless: numbers of the frames in which a person has accepted a polyp whose box there is not known.
    """

    polyps: Mapping[int, tuple[LabelledPolyp, ...]]
    labelled: frozenset[int]
    false_alarms: frozenset[int]
    open_alarms: int
    boxless: frozenset[int] = frozenset()


@dataclass(frozen=True)
class UnrecordedAlarm:
    """An alarm that a person accepted at other settings of the filter; the recording has it in part or not at all.

    Attributes:
        polyp: its number.
        frames: numbers of its frames that no recorded alarm of it covers.
        partly_recorded: the recording has an alarm of this polyp in other frames.
    """

    polyp: int
    frames: frozenset[int]
    partly_recorded: bool


def alarm_verdicts(judgement: Judgement, alarms: Iterable[SessionAlarm], tracks: TrackTable) -> dict[int, bool | None]:
    """Return {number of an alarm: its verdict}; None: nobody has judged it. tracks: those of the alarms."""
    return {
        one.number: alarm_verdict(judgement, one.track, one.first, one.last, _boxes_of(tracks, one)) for one in alarms
    }


def alarm_verdict(judgement: Judgement, track: int, first: int, last: int, box_at: BoxAt) -> bool | None:
    """Return whether an alarm was accepted; None: nobody has judged it. The last verdict counts.

    A verdict is about an alarm if it names its track and one of its frames, and the track lay where the person saw it:
    with other thresholds, or after another analysis, the same polyp may have another number.
    """
    found = [one.accepted for one in judgement.verdicts if _is_about(one, track, first, last, box_at)]
    return found[-1] if found else None


def _is_about(verdict: Verdict, track: int, first: int, last: int, box_at: BoxAt) -> bool:
    if verdict.at is not None and verdict.box is not None and first <= verdict.at <= last:
        box = box_at(verdict.at)
        if box is not None:
            return float(iou_matrix(np.array([box]), np.array([verdict.box]))[0, 0]) >= _SAME_IOU
    if verdict.polyp != track:
        return False
    return (verdict.first is None or verdict.first <= last) and (verdict.last is None or first <= verdict.last)


def unrecorded_alarms(
    judgement: Judgement, alarms: Iterable[SessionAlarm], tracks: TrackTable
) -> tuple[UnrecordedAlarm, ...]:
    """Return the accepted alarms that the recorded ones do not cover. alarms, tracks: as recorded."""
    recorded = [(one, _boxes_of(tracks, one)) for one in alarms]
    found: list[UnrecordedAlarm] = []
    for one in judgement.verdicts:
        if one.first is None or one.last is None or not _stands(judgement, one, one.first, one.last):
            continue
        about = [alarm for alarm, boxes in recorded if _is_about(one, alarm.track, alarm.first, alarm.last, boxes)]
        frames = frozenset(range(one.first, one.last + 1)) - _all_frames(about)
        if frames:
            found.append(UnrecordedAlarm(one.polyp, frames, bool(about)))
    return tuple(found)


def _stands(judgement: Judgement, verdict: Verdict, first: int, last: int) -> bool:
    """Whether a verdict accepts its alarm, and no later one rejects it."""

    def box_at(number: int) -> Box | None:
        return verdict.box if number == verdict.at else None

    return verdict.accepted and alarm_verdict(judgement, verdict.polyp, first, last, box_at) is True


def collect_labels(session: RecordedSession, judgement: Judgement) -> SessionLabels:
    """Return the labels of a session. Raises sqlite3.Error."""
    frames, tracks = session.frames, recorded_tracks(session)
    alarms = find_alarms(frames, tracks)
    rulings = alarm_verdicts(judgement, alarms, tracks)
    accepted, rejected, still_open = (
        [one for one in alarms if rulings[one.number] is ruling] for ruling in (True, False, None)
    )
    boxes = _add_drawn(_accepted_boxes(tracks, accepted), judgement, len(frames))
    numbers = _numbers((one for found in boxes.values() for one in found), judgement)
    polyps = {}
    for number in sorted(boxes):
        if found := _polyps_of(session, judgement, number, boxes[number], numbers):
            polyps[number] = found
    boxless = _boxless(frames, judgement, accepted, unrecorded_alarms(judgement, alarms, tracks), boxes)
    everything = range(1, len(frames) + 1)
    labelled = set(everything) if not still_open else _all_frames([*accepted, *rejected]) | set(polyps)
    labelled -= _all_frames(still_open) | boxless
    false = (_all_frames(rejected) - set(polyps)) & labelled
    return SessionLabels(polyps, frozenset(labelled), frozenset(false), len(still_open), frozenset(boxless))


def _add_drawn(
    boxes: dict[int, dict[int, Box | None]], judgement: Judgement, count: int
) -> dict[int, dict[int, Box | None]]:
    """Add what persons drew in the first `count` frames, and did not reject."""
    for polyp, drawn in judgement.boxes.items():
        for number, box in drawn.items():
            if number <= count and judgement.accepts(polyp, number) is not False:
                boxes.setdefault(number, {})[polyp] = box
    return boxes


def _boxless(
    frames: FrameTable,
    judgement: Judgement,
    accepted: Iterable[SessionAlarm],
    unrecorded: Iterable[UnrecordedAlarm],
    boxes: Mapping[int, Mapping[int, Box | None]],
) -> set[int]:
    """Return the frames in which an accepted polyp has no box: not analysed, or shown at other settings alone."""

    def has_box(polyp: int, number: int) -> bool:
        return judgement.number_of(polyp) in {judgement.number_of(one) for one in boxes.get(number, {})}

    skipped = [(one.track, number) for one in accepted for number in _frames_of(one) if not frames.analysed[number - 1]]
    others = [(one.polyp, number) for one in unrecorded for number in one.frames if number <= len(frames)]
    return {number for polyp, number in (*skipped, *others) if not has_box(polyp, number)}


def _boxes_of(tracks: TrackTable, alarm: SessionAlarm) -> BoxAt:
    def box_at(number: int) -> Box | None:
        return next((_box(one.box) for one in tracks.at(number) if one.id == alarm.track and one.visible), None)

    return box_at


def _frames_of(alarm: SessionAlarm) -> range:
    return range(alarm.first, alarm.last + 1)


def _all_frames(alarms: Iterable[SessionAlarm]) -> set[int]:
    return {number for one in alarms for number in _frames_of(one)}


def _accepted_boxes(tracks: TrackTable, accepted: Iterable[SessionAlarm]) -> dict[int, dict[int, Box | None]]:
    """Return {frame: {track: box}} of the accepted alarms' visible tracks."""
    boxes: dict[int, dict[int, Box | None]] = {}
    for alarm in accepted:
        part = tracks.between(alarm.first, alarm.last)
        for row in np.flatnonzero((part.id == alarm.track) & part.visible):
            boxes.setdefault(int(part.number[row]), {})[alarm.track] = _box(part.box[row])
    return boxes


def _numbers(polyps: Iterable[int], judgement: Judgement) -> dict[int, int]:
    """Number the polyps from 1: recorded ones keep their number, marked ones follow."""
    known = sorted({judgement.number_of(one) for one in polyps})
    recorded = [one for one in known if one > 0]
    marked = [one for one in reversed(known) if one <= 0]
    first = max(recorded, default=0) + 1
    return {one: one for one in recorded} | {one: first + place for place, one in enumerate(marked)}


def _polyps_of(
    session: RecordedSession,
    judgement: Judgement,
    number: int,
    boxes: Mapping[int, Box | None],
    numbers: Mapping[int, int],
) -> tuple[LabelledPolyp, ...]:
    """Return the polyps of a frame; of two numbers of one polyp, the one that a person drew, or took away."""
    found: dict[int, LabelledPolyp] = {}
    height, width = session.frame(number).image.shape[:2]
    shown = _shown_shapes(session, number)
    by_person = {judgement.number_of(one) for one in boxes if number in judgement.boxes.get(one, {})}
    for polyp, box in boxes.items():
        drawn = number in judgement.boxes.get(polyp, {})
        if not drawn and judgement.number_of(polyp) in by_person:
            continue
        shape = None if drawn else shown.get(polyp)
        if box is None or (clipped := _clipped(box if shape is None else _box(shape.box), width, height)) is None:
            continue
        outlines = judgement.outlines.get(polyp, {})
        if number in outlines:
            outline = outlines[number]
        elif shape is not None:
            outline = None if shape.outline is None else encode_outlines([shape.outline], (width, height))
        else:
            outline = _recorded_outline(session, number, clipped)
        identity = numbers[judgement.number_of(polyp)]
        if identity not in found or drawn:
            found[identity] = LabelledPolyp(identity, clipped, outline, drawn)
    return tuple(found[identity] for identity in sorted(found))


def _shown_shapes(session: RecordedSession, number: int) -> dict[int, PolypShape]:
    """Return the box and the outline that were on the screen for each recorded track of a frame, by its id."""
    try:
        result = session.result(number)
    except KeyError:  # the frame was not analysed
        return {}
    return {track.id: shape for track, shape in zip(result.visible, result.shapes, strict=True)}


def _recorded_outline(session: RecordedSession, number: int, box: Box) -> RunLengths | None:
    try:
        mask = session.raw(number).mask
    except KeyError:  # the frame was not analysed
        return None
    return mask_region(mask, np.array(box), session.frame(number).image.shape[:2])


def mask_region(
    mask: Mask | None, box: np.ndarray, size: tuple[int, int], *, least: float = _OUTLINE_IOU
) -> RunLengths | None:
    """Return the region of a mask that fits a box (4,) best, moved to it; None where none overlaps it by the least IoU.

    size: (H, W) px of the picture.
    """
    (shape,) = polyp_shapes(box[None].astype(np.float32), mask, least_iou=least, box_share=1.0)
    return None if shape.outline is None else encode_outlines([shape.outline], (size[1], size[0]))


def regions_of(mask: Mask) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Return the connected regions of a mask, at the model's resolution, which takes a twentieth of the picture's time.

    The label map (h, w), and for each region that is not tiny a row (n, 6): xyxy source px, mean probability, label.
    """
    _, labels, stats, _ = cv2.connectedComponentsWithStats((mask.probability >= _MASK_LEVEL).astype(np.uint8))
    height, width = mask.probability.shape
    x_px, y_px = mask.field_of_view.width / width, mask.field_of_view.height / height
    found = []
    for label, (x, y, w, h, area) in enumerate(stats.tolist()):
        if label and area >= _MIN_REGION_PX:
            part = slice(y, y + h), slice(x, x + w)
            score = float(mask.probability[part][labels[part] == label].mean())
            left, top = mask.field_of_view.x1 + x * x_px, mask.field_of_view.y1 + y * y_px
            found.append([left, top, left + w * x_px, top + h * y_px, score, label])
    return np.asarray(labels, np.int32), np.array(found, np.float64).reshape(-1, 6)


def _clipped(box: Box, width: int, height: int) -> Box | None:
    """Clip a box to the picture; None where nothing is left."""
    x1, y1, x2, y2 = max(0.0, box[0]), max(0.0, box[1]), min(float(width), box[2]), min(float(height), box[3])
    return (x1, y1, x2, y2) if x2 - x1 >= 1 and y2 - y1 >= 1 else None


def _box(box: np.ndarray) -> Box:
    x1, y1, x2, y2 = (float(value) for value in box)
    return x1, y1, x2, y2
