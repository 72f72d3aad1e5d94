"""What a person says about a session, as rows of table `actions`, and what all of it adds up to: a `Judgement`.

Rows are only added: undo and redo are actions too, and what was recorded never changes. Each row enters the chain of
hashes in the same transaction. docs/review.md explains the kinds.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from realtime_polyp.json_files import Finite, parse_json
from realtime_polyp.metrics.run_lengths import RunLengths, checked
from realtime_polyp.recording.store import add_to_chain, content_hash, utc_now
from realtime_polyp.review.recorded import SessionFileError

Box = tuple[Finite, Finite, Finite, Finite]
"""xyxy, source px."""
FrameNumber = Annotated[int, msgspec.Meta(ge=1, le=1 << 53)]
"""1, 2, ... in the session: `frames.number`."""
Polyp = Annotated[int, msgspec.Meta(ge=-(1 << 53), le=1 << 53)]
"""A positive number is a track of the recording; -1, -2, ... were marked by a person and are called M1, M2, ..."""
NEW_POLYP = 0
"""In a `Stretch` that marks a further polyp: `ActionLog.add` puts the next free number in its place."""
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
_Text = Annotated[str, msgspec.Meta(max_length=4000)]

_Drawn = TypeVar("_Drawn")
_AtTime = TypeVar("_AtTime", "Note", "Mark")

FIELDS = ("site", "size_mm", "paris", "histology")
"""The usual free fields of a polyp; any other name is kept too."""


class ActionError(ValueError):
    """An action was not stored. The message is one sentence for the user."""


@dataclass(frozen=True)
class Verdict:
    """An alarm, or all of a polyp, is a polyp or a false alarm.

    Attributes:
        polyp: number of the polyp.
        accepted: it is a polyp; False: a false alarm.
        first, last: the frames of the alarm; None: every frame of the polyp.
        at: the frame on which the person decided.
        box: the polyp's box in that frame, so that the verdict is found again when other thresholds give other numbers.
    """

    polyp: Polyp
    accepted: bool
    first: FrameNumber | None = None
    last: FrameNumber | None = None
    at: FrameNumber | None = None
    box: Box | None = None

    def covers(self, number: int) -> bool:
        return (self.first is None or self.first <= number) and (self.last is None or number <= self.last)

    def replaces(self, earlier: "Verdict") -> bool:
        """Whether this verdict, which was given later, is about every frame of an earlier one of the same number."""
        begins = self.first is None or (earlier.first is not None and self.first <= earlier.first)
        ends = self.last is None or (earlier.last is not None and earlier.last <= self.last)
        return self.polyp == earlier.polyp and begins and ends


@dataclass(frozen=True)
class DrawnBox:
    """The polyp's true box in one frame; None: it is not in this frame."""

    polyp: Polyp
    number: FrameNumber
    box: Box | None


@dataclass(frozen=True)
class DrawnOutline:
    """The polyp's true outline in one frame, as COCO's compressed run lengths; None: no outline."""

    polyp: Polyp
    number: FrameNumber
    outline: dict[str, Any] | None


@dataclass(frozen=True)
class Stretch:
    """A stretch of frames of a polyp, filled in between boxes that a person drew.

    It replaces what was drawn of this polyp in these frames, and every earlier stretch that it overlaps.

    Attributes:
        polyp: number of the polyp.
        keys: frames in which the person drew the box.
        boxes: every frame of the stretch, in order, and its box: keys and filled frames.
        outlines: frames with an outline.
        clicks: how often the person pressed the mouse.
        seconds: the person's time, s.
        keeps_edits: what a person changed by hand in an earlier stretch since it was filled in stays, but for the keys.
    """

    polyp: Polyp
    keys: tuple[FrameNumber, ...]
    boxes: tuple[tuple[FrameNumber, Box], ...]
    outlines: tuple[tuple[FrameNumber, dict[str, Any]], ...] = ()
    clicks: int = 0
    seconds: float = 0.0
    keeps_edits: bool = False

    @property
    def first(self) -> int:
        return self.boxes[0][0]

    @property
    def last(self) -> int:
        return self.boxes[-1][0]


@dataclass(frozen=True)
class SamePolyp:
    """Two numbers are one polyp: `polyp` counts as `same_as` from now on."""

    polyp: Polyp
    same_as: Polyp


@dataclass(frozen=True)
class PolypFields:
    """Free fields of a polyp, such as those of `FIELDS`; an empty value removes a field."""

    polyp: Polyp
    values: dict[Annotated[str, msgspec.Meta(min_length=1, max_length=60)], _Text]


@dataclass(frozen=True)
class Note:
    """A note at a time of the session's clock, about a polyp or not."""

    session_s: _Seconds
    text: _Text
    polyp: Polyp | None = None


@dataclass(frozen=True)
class Mark:
    """Look at this moment later."""

    session_s: _Seconds


@dataclass(frozen=True)
class Withdrawal:
    """Withdrawal of the endoscope starts or ends here."""

    edge: Literal["start", "end"]
    session_s: _Seconds


@dataclass(frozen=True)
class BlindDecision:
    """What the person said before the models were shown.

    Attributes:
        number: the frame.
        polyp_seen: the person saw a polyp.
        took_s: time from the moment the frame stood on the screen to the decision, s.
    """

    number: FrameNumber
    polyp_seen: bool
    took_s: _Seconds


@dataclass(frozen=True)
class Undo:
    """Take back an action."""

    action: int


@dataclass(frozen=True)
class Redo:
    """Bring back an action that was taken back."""

    action: int


Said = (
    Verdict | DrawnBox | DrawnOutline | Stretch | SamePolyp | PolypFields | Note | Mark | Withdrawal | BlindDecision
    | Undo | Redo
)  # fmt: skip
KINDS: dict[str, type[Said]] = {
    "verdict": Verdict,
    "box": DrawnBox,
    "outline": DrawnOutline,
    "stretch": Stretch,
    "same polyp": SamePolyp,
    "fields": PolypFields,
    "note": Note,
    "mark": Mark,
    "withdrawal": Withdrawal,
    "blind": BlindDecision,
    "undo": Undo,
    "redo": Redo,
}
"""Column `kind` of table `actions`, and what column `detail` holds as JSON."""
_KIND_OF = {kind: name for name, kind in KINDS.items()}


@dataclass(frozen=True)
class Action:
    """One row of table `actions`."""

    action: int
    utc: str
    author: str
    said: Said


@dataclass(frozen=True)
class Judgement:
    """Everything that persons have said about a session, without what was taken back.

    Attributes:
        verdicts: in the order in which they were given; the last one that covers a frame counts.
        boxes: {polyp: {frame: box, or None where it is not in the frame}}, where a person drew or filled in.
        outlines: the same for outlines, run lengths.
        stretches: {polyp: its stretches, in order}; every polyp that a person marked is here.
        same_as: {polyp: number that it counts as}.
        fields: {number that a polyp counts as: the free fields of all its numbers}; the last value of a field counts.
        notes, marks: (number of the action, what was said), by time.
        withdrawal_s: start and end of withdrawal on the session's clock, s; None: not marked.
        blind: decisions of blind mode, in order.
    """

    verdicts: tuple[Verdict, ...] = ()
    boxes: Mapping[int, Mapping[int, Box | None]] = field(default_factory=dict)
    outlines: Mapping[int, Mapping[int, RunLengths | None]] = field(default_factory=dict)
    stretches: Mapping[int, tuple[Stretch, ...]] = field(default_factory=dict)
    same_as: Mapping[int, int] = field(default_factory=dict)
    fields: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    notes: tuple[tuple[int, Note], ...] = ()
    marks: tuple[tuple[int, Mark], ...] = ()
    withdrawal_s: tuple[float | None, float | None] = (None, None)
    blind: tuple[BlindDecision, ...] = ()

    def accepts(self, polyp: int, number: int) -> bool | None:
        """Whether a polyp is accepted in a frame; None: nobody has judged it. What a person marked is accepted."""
        found = [one.accepted for one in self.verdicts if one.polyp == polyp and one.covers(number)]
        return found[-1] if found else (True if polyp < 0 else None)

    def verdict(self, polyp: int) -> bool | None:
        """The verdict on all numbers of a polyp: accepted where one of its alarms is; None: nobody has judged it."""
        numbers = {polyp, *(one for one in self.same_as if self.number_of(one) == polyp)}
        said = [one for one in self.verdicts if one.polyp in numbers]
        counted = [one for place, one in enumerate(said) if not any(later.replaces(one) for later in said[place + 1 :])]
        if not counted:
            return True if any(one < 0 for one in numbers) else None
        return any(one.accepted for one in counted)

    def number_of(self, polyp: int) -> int:
        """The number that a polyp counts as."""
        passed = {polyp}
        while (polyp := self.same_as.get(polyp, polyp)) not in passed:
            passed.add(polyp)
        return polyp

    def next_marked(self) -> int:
        """The number for the next polyp that a person marks: -1, -2, ...; nothing was said about it before."""
        drawn = (*self.boxes, *self.stretches, *self.outlines, *self.same_as, *self.same_as.values())
        told = (*self.fields, *(one.polyp for one in self.verdicts), *(note.polyp or 0 for _, note in self.notes))
        return min((0, *drawn, *told)) - 1


def polyp_name(polyp: int) -> str:
    """How a polyp is called on the screen: "3", or "M1" for one that a person marked."""
    return str(polyp) if polyp >= 0 else f"M{-polyp}"


def describe(said: "Said") -> str:
    """A few words for what was said, for messages."""
    match said:
        case Verdict():
            return f"polyp {polyp_name(said.polyp)} {'accepted' if said.accepted else 'rejected'}"
        case Stretch():
            return f"polyp {polyp_name(said.polyp)} marked"
        case DrawnBox() | DrawnOutline() | PolypFields():
            return f"{_KIND_OF[type(said)]} of polyp {polyp_name(said.polyp)}"
        case SamePolyp():
            return f"polyp {polyp_name(said.polyp)} is polyp {polyp_name(said.same_as)}"
        case _:
            return _KIND_OF[type(said)]


def judge(actions: Iterable[Action]) -> Judgement:
    """Fold the actions of a session, in order. Pure: the same actions give the same judgement."""
    listed = list(actions)
    undone = _undone(listed)
    standing = [one for one in listed if one.action not in undone and not isinstance(one.said, Undo | Redo)]
    judgement = Judgement()
    for one in standing:
        judgement = _apply(judgement, one)
    return replace(judgement, fields=_collect_fields(judgement, standing))


def next_undo(actions: Sequence[Action], author: str) -> Action | None:
    """The author's last action that has not been taken back."""
    undone = _undone(actions)
    own = [one for one in actions if one.author == author and not isinstance(one.said, Undo | Redo)]
    return next((one for one in reversed(own) if one.action not in undone), None)


def next_redo(actions: Sequence[Action], author: str) -> Action | None:
    """The author's action that was taken back last; None once another action has followed."""
    waiting: list[int] = []
    for one in actions:
        if one.author != author:
            continue
        if isinstance(one.said, Undo):
            waiting.append(one.said.action)
        elif isinstance(one.said, Redo):
            waiting = [number for number in waiting if number != one.said.action]
        else:
            waiting = []
    return next((one for one in actions if waiting and one.action == waiting[-1]), None)


def _undone(actions: Iterable[Action]) -> set[int]:
    undone: set[int] = set()
    for one in actions:
        if isinstance(one.said, Undo):
            undone.add(one.said.action)
        elif isinstance(one.said, Redo):
            undone.discard(one.said.action)
    return undone


def _apply(to: Judgement, action: Action) -> Judgement:
    """Return the judgement after one more action, without fields: these depend on which polyps are one in the end."""
    said = action.said
    match said:
        case Verdict():
            return replace(to, verdicts=(*to.verdicts, said))
        case DrawnBox():
            return replace(to, boxes=_drawn(to.boxes, said.polyp, {said.number: said.box}))
        case DrawnOutline():
            return replace(to, outlines=_drawn(to.outlines, said.polyp, {said.number: said.outline}))
        case Stretch():
            return _apply_stretch(to, said)
        case SamePolyp():
            kept = {polyp: other for polyp, other in to.same_as.items() if polyp != said.polyp}
            target = replace(to, same_as=kept).number_of(said.same_as)
            return replace(to, same_as=kept if target == said.polyp else {**kept, said.polyp: target})
        case Note():
            return replace(to, notes=_in_time((*to.notes, (action.action, said))))
        case Mark():
            return replace(to, marks=_in_time((*to.marks, (action.action, said))))
        case Withdrawal():
            start_s, end_s = to.withdrawal_s
            edges = (said.session_s, end_s) if said.edge == "start" else (start_s, said.session_s)
            return replace(to, withdrawal_s=edges)
        case BlindDecision():
            return replace(to, blind=(*to.blind, said))
        case _:
            return to


def _collect_fields(judgement: Judgement, actions: Iterable[Action]) -> dict[int, dict[str, str]]:
    """Return the fields of each polyp, whichever of its numbers they were entered for. An empty value removes one."""
    found: dict[int, dict[str, str]] = {}
    for one in actions:
        if isinstance(one.said, PolypFields):
            found.setdefault(judgement.number_of(one.said.polyp), {}).update(one.said.values)
    return {polyp: {name: value for name, value in values.items() if value} for polyp, values in found.items()}


def _in_time(listed: tuple[tuple[int, _AtTime], ...]) -> tuple[tuple[int, _AtTime], ...]:
    return tuple(sorted(listed, key=lambda one: one[1].session_s))


def _drawn(
    drawn: Mapping[int, Mapping[int, Any]], polyp: int, frames: Mapping[int, Any], *, without: Iterable[range] = ()
) -> dict[int, Mapping[int, Any]]:
    """Add frames to what was drawn of a polyp, after removing those of some stretches."""
    removed = list(without)
    kept = {
        number: one for number, one in drawn.get(polyp, {}).items() if not any(number in frames for frames in removed)
    }
    return {**drawn, polyp: dict(sorted({**kept, **frames}.items()))}


def _apply_stretch(to: Judgement, stretch: Stretch) -> Judgement:
    before = to.stretches.get(stretch.polyp, ())
    kept = [one for one in before if one.last < stretch.first or stretch.last < one.first]
    replaced = [range(one.first, one.last + 1) for one in (*before, stretch) if one not in kept]
    stretches = sorted([*kept, stretch], key=lambda one: one.first)
    boxes: dict[int, Box | None] = dict(stretch.boxes)
    outlines: dict[int, RunLengths | None] = dict(stretch.outlines)
    if stretch.keeps_edits:
        over = [one for one in before if one not in kept]
        boxes |= _edits(to.boxes, stretch, {frame: box for one in over for frame, box in one.boxes})
        outlines |= _edits(to.outlines, stretch, {frame: line for one in over for frame, line in one.outlines})
        outlines = {frame: line for frame, line in outlines.items() if boxes.get(frame) is not None}
    return replace(
        to,
        boxes=_drawn(to.boxes, stretch.polyp, boxes, without=replaced),
        outlines=_drawn(to.outlines, stretch.polyp, outlines, without=replaced),
        stretches={**to.stretches, stretch.polyp: tuple(stretches)},
    )


def _edits(
    drawn: Mapping[int, Mapping[int, _Drawn]], stretch: Stretch, filled: Mapping[int, _Drawn]
) -> dict[int, _Drawn]:
    """What a person changed in frames that were filled in, without the stretch's keys."""
    now = drawn.get(stretch.polyp, {})
    frames = {number for number in (*filled, *now) if stretch.first <= number <= stretch.last}
    return {
        number: now[number]
        for number in frames - set(stretch.keys)
        if number in now and now[number] != filled.get(number)
    }


def insert_action(database: sqlite3.Connection, said: Said, *, author: str) -> Action:
    """Add a row and its entry in the chain. The caller has begun the transaction, and commits it.

    For a recorder, which owns the session file while it records. Raises sqlite3.Error.
    """
    kind, text, utc = _KIND_OF[type(said)], json.dumps(asdict(said)), utc_now()
    statement = "INSERT INTO actions (utc, author, kind, detail) VALUES (?,?,?,?)"
    number = database.execute(statement, (utc, author, kind, text)).lastrowid
    assert number is not None
    add_to_chain(database, "action", action_content(number, utc, author, kind, text))
    return Action(number, utc, author, said)


def action_content(number: int, utc: str, author: str, kind: str, detail: str) -> str:
    """What the chain holds of a row: the hash of its columns, and its number."""
    return f"{content_hash(number, utc, author, kind, detail)} action {number}"


def read_actions(database: sqlite3.Connection, *, after: int = 0) -> tuple[Action, ...]:
    """Read the actions with a higher number than `after`. Raises SessionFileError for a row that cannot be read."""
    query = "SELECT action, utc, author, kind, detail FROM actions WHERE action > ? ORDER BY action"
    return tuple(_parse(*row) for row in database.execute(query, (after,)))


def _parse(number: int, utc: str, author: str, kind: str, detail: str) -> Action:
    if kind not in KINDS:
        raise SessionFileError(
            f"action {number} of the session is of the kind {kind!r}, which this version does not know: "
            "update realtime-polyp"
        )
    where = f"action {number} of the session"
    said = parse_json(detail, KINDS[kind], where, f"an action of the kind {kind!r}", SessionFileError)
    try:
        _check(said)
    except ValueError as error:
        raise SessionFileError(f"{where} cannot be read: {error}") from error
    return Action(number, utc, author, said)


def _check(said: Said) -> None:
    """Raise ValueError for run lengths that the C library must not see, boxes without area, and empty stretches."""
    outlines = [said.outline] if isinstance(said, DrawnOutline) and said.outline else []
    boxes = [said.box] if isinstance(said, DrawnBox) and said.box else []
    if isinstance(said, Stretch):
        if not said.boxes or [one for one, _ in said.boxes] != sorted({one for one, _ in said.boxes}):
            raise ValueError("a stretch lists its frames once, in order, and has at least one")
        outlines, boxes = [outline for _, outline in said.outlines], [box for _, box in said.boxes]
    for outline in outlines:
        checked(outline)
    for x1, y1, x2, y2 in boxes:
        if not (x1 < x2 and y1 < y2):
            raise ValueError(f"a box must be x1 < x2, y1 < y2, not {[x1, y1, x2, y2]}")


def check_readable(said: Said) -> None:
    """Raise ActionError for what could not be read again: its row would stay, and the session could not be opened."""
    kind, text = _KIND_OF[type(said)], json.dumps(asdict(said))
    parse_json(text, KINDS[kind], "nothing is stored: this", f"an action of the kind {kind!r}", ActionError)
    try:
        _check(said)
    except ValueError as error:
        raise ActionError(f"nothing is stored: {error}") from error
