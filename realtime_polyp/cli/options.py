"""The command line of `run_live.py`. Bad input is refused with one sentence and exit code 2."""

import argparse
import math
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, NoReturn

from realtime_polyp.cli.capture_options import add_capture_options
from realtime_polyp.cli.config_file import config_text, with_settings_file
from realtime_polyp.cli.operating import add_operations, check_operations
from realtime_polyp.cli.source_options import add_picture_options
from realtime_polyp.console import EXIT_BAD_INPUT
from realtime_polyp.engines import DEVICES, ENGINE_NAMES
from realtime_polyp.engines.weights import DEFAULT_DETECTOR, DEFAULT_SEGMENTER, NO_MODEL
from realtime_polyp.field_of_view import FieldOfView
from realtime_polyp.outputs import OutputSpec
from realtime_polyp.outputs.overlay import OverlayStyle
from realtime_polyp.outputs.video import VIDEO_NAMES
from realtime_polyp.postprocess.nms import NMS_IOU, SCORE_THRESHOLD
from realtime_polyp.runtime import RuntimeConfig
from realtime_polyp.settings import SettingsError
from realtime_polyp.sources.capture_modes import CaptureRequest
from realtime_polyp.sources.deinterlace import Mode
from realtime_polyp.telemetry.summary import package_version
from realtime_polyp.temporal.config import TemporalConfig

LONGEST_PRE_ROLL_S = 600.0
_TIMES = {
    "confirm_s": "show a polyp after detections for this long",
    "hold_s": "keep showing it for this long without a detection",
    "release_s": "keep its number for this long without a detection; at least hold-s",
}
_NOT_IN_REVIEW = (
    "source",
    "place",
    "start_s",
    "end_s",
    "loop",
    "streams",
    "rate",
    "field",
    "record",
    "save",
    "results",
    "events",
    "summary",
    "trace",
    "keep_pace",
    "display",
)
_DESCRIPTION = """Find and outline polyps in colonoscopy video, live or recorded.
Research use only; not a medical device.

Without --headless a window opens; without a source, it shows what can be opened. Every frame of a recording is shown
with its own boxes and mask; where that takes too long, it plays slower and says so, or skips analysis (--keep-pace). A
live source shows its newest picture at once, with the newest result that is not too old."""
_EPILOG = """examples:
  python run_live.py                                    the start page: open a video, a session or a camera
  python run_live.py video.mp4                          the same as --source video.mp4
  python run_live.py --source video.mp4 --headless --results out.jsonl --summary out.json
  python run_live.py --source video.mp4 --headless --save out.mp4 --start-s 60 --end-s 90
  python run_live.py --source video.mp4 --headless --events alarms.jsonl --events-pictures alarms
  python run_live.py --source video.mp4 --headless --record sessions
  python run_live.py --review sessions/NAME              see it again, at any threshold
  python run_live.py --review sessions/NAME --report     write its report: HTML, PDF, tables, clips
  python run_live.py --source 0 --confirm-s 0.3             show a polyp after detections for 0.3 s
  python run_live.py --source 0                         the first capture device (Linux: /dev/video0)
  python run_live.py --source rtsp://scope.example/1    a network stream
  python run_live.py --source pattern:1920x1080@30      a test picture, to try the screen
  python run_live.py --source folder/of/stills --detector none
  python run_live.py --source a.mp4 b.mp4 --results out.jsonl      two at once: out-1.jsonl and out-2.jsonl
  python run_live.py --source video.mp4 --streams 4   four copies of one source, to measure capacity
  python run_live.py --source video.mp4 --headless --trace trace.json      open it at ui.perfetto.dev

exit codes: 0 done, 2 bad input or an output that could not be written, 1 a failure inside, 130 interrupted"""


@dataclass(frozen=True)
class Options:
    """The command line, checked. detector, segmenter: a name, or None for none. sources: one per stream; none: the
    window's start page. score_threshold and times: None means the calibration's value, else the default.
    blank_outside, sound: None means the settings' value, else the default. style: how results are drawn."""

    sources: tuple[str, ...]
    headless: bool
    save: Path | None
    results: Path | None
    events: Path | None
    events_pictures: Path | None
    summary: Path | None
    trace: Path | None
    overwrite: bool
    review: Path | None
    report: Path | None
    source_at: Path | None
    reanalyse: bool
    record: Path | None
    copy_source: bool
    pre_roll: float | None
    blank_outside: bool | None
    settings: Path | None
    calibration: Path | None
    allow_unverified: bool
    engine: str
    device: str
    detector: str | None
    segmenter: str | None
    score_threshold: float | None
    nms_iou: float
    temporal: bool
    fusion: bool
    hflip: bool
    confirm_s: float | None
    hold_s: float | None
    release_s: float | None
    start_s: float
    end_s: float | None
    loop: bool
    rate: float | None
    field: FieldOfView | None
    give_up_after: float | None
    list_devices: bool
    capture_size: tuple[int, int] | None
    capture_rate: Fraction | None
    capture_format: str | None
    capture_input: int | None
    allow_playlists: bool
    deinterlace: Mode
    ahead: bool | None
    display: Literal["synced", "immediate"] | None
    keep_pace: bool
    full_screen: bool
    sound: bool | None
    verbose: bool
    metrics: int | None
    log: Path | None
    remote: int | None
    remote_host: str | None
    remote_token: Path | None
    style: OverlayStyle = OverlayStyle()

    @property
    def source(self) -> str:
        """The first one; the only one in a window."""
        return self.sources[0]

    @property
    def capture(self) -> CaptureRequest:
        """What is asked of a capture device."""
        return CaptureRequest(self.capture_size, self.capture_rate, self.capture_format, self.capture_input)

    @property
    def output_specs(self) -> list[OutputSpec]:
        """What each source leaves behind."""
        numbers = range(1, len(self.sources) + 1) if len(self.sources) > 1 else [None]
        return [
            OutputSpec(
                add_number(self.results, number),
                add_number(self.save, number),
                add_number(self.events, number),
                add_number(self.events_pictures, number),
                count_alarms=self.temporal and self.detector is not None,
                blank_outside=self.blank_outside,
                style=self.style,
            )
            for number in numbers
        ]

    @property
    def files(self) -> list[Path]:
        """The files of the run as a whole."""
        return [path for path in (self.summary, self.trace) if path is not None]

    def runtime_config(self, *, live: bool) -> RuntimeConfig:
        """What the line is asked for. live: the source is."""
        return RuntimeConfig(
            detector=self.detector,
            segmenter=self.segmenter,
            engine=self.engine,
            device=self.device,
            live=live or self.display == "immediate" or self.keep_pace,
            calibration=self.calibration,
            score_threshold=self.score_threshold,
            nms_iou=self.nms_iou,
            temporal=self.temporal,
            fusion=self.fusion,
            hflip=self.hflip,
            confirm_s=self.confirm_s,
            hold_s=self.hold_s,
            release_s=self.release_s,
            allow_unverified=self.allow_unverified,
            field=self.field,
        )


def add_number(path: Path | None, number: int | None) -> Path | None:
    """ "out.jsonl" of the second of several sources is "out-2.jsonl"; a folder such as "." has no name to number."""
    return path.with_stem(f"{path.stem}-{number}") if path and path.name and number else path


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One sentence without the usage, which --help shows."""
        print(f"{self.prog}: {message}", file=sys.stderr)
        raise SystemExit(EXIT_BAD_INPUT)


def parse(arguments: list[str] | None = None, *, program: str = "realtime-polyp") -> Options:
    """Exits with code 2 and one sentence on bad input."""
    parser = Parser(
        prog=program,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"realtime-polyp {package_version()}")
    _add_source(parser)
    _add_models(parser)
    _add_outputs(parser)
    add_operations(parser)
    try:
        given = with_settings_file(parser, sys.argv[1:] if arguments is None else arguments)
    except SettingsError as error:
        parser.error(str(error))
    found = vars(parser.parse_args(given))
    config = config_text(parser, given) if found.pop("print_config") else None
    for name in ("score_threshold", "nms_iou"):
        if found[name] is not None and not 0 <= found[name] <= 1:
            parser.error(f"{_option(name)} must lie in [0, 1], got {found[name]:g}")
    for name in ("detector", "segmenter"):
        found[name] = None if found[name] == NO_MODEL else found[name]
    _check_times(parser, found)
    _check_record(parser, found)
    _check_review(parser, found)
    _check_alarms(parser, found)
    _check_display(parser, found)
    check_operations(parser, found)
    give_up = found["give_up_after"]
    if give_up is not None and not (math.isfinite(give_up) and give_up >= 0):
        parser.error(f"--give-up-after must be 0 or more seconds, got {give_up:g}")
    sources, streams = _sources(parser, found), found.pop("streams")
    if streams is not None and (streams < 1 or len(sources) not in (1, streams)):
        parser.error(f"--streams must be 1 or more, and as many as there are sources if several: got {streams}")
    if config:
        print(config)
        raise SystemExit(0)
    found["sources"] = tuple(sources) * (streams or 1) if len(sources) == 1 else tuple(sources)
    return Options(**found)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _sources(parser: Parser, found: dict[str, Any]) -> list[str]:
    """What is named behind --source or alone; nothing at all asks for the window's start page."""
    named, alone = found.pop("source"), found.pop("place")
    if named and alone:
        parser.error(f"name the source once: --source {named[0]}, or {alone[0]} alone")
    if found["headless"] and not (named or alone or found["review"] or found["list_devices"]):
        parser.error("--headless needs a source: name a video, a folder of stills, a device or a URL")
    return list(named or alone)


def _check_times(parser: Parser, found: dict[str, Any]) -> None:
    for name in _TIMES:
        option, time_s = _option(name), found[name]
        if time_s is not None and not (math.isfinite(time_s) and time_s >= 0):
            parser.error(f"{option} must be 0 or more seconds, got {time_s:g}")
        if time_s is not None and not found["temporal"]:
            parser.error(f"{option} has no effect with --no-smooth: leave one of them out")


def _check_display(parser: Parser, found: dict[str, Any]) -> None:
    if found["keep_pace"] and found["headless"]:
        parser.error("--keep-pace needs the window: leave out --headless, or use --display immediate")
    if found["keep_pace"] and found["display"]:
        parser.error("--keep-pace is a display of its own: leave out --display")


def _check_alarms(parser: Parser, found: dict[str, Any]) -> None:
    """An alarm is a polyp followed over time."""
    if found["sound"] and found["headless"]:
        parser.error("--sound needs the window: leave out --headless")
    if found["sound"] and not found["temporal"]:
        parser.error("--sound needs polyps followed over time: leave out --no-smooth")
    if found["events_pictures"] and not found["events"]:
        parser.error("--events-pictures needs --events OUT.jsonl, which describes each picture")
    if found["events"] and not found["temporal"]:
        parser.error("--events needs polyps followed over time: leave out --no-smooth")
    if found["events"] and found["detector"] is None:
        parser.error("--events needs a detector")


def _check_record(parser: Parser, found: dict[str, Any]) -> None:
    for name in ("copy_source", "pre_roll"):
        if found[name] and not found["record"]:
            parser.error(f"{_option(name)} needs --record DIR")
    pre_roll = found["pre_roll"]
    if pre_roll is not None and found["headless"]:
        parser.error("--pre-roll needs the window, where key K is: leave out --headless")
    if pre_roll is not None and not 0 < pre_roll <= LONGEST_PRE_ROLL_S:
        parser.error(f"--pre-roll must be above 0 and at most {LONGEST_PRE_ROLL_S:g} seconds, got {pre_roll:g}")


def _check_review(parser: Parser, found: dict[str, Any]) -> None:
    """With --review, what is played is the session."""
    if not found["review"]:
        for name in ("source_at", "reanalyse", "report"):
            if found[name]:
                parser.error(f"{_option(name)} needs --review DIR")
        return
    if found["reanalyse"] and found["report"]:
        parser.error("--reanalyse and --report are two runs: leave one of them out")
    for name in _NOT_IN_REVIEW:
        if found[name] and not (name == "field" and found["reanalyse"]):
            option = "the source" if name == "place" else _option(name)
            parser.error(f"--review shows a session as it was recorded: leave out {option}")


def _add_source(parser: Parser) -> None:
    group = parser.add_argument_group("source")
    group.add_argument("place", nargs="*", metavar="SOURCE", help="as --source")
    group.add_argument(
        "--source",
        nargs="+",
        metavar="SOURCE",
        help="video file, folder of stills, capture device, URL, or pattern; several are analysed together, headless",
    )
    group.add_argument("--review", type=Path, metavar="DIR", help="a session of --record: show it instead of a source")
    group.add_argument("--source-at", type=Path, metavar="FILE", help="the session's video, where it was moved")
    group.add_argument(
        "--report",
        type=Path,
        nargs="?",
        const=Path(),
        metavar="OUT",
        help="with --review: write the session's report (HTML, PDF, tables, clips), by default to DIR/report",
    )
    group.add_argument(
        "--reanalyse", action="store_true", help="run the models over the session again and print how the alarms differ"
    )
    group.add_argument("--streams", type=int, metavar="K", help="analyse K copies of one source, headless")
    group.add_argument("--start-s", type=float, default=0.0, metavar="S", help="start of the part to analyse, s")
    group.add_argument("--end-s", type=float, metavar="S", help="end of the part to analyse, s")
    group.add_argument("--loop", action="store_true", help="repeat a recording for ever")
    add_picture_options(group)
    add_capture_options(group)
    group.add_argument(
        "--give-up-after",
        type=float,
        metavar="S",
        help="end when a live source was away for S seconds; 0: at once (default: try for ever to open it again)",
    )
    group.add_argument(
        "--allow-playlists",
        action="store_true",
        help="open playlists (HLS, ffconcat) and redirects, which lead to files and hosts that are not named here",
    )


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
        help=f"lowest score of a box that is shown, calibrated where there is a calibration; 0 keeps all "
        f"(default: the calibration's, else {SCORE_THRESHOLD:g})",
    )
    group.add_argument("--nms-iou", type=float, default=NMS_IOU, metavar="IOU", help="default: %(default)s")
    group.add_argument("--calibration", type=Path, metavar="FILE.json", help="scores and operating point to use")
    group.add_argument(
        "--allow-unverified",
        action="store_true",
        help="accept an engine that has not passed the accuracy gate; the viewer shows a warning",
    )
    group.add_argument(
        "--no-smooth", dest="temporal", action="store_false", help="raw results, without temporal filtering"
    )
    group.add_argument(
        "--no-fusion",
        dest="fusion",
        action="store_false",
        help="disable detector-segmenter fusion (implied by a scores-only --calibration)",
    )
    group.add_argument(
        "--no-hflip",
        "--no-mirror",
        dest="hflip",
        action="store_false",
        help="do not flip every second frame for the models (implied by --no-smooth)",
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
        help="synced: each frame with its own overlay, however long that takes (default for recordings); immediate: "
        "the newest picture at once, with the newest result that is not too old (default for live sources)",
    )
    group.add_argument(
        "--keep-pace",
        action="store_true",
        help="play a recording at its own rate: what cannot be analysed in time is shown without (key G in the window)",
    )
    group.add_argument(
        "--no-ahead",
        dest="ahead",
        action="store_false",
        default=None,
        help="do not analyse a recording ahead of the player, in the background, for the alarms on the timeline",
    )
    group.add_argument("--full-screen", action="store_true", help="open the window full screen")
    group.add_argument(
        "--sound",
        action=argparse.BooleanOptionalAction,
        help="a soft sound for each new alarm (default: with a live source; key A in the window)",
    )
    group.add_argument(
        "--blank-outside",
        action=argparse.BooleanOptionalAction,
        help="leave everything outside the field of view, such as names, out of saved video, snapshots and pictures of "
        "alarms (default: out of the pictures of alarms)",
    )
    group.add_argument(
        "--settings",
        type=Path,
        metavar="FILE.toml",
        help="use these settings and options (docs/operations.md); without it, the window uses the user's own settings",
    )
    group.add_argument(
        "--print-config", action="store_true", help="print all options and settings as such a file, and end"
    )
    group.add_argument("--save", type=Path, metavar="OUT.mp4", help=f"write the video with its overlay ({VIDEO_NAMES})")
    group.add_argument("--results", type=Path, metavar="OUT.jsonl", help="write one JSON line for each analysed frame")
    group.add_argument("--events", type=Path, metavar="OUT.jsonl", help="write one JSON line for each alarm that ended")
    group.add_argument(
        "--events-pictures", type=Path, metavar="DIR", help="and its best frame as a JPEG in this folder"
    )
    group.add_argument(
        "--summary", type=Path, metavar="OUT.json", help="write counts, delays, stage times and versions"
    )
    group.add_argument("--trace", type=Path, metavar="OUT.json", help="write a timeline for ui.perfetto.dev")
    group.add_argument(
        "--record",
        type=Path,
        metavar="DIR",
        help="record the session: the original picture, all results and an audit log, in a new folder in DIR",
    )
    group.add_argument(
        "--copy-source", action="store_true", help="with --record: copy a video file into the session; else refer to it"
    )
    group.add_argument(
        "--pre-roll",
        type=float,
        metavar="S",
        help="keep the last S seconds of a live source, so that key K can record what has just passed; needs --record",
    )
    group.add_argument("--overwrite", action="store_true", help="replace outputs that exist already")
    group.add_argument("--verbose", action="store_true", help="print delays and stage times at the end, headless")
