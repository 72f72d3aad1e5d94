"""A session without a window: as fast as the machine can, with a progress bar."""

import signal
import threading
from collections.abc import Sequence

from tqdm import tqdm

from realtime_polyp.outputs import Output, OutputError
from realtime_polyp.outputs.recorder import close_all
from realtime_polyp.packets import Result
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.session import Session, SessionError
from realtime_polyp.sources import Source

_JOIN_EVERY_S = 0.2  # so that Ctrl-C is heard while waiting


def run_headless(source: Source, pipeline: Pipeline, outputs: Sequence[Output]) -> Session:
    """Analyse to the end, every result to every output, which are closed whatever happens.

    Ctrl-C and SIGTERM end it early with everything written so far kept. What failed is in the session's `error`, also
    when it was an output's closing: what was analysed can still be reported.
    """
    # None: on a terminal only; elsewhere standard error holds nothing but what went wrong.
    bar = tqdm(total=source.frames_total, unit="frame", desc=source.name, dynamic_ncols=True, disable=None)

    def deliver(result: Result) -> None:
        for output in outputs:
            output.write(result)
        bar.update()

    session = Session(source, pipeline, deliver)
    with stopping_on_signals(session):
        session.start()
        try:
            while not session.wait(_JOIN_EVERY_S):
                continue
        except SessionError as error:
            assert session.error is error
        finally:
            bar.close()
            _close(outputs, session)
    return session


def _close(outputs: Sequence[Output], session: Session) -> None:
    try:
        close_all(outputs)
    except OutputError as error:
        session.error = session.error or SessionError("output", None, error)


class stopping_on_signals:  # noqa: N801 - reads as the statement it is
    """While inside, Ctrl-C and SIGTERM stop the sessions instead of raising in the middle of something."""

    def __init__(self, *sessions: Session) -> None:
        self._sessions = sessions
        self._before: dict[int, object] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, lambda *_: self._stop())

    def _stop(self) -> None:
        for session in self._sessions:
            session.stop()

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
