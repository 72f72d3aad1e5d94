"""The wheel works where nothing but its own outputs can be written: installed, and started from another folder."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from conftest import ROOT
from media import write_clip

pytestmark = pytest.mark.slow
SOURCES = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "realtime_polyp", "trainers", "calibration", "assets")


def check_output(command: list[str | Path], **more: object) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, **more)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel, made from a copy of the sources; dependencies are this environment's."""
    copy, folder = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("venv")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "demo.mp4"))
        else:
            shutil.copy(ROOT / name, copy / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    check_output([*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", copy / "dist", copy])
    venv.create(folder, with_pip=False, symlinks=True)
    (wheel,) = (copy / "dist").glob("*.whl")
    python = folder / "bin" / "python"
    check_output([*pip, "--python", python, "install", "-q", "--no-deps", "--no-compile", wheel])
    (packages,) = (folder / "lib").glob("python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    for path in [packages, *(path for path in packages.rglob("*") if path.is_dir())]:
        (path / "__pycache__").write_text("")  # in its place a file: not even root can write there
    return folder


@pytest.fixture
def bare(installed: Path) -> dict[str, str]:
    """The environment of a user whose home cannot be written."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return kept | {"HOME": "/dev/null", "PYTHONDONTWRITEBYTECODE": "1"}


def test_the_command_says_its_version(installed: Path, bare: dict[str, str], tmp_path: Path) -> None:
    said = check_output([installed / "bin" / "realtime-polyp", "--version"], env=bare, cwd=tmp_path)
    assert said.strip() == "realtime-polyp 0.1.0"


def test_a_clip_is_analysed_from_another_folder(installed: Path, bare: dict[str, str], tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4", count=5, size=(320, 256), rate=5)
    command = [installed / "bin" / "realtime-polyp", *"--source clip.mp4 --headless --results out.jsonl".split()]
    done = subprocess.run(command, env=bare, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert done.stderr.count("compiled code cannot be kept") == 1
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) >= 5


def test_its_assets_lie_inside_it_and_nothing_else_does(installed: Path, bare: dict[str, str], tmp_path: Path) -> None:
    script = "from realtime_polyp.folders import asset; print(asset('weights'))"
    folder = Path(check_output([installed / "bin" / "python", "-c", script], env=bare, cwd=tmp_path).strip())
    assert folder.is_relative_to(installed)
    tracked = {path.name for path in (ROOT / "assets" / "weights").iterdir() if not path.name.startswith(("__", "."))}
    assert {path.name for path in folder.iterdir()} - {"__pycache__"} == tracked
    found = {path.name for path in folder.parent.iterdir()} - {"__pycache__"}
    assert found == {"weights", "calibration.json", "fusion.json", "quality.json"}
    assert (folder.parents[1] / "py.typed").is_file()
