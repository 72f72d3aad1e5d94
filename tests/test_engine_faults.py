"""The table of engine faults: each way to be wrong, wherever results go, for a recording and for live video.

`python tests/test_engine_faults.py` runs it and prints it in Markdown.
"""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Run, needs
from engine_faults import BAD, FAULTS, Fault, Hang, engines_of, marked_picture
from media import write_clip

from realtime_polyp.cli import waiting
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
from realtime_polyp.viewer import condition, player_state

COUNT, RATE_HZ, SIZE = 24, 100, (96, 72)
PLACES = ("headless", "window", "several streams")
KINDS = ("file", "live")
PLACE_PARAMETERS = [pytest.param(place, marks=needs("qt") if place == "window" else ()) for place in PLACES]
LIMIT_MS = 20_000
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


@contextmanager
def window_on(fault: Fault, kind: str, clips: dict[str, Path], results: Path, qtbot: Any) -> Iterator[tuple[Any, Any]]:
    """The window and its sessions, while the marked video plays; results are on disk at the end."""
    from realtime_polyp.viewer.displayed import SourceInfo
    from realtime_polyp.viewer.session_factory import SessionFactory
    from realtime_polyp.viewer.window import ViewerWindow
    from realtime_polyp.viewer.window_options import ViewerOptions

    source = open_source(str(clips["marked"]))
    display = "immediate" if kind == "live" else "synced"
    options = parse(["--source", str(clips["marked"]), "--results", str(results), "--display", display])
    recorder = Recorder(open_outputs(options.output_specs[0], source.rate_hz), live=False)
    pipeline = Pipeline(*engines_of(fault), PipelineConfig())  # type: ignore[arg-type]
    sessions = SessionFactory(source, pipeline, options, recorder)
    info = SourceInfo("marked.mkv", kind == "live", None if kind == "live" else COUNT / RATE_HZ)
    window = ViewerWindow(sessions.open_feed, info, ViewerOptions("A test", snapshot_folder=results.parent))
    qtbot.addWidget(window)
    window.start()
    try:
        yield window, sessions
    finally:
        window.close()
        recorder.close()


def assert_no_overlay(window: Any) -> None:
    from PyQt5.QtGui import QImage

    from realtime_polyp.outputs.overlay import NO_SHAPES, SHOWN_COLOUR

    assert window.canvas.shapes() == NO_SHAPES
    image = window.canvas.grab().toImage().convertToFormat(QImage.Format_RGB888)
    rows = np.frombuffer(image.constBits().asstring(image.sizeInBytes()), np.uint8).reshape(image.height(), -1)
    colours = rows[:, : 3 * image.width()].reshape(image.height(), -1, 3)
    assert not (np.abs(colours.astype(int) - SHOWN_COLOUR).max(-1) < 20).any()


def check_window(fault: Fault, kind: str, clips: dict[str, Path], folder: Path, qtbot: Any) -> None:
    with window_on(fault, kind, clips, folder / "out.jsonl", qtbot) as (window, sessions):
        qtbot.waitUntil(lambda: window.player.phase == "failed", timeout=LIMIT_MS)
        window.refresh()
        assert window.condition.title == "Model failed" and window.condition.blanks and window.condition.covers
        assert window.player.failure.stage == "model"
        assert window.condition.detail.startswith("The model failed at frame ")
        frame = assert_error(sessions.session.error, fault, kind)
        assert window.player.displayed is None or window.player.displayed.result is None
        assert_no_overlay(window)
    assert_readable(folder / "out.jsonl", frame)


@pytest.mark.filterwarnings("error::RuntimeWarning")  # nothing is computed with what is not a number
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", PLACE_PARAMETERS)
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


@pytest.fixture
def hang(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hang]:
    """A model that hangs is told after 0.3 s; somebody then stops the sessions, and they are left after 0.3 s more."""
    one = Hang()

    @contextmanager
    def stop_once_it_hangs(action: Callable[[], None]) -> Iterator[None]:
        def wait() -> None:
            if one.reached.wait(LIMIT_MS / 1e3):
                time.sleep(0.8)
                action()

        threading.Thread(target=wait, daemon=True).start()
        yield

    monkeypatch.setattr(waiting, "on_interrupt", stop_once_it_hangs)
    for module in (waiting, condition):
        monkeypatch.setattr(module, "ANSWER_LIMIT_S", 0.3)
    monkeypatch.setattr(waiting, "GRACE_S", 0.3)
    monkeypatch.setattr(player_state, "NO_SIGNAL_S", 0.3)
    yield one
    one.release()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", PLACE_PARAMETERS)
def test_an_engine_that_hangs_is_told_and_left_behind(
    place: str, kind: str, hang: Hang, clips: dict[str, Path], tmp_path: Path, request: pytest.FixtureRequest
) -> None:  # fmt: skip
    results = tmp_path / "out.jsonl"
    if place == "window":
        qtbot = request.getfixturevalue("qtbot")
        with window_on(hang.fault, kind, clips, results, qtbot) as (window, _):
            qtbot.waitUntil(lambda: window.condition.name == "model not answering", timeout=LIMIT_MS)
            assert window.condition.title == "Model not answering" and window.condition.blanks
            assert window.condition.detail.startswith("No answer from the model for ")
            assert_no_overlay(window)
            hang.release()
    elif place == "headless":
        fakes = request.getfixturevalue("fake_engines")
        fakes["detector"], fakes["segmenter"] = engines_of(hang.fault)
        paced = ("--display", "immediate") if kind == "live" else ()
        code, _, stderr = request.getfixturevalue("run")("--source", clips["marked"], "--results", results, *paced)
        assert code == 130
        assert "realtime-polyp: no answer from the model for " in stderr
        assert "realtime-polyp: the model has not answered for " in stderr.splitlines()[-1]
    else:
        capture = request.getfixturevalue("capsys")
        went = analyse_together(
            [source_of(clips[name], kind) for name in ("plain", "marked")],
            [(), open_outputs(OutputSpec(results=results), Fraction(RATE_HZ))],
            runtime_of(hang.fault),
        )
        assert {session.state for session in went.sessions} <= {"stopped", "ended"}
        assert went.sessions[1].state == "stopped" and {stall.stage for stall in went.stalls} == {"model"}
        assert "realtime-polyp: no answer from the model for " in capture.readouterr().err
    assert_readable(results, BAD if kind == "file" else COUNT)


def test_several_streams_end_with_exit_code_1(
    clips: dict[str, Path], tmp_path: Path, fake_engines: dict[str, object], run: Run
) -> None:
    fake_engines["detector"], fake_engines["segmenter"] = engines_of(FAULTS["NaN mask"])
    code, stdout, stderr = run("--source", clips["plain"], clips["marked"], "--results", tmp_path / "out.jsonl")
    assert code == 1 and "together" in stdout
    assert stderr.splitlines() == [
        f"realtime-polyp: the model failed at frame {BAD}: its mask values are not numbers in 0..1 (fake, fake: 1 NaN)"
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
                cell = report.nodeid.partition("[")[2].rstrip("]")
                name, place, kind = (cell if "hangs" not in report.nodeid else f"hangs-{cell}").split("-")
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
