"""Printing that nobody reads, in letters that the terminal lacks, and signals before anything has begun."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs the pipes and signals of POSIX")
_ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
_PRINTS = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from realtime_polyp.console import leave, prepare_console
prepare_console()
prepare_console()
with open("opened.txt", "w") as file:  # it must not take the number of a stream that is closed
    for number in range(20_000):
        print(f"Pr\\u00fcfung {{number}}")
    print("St\\u00f6rung", file=sys.stderr, flush=True)
    sys.stdout.flush()
    os.write(1, b"a library's own\\n")
    file.write(str(file.fileno() > 2))
print("the end")
leave(7)
"""


def run(
    folder: Path, redirect: str = "", *, python: str = "", **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Run the script by a shell, which closes what it was told to close."""
    (folder / "prints.py").write_text(_PRINTS)
    command = f'"$0" {python} prints.py {redirect}'
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command, sys.executable],
        cwd=folder,
        env=_ENVIRONMENT | environment,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )


@pytest.mark.parametrize("python", ["", "-u"])
@pytest.mark.parametrize(
    "redirect", ["", "| head -1", "| true", ">&-", "2>&-", ">&- 2>&- <&-", "2>&1 >/dev/null | true", "2>&1 | head -1"]
)
def test_a_command_ends_as_it_would_whoever_reads_it(tmp_path: Path, redirect: str, python: str) -> None:
    done = run(tmp_path, redirect, python=python)
    assert done.returncode == 7  # the command's own, not the shell's for a broken pipe
    assert done.stderr in ("", "Störung\n")
    assert (tmp_path / "opened.txt").read_text() == "True"


def test_all_of_it_arrives(tmp_path: Path) -> None:
    lines = run(tmp_path).stdout.splitlines()
    assert (lines[0], lines[19_999], lines[-2:], len(lines)) == (
        "Prüfung 0",
        "Prüfung 19999",
        ["a library's own", "the end"],
        20_002,
    )


def test_letters_that_the_terminal_lacks_are_escaped(tmp_path: Path) -> None:
    done = run(tmp_path, PYTHONIOENCODING="ascii")
    assert done.returncode == 7 and done.stdout.startswith("Pr\\xfcfung 0\n") and done.stderr == "St\\xf6rung\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_no_reader_that_went_away(tmp_path: Path) -> None:
    (tmp_path / "prints.py").write_text(
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from realtime_polyp.console import leave, prepare_console\n"
        "prepare_console(); print('figures'); leave(0)\n"
    )
    command = [sys.executable, str(tmp_path / "prints.py")]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=_ENVIRONMENT, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == "realtime-polyp: cannot write to standard output: No space left on device\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_line_without_a_buffer_too() -> None:
    code = "from realtime_polyp.cli import entry, main; main.main = lambda _: print('figures'); entry.run_process()"
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-u", "-c", code], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60
        )
    assert done.returncode == 2
    assert done.stderr == "realtime-polyp: cannot write to standard output: No space left on device\n"


def test_another_command_prints_to_a_reader_that_went_away() -> None:
    command = f"{sys.executable} -m trainers.table --markdown | true"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


_RUNS = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}]
from realtime_polyp import runtime
from realtime_polyp.cli import entry, main
from fakes import ScriptedSource, FakeDetector, FakeSegmenter
main.open_named = lambda *a, **k: ScriptedSource(30)
runtime.open_detector = lambda *a, **k: FakeDetector()
runtime.open_segmenter = lambda *a, **k: FakeSegmenter()
runtime.check_gate = lambda engine: None
entry.run_process()
"""


def test_a_run_that_nobody_reads_leaves_its_summary(tmp_path: Path) -> None:
    command = f'"$0" -c "$1" --source x --headless --no-fusion --summary {tmp_path}/a.json | true'
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command, sys.executable, _RUNS], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert '"frames_analysed": 30' in (tmp_path / "a.json").read_text()


@pytest.mark.parametrize(
    ("number", "after_s"), [(signal.SIGINT, 0.0), (signal.SIGTERM, 0.3), (signal.SIGINT, 0.7), (signal.SIGHUP, 0.2)]
)
def test_a_signal_while_it_starts_is_one_line(number: signal.Signals, after_s: float) -> None:
    """From the first line on: what is imported before it is Python's own. The source would be waited for for ever."""
    script = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from realtime_polyp.cli import entry
print("begun", flush=True)
entry.run_process()
"""
    command = [sys.executable, "-c", script, "--source", "pattern:96x64@10", "--headless"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "begun\n"
    time.sleep(0.02 + after_s)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 130 and "Traceback" not in stderr
    # A fast machine may analyse frames by then.
    assert stderr == "realtime-polyp: interrupted before any frame was analysed\n" or "frames analysed" in stdout
