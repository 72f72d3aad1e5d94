"""What is told of a player: the state that the condition on the screen depends on, and the rates of late."""

from dataclasses import replace

from realtime_polyp.viewer.condition import NO_SIGNAL_S, PlayerState
from realtime_polyp.viewer.feed_sequence import FeedSequence
from realtime_polyp.viewer.playhead import Playhead
from realtime_polyp.viewer.presenter import Presenter
from realtime_polyp.viewer.rates import NO_READING, Reading


def state_of(
    feeds: FeedSequence, presenter: Presenter, playhead: Playhead, *, is_back: bool, now_s: float
) -> PlayerState:
    """Everything that the condition on the screen depends on. is_back: the user stepped back to an earlier picture."""
    feed, phase, live, newest = feeds.feed, feeds.phase, feeds.info.live, presenter.newest
    is_playing = phase == "playing" and not playhead.paused and not live
    keeps_pace = feed is not None and feed.display == "paced"
    return PlayerState(
        phase="playing" if phase == "ended" and is_back else phase,
        live=live,
        paused=playhead.paused,
        has_picture=presenter.displayed is not None and not (live and presenter.awaits_first),
        no_picture_s=now_s - presenter.arrived_s,
        late_s=presenter.late_s,
        overlay_age_s=_overlay_age_s(feeds, presenter, now_s),
        speed=playhead.measured_speed(now_s) if is_playing else None,
        is_slow=is_playing and playhead.is_slow(now_s),
        keeps_pace=keeps_pace,
        is_recorded=feed is not None and feed.filters_again,
        every=feed.every if feed else 1,
        analysed=presenter.rates.analysed(now_s) if is_playing and keeps_pace else None,
        signal=newest.signal if newest else "ok",
        frame_quality=newest.frame_quality if newest else "clear",
        format_change=presenter.format_change(now_s),
        failure=feeds.failure,
        warning=feed.warning if feed and phase == "ended" else None,  # it lists all that was lost
        stall=feed.stalled(NO_SIGNAL_S) if feed and phase == "playing" else None,
        troubles=feed.troubles if feed and phase == "playing" else (),
    )


def _overlay_age_s(feeds: FeedSequence, presenter: Presenter, now_s: float) -> float | None:
    display = feeds.feed.display if feeds.feed else "synced"
    newest, displayed = presenter.newest, presenter.displayed
    if display == "paced" and displayed:
        return displayed.frame.pts_s - (newest.frame.pts_s if newest else feeds.start_s)
    return now_s - presenter.annotated_s if display == "immediate" and newest else None


def reading_of(feeds: FeedSequence, presenter: Presenter, playhead: Playhead, *, now_s: float) -> Reading:
    """The rates of the last moments; empty while nothing moves."""
    is_running = feeds.phase == "playing" and not playhead.paused
    has_signal = not feeds.info.live or now_s - presenter.arrived_s <= NO_SIGNAL_S
    if not (is_running and has_signal):
        return NO_READING
    reading = presenter.rates.read(now_s)
    if feeds.info.live:
        return reading
    is_slow = playhead.is_slow(now_s)
    return replace(reading, speed=playhead.measured_speed(now_s), is_slow=is_slow)
