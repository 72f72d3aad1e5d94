"""Waits for sessions and outputs to end, reports stages that hang, and abandons those that do not end when stopped."""

import sys
import threading
import time
from collections.abc import Callable, Sequence

from tqdm import tqdm

from realtime_polyp.interrupts import on_interrupt, was_interrupted
from realtime_polyp.session import Session, SessionError
from realtime_polyp.watchdog import ANSWER_LIMIT_S, Progress, Stall, StallReport

GRACE_S = 3.0
"""How long a session or output may take to end after it was stopped, s."""
_POLL_S = 0.1


def run_to_end(sessions: Sequence[Session]) -> list[Stall]:
    """Start the sessions and wait until all have ended. Ctrl-C, SIGTERM and SIGHUP stop them.

    A stage that hangs is reported on standard error. Returns one stall for each session that did not end within GRACE_S
    after it was stopped or failed. The failure of a session is in its `error`.
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
            _report_stall(report, max(stalls, key=lambda one: one.seconds, default=None))
    return left_behind


def finish(work: Callable[[], None], session: Session) -> Stall | None:
    """Run the final work on the outputs of a session, such as closing them, on a thread. Raises what `work` raises.

    The work may take any time. Once the session was stopped or a signal arrived, it has GRACE_S left. Returns the stall
    if the work has not ended by then, else None.
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
        _report_stall(report, next(iter(progress.stalled(ANSWER_LIMIT_S)), None))
        if session.state == "stopped" or was_interrupted():
            until_s = min(until_s, time.monotonic() + GRACE_S)
        if time.monotonic() > until_s and (stall := next(iter(progress.stalled(0)), None)):
            return stall
    if errors:
        raise errors[0]
    return None


def _stop(sessions: Sequence[Session]) -> None:
    """Stop each session on a thread of its own, because closing a source may hang."""
    for session in sessions:
        threading.Thread(target=session.stop, name="stop", daemon=True).start()


def _is_over(session: Session, timeout_s: float) -> bool:
    try:
        return session.wait(timeout_s)
    except SessionError as error:
        assert session.error is error
        return True


def _report_stall(report: StallReport, stall: Stall | None) -> None:
    if sentence := report.news(stall):
        tqdm.write(f"realtime-polyp: {sentence}", file=sys.stderr)  # above the progress bar, where there is one
