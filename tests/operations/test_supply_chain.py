"""The audit: what it reads from its tools, and that what was not looked up is never called free of flaws."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeDetector

from realtime_polyp.engines.weights import DEFAULT_DETECTOR, find_weights, sha256_of
from realtime_polyp.operations.audit import ACCEPTED, Audit, AuditError, audit, main, read_audit, report_text
from realtime_polyp.recording.facts import describe_engine


def package(name: str, licence: str = "MIT") -> dict[str, str]:
    return {"Name": name, "Version": "1.0", "License": licence, "URL": "x"}


def written(folder: Path, *, licences: list[dict[str, str]], dependencies: list[dict[str, Any]]) -> Path:
    (folder / "licences.json").write_text(json.dumps(licences))
    (folder / "vulnerabilities.json").write_text(json.dumps({"dependencies": dependencies, "fixes": []}))
    return folder


def test_a_clean_environment_is_said_to_be_so(tmp_path: Path) -> None:
    found = read_audit(
        written(
            tmp_path,
            licences=[package("av", "BSD-3-Clause"), package("PyQt5", "GPL v3")],
            dependencies=[{"name": "av", "version": "1.0", "vulns": []}],
        )
    )
    assert found == Audit((), (), 2, ()) and found.code == 0
    assert "no known vulnerability" in report_text(found, tmp_path)


def test_a_flaw_is_named_with_its_cure(tmp_path: Path) -> None:
    flaw = {"id": "PYSEC-1", "fix_versions": ["1.1"], "aliases": ["CVE-1"], "description": "bad"}
    found = read_audit(written(tmp_path, licences=[], dependencies=[{"name": "av", "version": "1.0", "vulns": [flaw]}]))
    assert found.flaws == ("av 1.0: PYSEC-1, fixed in 1.1",) and found.code == 1
    assert "VULNERABLE: av 1.0" in report_text(found, tmp_path)


def test_without_the_database_nothing_is_called_free_of_flaws(tmp_path: Path) -> None:
    skipped = [{"name": name, "skip_reason": "not found on PyPI"} for name in ("av", "numpy", "realtime-polyp")]
    found = read_audit(written(tmp_path, licences=[package("av")], dependencies=skipped))
    assert found.unknown == ("av", "numpy") and found.code == 3
    said = report_text(found, tmp_path)
    assert "NOT AUDITED" in said and "2 packages" in said and "no known vulnerability" not in said
    assert "not looked up" in report_text(read_audit(tmp_path, offline=True), tmp_path, offline=True)


@pytest.mark.parametrize("licence", ["GPL v3", "AGPL-3.0", "UNKNOWN", "Other/Proprietary License"])
def test_a_licence_that_asks_for_more_is_reported_unless_it_is_known(tmp_path: Path, licence: str) -> None:
    licences = [package("new", licence), package(next(iter(ACCEPTED)), licence), package("free", "Apache-2.0")]
    found = read_audit(written(tmp_path, licences=licences, dependencies=[]))
    assert found.licences == (f"new ({licence})",) and found.code == 1


def test_the_three_tools_are_asked_about_the_environment(tmp_path: Path) -> None:
    commands: list[list[str]] = []

    def run(command: Sequence[str]) -> None:
        commands.append(list(command))
        written(tmp_path, licences=[], dependencies=[])

    import sys

    audit(Path("tools"), Path(sys.executable), tmp_path, run=run)
    assert [Path(command[0]).name for command in commands] == ["cyclonedx-py", "pip-licenses", "pip-audit"]
    assert sys.executable in commands[0] and f"--python={sys.executable}" in commands[1] and "--path" in commands[2]
    audit(Path("tools"), Path(sys.executable), tmp_path, offline=True, run=run)
    assert len(commands) == 5


def test_a_tool_that_is_missing_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--tools", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "cyclonedx-py cannot be run" in capsys.readouterr().err
    with pytest.raises(AuditError):
        audit(tmp_path, Path("no-python"), tmp_path)


def test_a_session_holds_the_checksum_of_every_file_that_its_models_are_made_of() -> None:
    engine = FakeDetector()
    engine.model = DEFAULT_DETECTOR
    weights = find_weights(DEFAULT_DETECTOR)
    held = describe_engine(engine)["sha256"]
    assert held == {name: sha256_of(weights.folder / name) for name in weights.files.values()} and len(held) >= 3
