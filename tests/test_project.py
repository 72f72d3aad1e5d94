"""What holds for the project as a whole: who may import whom, what is declared, what is shipped."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

from realtime_polyp.engines.gate import RECORDS
from realtime_polyp.engines.weights import MANIFEST, WEIGHTS_FOLDER, read_manifest, sha256_of

MOST_WEIGHTS_MB = 80
MOST_REPOSITORY_BYTES = 48 * 2**20
PRODUCT = ROOT / "realtime_polyp"


def imports_of(path: Path) -> Iterator[str]:
    """Every module that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module


def importers_of(package: str, folder: Path) -> set[Path]:
    found = set()
    for path in folder.rglob("*.py"):
        if any(name == package or name.startswith(package + ".") for name in imports_of(path)):
            found.add(path.relative_to(ROOT))
    return found


def test_only_the_viewer_imports_qt() -> None:
    found = importers_of("PyQt5", ROOT / "realtime_polyp") | importers_of("pyqtgraph", ROOT / "realtime_polyp")
    assert found and all(path.is_relative_to("realtime_polyp/viewer") for path in found), found
    assert not importers_of("PyQt5", ROOT / "trainers") | importers_of("PyQt5", ROOT / "calibration")


@pytest.mark.parametrize("package", ["trainers", "calibration", "tests"])
def test_the_product_never_imports_what_makes_it(package: str) -> None:
    assert importers_of(package, PRODUCT) == set()


def test_trainers_use_only_what_they_may() -> None:
    """Trainers start at the composition root and read sources; threads, outputs and screens are not theirs."""
    for path in (ROOT / "trainers").rglob("*.py"):
        for name in imports_of(path):
            assert not name.startswith(
                tuple(f"realtime_polyp.{part}" for part in ("session", "viewer", "cli", "channel", "outputs.recorder"))
            ), f"{path.name} imports {name}"


def test_the_models_know_nothing_of_the_line_that_runs_them() -> None:
    for path in (PRODUCT / "models").glob("*.py"):
        own = {name for name in imports_of(path) if name.startswith("realtime_polyp")}
        assert all(name.startswith(("realtime_polyp.models", "realtime_polyp.models.boxes")) for name in own), (
            path,
            own,
        )


def test_the_models_load_nothing_of_the_line() -> None:
    script = (
        "import realtime_polyp.models.detector, sys\n"
        "print(*sorted(name for name in sys.modules if name.startswith('realtime_polyp.')))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    loaded = done.stdout.split()
    assert "realtime_polyp.models.detector" in loaded, done.stderr
    assert all(name.startswith(("realtime_polyp.models", "realtime_polyp.privacy")) for name in loaded), loaded


def test_the_live_line_loads_no_qt_no_trainers_and_no_torch() -> None:
    """In a process of its own, because here others have loaded them. (torch takes seconds to import.)"""
    script = (
        "import realtime_polyp.pipeline, realtime_polyp.session, realtime_polyp.engines, realtime_polyp.sources, sys\n"
        "import realtime_polyp.outputs, realtime_polyp.cli.headless, realtime_polyp.cli.options\n"
        "import realtime_polyp.telemetry.summary\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    loaded = set(done.stdout.split())
    assert "realtime_polyp" in loaded, done.stderr
    assert not loaded & {"PyQt5", "pyqtgraph", "trainers", "calibration", "torch", "albumentations", "nncf"}


def test_the_command_opens_no_window_code_until_it_needs_one() -> None:
    script = "import run_live, sys; print('PyQt5' in sys.modules, 'trainers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["False", "False"], done.stderr


# what is declared


def pyproject() -> dict:  # type: ignore[type-arg]
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def pip_section() -> list[str]:
    """The lines under `- pip:` of environment.yml; read without YAML, which nothing else here needs."""
    lines = (ROOT / "environment.yml").read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.strip() == "- pip:")
    indent = len(lines[start]) - len(lines[start].lstrip())
    found = []
    for line in lines[start + 1 :]:
        text = line.split(" #")[0].strip()
        if text and not text.startswith("#"):
            if len(line) - len(line.lstrip()) <= indent:
                break
            found.append(text.removeprefix("- "))
    return found


def test_environment_yml_declares_what_pyproject_does() -> None:
    project = pyproject()["project"]
    extras = [
        one
        for name in ("viewer", "report", "metrics", "remote", "train", "dev")
        for one in project["optional-dependencies"][name]
    ]
    found = [text for text in pip_section() if not text.startswith("-")]  # options such as --extra-index-url aside
    assert sorted(found) == sorted(project["dependencies"] + extras)


def test_every_dependency_is_pinned() -> None:
    project = pyproject()["project"]
    declared = project["dependencies"] + [one for extra in project["optional-dependencies"].values() for one in extra]
    assert declared and all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][\w.]*(; .+)?", one) for one in declared)


@pytest.mark.parametrize(
    ("package", "extras"),
    [
        ("realtime_polyp", ("viewer", "report", "metrics", "remote", "gpu")),
        ("trainers", ("train",)),
        ("calibration", ("train", "dev")),  # dev: TensorRT's converter
    ],
)
def test_every_import_is_declared(package: str, extras: tuple[str, ...]) -> None:
    """Third-party modules imported anywhere in a package are dependencies, or in the extras that it needs."""
    distributions = {"cv2": "opencv-python-headless", "sklearn": "scikit-learn", "fpdf": "fpdf2"}
    project = pyproject()["project"]
    lines = project["dependencies"] + [one for extra in extras for one in project["optional-dependencies"][extra]]
    declared = {re.split("[=<>]", line)[0].replace("_", "-") for line in lines}
    own = {"realtime_polyp", "trainers", "calibration"}
    for path in (ROOT / package).rglob("*.py"):
        for name in {name.split(".")[0] for name in imports_of(path)} - own:
            if name not in sys.stdlib_module_names:
                distribution = distributions.get(name, name).replace("_", "-")
                assert distribution in declared, f"{path.relative_to(ROOT)} imports {name}"


# what is shipped


def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_file_holds_a_path_of_somebody_s_machine() -> None:
    pattern = re.compile(rb"(?<![\w.~/-])/(work|root|home)/\w")
    guilty = []
    for path in tracked():
        if path == Path(__file__).resolve() or path.suffix in (".safetensors", ".bin", ".npz", ".mp4", ".png", ".jpg"):
            continue
        guilty += [
            f"{path.relative_to(ROOT)}: {line[:80]!r}"
            for line in path.read_bytes().split(b"\n")
            if pattern.search(line)
        ]
    assert not guilty


def test_the_tracked_files_stay_small() -> None:
    sizes = {path.relative_to(ROOT): path.stat().st_size for path in tracked()}
    largest = sorted(sizes, key=lambda path: -sizes[path])[:12]
    assert sum(sizes.values()) <= MOST_REPOSITORY_BYTES, [f"{path}: {sizes[path]}" for path in largest]


def test_no_cache_or_build_output_is_tracked() -> None:
    wrong = [path for path in tracked() if path.suffix in (".pyc", ".nbi", ".nbc", ".pt") or "egg-info" in str(path)]
    assert not wrong


@pytest.mark.parametrize("model", sorted(read_manifest()))
def test_weights_are_all_there_unharmed_and_described(model: str) -> None:
    entry = read_manifest()[model]
    assert {"safetensors"} <= set(entry["files"]) and set(entry["files"].values()) == set(entry["sha256"])
    for name in entry["files"].values():
        assert sha256_of(WEIGHTS_FOLDER / name) == entry["sha256"][name], name
    card = WEIGHTS_FOLDER / f"{model}.md"
    assert card.is_file(), f"{card.relative_to(ROOT)} is missing: every model has its card"
    text = card.read_text().lower()
    assert "research" in text and ("data" in text or "trained" in text)


def test_nothing_else_lies_among_the_weights_and_they_are_small() -> None:
    known = {name for entry in read_manifest().values() for name in entry["files"].values()}
    cards = {f"{model}.md" for model in read_manifest()}
    files = {path.name for path in WEIGHTS_FOLDER.iterdir() if not path.name.startswith(".")}
    assert files <= known | cards | {MANIFEST, RECORDS, "README.md"}, files - known - cards
    size_mb = sum((WEIGHTS_FOLDER / name).stat().st_size for name in known) / 1e6
    assert size_mb < MOST_WEIGHTS_MB


def test_the_default_models_are_installed() -> None:
    from realtime_polyp.engines.weights import DEFAULT_DETECTOR, DEFAULT_SEGMENTER, find_weights

    assert find_weights(DEFAULT_DETECTOR, "detector").size and find_weights(DEFAULT_SEGMENTER, "segmenter").size


def test_the_readme_says_what_this_is_not() -> None:
    text = (ROOT / "README.md").read_text().lower()
    assert "research" in text and "not a medical device" in text


@pytest.mark.parametrize("name", ["README.md", "LICENSE", "CHANGELOG.md", "environment.yml", "Makefile"])
def test_the_papers_are_there(name: str) -> None:
    assert (ROOT / name).stat().st_size > 100
