"""What `run_live.py` can be asked for, and how bad input is refused: one sentence, exit code 2."""

import argparse
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

from realtime_polyp.engines import DEVICES, ENGINE_NAMES
from realtime_polyp.engines.weights import DEFAULT_DETECTOR, DEFAULT_SEGMENTER
from realtime_polyp.outputs import OutputSpec
from realtime_polyp.postprocess.nms import NMS_IOU, SCORE_THRESHOLD
from realtime_polyp.temporal.config import TemporalConfig

EXIT_BAD_INPUT = 2
_NONE = "none"
_TIMES = {
    "confirm_s": "show a polyp once it was seen for this long",
    "hold_s": "show it for this long while it is unseen",
    "release_s": "remember it for this long unseen, hold-s at least",
}
_DESCRIPTION = """Find and outline polyps in colonoscopy video, live or recorded.
Research use only; not a medical device.

Without --headless a window opens. A recording plays at its own rate, every frame with its own boxes and mask; a live
source shows its newest picture at once, with the newest result that is not too old."""
_EPILOG = """examples:
  python run_live.py --source video.mp4
  python run_live.py --source video.mp4 --headless --results out.jsonl --summary out.json
  python run_live.py --source video.mp4 --headless --save out.mp4 --start-s 60 --end-s 90
  python run_live.py --source video.mp4 --headless --events alarms.jsonl --events-pictures alarms
  python run_live.py --source 0 --confirm-s 0.3             show a polyp once it was seen for 0.3 s
  python run_live.py --source 0                         the first capture device (Linux: /dev/video0)
  python run_live.py --source rtsp://scope.example/1    a network stream
  python run_live.py --source pattern:1920x1080@30      a test picture, to try the screen
  python run_live.py --source folder/of/stills --detector none
  python run_live.py --source a.mp4 b.mp4 --results out.jsonl      two at once: out-1.jsonl and out-2.jsonl
  python run_live.py --source video.mp4 --streams 4   four copies of one source, to see what a machine carries
  python run_live.py --source video.mp4 --headless --trace trace.json      open it at ui.perfetto.dev

exit codes: 0 done, 2 bad input or an output that could not be written, 1 a failure inside, 130 interrupted"""


@dataclass(frozen=True)
class Options:
    """The command line, checked. detector, segmenter: a name, or None for none. sources: one a stream; score_threshold:
    None where the calibration or the usual one decides, as are the times."""

    sources: tuple[str, ...]
    headless: bool
    save: Path | None
    results: Path | None
    events: Path | None
    events_pictures: Path | None
    summary: Path | None
    trace: Path | None
    calibration: Path | None
    allow_unverified: bool
    engine: str
    device: str
    detector: str | None
    segmenter: str | None
    score_threshold: float | None
    nms_iou: float
    smooth: bool
    fusion: bool
    hflip: bool
    confirm_s: float | None
    hold_s: float | None
    release_s: float | None
    start_s: float
    end_s: float | None
    loop: bool
    display: Literal["synced", "immediate"] | None
    full_screen: bool
    sound: bool

    @property
    def source(self) -> str:
        """The first one; the only one in a window."""
        return self.sources[0]

    @property
    def wanted(self) -> list[OutputSpec]:
        """What each source is to leave behind."""
        numbers = range(1, len(self.sources) + 1) if len(self.sources) > 1 else [None]
        return [
            OutputSpec(
                numbered(self.results, number),
                numbered(self.save, number),
                numbered(self.events, number),
                numbered(self.events_pictures, number),
                count_alarms=self.summary is not None,
            )
            for number in numbers
        ]

    @property
    def outputs(self) -> list[Path]:
        """Every file that will be written, pictures of events apart."""
        each = [path for wanted in self.wanted for path in (wanted.results, wanted.save, wanted.events)]
        return [path for path in (*each, self.summary, self.trace) if path is not None]


def numbered(path: Path | None, number: int | None) -> Path | None:
    """ "out.jsonl" of the second of several is "out-2.jsonl"."""
    return path.with_stem(f"{path.stem}-{number}") if path and number else path


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One sentence without the usage, which --help shows."""
        print(f"{self.prog}: {message}", file=sys.stderr)
        raise SystemExit(EXIT_BAD_INPUT)


def parse(arguments: list[str] | None = None) -> Options:
    """Exits with code 2 and one sentence on bad input."""
    parser = Parser(
        prog="run_live.py",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_source(parser)
    _add_models(parser)
    _add_outputs(parser)
    found = vars(parser.parse_args(arguments))
    for name in ("score_threshold", "nms_iou"):
        if found[name] is not None and not 0 <= found[name] <= 1:
            parser.error(f"{_option(name)} must lie in [0, 1], got {found[name]:g}")
    for name in ("detector", "segmenter"):
        found[name] = None if found[name] == _NONE else found[name]
    _check_times(parser, found)
    _check_alarms(parser, found)
    sources, streams = found.pop("source"), found.pop("streams")
    if streams is not None and (streams < 1 or len(sources) not in (1, streams)):
        parser.error(f"--streams must be 1 or more, and as many as there are sources if several: got {streams}")
    found["sources"] = tuple(sources) * (streams or 1) if len(sources) == 1 else tuple(sources)
    return Options(**found)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _check_times(parser: Parser, found: dict[str, Any]) -> None:
    for name in _TIMES:
        option, time_s = _option(name), found[name]
        if time_s is not None and not (math.isfinite(time_s) and time_s >= 0):
            parser.error(f"{option} must be 0 or more seconds, got {time_s:g}")
        if time_s is not None and not found["smooth"]:
            parser.error(f"{option} is of no use with --no-smooth: leave one of them out")


def _check_alarms(parser: Parser, found: dict[str, Any]) -> None:
    """An alarm is a polyp followed over time."""
    if found["sound"] and found["headless"]:
        parser.error("--sound is heard from the window: leave out --headless")
    if found["sound"] and not found["smooth"]:
        parser.error("--sound needs polyps followed over time: leave out --no-smooth")
    if found["events_pictures"] and not found["events"]:
        parser.error("--events-pictures goes with --events OUT.jsonl, which tells what each picture shows")
    if found["events"] and not found["smooth"]:
        parser.error("--events needs polyps followed over time: leave out --no-smooth")
    if found["events"] and found["detector"] is None:
        parser.error("--events needs a detector")


def _add_source(parser: Parser) -> None:
    group = parser.add_argument_group("source")
    group.add_argument(
        "--source",
        required=True,
        nargs="+",
        metavar="SOURCE",
        help="video file, folder of stills, capture device, URL, or pattern; several are analysed together, headless",
    )
    group.add_argument("--streams", type=int, metavar="K", help="analyse K copies of one source, headless")
    group.add_argument("--start-s", type=float, default=0.0, metavar="S", help="begin there in a recording")
    group.add_argument("--end-s", type=float, metavar="S", help="stop there in a recording")
    group.add_argument("--loop", action="store_true", help="begin a recording again at its end, for ever")


def _add_models(parser: Parser) -> None:
    group = parser.add_argument_group("models")
    group.add_argument("--detector", default=DEFAULT_DETECTOR, metavar="NAME", help="or none (default: %(default)s)")
    group.add_argument("--segmenter", default=DEFAULT_SEGMENTER, metavar="NAME", help="or none (default: %(default)s)")
    group.add_argument("--engine", default="auto", metavar="NAME", help=f"{', '.join(ENGINE_NAMES)} (default: auto)")
    group.add_argument("--device", default="auto", metavar="NAME", help=f"{', '.join(DEVICES)} (default: auto)")
    group.add_argument(
        "--score-threshold",
        type=float,
        metavar="P",
        help=f"show boxes from this score on, calibrated where there is a calibration; 0 keeps all "
        f"(default: the calibration's, else {SCORE_THRESHOLD:g})",
    )
    group.add_argument("--nms-iou", type=float, default=NMS_IOU, metavar="IOU", help="default: %(default)s")
    group.add_argument("--calibration", type=Path, metavar="FILE.json", help="scores and operating point to use")
    group.add_argument(
        "--allow-unverified",
        action="store_true",
        help="use an engine that was not compared with float32, or lost too much; the viewer says so",
    )
    group.add_argument("--no-smooth", dest="smooth", action="store_false", help="raw results, not steadied over time")
    group.add_argument(
        "--no-fusion",
        dest="fusion",
        action="store_false",
        help="each model's own word: a box is not surer where the mask fills it; so with a --calibration of scores too",
    )
    group.add_argument(
        "--no-hflip",
        "--no-mirror",
        dest="hflip",
        action="store_false",
        help="show the models every frame as it is, not every other one mirrored; so it is with --no-smooth",
    )
    for name, does in _TIMES.items():
        usual = f"(default: the calibration's, else {getattr(TemporalConfig(), name):g})"
        group.add_argument(_option(name), type=float, metavar="S", help=f"{does} {usual}")


def _add_outputs(parser: Parser) -> None:
    group = parser.add_argument_group("display and outputs")
    group.add_argument("--headless", action="store_true", help="no window: analyse as fast as the machine can")
    group.add_argument(
        "--display",
        choices=("synced", "immediate"),
        help="synced: each frame with its own overlay (default for recordings); immediate: the newest picture at once, "
        "as from a live source (default there)",
    )
    group.add_argument("--full-screen", action="store_true", help="open the window full screen")
    group.add_argument("--sound", action="store_true", help="a soft sound for each new alarm (key A in the window)")
    group.add_argument("--save", type=Path, metavar="OUT.mp4", help="write the video with its overlay")
    group.add_argument("--results", type=Path, metavar="OUT.jsonl", help="write one JSON line for each analysed frame")
    group.add_argument("--events", type=Path, metavar="OUT.jsonl", help="write one JSON line for each alarm that ended")
    group.add_argument(
        "--events-pictures", type=Path, metavar="DIR", help="and its best frame as a JPEG in this folder"
    )
    group.add_argument("--summary", type=Path, metavar="OUT.json", help="write frames, delays, stages and versions")
    group.add_argument("--trace", type=Path, metavar="OUT.json", help="write what ran when, for ui.perfetto.dev")
