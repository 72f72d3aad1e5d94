"""The table of engine faults: each way to be wrong, wherever results go, for a recording and for live video.

`python tests/test_engine_faults.py` runs it and prints it in Markdown.
"""

import json
import os
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
import pytest
from conftest import Run, needs
from engine_faults import BAD, FAULTS, Fault, engines_of, marked_picture
from media import write_clip

from realtime_polyp.cli.multi import analyse_together
from realtime_polyp.cli.options import OutputSpec, parse
from realtime_polyp.config import PipelineConfig
from realtime_polyp.inference.host import HostInference
from realtime_polyp.outputs import open_outputs
from realtime_polyp.outputs.recorder import Recorder
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.runtime import Runtime, RuntimeConfig
from realtime_polyp.session import SessionError
from realtime_polyp.sources import Paced, Source, open_source

COUNT, RATE_HZ, SIZE = 24, 100, (96, 72)
PLACES = ("headless", "window", "several streams")
KINDS = ("file", "live")
LIMIT_S = 20.0
# The rows: one fault of each kind. tests/inference/test_checked.py has all of FAULTS on every path to the models.
ROWS = (
    "raises", "raises without words", "raises no Exception", "NaN score", "NaN box", "infinite score", "score of 1.5",
    "no boxes, None", "boxes of 3", "an image too few", "huge boxes", "NaN mask", "no mask, None", "huge mask",
)  # fmt: skip


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A video that is marked from frame BAD on, and one that is not."""
    folder = tmp_path_factory.mktemp("clips")
    form: Any = {"count": COUNT, "size": SIZE, "rate": RATE_HZ, "codec": "ffv1", "pix_fmt": "bgr0"}
    plain = write_clip(folder / "plain.mkv", draw=lambda index, size: marked_picture(index % BAD, size), **form)
    return {"plain": plain, "marked": write_clip(folder / "marked.mkv", draw=marked_picture, **form)}


def source_of(clip: Path, kind: str) -> Source:
    source = open_source(str(clip))
    return Paced(source) if kind == "live" else source


def runtime_of(fault: Fault) -> Runtime:
    engines = engines_of(fault)
    return Runtime(RuntimeConfig(), *engines, HostInference(*engines), PipelineConfig())  # type: ignore[arg-type]


def assert_error(error: SessionError | None, fault: Fault, kind: str, *, earliest: int = 3) -> int:
    """The stage, the frame and the sentence; returns the frame.

    earliest: where an answer is wrong as a whole, the first frame of a batch is named, at most this many before BAD.
    """
    assert error is not None and error.stage == "model" and error.frame_index is not None
    frame = error.frame_index
    assert str(error).startswith(f"the model failed at frame {frame}: ")
    pytest.raises(SessionError, _raise, error).match(fault.says)
    if kind == "live":
        assert frame >= BAD  # one frame a batch, and some are dropped
    else:
        assert frame == BAD if fault.by_row else BAD - earliest <= frame <= BAD
    return frame


def _raise(error: SessionError) -> None:
    raise error


def assert_readable(results: Path, before: int) -> None:
    """What was written until the failure is whole, and nothing was written of the frame that failed, or later."""
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    indices = [line["index"] for line in lines]
    assert indices == sorted(set(indices)) and all(index < before for index in indices)
    for line in lines:
        for one in line["detections"] + line["tracks"]:
            assert np.isfinite(one["box"]).all() and 0 <= one["score"] <= 1


def check_headless(fault: Fault, kind: str, clips: dict[str, Path], folder: Path, run: Run) -> None:
    paced = ("--display", "immediate") if kind == "live" else ()
    results, summary = folder / "out.jsonl", folder / "summary.json"
    code, _, stderr = run("--source", clips["marked"], "--results", results, "--summary", summary, *paced)
    assert code == 1
    (line,) = stderr.splitlines()
    assert line.startswith("realtime-polyp: the model failed at frame ")
    frame = int(line.split("frame ")[1].split(":")[0])
    assert_error(SessionError("model", frame, RuntimeError(line.split(": ", 2)[2])), fault, kind)
    assert_readable(results, frame)
    assert json.loads(summary.read_text())["frames_analysed"] <= frame


def check_several_streams(fault: Fault, kind: str, clips: dict[str, Path], folder: Path) -> None:
    """The first stream is good. It fails only where it shared a batch whose answer as a whole was wrong."""
    sources = [source_of(clips[name], kind) for name in ("plain", "marked", "plain")]
    files = [folder / f"{number}.jsonl" for number in range(3)]
    outputs = [open_outputs(OutputSpec(results=path), Fraction(RATE_HZ)) for path in files]
    went = analyse_together(sources, outputs, runtime_of(fault))
    good, bad, other = went.sessions
    frame = assert_error(bad.error, fault, kind, earliest=7)  # two batches of four that were joined
    assert bad.state == "failed" and bad.tally().balanced
    assert_readable(files[1], frame)
    for session, path in ((good, files[0]), (other, files[2])):
        assert_readable(path, COUNT)
        if session.error is None:
            assert session.state == "ended"
            assert kind == "live" or session.tally().shown == COUNT == len(path.read_text().splitlines())
        else:
            assert not fault.by_row  # a batch that was answered as a whole, wrongly, for all who share it
            pytest.raises(SessionError, _raise, session.error).match(fault.says)


def check_window(fault: Fault, kind: str, clips: dict[str, Path], folder: Path, qtbot: Any) -> None:
    from PyQt5.QtGui import QImage

    from realtime_polyp.outputs.overlay import NO_SHAPES, SHOWN_COLOUR
    from realtime_polyp.viewer.displayed import SourceInfo
    from realtime_polyp.viewer.session_factory import SessionFactory
    from realtime_polyp.viewer.window import ViewerOptions, ViewerWindow

    source = open_source(str(clips["marked"]))
    results = folder / "out.jsonl"
    display = "immediate" if kind == "live" else "synced"
    options = parse(["--source", str(clips["marked"]), "--results", str(results), "--display", display])
    recorder = Recorder(open_outputs(options.output_specs[0], source.rate_hz), live=False)
    pipeline = Pipeline(*engines_of(fault), PipelineConfig())  # type: ignore[arg-type]
    sessions = SessionFactory(source, pipeline, options, recorder)
    info = SourceInfo("marked.mkv", kind == "live", None if kind == "live" else COUNT / RATE_HZ)
    window = ViewerWindow(sessions.open_feed, info, ViewerOptions("A test", snapshot_folder=folder))
    qtbot.addWidget(window)
    window.start()
    qtbot.waitUntil(lambda: window.player.phase == "failed", timeout=int(LIMIT_S * 1e3))
    window.refresh()
    assert window.condition.title == "Model failed" and window.condition.blanks and window.condition.covers
    assert window.player.failure is not None and window.player.failure.stage == "model"
    assert window.condition.detail.startswith("The model failed at frame ")
    assert sessions.session is not None
    frame = assert_error(sessions.session.error, fault, kind)
    assert window.canvas.shapes() == NO_SHAPES
    displayed = window.player.displayed
    assert displayed is None or displayed.result is None
    image = window.canvas.grab().toImage().convertToFormat(QImage.Format_RGB888)
    pixels = np.frombuffer(image.constBits().asstring(image.sizeInBytes()), np.uint8).reshape(image.height(), -1)
    colours = pixels[:, : 3 * image.width()].reshape(image.height(), -1, 3)
    assert not (np.abs(colours.astype(int) - SHOWN_COLOUR).max(-1) < 20).any()
    window.close()
    recorder.close()
    assert_readable(results, frame)


@pytest.mark.filterwarnings("error::RuntimeWarning")  # nothing is computed with what is not a number
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", [*PLACES[:1], pytest.param(PLACES[1], marks=needs("qt")), *PLACES[2:]])
@pytest.mark.parametrize("name", ROWS)
def test_a_fault_of_the_engine_is_told_and_never_taken_for_no_polyp(
    name: str, place: str, kind: str, clips: dict[str, Path], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    fault = FAULTS[name]
    if place == "headless":
        fakes = request.getfixturevalue("fake_engines")
        fakes["detector"], fakes["segmenter"] = engines_of(fault)
        check_headless(fault, kind, clips, tmp_path, request.getfixturevalue("run"))
    elif place == "window":
        check_window(fault, kind, clips, tmp_path, request.getfixturevalue("qtbot"))
    else:
        check_several_streams(fault, kind, clips, tmp_path)


def test_several_streams_end_with_exit_code_1(
    clips: dict[str, Path], tmp_path: Path, fake_engines: dict[str, object], run: Run
) -> None:
    fake_engines["detector"], fake_engines["segmenter"] = engines_of(FAULTS["NaN mask"])
    code, stdout, stderr = run("--source", clips["plain"], clips["marked"], "--results", tmp_path / "out.jsonl")
    assert code == 1 and "together" in stdout
    assert stderr.splitlines() == [
        f"realtime-polyp: the model failed at frame {BAD}: its mask is not of numbers in 0..1 (fake, fake: 1 NaN)"
    ]
    assert len((tmp_path / "out-1.jsonl").read_text().splitlines()) == COUNT
    assert_readable(tmp_path / "out-2.jsonl", BAD)


def print_table() -> int:
    """Run every cell and print the table in Markdown; returns pytest's exit code."""
    outcomes: dict[tuple[str, str, str], str] = {}

    class Collector:
        @staticmethod
        def pytest_runtest_logreport(report: pytest.TestReport) -> None:
            if "[" in report.nodeid and (report.when == "call" or report.outcome != "passed"):
                name, rest = report.nodeid.partition("[")[2].rstrip("]").split("-", 1)
                place, kind = rest.rsplit("-", 1)
                outcomes[name, place, kind] = {"passed": "right", "failed": "WRONG"}.get(report.outcome, report.outcome)

    code = pytest.main(["-q", "--no-header", "--no-summary", __file__], plugins=[Collector()])
    columns = [(place, kind) for place in PLACES for kind in KINDS]
    print("\n| the model | " + " | ".join(f"{place}, {kind}" for place, kind in columns) + " |")
    print("|---" * (1 + len(columns)) + "|")
    for name in dict.fromkeys(name for name, _, _ in outcomes):
        print(f"| {name} | " + " | ".join(outcomes.get((name, *column), "-") for column in columns) + " |")
    return int(code)


if __name__ == "__main__":
    sys.exit(print_table())
