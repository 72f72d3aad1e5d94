"""Nothing leaves the machine, and nothing is run that only lies in the current folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import NO_QT, ROOT

from realtime_polyp.bench.commands import module_command, run_json_command
from realtime_polyp.viewer import qt_setup

# Libraries report nothing where they believe that a test or a build server runs them.
_QUIET = ("CI", "GITHUB_ACTIONS", "TF_BUILD", "JENKINS_URL", "NNCF_CI", "NNCF_DEV", "NO_ALBUMENTATIONS_UPDATE")
# The commit in a summary; matplotlib's list of fonts.
LOCAL_PROGRAMS = tuple(f"subprocess.Popen ('{name}'," for name in ("git", "fc-list"))
MARK = "import pathlib; pathlib.Path(r'{mark}').write_text('run')\n"


@pytest.mark.parametrize("what", ["imports", "line"])
def test_no_command_reaches_for_another_machine(what: str, tmp_path: Path) -> None:
    """Every module is imported and every command asked for its help; a clip is analysed; a model converted."""
    clean = {name: value for name, value in os.environ.items() if name not in _QUIET}
    home, record = tmp_path / "home", tmp_path / "record"
    home.mkdir()
    environment = clean | {"HOME": str(home), "QT_QPA_PLATFORM": "offscreen", "OMP_NUM_THREADS": "1"}
    script = ROOT / "tests" / "network_watch.py"
    done = subprocess.run(
        [sys.executable, str(script), what, str(record), str(tmp_path)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    attempts = [line for line in record.read_text().splitlines() if not line.startswith(LOCAL_PROGRAMS)]
    assert attempts == []
    assert not (home / "intel").exists()  # the lasting client id


def test_the_block_comes_before_the_libraries() -> None:
    script = "import sys, realtime_polyp; print('openvino_telemetry' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "False"], done.stderr


def test_a_sender_that_is_already_there_is_silenced() -> None:
    """A program that imports openvino itself has reported that; nothing follows."""
    script = (
        "import sys, openvino_telemetry.utils.sender as sender, realtime_polyp\n"
        "print(sender.TelemetrySender().send(None, None), sys.modules['openvino_telemetry'] is not None)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == ["None", "True"], done.stderr


@pytest.mark.skipif(bool(NO_QT), reason=f"Qt cannot be loaded here: {NO_QT}")
def test_the_display_probe_runs_nothing_of_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "PyQt5").mkdir()
    mark = tmp_path / "mark"
    for name in ("PyQt5/__init__.py", "PyQt5/QtWidgets.py", "sitecustomize.py", "os.py"):
        (tmp_path / name).write_text(MARK.format(mark=mark))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("QT_QPA_PLATFORM", raising=False)
    monkeypatch.setenv("DISPLAY", ":7351")
    assert "display" in (qt_setup.display_problem() or "") and not mark.exists()


def test_the_bench_s_processes_run_nothing_of_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "realtime_polyp").mkdir()
    mark = tmp_path / "mark"
    (tmp_path / "realtime_polyp" / "__init__.py").write_text(MARK.format(mark=mark))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="^-m realtime_polyp.packets ended with code 0: no reason$"):
        run_json_command(module_command("realtime_polyp.packets"))
    assert not mark.exists()
