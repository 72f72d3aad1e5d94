"""Keeps the timeline up to date: from a recorded session, or from what was watched and analysed ahead so far."""

import time
from collections.abc import Callable
from dataclasses import replace

from realtime_polyp.field_of_view import FieldOfView
from realtime_polyp.packets import Result
from realtime_polyp.review.look_ahead import Report, best_score, gaps, join
from realtime_polyp.review.timeline_data import AlarmSpan, TimelineData
from realtime_polyp.viewer.ahead import Ahead, Job
from realtime_polyp.viewer.clock import clock_text
from realtime_polyp.viewer.feed import Feed
from realtime_polyp.viewer.findings import AheadState, Findings
from realtime_polyp.viewer.keys import Action
from realtime_polyp.viewer.picture_service import Thumbnails
from realtime_polyp.viewer.player import Player
from realtime_polyp.viewer.shown_alarms import ShownAlarms, Span
from realtime_polyp.viewer.timeline import Timeline
from realtime_polyp.viewer.timeline_content import TimelineContent
from realtime_polyp.viewer.transport import Transport

_TOUCH_S, _SHORTEST_S = 0.4, 0.2
_LONGEST_STEP_S = 0.6  # of the machine's clock: a longer step of the position is a jump, not watching
_LONGEST_PART_S = 2.0  # of the video, from one refresh to the next
_REDRAW_S = 0.9
_WHOLE = 0.995
_START_S = 1.0  # the first pictures are shown before anything else begins


class TimelineLink:
    """Call `refresh` several times per second.

    timeline: None where the source has none; nothing is then done. data: of a recorded session, the same object as long
    as nothing has changed; None: there is none, and the timeline shows what was watched. job: what is to be analysed
    ahead of the player; None: nothing. say: shows a message to the user.
    """

    def __init__(
        self,
        timeline: Timeline | None,
        player: Player,
        alarms: ShownAlarms,
        *,
        data: Callable[[], TimelineData] | None = None,
        job: Job | None = None,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._timeline, self._player, self._alarms = timeline, player, alarms
        self._data, self._job, self._say = data, job, say
        self._ahead: Ahead | None = None
        self._findings: Findings | None = None
        self._usual_threshold: float | None = None  # with which the analysis ahead finds alarms
        self._shown: list[tuple[float, float, str, str]] = []  # time, score, quality, signal, since the last refresh
        self._shown_feed: Feed | None = None  # that showed it
        self._shown_until_s = 0.0
        self._drawn_s = 0.0
        self._opened_s = time.monotonic()
        path = player.info.path
        if timeline and path:
            timeline.use_thumbnails(lambda on_ready: Thumbnails(path, on_ready, player.info.time_in_file))
        self._watched: list[Span] = []
        self._last_s = 0.0
        self._made_of: tuple[object, ...] | None = None
        self._ahead_then: AheadState | None = None
        self._failures_told = 0
        self._known_then: TimelineData | None = None

    def refresh(self, transport: Transport, threshold: float, marks: tuple[tuple[float, str], ...] = ()) -> None:
        """Draw what is known now. marks: time in s, and text; a recorded session's are in its data."""
        if self._timeline is None:
            return
        if self._usual_threshold is None:
            self._usual_threshold = threshold
        self._findings = self._findings or Findings(self._timeline.view.duration_s, self._usual_threshold)
        self._start_ahead(self._findings)
        self._note_watched(self._findings)
        shown = () if self._data else self._alarms.bars
        made_of, now_s = (shown, transport.loop_s, threshold, marks), time.monotonic()
        ahead = self._ahead_then
        if ahead is None or made_of != self._made_of or now_s - self._drawn_s > _REDRAW_S:
            ahead = self._findings.state(threshold)  # of a long recording this takes some ms
        known = self._data() if self._data else None
        if self._ahead and ahead.progress > _WHOLE and not ahead.is_over:
            self._ahead.close()  # all of it was watched meanwhile
        self._tell_failures(ahead)
        if made_of != self._made_of or ahead is not self._ahead_then or known is not self._known_then:
            self._made_of, self._ahead_then, self._known_then, self._drawn_s = made_of, ahead, known, now_s
            content = TimelineContent(threshold=threshold, loop_s=transport.loop_s)
            runs = self._ahead is not None
            self._timeline.set_content(
                replace(content, data=known)
                if known
                else _watched(content, shown, ahead, self._watched, marks, runs=runs)
            )

    def _tell_failures(self, ahead: AheadState) -> None:
        """Say once of each part that it could not be analysed ahead, and why."""
        for (start_s, end_s), problem in ahead.failed[self._failures_told :]:
            self._say(f"{clock_text(start_s)} to {clock_text(end_s)} could not be analysed ahead: {problem}")
        self._failures_told = len(ahead.failed)

    def watch(self, result: Result | None) -> None:
        """Take what is on the screen now."""
        if result is not None and self._timeline and not self._data:
            self._shown.append((result.frame.pts_s, best_score(result), result.frame_quality, result.signal))

    def _note_watched(self, findings: Findings) -> None:
        """Remember which parts were on the screen, and what was found there."""
        feed, shown, self._shown = self._player.feed, self._shown, []
        if shown:
            times_s, scores, qualities, signals = zip(*shown, strict=True)
            if feed is not self._shown_feed:  # after a seek: what lies between was not watched
                self._shown_feed, self._shown_until_s = feed, times_s[0]
            is_one_part = list(times_s) == sorted(times_s) and times_s[-1] - times_s[0] < _LONGEST_PART_S
            span = (min(self._shown_until_s, times_s[0]), times_s[-1])
            span = span if span[1] - span[0] < _LONGEST_PART_S else (times_s[0], times_s[-1])
            waits = feed is not None and feed.display == "synced"  # else some pictures are shown without analysis
            complete = is_one_part and waits and not self._player.step_s
            findings.add_watched(Report(span, complete, times_s, scores, qualities, signals))
            self._shown_until_s = times_s[-1]
        now_s = self._player.position_s
        step_s = now_s - self._last_s
        if 0 < step_s <= _LONGEST_STEP_S * max(1.0, self._player.speed):
            self._watched = join([*self._watched, (self._last_s, now_s)])
        self._last_s = now_s

    def _start_ahead(self, findings: Findings) -> None:
        """Start the analysis ahead, once the first pictures are on the screen."""
        if self._job and not self._ahead and self._player.displayed and time.monotonic() - self._opened_s > _START_S:
            self._ahead = Ahead(self._job, findings)
            self._ahead.start()

    def use_field(self, field: FieldOfView | None) -> None:
        """Forget what was analysed in another field of view, and analyse all of it again in this one."""
        if self._ahead:
            self._ahead.close()
        if self._job:
            self._job = replace(self._job, config=replace(self._job.config, field=field))
        self._ahead = self._findings = self._ahead_then = None
        self._failures_told = 0

    def actions(self) -> dict[Action, Callable[[], None]]:
        """What the keys of the timeline do."""
        return {
            "zoom in": lambda: self._timeline.zoom(1) if self._timeline else None,
            "zoom out": lambda: self._timeline.zoom(-1) if self._timeline else None,
            "pan left": lambda: self._timeline.pan(-1) if self._timeline else None,
            "pan right": lambda: self._timeline.pan(1) if self._timeline else None,
        }

    def alarms(self) -> list[Span]:
        """Start and end of the alarms that are known, s."""
        alarms = self._timeline.content.data.alarms if self._timeline else ()
        return [(start_s, end_s) for start_s, end_s, _ in alarms]

    def yield_to_player(self) -> None:
        """Stop the analysis ahead for a while if the player cannot keep its speed."""
        if self._ahead and self._player.is_behind:
            self._ahead.give_way()

    def close(self) -> None:
        """End what runs in the background."""
        if self._timeline:
            self._timeline.close_thumbnails()
        if self._ahead:
            self._ahead.close()


def _watched(
    content: TimelineContent,
    shown: tuple[AlarmSpan, ...],
    ahead: AheadState,
    watched: list[Span],
    marks: tuple[tuple[float, str], ...],
    *,
    runs: bool,
) -> TimelineContent:
    """runs: the analysis ahead does."""
    data = replace(ahead.data, alarms=join_alarms(shown, ahead.data.alarms, watched), marks=marks)
    progress = ahead.progress if runs and not ahead.is_over else None
    failed = tuple(span for span, _ in ahead.failed)
    return replace(content, data=data, analysed=ahead.analysed, sampled=ahead.sampled, failed=failed, progress=progress)


def join_alarms(
    shown: tuple[AlarmSpan, ...], ahead: tuple[AlarmSpan, ...], watched: list[Span]
) -> tuple[AlarmSpan, ...]:
    """Alarms that were watched, with their numbers, and what was found ahead where nobody watched yet, without (0).

    Watching may have begun or ended in the middle of an alarm: what was found ahead then makes it longer.
    """
    joined = list(shown)
    for start_s, end_s, _ in ahead:
        for piece in without((start_s, end_s), watched):
            at = next((i for i, one in enumerate(joined) if _touch(one, piece)), None)
            if at is None:
                joined.append((*piece, 0))
            else:
                joined[at] = (min(joined[at][0], piece[0]), max(joined[at][1], piece[1]), joined[at][2])
    return tuple(sorted(joined))


def without(span: Span, others: list[Span]) -> list[Span]:
    """What is left of a span outside of others; very short pieces are dropped. others: in order, not overlapping."""
    inside = [(max(start_s, span[0]), min(end_s, span[1])) for start_s, end_s in others]
    pieces = gaps([one for one in inside if one[1] > one[0]], *span)
    return [piece for piece in pieces if piece[1] - piece[0] > _SHORTEST_S]


def _touch(alarm: AlarmSpan, piece: Span) -> bool:
    return bool(alarm[2]) and piece[0] <= alarm[1] + _TOUCH_S and alarm[0] <= piece[1] + _TOUCH_S
