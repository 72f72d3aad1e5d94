"""The command: what it writes, and that whatever goes wrong is one sentence, exit code 2, and nothing lost."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from conftest import ROOT
from fakes import RATE_HZ, FakeDetector, picture
from media import blank_pictures, cut_file, number_of, numbered, write_clip, write_sound
from pycocotools import mask as coco_mask

import run_live
from realtime_polyp import engines
from realtime_polyp.engines import weights as weights_module
from realtime_polyp.engines.weights import find_weights
from realtime_polyp.outputs import ResultsWriter, VideoWriter
from realtime_polyp.outputs.output_file import OutputFile
from realtime_polyp.packets import Result
from realtime_polyp.sources import FileSource

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools's
FAKES = ["--headless", "--detector", "fake", "--segmenter", "fake"]
COUNT, SIZE = 30, (96, 72)

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(fake_engines: dict[str, object], capfd: pytest.CaptureFixture[str]) -> Run:
    """Run the command in this process on fake models: (exit code, stderr, libraries' own included)."""

    def run_(*arguments: object) -> tuple[int, str]:
        capfd.readouterr()
        try:
            code = run_live.main([*FAKES, "--overwrite", *map(str, arguments)])
        except SystemExit as end:
            code = int(end.code or 0)
        return code, capfd.readouterr().err

    return run_


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.mp4", count=COUNT, size=SIZE, rate=RATE_HZ, draw=picture)


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def assert_refused(outcome: tuple[int, str], *said: str) -> None:
    code, stderr = outcome
    assert code == 2
    lines = stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("realtime-polyp: "), stderr
    assert all(words in lines[0] for words in said), stderr


# what it writes


def test_results_are_one_line_a_frame_in_the_documented_format(run: Run, clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    assert run("--source", clip, "--results", out) == (0, "")
    lines = lines_of(out)
    assert [line["index"] for line in lines] == list(range(COUNT))
    assert [line["pts_s"] for line in lines] == pytest.approx([i / RATE_HZ for i in range(COUNT)], abs=1e-5)
    for line in lines:
        assert {"format", "index", "pts_s", "field_of_view", "detections", "tracks", "mask"} <= set(line)
        assert line["field_of_view"] == [0, 0, *SIZE] and all(type(value) is int for value in line["field_of_view"])
        for one in line["detections"]:
            assert set(one) == {"box", "score"} and 0 <= one["score"] <= 1
        for one in line["tracks"]:
            drawn = set() if one["state"] == "tentative" else {"drawn_box", "outline"}
            assert set(one) == {"id", "box", "score", "state"} | drawn and one["state"] in (
                "tentative",
                "shown",
                "held",
            )
        for x1, y1, x2, y2 in [one["box"] for one in line["detections"] + line["tracks"]]:
            assert 0 <= x1 < x2 <= SIZE[0] and 0 <= y1 < y2 <= SIZE[1]
    assert {track["state"] for line in lines for track in line["tracks"]} == {"tentative", "shown"}


def test_masks_in_results_are_coco_run_lengths_of_the_source_size(run: Run, clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    run("--source", clip, "--results", out, "--no-smooth")
    frames = list(FileSource(clip).frames())
    for line, frame in zip(lines_of(out), frames, strict=True):
        assert line["mask"]["size"] == [SIZE[1], SIZE[0]]
        found = coco_mask.decode(line["mask"]).astype(bool)
        assert found.shape == frame.image.shape[:2]
        truth = frame.image[..., 2] > 190
        assert (found & truth).sum() >= 0.7 * (found | truth).sum() > 0


def test_no_segmenter_no_mask(run: Run, clip: Path, tmp_path: Path) -> None:
    run("--source", clip, "--results", tmp_path / "out.jsonl", "--segmenter", "none")
    assert {line["mask"] for line in lines_of(tmp_path / "out.jsonl")} == {None}


def test_the_summary_has_every_figure(run: Run, clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    assert run("--source", clip, "--summary", out)[0] == 0
    summary = json.loads(out.read_text())
    assert summary["frames_captured"] == summary["frames_shown"] == summary["frames_analysed"] == COUNT
    assert summary["dropped"] == {} and summary["fps"] > 0
    for name in ("video_delay_ms", "annotation_delay_ms"):
        values = [summary[name][key] for key in ("p50", "p95", "p99", "p999", "max")]
        assert (
            list(summary[name]) == ["p50", "p95", "p99", "p999", "max"] and values == sorted(values) and values[0] > 0
        )
    assert {"decode", "prepare", "detect", "segment", "postprocess", "track"} <= set(summary["stages_ms"])
    assert all(set(times) == {"p50", "p95"} for times in summary["stages_ms"].values())
    assert summary["engine"] == "fake" and summary["device"] == "cpu"
    assert summary["models"] == {"detector": "fake", "segmenter": "fake"}
    assert {"python", "av", "numpy", "openvino"} <= set(summary["versions"])


def test_drops_of_a_live_source_are_in_the_summary(run: Run, fake_engines: dict[str, object], tmp_path: Path) -> None:
    fake_engines["detector"] = FakeDetector(delay_s=0.1)
    assert run("--source", "pattern:96x64@100:1", "--summary", tmp_path / "out.json")[0] == 0
    summary = json.loads((tmp_path / "out.json").read_text())
    dropped = sum(count for reasons in summary["dropped"].values() for count in reasons.values())
    assert summary["dropped"]["queue"]["newer frame"] > 20
    assert summary["frames_captured"] == summary["frames_shown"] + dropped + summary["frames_pending"] == 100


@pytest.mark.parametrize("size", [(96, 72), (97, 73), (33, 64)])
def test_the_saved_video_has_every_frame_at_its_time(run: Run, tmp_path: Path, size: tuple[int, int]) -> None:
    source = write_clip(tmp_path / "a.mkv", count=COUNT, size=size, rate=RATE_HZ, codec="ffv1", pix_fmt="bgr0")
    no_overlay = ("--detector", "none", "--segmenter", "none")
    assert run("--source", source, "--save", tmp_path / "out.mp4", *no_overlay) == (0, "")
    frames = list(FileSource(tmp_path / "out.mp4").frames())
    even_size = (size[0] + size[0] % 2, size[1] + size[1] % 2)
    assert len(frames) == COUNT and {frame.image.shape[1::-1] for frame in frames} == {even_size}
    assert [frame.pts_s for frame in frames] == pytest.approx([i / RATE_HZ for i in range(COUNT)], abs=1e-3)
    pictures = [frame.image[: size[1], : size[0]] for frame in frames]
    assert [number_of(image) for image in pictures] == list(range(COUNT))
    above = slice(0, size[1] - 12)  # the research-use notice is below
    assert max(np.abs(image.astype(int) - numbered(i, size))[above].mean() for i, image in enumerate(pictures)) < 12


def test_the_saved_video_keeps_times_that_are_not_even(run: Run, tmp_path: Path) -> None:
    times_ms = [0, 33, 100, 101, 400, 1000, 1040, 1050]
    source = write_clip(tmp_path / "vfr.mkv", count=8, times_ms=times_ms, options={"bf": "0"})
    assert run("--source", source, "--save", tmp_path / "out.mp4")[0] == 0
    frames = list(FileSource(tmp_path / "out.mp4").frames())
    assert [frame.pts_s for frame in frames] == pytest.approx([t / 1000 for t in times_ms], abs=1e-3)


def test_the_saved_video_shows_the_overlay(run: Run, clip: Path, tmp_path: Path) -> None:
    run("--source", clip, "--save", tmp_path / "out.mp4", "--no-smooth")
    plain, painted = ([f.image.astype(int) for f in FileSource(path).frames()] for path in (clip, tmp_path / "out.mp4"))
    green = [np.count_nonzero(image[..., 1] - image[..., 0] > 60) for image in painted]
    assert min(green) > 30 and not any(np.count_nonzero(image[..., 1] - image[..., 0] > 60) for image in plain)


def test_a_part_of_a_recording(run: Run, clip: Path, tmp_path: Path) -> None:
    assert run("--source", clip, "--results", tmp_path / "out.jsonl", "--start-s", 0.4, "--end-s", 0.8)[0] == 0
    assert [line["pts_s"] for line in lines_of(tmp_path / "out.jsonl")] == pytest.approx(
        [i / RATE_HZ for i in range(10, 20)], abs=1e-5
    )


def test_a_folder_of_stills(run: Run, tmp_path: Path) -> None:
    stills = tmp_path / "stills"
    stills.mkdir()
    for index in range(3):
        cv2.imwrite(str(stills / f"{index}.png"), picture(index)[..., ::-1])
    assert run("--source", stills, "--results", tmp_path / "out.jsonl")[0] == 0
    assert [line["index"] for line in lines_of(tmp_path / "out.jsonl")] == [0, 1, 2]
    assert [line["file"] for line in lines_of(tmp_path / "out.jsonl")] == ["0.png", "1.png", "2.png"]


def test_a_score_threshold_of_zero_keeps_all(run: Run, clip: Path, tmp_path: Path) -> None:
    for threshold, count in (("0", 2), ("0.3", 1), ("1", 0)):
        run("--source", clip, "--results", tmp_path / "out.jsonl", "--score-threshold", threshold)
        assert {len(line["detections"]) for line in lines_of(tmp_path / "out.jsonl")} == {count}


def test_an_existing_output_is_kept_unless_overwriting_is_asked_for(
    fake_engines: dict[str, object], clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for option, name in (
        ("--results", "a.jsonl"),
        ("--save", "a.mp4"),
        ("--events", "e.jsonl"),
        ("--summary", "s.json"),
    ):
        (tmp_path / name).write_text("an earlier session's")
        code = run_live.main([*FAKES, "--source", str(clip), option, str(tmp_path / name)])
        assert_refused((code, capfd.readouterr().err), name, "it exists already; add --overwrite")
        assert (tmp_path / name).read_text() == "an earlier session's"


def test_a_headless_run_ends_with_what_was_found(
    fake_engines: dict[str, object], clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.jsonl"
    assert run_live.main([*FAKES, "--source", str(clip), "--results", str(out), "--events", str(tmp_path / "e")]) == 0
    said = capfd.readouterr().out.splitlines()
    alarm = json.loads((tmp_path / "e").read_text().splitlines()[0])
    assert said[0] == "1 polyp was shown:"
    assert said[1].split()[:2] == ["polyp", "1"] and f"peak score {alarm['peak_score']:.2f}" in said[1]
    assert f"best frame {alarm['best']['index']} at" in said[1]
    assert said[2].startswith(f"{COUNT} of {COUNT} frames analysed")
    assert said[3] == f"written: {out}, {tmp_path / 'e'}" and len(said) == 4


# what can be wrong with the input


def _no_such_file(folder: Path) -> Path:
    return folder / "nowhere.mp4"


def _empty_folder(folder: Path) -> Path:
    (folder / "empty").mkdir()
    (folder / "empty" / "notes.txt").write_text("no pictures here")
    return folder / "empty"


def _text_file(folder: Path) -> Path:
    (folder / "notes.txt").write_text("This is not a video.\n" * 50)
    return folder / "notes.txt"


def _text_named_mp4(folder: Path) -> Path:
    (folder / "notes.mp4").write_text("This is not a video.\n" * 50)
    return folder / "notes.mp4"


def _sound_only(folder: Path) -> Path:
    return write_sound(folder / "sound.mp4")


def _empty_file(folder: Path) -> Path:
    (folder / "empty.mp4").touch()
    return folder / "empty.mp4"


def _unfinished_mp4(folder: Path) -> Path:
    return cut_file(write_clip(folder / "cut.mp4", count=COUNT), 0.6)


def _undecodable(folder: Path) -> Path:
    return blank_pictures(write_clip(folder / "blank.mp4", count=COUNT))


BAD_SOURCES = {
    _no_such_file: "nowhere.mp4 does not exist",
    _empty_folder: "empty",
    _text_file: "notes.txt is a text file, not a video",
    _text_named_mp4: "notes.mp4",
    _sound_only: "has no video",
    _empty_file: "is empty (0 bytes)",
    _unfinished_mp4: "moov",
    _undecodable: "no frame that can be decoded",
}


@pytest.mark.parametrize("make", BAD_SOURCES, ids=lambda make: make.__name__)
def test_a_bad_source_is_one_sentence(run: Run, tmp_path: Path, make: Callable[[Path], Path]) -> None:
    kept = tmp_path / "kept.jsonl"
    kept.write_text("an earlier session's results\n")
    assert_refused(run("--source", make(tmp_path), "--results", kept), BAD_SOURCES[make])
    assert kept.read_text() == "an earlier session's results\n"  # refused before anything was overwritten


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--detector", "crystal-ball"], "unknown detector 'crystal-ball'"),
        (["--segmenter", "crystal-ball"], "unknown segmenter 'crystal-ball'"),
        (["--engine", "steam"], "unknown engine 'steam': choose from auto, eager"),
        (["--device", "tpu"], "unknown device 'tpu': choose from auto, cpu, cuda"),
        (["--score-threshold", "1.5"], "--score-threshold must lie in [0, 1], got 1.5"),
        (["--score-threshold", "-0.1"], "--score-threshold must lie in [0, 1], got -0.1"),
        (["--score-threshold", "nan"], "--score-threshold must lie in [0, 1], got nan"),
        (["--score-threshold", "high"], "high"),
        (["--nms-iou", "2"], "--nms-iou must lie in [0, 1], got 2"),
        (["--start-s", "-1"], "start must be 0 s or later"),
        (["--start-s", "2", "--end-s", "1"], "end must come after the start"),
        (["--start-s", "100"], "no frame at or after 100 s"),
        (["--no-such-option"], "--no-such-option"),
        (["--results", "{tmp}/no/such/folder/out.jsonl"], "out.jsonl: there is no folder"),
        (["--save", "{tmp}/no/such/folder/out.mp4"], "out.mp4: there is no folder"),
        (["--save", "{tmp}"], "it is a folder; name a file in it"),
        (["--summary", "{tmp}/no/such/folder/out.json"], "out.json: there is no folder"),
        (["--save", "{tmp}/clip.mp4"], "it is the source itself"),
        (["--save", "{tmp}/a", "--results", "{tmp}/a"], "it is another output"),
    ],
)
def test_a_bad_option_is_one_sentence(run: Run, clip: Path, tmp_path: Path, arguments: list[str], said: str) -> None:
    assert_refused(run("--source", clip, *(word.replace("{tmp}", str(tmp_path)) for word in arguments)), said)


def test_no_source_is_one_sentence(run: Run) -> None:
    assert_refused(run(), "--headless needs a source")


@pytest.mark.parametrize("keep", [0.5, 0.8])
def test_of_a_truncated_file_all_that_can_be_read_is_analysed_then_it_is_said(
    run: Run, tmp_path: Path, keep: float
) -> None:
    source = cut_file(write_clip(tmp_path / "cut.mkv", count=60, rate=RATE_HZ, draw=picture), keep)
    readable = list(FileSource(source).frames())
    assert 5 < len(readable) < 58
    out, video, summary = tmp_path / "out.jsonl", tmp_path / "out.mp4", tmp_path / "out.json"
    outcome = run("--source", source, "--results", out, "--save", video, "--summary", summary)
    assert_refused(outcome, "cut.mkv is damaged after", "frames could be read")
    assert len(lines_of(out)) == len(list(FileSource(video).frames())) == len(readable)
    assert json.loads(summary.read_text())["frames_analysed"] == len(readable)


# weights


@pytest.fixture
def own_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The default weights in a folder of their own, where they may be harmed."""
    folder = tmp_path / "weights"
    folder.mkdir()
    known = weights_module.read_manifest()
    names = {weights_module.DEFAULT_DETECTOR: known[weights_module.DEFAULT_DETECTOR]}
    for entry in names.values():
        for file in entry["files"].values():
            (folder / file).write_bytes((weights_module.WEIGHTS_FOLDER / file).read_bytes())
    (folder / "manifest.json").write_text(json.dumps(names))
    monkeypatch.setattr(engines, "find_weights", lambda model, task: find_weights(model, task, folder))
    return folder


@pytest.mark.parametrize("engine", ["eager", "openvino", "openvino-int8"])
def test_weights_that_fail_their_checksum_are_refused(
    own_weights: Path, clip: Path, capfd: pytest.CaptureFixture[str], engine: str
) -> None:
    for path in own_weights.glob("*.safetensors" if engine != "openvino-int8" else "*.bin"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    code = run_live.main(["--source", str(clip), "--headless", "--segmenter", "none", "--engine", engine])
    assert_refused((code, capfd.readouterr().err), "fails its checksum: restore it with git checkout")


def test_weights_that_are_not_there_are_refused(
    own_weights: Path, clip: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--source", str(clip), "--headless", "--segmenter", "none", "--engine", "eager"]
    for path in own_weights.glob("*.safetensors"):
        path.unlink()
    assert_refused((run_live.main(arguments), capfd.readouterr().err), "is missing: restore it with git checkout")
    (own_weights / "manifest.json").write_text("{")
    assert_refused((run_live.main(arguments), capfd.readouterr().err), "manifest.json is not a list of weights")


def test_cuda_without_a_gpu_is_refused(own_weights: Path, clip: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    for engine, said in (("auto", "torch sees no GPU here"), ("openvino-int8", "runs on cpu, not on cuda")):
        code = run_live.main(
            ["--source", str(clip), "--headless", "--segmenter", "none", "--engine", engine, "--device", "cuda"]
        )
        assert_refused((code, capfd.readouterr().err), said)


# outputs that fail


def test_a_disk_full_of_results(run: Run, clip: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    assert_refused(
        run("--source", clip, "--results", "/dev/full"), "cannot write results to /dev/full", "No space left"
    )
    assert_refused(run("--source", clip, "--save", "/dev/full"), "cannot write video to /dev/full", "No space left")
    assert_refused(run("--source", clip, "--summary", "/dev/full"), "cannot write the summary", "No space left")


def test_a_disk_that_fills_up_keeps_the_lines_before(
    run: Run, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk takes 3000 bytes, the last of them half a line, which is taken back."""
    out, video = tmp_path / "out.jsonl", tmp_path / "out.mp4"
    monkeypatch.setattr(OutputFile, "_write", _small_disk(OutputFile._write, out, 3000))
    assert_refused(run("--source", clip, "--results", out, "--save", video), str(out), "No space left on device")
    *whole, rest = out.read_text().split("\n")
    assert len(whole) >= 3 and [json.loads(line)["index"] for line in whole] == list(range(len(whole)))
    assert rest == ""
    assert len(list(FileSource(video).frames())) >= len(whole) - 1  # the other output was closed as it should


def _small_disk(write: Callable[[OutputFile, memoryview], None], path: Path, room: int) -> Callable[..., None]:
    def write_in_room(self: OutputFile, data: memoryview) -> None:
        nonlocal room
        if self.path != path:
            return write(self, data)
        write(self, data[:room])
        room -= len(data)
        if room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return write_in_room


def test_a_video_that_cannot_be_written_any_more_keeps_results_and_video(
    run: Run, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, written = VideoWriter.write, []

    def failing(self: VideoWriter, result: Result) -> None:
        if len(written) == 20:
            raise self._failure(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        written.append(result)
        write(self, result)

    monkeypatch.setattr(VideoWriter, "write", failing)
    results, video = tmp_path / "out.jsonl", tmp_path / "out.mp4"
    assert_refused(run("--source", clip, "--results", results, "--save", video), str(video), "No space left on device")
    assert [line["index"] for line in lines_of(results)] == list(range(COUNT)), "the results go on without the video"
    assert len(list(FileSource(video).frames())) == 20


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="needs a limit of file size")
def test_a_video_on_a_disk_that_really_fills_up(tmp_path: Path) -> None:
    """A limit of file size instead of a full disk: FFmpeg meets an error of the system in the middle of writing."""
    script = f"""
import resource, signal, sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}]
from pathlib import Path
from fakes import ScriptedSource, picture, runtime_of
from realtime_polyp.cli.headless import analyse_to_outputs
from realtime_polyp.outputs import ResultsWriter, VideoWriter
import fakes, numpy as np
noise = np.random.default_rng(0)
fakes.picture = lambda index: noise.integers(0, 256, (144, 192, 3), np.uint8)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, 1_500_000))
folder = Path({str(tmp_path)!r})
outputs = [ResultsWriter(folder / "a.jsonl"), VideoWriter(folder / "a.mp4")]
session, errors, _ = analyse_to_outputs(ScriptedSource(400), runtime_of().pipeline(), outputs)
print(session.state, errors)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert "cannot write video" in done.stdout and "File too large" in done.stdout, done
    assert done.returncode == 0 and len(lines_of(tmp_path / "a.jsonl")) > 20
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert sum(1 for _ in _decodable(container)) > 20


def _decodable(container: Any) -> Any:
    try:
        yield from container.decode(video=0)
    except av.error.FFmpegError:  # the fragment that the disk cut short
        return


# ends that nobody planned


@pytest.fixture
def endless(tmp_path: Path) -> Callable[[], subprocess.Popen[str]]:
    """Starts a process that analyses for ever, writing a.jsonl and a.mp4 into the folder."""
    script = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}]
import run_live
from realtime_polyp import runtime
from realtime_polyp.cli import main
from fakes import ScriptedSource, FakeDetector, FakeSegmenter
main.open_named = lambda *a, **k: ScriptedSource(10**6)
runtime.open_detector = lambda *a, **k: FakeDetector(delay_s=0.004)
runtime.open_segmenter = lambda *a, **k: FakeSegmenter()
runtime.check_gate = lambda engine: None
folder = {str(tmp_path)!r}
sys.exit(run_live.main(["--source", "x", "--headless", "--no-fusion", "--results", folder + "/a.jsonl",
    "--save", folder + "/a.mp4", "--summary", folder + "/a.json"]))
"""
    return lambda: subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def _written(folder: Path, count: int) -> None:
    deadline_s, found = time.monotonic() + 60, 0
    while found < count:
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
        with suppress(FileNotFoundError):  # the check before the run makes the file and takes it away again
            found = (folder / "a.jsonl").read_bytes().count(b"\n")


def test_a_process_that_is_killed_leaves_readable_files(
    endless: Callable[[], subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = endless()
    _written(tmp_path, 300)
    process.kill()
    process.communicate(timeout=60)
    whole = (tmp_path / "a.jsonl").read_text().split("\n")[:-1]
    assert [json.loads(line)["index"] for line in whole] == list(range(len(whole)))
    frames = list(FileSource(tmp_path / "a.mp4").frames())
    assert len(whole) - 240 <= len(frames) <= len(whole) + 1 and len(frames) > 50


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_process_that_is_told_to_end_closes_its_files(
    endless: Callable[[], subprocess.Popen[str]], tmp_path: Path, number: signal.Signals
) -> None:
    process = endless()
    _written(tmp_path, 70)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130 and stderr == ""
    lines, summary = lines_of(tmp_path / "a.jsonl"), json.loads((tmp_path / "a.json").read_text())
    assert len(lines) == len(list(FileSource(tmp_path / "a.mp4").frames())) == summary["frames_shown"]
    dropped = sum(count for reasons in summary["dropped"].values() for count in reasons.values())
    assert summary["frames_captured"] == summary["frames_shown"] + dropped and summary["state"] == "stopped"


def test_a_model_that_fails_is_one_sentence_with_its_frame_and_exit_code_1(
    run: Run, fake_engines: dict[str, object], clip: Path, tmp_path: Path
) -> None:
    fake_engines["detector"] = FakeDetector(fails_at=15)  # the warm-up takes one
    code, stderr = run("--source", clip, "--results", tmp_path / "out.jsonl", "--trace", tmp_path / "trace.json")
    assert code == 1 and stderr.startswith("realtime-polyp: the model failed at frame 1") and stderr.count("\n") == 1
    assert 1 <= len(lines_of(tmp_path / "out.jsonl")) <= 14
    assert json.loads((tmp_path / "trace.json").read_text())["traceEvents"]


# the program itself


def test_help_has_examples_and_the_notice(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        run_live.main(["--help"])
    said = capsys.readouterr().out
    assert end.value.code == 0 and "python run_live.py --source video.mp4" in said
    assert "Research use only; not a medical device" in said


def test_as_a_person_runs_it_with_the_real_detector(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", count=8, size=(320, 240), draw=picture)
    command = [sys.executable, str(ROOT / "run_live.py"), "--source", str(clip), "--headless", "--segmenter", "none"]
    done = subprocess.run(
        [*command, "--results", "out.jsonl"], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0 and done.stderr == "", done
    assert "8 of 8 frames analysed" in done.stdout and re.search("openvino-int8(-bf16)? on cpu", done.stdout)
    assert len(lines_of(tmp_path / "out.jsonl")) == 8


def test_results_of_no_frames_are_an_empty_file(tmp_path: Path) -> None:
    writer = ResultsWriter(tmp_path / "out.jsonl")
    writer.close()
    writer.close()
    assert (tmp_path / "out.jsonl").read_text() == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_failed_session_still_leaves_its_summary(run: Run, clip: Path, tmp_path: Path) -> None:
    summary = tmp_path / "out.json"
    assert_refused(run("--source", clip, "--results", "/dev/full", "--summary", summary), "/dev/full")
    told = json.loads(summary.read_text())
    assert told["state"] == "failed" and told["frames_captured"] > 0
    dropped = sum(count for reasons in told["dropped"].values() for count in reasons.values())
    assert told["frames_captured"] == told["frames_shown"] + dropped + told["frames_pending"]


def test_a_transport_stream_cut_in_a_packet_is_said(run: Run, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.ts", count=40)
    size = clip.stat().st_size
    clip.write_bytes(clip.read_bytes()[: size * 6 // 10 // 188 * 188 + 50])
    results = tmp_path / "out.jsonl"
    assert_refused(run("--source", clip, "--results", results), "a.ts is damaged")
    assert 0 < len(lines_of(results)) < 40
