"""Describes the machine that figures are measured on."""

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from realtime_polyp.telemetry.summary import versions

_ROOT = Path(__file__).resolve().parents[2]
# Instruction sets that decide the speed of INT8 and float32, above all AVX-512's dot product of bytes.
_RELEVANT_FLAGS = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")


def machine_facts() -> dict[str, Any]:
    """Return processor, usable cores, memory, system, load average, commit and versions."""
    return {
        "cpu": _cpu_description().get("model name", platform.processor() or "unknown"),
        "cores": cores(),
        "cpu_flags": cpu_flags(),
        "memory_mb": _memory_mb(),
        "system": platform.platform(),
        "load_average": [round(load, 2) for load in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "commit": _commit(),
        "versions": versions(),
    }


def cpu_flags() -> list[str]:
    """Return which of `_RELEVANT_FLAGS` the processor has; none where the system does not say."""
    flags = _cpu_description().get("flags", "").split()
    return [flag for flag in _RELEVANT_FLAGS if flag in flags]


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def resident_mb() -> float:
    """Return this process's resident memory, MB; its peak if the system does not report the current value, else 0."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return peak_mb()
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def peak_mb() -> float:
    """Return this process's peak memory, MB (Linux reports KB); 0 where the system does not report it."""
    try:
        import resource  # not on Windows
    except ImportError:
        return 0.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _cpu_description() -> dict[str, str]:
    """Return the first processor of /proc/cpuinfo; empty without that file."""
    try:
        first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _memory_mb() -> int | None:
    if not hasattr(os, "sysconf"):  # Windows
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20


def _commit() -> str | None:
    """Return the commit, marked if tracked files differ from it; None outside of git."""
    commit = _git("rev-parse", "--short", "HEAD")
    return f"{commit} with changes" if commit and _git("status", "--porcelain", "--untracked-files=no") else commit


def _git(*words: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(_ROOT), *words], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
