"""The format sweep: reads every kind of video file that FFmpeg can write here, and compares with FFmpeg itself.

    python -m realtime_polyp.bench.formats --state sweep.jsonl --page docs/formats.md

Each case is written, read by the program and by FFmpeg, and compared in a process of its own kind, so that an encoder
that crashes ends nothing. The state file has one line per case: run the command again, and it goes on where it ended.
"""

import argparse
import json
import multiprocessing
import re
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from pathlib import Path

import av
from tqdm import tqdm

from realtime_polyp.atomic_write import atomic_write_text
from realtime_polyp.bench.commands import exit_on_error
from realtime_polyp.bench.format_checks import LEAST_DB, TIME_LIMIT_S, FormatCheck, check_case
from realtime_polyp.bench.format_files import FRAMES, FormatCase, every_case
from realtime_polyp.json_files import read_json_lines

BEGIN, END = "<!-- format sweep: begin -->", "<!-- format sweep: end -->"
_LIMIT_S = 120.0  # for one case

EXPLAINED: tuple[tuple[str, str, str], ...] = (
    (r"^(h261|h263p?)/(h261|h263)/", "times", "raw H.261 and H.263 store no rate: FFmpeg assumes 29.97 Hz"),
    (
        "",
        r"^times [^;]*\(FFmpeg's too",
        "FFmpeg writes or reads no better times: of B-frames, in the order of decoding",
    ),
    (r"^mpeg1video/mpeg1video/", "FFmpeg's too", "a raw stream has no times: FFmpeg's own have this gap"),
    (r"^wmv2/wtv/", "pictures incomplete", "FFmpeg's decoder itself calls these pictures incomplete"),
    (
        r"^huffyuv/wtv/",
        "pictures",
        "FFmpeg finds noise: WTV does not keep the codec's tables; its first picture looks combed",
    ),
    (
        r"^gif/\w+/(rgb|bgr)",
        "pictures",
        "a dithered first picture looks combed, and is de-interlaced; the others are not",
    ),
    (r"^vc2/.*p1[02]le/", "pictures", "FFmpeg's decoder of 10- and 12-bit VC-2 gives other pixels each time it is run"),
)
"""What is not right and why: patterns of the case's name and of its problem, and the reason."""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="realtime_polyp.bench.formats", description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--state", type=Path, metavar="FILE.jsonl", help="keep each case's outcome here, and go on from it"
    )
    parser.add_argument("--page", type=Path, metavar="FILE.md", help="replace the tables of this page")
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="only cases whose name has this in it, such as /mxf/"
    )
    options = parser.parse_args(arguments)
    with exit_on_error(parser):
        cases = [case for case in dict.fromkeys(every_case()) if options.only in case.name]
        if not cases:
            raise ValueError(f"no case has {options.only!r} in its name; names are codec/container/pixel format/...")
        checks = run_sweep(cases, options.state)
        report = tables(checks)
        print(report)
        if options.page:
            replace_tables(options.page, report)


def run_sweep(cases: Sequence[FormatCase], state: Path | None = None) -> list[FormatCheck]:
    """Check the cases that the state does not hold yet; return all, in the order of the cases.

    state: a file of JSON Lines that each outcome is added to; None: none is kept.
    """
    known = {check.name: check for check in _read_state(state)}
    with tempfile.TemporaryDirectory() as folder, Worker(Path(folder)) as worker:
        for case in tqdm(cases, unit="file", dynamic_ncols=True, disable=None):
            if case.name not in known:
                known[case.name] = check = worker.check(case)
                if state:
                    with state.open("a", encoding="utf-8") as lines:
                        lines.write(json.dumps(asdict(check)) + "\n")
    return [known[case.name] for case in cases]


class Worker:
    """Checks cases one after the other in another process, and starts a new one where it crashes or hangs."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._pool = folder, _new_pool()

    def check(self, case: FormatCase) -> FormatCheck:
        """Check one case; a crash and a hang are outcomes."""
        try:
            return self._pool.submit(check_case, case, self._folder).result(timeout=_LIMIT_S)
        except BrokenProcessPool:
            problem = "the process crashed"
        except TimeoutError:
            problem = f"not done after {_LIMIT_S:g} s"
        except Exception as error:  # noqa: BLE001 - whatever a case brings to light ends no sweep
            return FormatCheck(case.name, "wrong", f"{type(error).__name__}: {error}")
        self._end()
        self._pool = _new_pool()
        return FormatCheck(case.name, "wrong", problem)

    def _end(self) -> None:
        for process in list((self._pool._processes or {}).values()):  # no public way to end one that hangs
            process.kill()
        self._pool.shutdown()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self._end()


def _new_pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


def _read_state(state: Path | None) -> list[FormatCheck]:
    if state is None or not state.exists():
        return []
    return [check for _, check in read_json_lines(state, FormatCheck, what="an outcome of the format sweep")]


def tables(checks: Sequence[FormatCheck]) -> str:
    """Return the sweep as Markdown: totals, by codec, by container, by what is stored, and what is not right."""
    read = [check for check in checks if check.outcome in ("right", "wrong", "refused")]
    lines = [_totals(checks, read), ""]
    lines += _table("codec", read, lambda check: _part(check, 0), ("containers", 1), ("pixel formats", 2))
    lines += _table("container", read, lambda check: _part(check, 1), ("codecs", 0), ("pixel formats", 2))
    lines += _table(
        "stored in the file", [check for check in read if check.stored], _stored, ("codecs", 0), ("containers", 1)
    )
    lines += _not_right(read)
    return "\n".join(lines).rstrip() + "\n"


def replace_tables(page: Path, report: str) -> None:
    """Replace what lies between the two marks of a page. Raises ValueError where a mark is missing."""
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{page} lacks the marks {BEGIN} and {END}, between which the tables are written")
    atomic_write_text(page, f"{before}{BEGIN}\n\n{report}\n{END}{after}")


def _totals(checks: Sequence[FormatCheck], read: Sequence[FormatCheck]) -> str:
    right = [check for check in read if check.outcome == "right"]
    open_ = [check for check in read if check.outcome != "right" and not explain(check)]
    unread = sum(check.outcome == "not read by FFmpeg" for check in checks)
    return (
        f"{len(right)} of {len(read)} files of {FRAMES} frames are right: every frame, each at its time to "
        f"{TIME_LIMIT_S * 1e3:.0f} ms, and every picture at least {LEAST_DB:g} dB from FFmpeg's own conversion. "
        f"{len(read) - len(right) - len(open_)} are explained below, {len(open_)} are not. FFmpeg {_ffmpeg_version()} "
        f"takes {len(checks) - len(read) - unread} of {len(checks)} combinations not at all, and finds no video again "
        f"in {unread} files that it wrote."
    )


def _ffmpeg_version() -> str:
    return str(getattr(av, "ffmpeg_version_info", "") or av.library_versions["libavcodec"])


def _part(check: FormatCheck, place: int) -> str:
    return check.name.split("/")[place]


def _stored(check: FormatCheck) -> str:
    _, _, _, order, rotation, aspect = check.name.split("/")
    wanted = {"field order": order, "rotation": f"{rotation} degrees", "aspect": f"pixel aspect {aspect}"}
    found = [wanted[kind] for kind in check.stored.split(", ")]
    return (
        ", ".join(found)
        .replace("pixel aspect 1:1", "pixel aspect of the codec's own")
        .replace("progressive", "interlaced")
    )


def _table(
    title: str, checks: Sequence[FormatCheck], key: Callable[[FormatCheck], str], *others: tuple[str, int]
) -> list[str]:
    groups = defaultdict(list)
    for check in checks:
        groups[key(check)].append(check)
    names = [name for name, _ in others]
    rows = [
        f"| {title} | files | right | {' | '.join(names)} | least dB | times, ms |",
        "|---" * (5 + len(names)) + "|",
    ]
    for name, group in sorted(groups.items()):
        right = [check for check in group if check.outcome == "right"]
        counts = (str(len({_part(check, place) for check in group})) for _, place in others)
        least = f"{min(check.psnr_db for check in right):.0f}" if right else "-"
        off = f"{max(check.off_s for check in right) * 1e3:.1f}" if right else "-"
        rows.append(f"| {name} | {len(group)} | {len(right)} | {' | '.join(counts)} | {least} | {off} |")
    return [*rows, ""]


def _not_right(checks: Iterable[FormatCheck]) -> list[str]:
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for check in checks:
        if check.outcome != "right":
            reason = explain(check)
            groups[("", reason) if reason else (check.problem, "**not explained**")].append(check.name)
    if not groups:
        return []
    rows = ["| not right | files | why |", "|---|---|---|"]
    for (problem, reason), names in sorted(groups.items(), key=lambda item: -len(item[1])):
        kinds = sorted({"/".join(name.split("/")[:2]) for name in names})
        shown = ", ".join(kinds[:6]) + (f" and {len(kinds) - 6} more" if len(kinds) > 6 else "")
        rows.append(f"| {shown}{': ' + problem if problem else ''} | {len(names)} | {reason} |")
    return [*rows, ""]


def explain(check: FormatCheck) -> str | None:
    """Return the known reason for what is not right about a case; None: it is a defect."""
    for name, problem, reason in EXPLAINED:
        if re.search(name, check.name) and re.search(problem, check.problem):
            return reason
    return None


if __name__ == "__main__":
    main()
