"""A Python that is too old or lacks the packages gets one sentence with the cure."""

import runpy
import subprocess
import sys

import pytest
from conftest import ROOT


def test_an_old_python_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    monkeypatch.setattr(sys, "version", "3.9.2 (default)")
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / "run_live.py"), run_name="__main__")
    said = capsys.readouterr().err
    assert end.value.code == 2 and said.count("\n") == 1
    assert said.startswith("realtime-polyp: needs Python 3.11 or 3.12, and this is 3.9.2 (") and "make demo" in said


def test_a_python_without_the_packages_is_named() -> None:
    command = [sys.executable, "-S", str(ROOT / "run_live.py"), "video.mp4"]  # -S: nothing that was installed
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "is not installed for this Python" in done.stderr and "make demo" in done.stderr
