"""What comes back from the GPU machine: a summary as JSON and Markdown, and few enough files of few enough bytes."""

import tarfile
from collections.abc import Sequence
from dataclasses import asdict
from gzip import compress
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from realtime_polyp.atomic_write import atomic_write_bytes, atomic_write_text, replacing, write_json
from realtime_polyp.models.state_file import to_half
from trainers.gpu.planner import Outcome

MOST_FILES = 8
MOST_FILE_BYTES = 16 << 20
SUMMARY_JSON, SUMMARY_TEXT = "summary.json", "summary.md"
ARCHIVE = "files{}.tar"
_MOST_ARCHIVES = MOST_FILES - 2  # the summaries are the other two
_ENTRY_BYTES, _END_BYTES = 4096, 20480  # more than a header, its extension, the padding and the end of an archive take


def write_summary(out: Path, head: dict[str, Any], outcomes: Sequence[Outcome], notes: Sequence[str]) -> None:
    """Write both summaries. head: the machine and the options of the day."""
    steps = [asdict(outcome) for outcome in outcomes]
    content = {"format": 1, **head, "steps": steps, "notes": list(notes)}
    write_json(out / SUMMARY_JSON, content)
    atomic_write_text(out / SUMMARY_TEXT, as_text(head, outcomes, notes))


def as_text(head: dict[str, Any], outcomes: Sequence[Outcome], notes: Sequence[str]) -> str:
    """Return the summary as Markdown, with the card's name first."""
    lines = [f"# {head['card']['name']}", "", f"`{head['command']}`", ""]
    versions = ", ".join(f"{name} {version}" for name, version in head["card"]["versions"].items())
    lines += [versions, "", "| began, s | took, s | step | |", "|---|---|---|---|"]
    lines += [f"| {o.began_s:.0f} | {o.took_s:.0f} | {o.name} | {_cell(o.sentence)} |" for o in outcomes]
    for outcome in outcomes:
        if outcome.figures:
            lines += ["", f"## {outcome.name}", "", *_listed(outcome.figures)]
    return "\n".join([*lines, *(f"\n{note}" for note in notes), ""])


def _listed(figures: dict[str, Any], prefix: str = "") -> list[str]:
    lines: list[str] = []
    for name, value in figures.items():
        if isinstance(value, dict):
            lines += _listed(value, f"{prefix}{name}, ")
        else:
            text = f"{value:.4g}" if isinstance(value, float) else str(value)
            lines.append(f"- {prefix}{name}: {text[:400]}")
    return lines


def _cell(text: str) -> str:
    return text.replace("|", "/")


def bring_half(state: dict[str, Tensor], target: Path) -> None:
    """Write trained weights as installed ones are stored. Raises ValueError if half precision cannot hold them."""
    with replacing(target) as path:
        save_file(to_half(state), path, {"precision": "float16"})


def bring_compressed(source: Path, target: Path) -> None:
    """Write a file compressed with gzip."""
    atomic_write_bytes(target, compress(source.read_bytes(), 6, mtime=0))


def bring_folder(folder: Path, target: Path, suffixes: tuple[str, ...]) -> None:
    """Write the files of a folder that end in one of `suffixes` to a compressed archive."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name.endswith(suffixes))
    with replacing(target) as temporary, tarfile.open(temporary, "w:gz") as packed:
        for path in paths:
            packed.add(path, path.relative_to(folder.parent).as_posix())


def pack_files(folder: Path, out: Path) -> list[str]:
    """Put the files of a folder into archives that the GPU machine sends back; return a sentence for each left out.

    Each archive can be read alone. Small files come first: logs and figures come back whatever the weights need.
    """
    notes: list[str] = []
    archives: list[list[Path]] = []
    for path in sorted(folder.iterdir(), key=lambda path: (path.stat().st_size, path.name)):
        place = next((number for number, paths in enumerate(archives) if _fits([*paths, path])), len(archives))
        if not _fits([path]):
            size = path.stat().st_size / 2**20
            notes.append(f"{path.name} stays behind: it has {size:.1f} MiB, and 16 MiB come back at most")
        elif place == _MOST_ARCHIVES:
            notes.append(f"{path.name} stays behind: {_MOST_ARCHIVES} archives of 16 MiB come back at most")
        else:
            if place == len(archives):
                archives.append([])
            archives[place].append(path)
    for number in range(1, _MOST_ARCHIVES + 1):
        target = out / ARCHIVE.format(number)
        if number <= len(archives):
            with replacing(target, sync=False) as temporary, tarfile.open(temporary, "w") as packed:
                for path in archives[number - 1]:
                    packed.add(path, path.name)
        else:
            target.unlink(missing_ok=True)  # of a step before, when the files were distributed differently
    return notes


def _fits(paths: Sequence[Path]) -> bool:
    return sum(path.stat().st_size + _ENTRY_BYTES for path in paths) + _END_BYTES <= MOST_FILE_BYTES
