"""Train the rows of the paper's tables one after another under one budget: python -m trainers.reproduce

Each row runs in a process of its own and is measured on `val` and `unseen_C6`. Everything that is finished lies in
files, so a queue that was killed at any moment goes on with --resume and comes to the same table.
"""

import argparse
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, get_args

from tqdm import tqdm

from realtime_polyp.console import EXIT_FAILED, EXIT_INTERRUPTED
from trainers.backbone_recipes import BACKBONE_NAMES
from trainers.command import command_parser, report_bad_input
from trainers.data.stills import read_stills
from trainers.evaluation.claims import CLAIMS, format_claims, read_claims, write_claims
from trainers.evaluation.paper_tables import TABLES
from trainers.recipes import RECIPES
from trainers.reproduction.budget import Budget, Job, begin, list_configs, list_jobs, ways_to_measure
from trainers.reproduction.claims import add_earlier, measure_claims
from trainers.reproduction.row import RowOptions, checksums_of, encode, epochs_done, epochs_of, is_finished, sets_of
from trainers.reproduction.rows import QueueContext, check_results, load_rows, read_figures, write_row
from trainers.training.run import check_size
from trainers.training.schedule import Precision

RESULTS = Path("docs/results")
LOG = "log.txt"
_POLL_S = 1.0
_DRAWS = 1000
_HEADLINE = {"detector": "AP", "segmenter": "dice"}
_EPILOG = """examples:
  python -m trainers.reproduce --tables 3 --epochs 12 --out runs/long --results runs/long/results
  python -m trainers.reproduce --size 256 320 --epochs 6 --hours 8 --out runs/night --results runs/night/results
  python -m trainers.reproduce --size 256 320 --epochs 6 --out runs/night --results runs/night/results --resume
  python -m trainers.reproduce --tables 3 --backbone paper --device cuda --out runs/paper
  nice -n 19 python -m trainers.reproduce --size 192 224 --epochs 3 --precision bfloat16 2> reproduce.log &"""


def main(arguments: list[str] | None = None) -> None:
    parser = command_line()
    options = parser.parse_args(arguments)
    with report_bad_input(parser):
        try:
            failed = run(options)
        except KeyboardInterrupt:
            print("stopped: what is finished is kept, and --resume goes on", file=sys.stderr)
            raise SystemExit(EXIT_INTERRUPTED) from None
    if failed:
        raise SystemExit(EXIT_FAILED)


def command_line() -> argparse.ArgumentParser:
    parser = command_parser(
        "trainers.reproduce",
        description="Train, measure and compare the rows of the paper's tables with one backbone, one budget and one "
        "list of seeds. Needs nobody: a row that fails is recorded and the next one starts.",
        epilog=_EPILOG,
    )
    add = parser.add_argument
    numbers = [table.number for table in TABLES]
    add("--tables", type=int, nargs="+", choices=numbers, default=numbers, metavar="N",
        help="tables, in the order of their training (default: 1 2 3 4)")  # fmt: skip
    add("--rows", nargs="+", metavar="NAME", help="only these recipes of the tables")
    add("--backbone", choices=BACKBONE_NAMES, default="lite0", help="of every row (default: %(default)s)")
    add("--size", type=int, nargs=2, metavar=("H", "W"), help="input size, px (default: the recipe's: 320 384 on lite)")
    add("--epochs", type=int, help="length of each run (default: the recipe's: 12 on lite)")
    add("--batch", type=int, help="images per step (default: the recipe's)")
    add("--precision", choices=get_args(Precision), help="of forward and backward (default: the recipe's: float32)")
    add("--seeds", type=int, nargs="+", default=[0], metavar="N", help="train each row with each (default: 0)")
    add("--data", type=Path, default=Path("../shared/data"), help="folder of train.json, val.json, unseen_C6.json "
        "(default: %(default)s)")  # fmt: skip
    add("--root", type=Path, help="folder that image paths are relative to (default: --data)")
    add("--out", type=Path, default=Path("runs/reproduce"), help="folder of the queue (default: %(default)s)")
    add("--results", type=Path, metavar="DIR",
        help="folder of result files, of one budget for each backbone "
        f"(default: {RESULTS.as_posix()}; with --limit, results in --out)")  # fmt: skip
    add("--hours", type=float, metavar="H", help="stop after H hours; --resume goes on")
    add("--parallel", type=int, default=1, metavar="N", help="rows at the same time, on shared cores (default: 1)")
    add("--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: %(default)s")
    add("--workers", type=int, help="loading processes of a run (default: the recipe's)")
    add("--augment-on", choices=["workers", "device"], default="workers",
        help="where images are augmented: device on a card (default: %(default)s)")  # fmt: skip
    add("--draws", type=int, default=_DRAWS, help="bootstrap draws of an interval (default: %(default)s)")
    add("--limit", type=int, help="use only the first N images of each set, for a quick test")
    add("--checkpoint-minutes", type=float, default=2.0, metavar="N", help="default: %(default)s")
    add("--resume", action="store_true", help="go on with the queue in --out")
    return parser


def run(options: argparse.Namespace) -> list[str]:
    """Work through the queue; return the jobs that failed.

    Raises:
        OSError, ValueError: bad input, in one sentence.
    """
    budget = budget_of(options)
    configs = chosen_configs(options)
    check_data_files(options)
    options.results = results_folder(options)
    context = context_of(budget, options)
    check_results(context)
    begin(options.out, budget, context.data, resume=options.resume)
    queue = Queue(list_jobs(configs, budget), context, options)
    with Progress(queue.jobs, budget, options.out) as progress:
        queue.work(progress)
    report(configs, context, options, queue.failed)
    return queue.failed


def budget_of(options: argparse.Namespace) -> Budget:
    """Return the budget of the command line. Raises ValueError for a number below 1 or a size no net takes."""
    for name in ("epochs", "batch", "limit", "draws", "parallel"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name} must be at least 1, got {value}")
    if options.hours is not None and not options.hours > 0:
        raise ValueError(f"--hours must be above 0, got {options.hours:g}")
    if options.size:
        check_size(options.size)
    if any(seed < 0 for seed in options.seeds) or len(set(options.seeds)) < len(options.seeds):
        raise ValueError(f"--seeds {' '.join(map(str, options.seeds))}: different numbers from 0 on are allowed")
    size = tuple(options.size) if options.size else None
    seeds = tuple(options.seeds)
    return Budget(
        options.backbone, size, options.epochs, options.batch, seeds, options.limit, options.augment_on,
        options.precision,
    )  # fmt: skip


def chosen_configs(options: argparse.Namespace) -> list[str]:
    """Return the recipes to train. Raises ValueError for a row that the tables do not have on this backbone."""
    configs = list_configs(options.tables, options.backbone)
    unknown = sorted(set(options.rows or ()) - set(configs))
    if unknown:
        raise ValueError(f"--rows {unknown[0]}: on {options.backbone} these tables have {', '.join(configs)}")
    return [config for config in configs if config in (options.rows or configs)]


def check_data_files(options: argparse.Namespace) -> None:
    """Raise FileNotFoundError or ValueError for a file of the data that every row of the night would fail on."""
    if not (options.data / "train.json").is_file():
        raise FileNotFoundError(f"{options.data} has no train.json: give the folder of the data with --data")
    for name in ("train", *sets_of(options.data)):
        if not read_stills(options.data / f"{name}.json", options.root or options.data):
            raise ValueError(f"{options.data / f'{name}.json'} has no images: nothing to train or to measure on")


def results_folder(options: argparse.Namespace) -> Path:
    """Return the folder of result files. The figures of a quick test do not replace those that are published."""
    given: Path | None = options.results
    if given is not None:
        return given
    return Path(options.out, "results") if options.limit else RESULTS


def context_of(budget: Budget, options: argparse.Namespace) -> QueueContext:
    """Return what the rows of this queue have in common."""
    return QueueContext(budget, checksums_of(options.data), options.out, options.results)


class Queue:
    """The jobs, and the processes that work on them."""

    def __init__(self, jobs: list[Job], context: QueueContext, options: argparse.Namespace) -> None:
        self.jobs, self.context, self.budget, self.options = jobs, context, context.budget, options
        self.failed: list[str] = []
        self.running: dict[Job, subprocess.Popen[bytes]] = {}
        self._written: set[str] = set()

    def work(self, progress: "Progress") -> None:
        """Run the jobs in order, several at a time, until all are finished or the hours are over."""
        deadline_s = time.monotonic() + 3600 * (self.options.hours or float("inf"))
        waiting = [job for job in self.jobs if not self._finish(job, progress)]
        try:
            while (waiting or self.running) and time.monotonic() < deadline_s:
                while waiting and len(self.running) < self.options.parallel:
                    job = waiting.pop(0)
                    self.running[job] = start(job, self.budget, self.options)
                progress.show(list(self.running))
                time.sleep(_POLL_S)
                for job in [job for job, process in self.running.items() if process.poll() is not None]:
                    self._end(job, self.running.pop(job).returncode, progress)
        finally:
            for process in self.running.values():
                process.kill()  # its last checkpoint stays
                process.wait()

    def _end(self, job: Job, code: int, progress: "Progress") -> None:
        log = job.folder(self.options.out) / LOG
        if code or not self._finish(job, progress):
            self.failed.append(job.config)
            progress.say(f"{job.config}, seed {job.seed} failed: {_last_line(log) or f'exit code {code}'} (see {log})")

    def _finish(self, job: Job, progress: "Progress") -> bool:
        """Return whether a job is finished, and write the results of its row once all seeds are."""
        finished = is_finished(job, self.budget, self.options.out, self.options.data)
        row_finished = finished and all_seeds_finished(job.config, self.budget, self.options)
        if row_finished and job.config not in self._written:
            progress.say(write_results(job.config, self.context, self.options))
            self._written.add(job.config)
        return finished


def start(job: Job, budget: Budget, options: argparse.Namespace) -> subprocess.Popen[bytes]:
    """Start the process of a job, with its output in its folder's log."""
    folder = job.folder(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    told = RowOptions(
        config=job.config, seed=job.seed, budget=budget, data=str(options.data), root=str(options.root or options.data),
        folder=str(folder), device=options.device, workers=options.workers,
        checkpoint_minutes=options.checkpoint_minutes, queue=os.getpid(),
    )  # fmt: skip
    threads = max(1, (os.cpu_count() or 1) // options.parallel)
    shared = {"OMP_NUM_THREADS": str(threads), "NUMBA_NUM_THREADS": str(threads)} if options.parallel > 1 else {}
    words = [sys.executable, "-m", "trainers.reproduction.row", encode(told)]
    with (folder / LOG).open("a") as log:
        return subprocess.Popen(
            words, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env={**shared, **os.environ}
        )


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").replace("\r", "\n").strip().splitlines()
    return lines[-1][-300:] if lines else ""


def all_seeds_finished(config: str, budget: Budget, options: argparse.Namespace) -> bool:
    return all(is_finished(Job(config, seed), budget, options.out, options.data) for seed in budget.seeds)


def write_results(config: str, context: QueueContext, options: argparse.Namespace) -> str:
    """Write the result files of a row, and return a sentence with its main figure."""
    root = options.root or options.data
    said = []
    for name in sets_of(options.data):
        images = len(read_stills(options.data / f"{name}.json", root))
        for at_scales in ways_to_measure(config):
            content = write_row(config, context, name, set_images=images, samples=options.draws,
                                command=command_of(options), at_scales=at_scales)  # fmt: skip
            said.append(_headline(content, at_scales=at_scales))
    return f"{config}: {'; '.join(said)}"


def _headline(content: dict[str, Any], *, at_scales: bool) -> str:
    figure = _HEADLINE[RECIPES[content["config"]].task]
    value, span = content["figures"][figure], content["intervals"].get(figure)
    ends = f" [{100 * span[0]:.1f} {100 * span[1]:.1f}]" if span else ""
    number = "undefined" if value is None else f"{100 * value:.1f}"
    return f"{figure} {number}{ends} on {content['set']}{', at several scales' if at_scales else ''}"


def command_of(options: argparse.Namespace) -> str:
    """Return the command that makes these rows, quoted for a shell."""
    words = ["python", "-m", "trainers.reproduce", "--tables", *map(str, sorted(options.tables))]
    words += ["--backbone", options.backbone]
    for name in ("size", "epochs", "batch", "precision", "seeds", "limit"):
        value = getattr(options, name)
        if value is not None:
            words += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    words += ["--augment-on", options.augment_on] if options.augment_on != "workers" else []
    words += ["--draws", str(options.draws)] if options.draws != _DRAWS else []
    return shlex.join(words)


def report(configs: list[str], context: QueueContext, options: argparse.Namespace, failed: list[str]) -> None:
    """Measure the paper's claims on all rows with predictions, and print them and what is left.

    Also on rows of other tables than these, and on those of earlier queues with the same budget: the file of claims
    would lose them.
    """
    budget = context.budget
    for name in sets_of(options.data):
        rows = load_rows(context, name)
        findings = measure_claims(rows, samples=options.draws)
        if findings:
            path = context.claims_path(name)
            earlier = read_claims(path).findings if path.exists() else []
            findings = add_earlier(findings, earlier, read_figures(context, name))
            compared = {config for claim in CLAIMS for config in claim.configs
                        if claim.text in {one.claim for one in findings}}  # fmt: skip
            images = next(iter(rows.values()))[0].images
            write_claims(path, findings, data=name, images=images, budget=describe(budget, sorted(compared)))
            print(format_claims(read_claims(path)))
    left = [one for one in configs if not all_seeds_finished(one, budget, options)]
    print(f"{len(configs) - len(left)} of {len(configs)} rows are finished; results: {options.results}")
    if left:
        what = f"{len(failed)} failed, the" if failed else "The"
        print(f"{what} rest goes on with --resume: {', '.join(left)}")


def describe(budget: Budget, configs: list[str]) -> str:
    """Return the budget in a few words."""
    size = f"{budget.size[0]}x{budget.size[1]}, " if budget.size else ""
    epochs = sorted({epochs_of(config, budget) for config in configs})
    length = " to ".join(str(one) for one in dict.fromkeys((epochs[0], epochs[-1])))
    seeds = f"{len(budget.seeds)} seed{'s' if len(budget.seeds) > 1 else ''}"
    limit = f", only {budget.limit} images of each set" if budget.limit else ""
    precision = f"{budget.precision}, " if budget.precision else ""
    return f"{budget.backbone}, {size}{length} epochs, {precision}{seeds}{limit}"


class Progress:
    """One line for the whole queue: rows done, running and left, and the time that is left."""

    def __init__(self, jobs: list[Job], budget: Budget, out: Path) -> None:
        self._jobs, self._out = jobs, out
        self._epochs = {job: epochs_of(job.config, budget) for job in jobs}
        # In a log, a line a minute is enough.
        self._bar = tqdm(total=sum(self._epochs.values()), initial=self._epochs_done(), unit="epoch", desc="reproduce",
                         mininterval=0.5 if sys.stderr.isatty() else 60.0)  # fmt: skip

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def show(self, running: list[Job]) -> None:
        """Redraw the line if it is due."""
        epochs = {job: epochs_done(job.folder(self._out)) for job in self._jobs}
        trained = sum(epochs[job] >= self._epochs[job] for job in self._jobs if job not in running)
        states = ", ".join(f"{job.config} {_state(epochs[job], self._epochs[job])}" for job in running)
        left = len(self._jobs) - trained - len(running)
        self._bar.set_description(f"{trained} done, {states}, {left} left", refresh=False)
        self._bar.update(sum(min(epochs[job], self._epochs[job]) for job in self._jobs) - self._bar.n)
        if sys.stderr.isatty():
            self._bar.refresh()

    def say(self, text: str) -> None:
        tqdm.write(text)

    def _epochs_done(self) -> int:
        return sum(min(epochs_done(job.folder(self._out)), self._epochs[job]) for job in self._jobs)


def _state(epochs: int, wanted: int) -> str:
    return f"epoch {epochs + 1}/{wanted}" if epochs < wanted else "measuring"


if __name__ == "__main__":
    main()
