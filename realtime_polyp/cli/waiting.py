"""Waiting for sessions and for the disk: what does not answer is told, and what does not end is left behind."""

import sys
import threading
import time
from collections.abc import Callable, Sequence

from tqdm import tqdm

from realtime_polyp.interrupts import on_interrupt, was_interrupted
from realtime_polyp.session import Session, SessionError
from realtime_polyp.watchdog import ANSWER_LIMIT_S, Progress, Stall, StallReport

GRACE_S = 3.0
"""How long what was asked to end is waited for."""
_POLL_S = 0.1


def run_to_end(sessions: Sequence[Session]) -> list[Stall]:
    """Start the sessions and wait until all have ended. Ctrl-C, SIGTERM and SIGHUP stop them.

    A stage that does not answer is told on standard error. Returns what hangs in sessions that did not end within
    GRACE_S after they were stopped or had failed. Failures stay in each session's `error`.
    """
    with on_interrupt(lambda: _stop(sessions)):
        for session in sessions:
            session.start()
        running, left_behind, report = list(sessions), list[Stall](), StallReport()
        while running:
            for session in tuple(running):
                if _is_over(session, _POLL_S if session is running[0] else 0):
                    running.remove(session)
                elif stall := session.left_behind(GRACE_S):
                    running.remove(session)
                    left_behind.append(stall)
            stalls = [stall for session in running if (stall := session.stalled(ANSWER_LIMIT_S))]
            _tell(report, max(stalls, key=lambda one: one.seconds, default=None))
    return left_behind


def finish(work: Callable[[], None], session: Session) -> Stall | None:
    """Do the last work on a session's outputs, such as closing them; raises what it raises.

    The disk may take its time, unless the session was stopped or a signal comes: then it has GRACE_S. Returns what
    hangs after that.
    """
    errors: list[Exception] = []
    progress, report, until_s = Progress(), StallReport(), float("inf")

    def run() -> None:
        with progress.working("output", session.last_delivered):
            try:
                work()
            except Exception as error:  # noqa: BLE001 - raised on the main thread
                errors.append(error)

    thread = threading.Thread(target=run, name="finish", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_POLL_S)
        _tell(report, next(iter(progress.stalled(ANSWER_LIMIT_S)), None))
        if session.state == "stopped" or was_interrupted():
            until_s = min(until_s, time.monotonic() + GRACE_S)
        if time.monotonic() > until_s and (stall := next(iter(progress.stalled(0)), None)):
            return stall
    if errors:
        raise errors[0]
    return None


def _stop(sessions: Sequence[Session]) -> None:
    """Stop all, each on a thread of its own: a source may hang while it is closed."""
    for session in sessions:
        threading.Thread(target=session.stop, name="stop", daemon=True).start()


def _is_over(session: Session, timeout_s: float) -> bool:
    try:
        return session.wait(timeout_s)
    except SessionError as error:
        assert session.error is error
        return True


def _tell(report: StallReport, stall: Stall | None) -> None:
    if sentence := report.news(stall):
        tqdm.write(f"realtime-polyp: {sentence}", file=sys.stderr)  # above the progress bar, where there is one
