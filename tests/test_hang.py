"""A model, an output or a source that hangs: it is told, it can be ended, and what does not hang is closed."""

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Run, needs
from fakes import FakeDetector, ScriptedSource, picture, pipeline_of, runtime_of, wait_until
from media import write_clip

from realtime_polyp import interrupts
from realtime_polyp.cli import waiting
from realtime_polyp.cli.options import parse
from realtime_polyp.outputs import ResultsWriter
from realtime_polyp.outputs.recorder import Recorder
from realtime_polyp.packets import Result
from realtime_polyp.session import Session
from realtime_polyp.sources import FileSource, open_source
from realtime_polyp.watchdog import Progress, Stall, StalledError, StallReport

HANGS_AT = 12
LIVE = "pattern:96x72@50"
TOLD = r"realtime-polyp: no answer from the {} for \d+ s \(frame (\d+)\)"
LEFT = r"realtime-polyp: the {} has not answered for \d+ s \(frame (\d+)\)"


class Hang(threading.Event):
    """Ends what hangs once it is set; `stage` is where something hangs, as soon as it does."""

    stage: str | None = None

    def hang(self, stage: str) -> None:
        self.stage = stage
        self.wait()


class HangingDetector(FakeDetector):
    """Does not come back once it has been given HANGS_AT images, until `release`."""

    def __init__(self, release: Hang) -> None:
        super().__init__()
        self._release = release

    def __call__(self, pixels: Any) -> Any:
        if self.seen >= HANGS_AT:
            self._release.hang("model")
        return super().__call__(pixels)


@pytest.fixture
def release() -> Iterator[Hang]:
    """Set at the test's end, for the threads that it leaves behind."""
    event = Hang()
    yield event
    event.set()
    names = ("decode", "analyse", "deliver", "record", "finish")
    wait_until(lambda: not any(thread.name in names for thread in threading.enumerate()))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, release: Hang) -> threading.Event:
    """Short limits; set as soon as what hangs has been told. A busy machine may be told of before."""
    monkeypatch.setattr(waiting, "GRACE_S", 0.5)
    monkeypatch.setattr(waiting, "ANSWER_LIMIT_S", 0.1)
    event, news = threading.Event(), StallReport.news

    def watched(self: StallReport, stall: Stall | None) -> str | None:
        sentence = news(self, stall)
        if sentence and stall and stall.stage == release.stage:
            event.set()
        return sentence

    monkeypatch.setattr(StallReport, "news", watched)
    return event


@pytest.fixture
def clip(tmp_path: Path) -> str:
    return str(write_clip(tmp_path / "clip.mkv", count=60, size=(96, 72), rate=50, draw=picture))


@pytest.fixture
def run_hung(run: Run, fake_engines: dict[str, object], release: Hang) -> Run:
    """`run` with a detector that hangs."""
    fake_engines["detector"] = HangingDetector(release)
    return run


def interrupt_after(told: threading.Event) -> None:
    """Ctrl-C once it has been told, as the listener hears it."""

    def press() -> None:
        assert told.wait(20)
        while interrupts._listener is None:
            time.sleep(0.01)
        interrupts._listener._hear(signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()


def assert_told(stderr: str, stage: str) -> int:
    """While it hung, and when it was left behind; before, whatever a busy machine was slow with. Returns the frame."""
    *first, last = stderr.splitlines()
    left = re.fullmatch(LEFT.format(stage), last)
    assert left and all(re.fullmatch(TOLD.format("(?:source|model|output)"), line) for line in first), stderr
    assert left[1] in [found[1] for line in first if (found := re.fullmatch(TOLD.format(stage), line))], stderr
    return int(left[1])


def indices_of(path: Path) -> list[int]:
    return [json.loads(line)["index"] for line in path.read_text().splitlines()]


@pytest.mark.parametrize("kind", ["file", "live"])
def test_a_hung_model_headless(kind: str, clip: str, run_hung: Run, told: threading.Event, tmp_path: Path) -> None:
    results, video, summary = (tmp_path / name for name in ("a.jsonl", "a.mp4", "a.json"))
    interrupt_after(told)
    source = clip if kind == "file" else LIVE
    outputs = ("--results", results, "--save", video, "--summary", summary)
    code, stdout, stderr = run_hung("--source", source, "--no-fusion", *outputs)
    frame = assert_told(stderr, "model")
    assert code == 130 and "frames analysed" in stdout
    indices = indices_of(results)
    assert indices == sorted(set(indices)) and 0 < len(indices) and indices[-1] < frame
    saved = len(list(FileSource(video).frames()))  # of a live source also what was captured while the model hung
    assert saved == len(indices) if kind == "file" else saved >= len(indices)
    assert json.loads(summary.read_text())["state"] == "stopped"


@pytest.mark.parametrize("kind", ["file", "live"])
def test_a_hung_model_of_several_streams(
    kind: str, clip: str, run_hung: Run, told: threading.Event, tmp_path: Path
) -> None:
    interrupt_after(told)
    sources = (clip, clip) if kind == "file" else (LIVE, LIVE)
    outputs = ("--results", tmp_path / "a.jsonl", "--summary", tmp_path / "a.json")
    code, stdout, stderr = run_hung("--source", *sources, "--no-fusion", *outputs)
    assert code == 130 and "together" in stdout
    lines = stderr.splitlines()
    assert any(re.fullmatch(TOLD.format("model"), line) for line in lines)
    assert 1 <= sum(bool(re.fullmatch(LEFT.format("model"), line)) for line in lines) <= 2
    for number in (1, 2):
        indices = indices_of(tmp_path / f"a-{number}.jsonl")
        assert indices == sorted(set(indices))
    assert [one["state"] for one in json.loads((tmp_path / "a.json").read_text())["streams"]] == ["stopped"] * 2


@pytest.fixture
def hung_results(monkeypatch: pytest.MonkeyPatch, release: Hang) -> None:
    """The disk of the results does not come back at frame HANGS_AT."""
    write = ResultsWriter.write

    def hang(self: ResultsWriter, result: Result) -> None:
        if result.frame.index >= HANGS_AT:
            release.hang("output")
            return
        write(self, result)

    monkeypatch.setattr(ResultsWriter, "write", hang)


def test_a_hung_output_leaves_the_others_whole(
    clip: str, run: Run, hung_results: None, told: threading.Event, tmp_path: Path
) -> None:
    results, video, summary = (tmp_path / name for name in ("a.jsonl", "a.mp4", "a.json"))
    interrupt_after(told)
    outputs = ("--results", results, "--save", video, "--summary", summary)
    code, _, stderr = run("--source", clip, "--no-fusion", *outputs)
    assert code == 130 and assert_told(stderr, "output") == HANGS_AT
    assert indices_of(results) == list(range(HANGS_AT))
    assert len(list(FileSource(video).frames())) == HANGS_AT
    assert json.loads(summary.read_text())["frames_shown"] == HANGS_AT


def test_a_summary_that_hangs_can_be_ended(
    clip: str,
    run: Run,
    release: Hang,
    told: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr("realtime_polyp.cli.headless.write_summary", lambda *arguments, **named: release.hang("output"))
    monkeypatch.setattr(waiting, "was_interrupted", told.is_set)
    code, stdout, stderr = run("--source", clip, "--no-fusion", "--summary", tmp_path / "a.json")
    assert code == 130 and assert_told(stderr, "output") == 59
    assert "60 of 60 frames analysed" in stdout


def test_a_hung_model_is_left_behind_when_an_output_fails(clip: str, run_hung: Run, told: threading.Event) -> None:
    """Nobody asks for the end: the full disk does."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    code, _, stderr = run_hung("--source", clip, "--no-fusion", "--results", "/dev/full")
    assert code == 2 and "No space left" in stderr


class TestWindow:
    pytestmark = needs("qt")

    @pytest.fixture
    def show(
        self, clip: str, told: threading.Event, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, qapp: object
    ) -> Callable[[str, object], int]:
        from realtime_polyp.viewer import condition, player, player_state, session_factory

        monkeypatch.setattr(session_factory, "GRACE_S", 0.5)
        monkeypatch.setattr(session_factory, "ANSWER_LIMIT_S", 0.1)
        monkeypatch.setattr(condition, "ANSWER_LIMIT_S", 0.1)
        monkeypatch.setattr(player_state, "NO_SIGNAL_S", 0.1)
        monkeypatch.setattr(player.Player.close, "__defaults__", (0.2,))

        def show(source: str, detector: object) -> int:
            outputs = ["--results", str(tmp_path / "a.jsonl"), "--save", str(tmp_path / "a.mp4")]
            options = parse(["--source", source, "--summary", str(tmp_path / "a.json"), *outputs])
            return session_factory.show_source(open_source(source), runtime_of(detector), options)

        return show

    @pytest.mark.parametrize("kind", ["file", "live"])
    def test_a_hung_model(
        self,
        kind: str,
        clip: str,
        show: Callable[[str, object], int],
        release: Hang,
        told: threading.Event,
        capfd: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        from realtime_polyp.viewer.window import ViewerWindow

        seen, refresh = threading.Event(), ViewerWindow.refresh

        def look(window: ViewerWindow) -> None:
            refresh(window)
            if window.condition.title == "Model not answering" and told.is_set():
                assert window.condition.blanks and "No answer from the model for" in window.condition.detail
                assert window.condition.covers == (kind == "file")  # a live picture goes on
                seen.set()

        monkeypatch.setattr(ViewerWindow, "refresh", look)
        interrupt_after(seen)
        assert show(clip if kind == "file" else LIVE, HangingDetector(release)) == 130
        assert_told(capfd.readouterr().err, "model")
        indices = indices_of(tmp_path / "a.jsonl")
        saved = len(list(FileSource(tmp_path / "a.mp4").frames()))  # of a live source also what was not analysed
        assert indices == sorted(set(indices)) and (saved > len(indices) if kind == "live" else saved == len(indices))
        assert json.loads((tmp_path / "a.json").read_text())["state"] == "stopped"

    def test_a_hung_output(
        self,
        clip: str,
        show: Callable[[str, object], int],
        hung_results: None,
        told: threading.Event,
        capfd: pytest.CaptureFixture[str],
        tmp_path: Path,
    ) -> None:
        interrupt_after(told)
        assert show(clip, FakeDetector()) == 130
        assert assert_told(capfd.readouterr().err, "output") == HANGS_AT
        assert len(list(FileSource(tmp_path / "a.mp4").frames())) == HANGS_AT
        assert json.loads((tmp_path / "a.json").read_text())["state"] == "stopped"


# what is no hang


def assert_not_stalled(session: Session) -> None:
    """What is only slow ends; what hangs would be told for ever."""
    time.sleep(0.1)
    wait_until(lambda: session.stalled(0.05) is None)
    session.stop()


def test_a_recording_that_cannot_be_read_on() -> None:
    session = Session(ScriptedSource(90, blocks_at=5), pipeline_of(), lambda result: None)
    session.start()
    wait_until(lambda: session.tally().shown == 5 and session.stalled(0.05) is not None)
    stall = session.stalled(0.05)
    session.stop()
    assert stall and (stall.stage, stall.frame_index) == ("source", 5)
    assert stall.warning == "no picture from the source for 0 s (frame 5)"
    wait_until(lambda: session.wait(0))
    assert session.left_behind() is None


def test_a_live_source_without_pictures_says_so_itself() -> None:
    session = Session(ScriptedSource(90, live=True, blocks_at=5), pipeline_of(), lambda result: None)
    session.start()
    wait_until(lambda: session.tally().captured == 5)
    assert_not_stalled(session)


def test_a_viewer_that_is_paused(release: Hang) -> None:
    """The results wait until they are due, and everything before waits for them."""

    def show(result: Result) -> None:
        release.wait()

    session = Session(ScriptedSource(90), pipeline_of(), show, paints=True)
    session.start()
    wait_until(lambda: session.tally().captured > 10)
    assert_not_stalled(session)


def test_a_slow_output_is_told_once_a_frame() -> None:
    report, progress = StallReport(), Progress()
    with progress.working("output", 3):
        (stall,) = progress.stalled(0)
        assert report.news(stall) == "no answer from the output for 0 s (frame 3)" and report.news(stall) is None
    assert progress.stalled(0) == [] and report.news(Stall("output", 4, 12.3)) is not None
    assert str(Stall("model", 41, 14.2)) == "the model has not answered for 14 s (frame 41)"


def test_a_recorder_waits_for_a_disk_that_is_only_slow() -> None:
    class Slow:
        on_disk, name, written, closed = True, "slow", 0, False

        def write(self, result: Result) -> None:
            time.sleep(0.02)
            self.written += 1

        def close(self) -> None:
            self.closed = True

    from realtime_polyp.pipeline import run_inline

    results, slow = list(run_inline(ScriptedSource(20).frames(), pipeline_of())), Slow()
    recorder = Recorder([slow], live=False)
    for result in results:
        recorder.write(result)
    try:
        recorder.close(within_s=5)
    except StalledError:
        pytest.fail("no write took that long")
    assert slow.written == 20 and slow.closed


# whole processes

_HANGS = f"""
import sys, threading
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}]
from realtime_polyp import runtime
from realtime_polyp.cli import entry, main, waiting
from fakes import ScriptedSource, FakeSegmenter
from test_hang import Hang, HangingDetector
waiting.GRACE_S, waiting.ANSWER_LIMIT_S = 1.0, 0.2
main.open_named = lambda *a, **k: ScriptedSource(10**6)
runtime.open_detector = lambda *a, **k: HangingDetector(Hang())
runtime.open_segmenter = lambda *a, **k: FakeSegmenter()
runtime.check_gate = lambda engine: None
entry.run_process()
"""


def start_hanging(folder: Path, *sources: str) -> "subprocess.Popen[str]":
    """A process whose model hangs, once it has said so."""
    command = [sys.executable, "-c", _HANGS, "--source", *sources, "--headless", "--no-fusion"]
    command += ["--results", str(folder / "a.jsonl"), "--summary", str(folder / "a.json")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    line = process.stderr.readline()
    if "no answer from the model" not in line:
        process.kill()
        pytest.fail(line + process.communicate()[1])
    return process


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs the signals of POSIX")
def test_the_process_ends_although_its_pool_of_threads_hangs(tmp_path: Path) -> None:
    process = start_hanging(tmp_path, "x", "y")
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGHUP)  # as a terminal that closes does
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 130 and "together" in stdout
    assert re.search(LEFT.format("model"), stderr) and "Traceback" not in stderr
    assert json.loads((tmp_path / "a.json").read_text())["streams"][0]["state"] == "stopped"


def test_a_second_control_c_ends_at_once(tmp_path: Path) -> None:
    process = start_hanging(tmp_path, "x")
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130 and stderr == "" and not (tmp_path / "a.json").exists()
    assert indices_of(tmp_path / "a.jsonl") == list(range(len(indices_of(tmp_path / "a.jsonl"))))
