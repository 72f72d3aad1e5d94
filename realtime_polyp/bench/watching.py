"""Runs the viewer on a clip in real time for a given duration.

`paced.py` starts python -m realtime_polyp.bench.watching with its arguments in JSON. The last line of output is the
session's summary.
"""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import msgspec
from tqdm import tqdm

from realtime_polyp.bench.clips import TimeLimited
from realtime_polyp.bench.sessions import add_jitter
from realtime_polyp.engines import decoding_device
from realtime_polyp.json_files import parse_json
from realtime_polyp.packets import Result
from realtime_polyp.runtime import RuntimeConfig, open_runtime
from realtime_polyp.session import Session
from realtime_polyp.sources import FileSource, Paced
from realtime_polyp.telemetry.deadlines import limits_ms, misses_of
from realtime_polyp.telemetry.machine import peak_mb, resident_mb
from realtime_polyp.telemetry.summary import summarise
from realtime_polyp.viewer.app import SourceInfo, run_viewer
from realtime_polyp.viewer.feed import SessionFeed

_MEMORY_EVERY_S = 30.0
_INTERRUPTED = 130


def main(arguments: list[str]) -> int:
    try:
        given = parse_json(" ".join(arguments), _Given, "the argument", "a description of a run in JSON")
        config = RuntimeConfig(**given.config)
    except (ValueError, TypeError) as error:  # TypeError: a setting that this version has not
        print(f"realtime_polyp.bench.watching: {error}", file=sys.stderr)
        return 2
    print(json.dumps(watch(config, Path(given.clip), given.length_s, full_screen=given.full_screen)))
    return 0


class _Given(msgspec.Struct, frozen=True):
    """What `paced.py` asks for. config: of a `RuntimeConfig`."""

    config: dict[str, Any]
    clip: str
    length_s: Annotated[float, msgspec.Meta(gt=0, le=1e6)]
    full_screen: bool


def watch(config: RuntimeConfig, clip: Path, length_s: float, *, full_screen: bool = False) -> dict[str, Any]:
    """Show the clip in a loop for `length_s` and return the summary.

    Raises SessionError if the session fails, KeyboardInterrupt if it is interrupted.
    """
    pipeline, opened = open_runtime(replace(config, live=True)).pipeline(), list[Session]()
    bar = tqdm(total=round(length_s), desc="live", unit="s", dynamic_ncols=True, disable=None)
    progress = Progress(bar)

    def open_feed(start_s: float) -> SessionFeed:
        source = Paced(TimeLimited(FileSource(clip, loop=True, hardware=decoding_device(config.device)), length_s))
        feed = SessionFeed(source, pipeline, display="immediate", on_result=progress.update)
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
    return {
        **extend_summary(session),
        "cores_busy": round(busy, 2),
        "memory_mb": progress.samples,
        "peak_mb": peak_mb(),
    }


class Progress:
    """Advances the progress bar and samples memory (s, MB) with every result."""

    def __init__(self, bar: "tqdm[Any]") -> None:
        self.samples: list[tuple[float, float]] = []
        self._bar = bar

    def update(self, result: Result) -> None:
        passed_s = result.frame.pts_s
        if not self.samples or passed_s - self.samples[-1][0] >= _MEMORY_EVERY_S:
            self.samples.append((round(passed_s, 1), round(resident_mb(), 1)))
        if passed_s - self._bar.n >= 1:
            self._bar.update(int(passed_s) - self._bar.n)


def extend_summary(session: Session) -> dict[str, Any]:
    """Return the summary with jitter, deadline misses and the number of overlays that were painted."""
    summary, delays = summarise(session), session.annotation_delay_ms
    limits = limits_ms(session.source.rate_hz)
    return {
        **summary,
        "video_delay_ms": add_jitter(summary["video_delay_ms"]),
        "annotation_delay_ms": add_jitter(summary["annotation_delay_ms"]),
        "misses": {name: misses_of(session.tally(), delays, limit).to_dict() for name, limit in limits.items()},
        "overlays_painted": delays.count,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
