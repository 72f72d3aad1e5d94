"""The viewer before a clip that comes at its own rate, until its time is over; python -m realtime_polyp.bench.watching
with what `paced` asks for in JSON. The last line of output is the session's summary."""

import json
import sys
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from realtime_polyp.bench.clips import Lasting
from realtime_polyp.bench.line import Setup, open_pipeline, with_jitter
from realtime_polyp.packets import Result
from realtime_polyp.session import Session
from realtime_polyp.sources import FileSource, Paced
from realtime_polyp.telemetry.machine import peak_mb, resident_mb
from realtime_polyp.telemetry.summary import summarise
from realtime_polyp.viewer.app import SourceInfo, run_viewer
from realtime_polyp.viewer.feed import SessionFeed

_MEMORY_EVERY_S = 30.0
_INTERRUPTED = 130


def main(arguments: list[str]) -> int:
    asked = json.loads(arguments[0])
    setup = Setup(asked["engine"], asked["detector"], asked["segmenter"])
    told = watch(setup, Path(asked["clip"]), asked["length_s"], full_screen=asked["full_screen"])
    print(json.dumps(told))
    return 0


def watch(setup: Setup, clip: Path, length_s: float, *, full_screen: bool = False) -> dict[str, Any]:
    """Raises SessionError when the session failed, KeyboardInterrupt when it was stopped."""
    pipeline, opened = open_pipeline(setup, "shared latency"), list[Session]()
    bar = tqdm(total=round(length_s), desc="live", unit="s", dynamic_ncols=True, disable=None)
    watcher = Watcher(bar)

    def open_feed(start_s: float) -> SessionFeed:
        source = Paced(Lasting(FileSource(clip, loop=True), length_s))
        feed = SessionFeed(source, pipeline, display="immediate", on_result=watcher.see)
        opened.append(feed.session)
        return feed

    began_cpu_s, began_s = time.process_time(), time.monotonic()
    code = run_viewer(
        open_feed, title=clip.name, info=SourceInfo(clip.name, True), full_screen=full_screen, quit_at_end=True
    )
    busy = (time.process_time() - began_cpu_s) / (time.monotonic() - began_s)
    bar.close()
    session = opened[-1]
    if session.error:
        raise session.error
    if code == _INTERRUPTED:
        raise KeyboardInterrupt
    return {**report_of(session), "cores_busy": round(busy, 2), "memory_mb": watcher.samples, "peak_mb": peak_mb()}


class Watcher:
    """Moves the bar and notes memory, samples (s, MB), as results pass."""

    def __init__(self, bar: "tqdm[Any]") -> None:
        self.samples: list[tuple[float, float]] = []
        self._bar = bar

    def see(self, result: Result) -> None:
        passed_s = result.frame.pts_s
        if not self.samples or passed_s - self.samples[-1][0] >= _MEMORY_EVERY_S:
            self.samples.append((round(passed_s, 1), round(resident_mb(), 1)))
        if passed_s - self._bar.n >= 1:
            self._bar.update(int(passed_s) - self._bar.n)


def report_of(session: Session) -> dict[str, Any]:
    """The summary, with jitter and how many overlays reached the screen with their delay known."""
    summary = summarise(session)
    return {
        **summary,
        "video_delay_ms": with_jitter(summary["video_delay_ms"]),
        "annotation_delay_ms": with_jitter(summary["annotation_delay_ms"]),
        "overlays_painted": session.annotation_delay_ms.count,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
