"""The four steps of a day with a GPU, as commands that have a time limit: tests, benchmarks, training, the tables."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from realtime_polyp.json_files import read_json
from realtime_polyp.messages import one_line
from trainers.gpu.landing import MODELS, averaged_weights, train_models
from trainers.gpu.planner import Step
from trainers.gpu.processes import Command, log_of, run_all
from trainers.gpu.summary import bring_compressed, bring_folder, bring_half
from trainers.training.run_folder import BEST, CHECKPOINT

STEP_NAMES = ("tests", "bench", "train", "reproduce")
# Not tests/sources/test_sources_hardware.py: it decodes on the card, which needs av.
GPU_TESTS = [
    "tests/inference/test_cuda_inference.py",
    "tests/preprocess/test_letterbox_torch.py",
    "tests/trainers/test_device_augment.py",
    "tests/trainers/test_device_stills.py",
    "tests/engines/test_engines_gpu.py",
    "tests/bench/test_bench_gpu.py",
]
_TOY_SIZE = (64, 96)
_ROW_EPOCHS = 8
_RESULT = re.compile(r"\s(PASSED|FAILED|ERROR|SKIPPED)\b")
_TRACE = "trace.json.gz"


@dataclass(frozen=True)
class Day:
    """What the steps are told.

    Attributes:
        device: "cuda", or "cpu" for a rehearsal at toy size.
        data: folder of the unpacked stills; None if they did not come.
        work: folder of logs and runs, which stays behind.
        out: folder of the files that come back, packed (`summary.pack_files`).
        models: of `landing.MODELS`, to train.
        parallel: rows of the tables at the same time.
    """

    device: Literal["cuda", "cpu"]
    data: Path | None
    work: Path
    out: Path
    models: tuple[str, ...] = tuple(MODELS)
    parallel: int = 8

    @property
    def logs(self) -> Path:
        return self.work / "logs"

    @property
    def is_toy(self) -> bool:
        return self.device == "cpu"

    def stills(self) -> Path:
        """Return the folder of the stills. Raises FileNotFoundError if they did not come."""
        if self.data is None:
            raise FileNotFoundError("the stills are not here")
        return self.data


def steps_of(day: Day, names: Sequence[str] = STEP_NAMES) -> list[Step]:
    """Return the named steps in order of value, with their time budgets."""
    scale = 0.1 if day.is_toy else 1.0
    steps = [
        Step("tests", "GPU tests", 20 * scale, 30 if day.is_toy else 110, 1.0, lambda limit_s: test(day, limit_s)),
        Step("bench", "benchmarks", 40 * scale, 25 if day.is_toy else 150, 1.0, lambda limit_s: bench(day, limit_s)),
        Step(
            "train",
            "training that lands",
            90 * scale,
            1e9,
            0.8 if day.is_toy else 0.6,
            lambda limit_s: train(day, limit_s),
        ),
        Step("reproduce", "the tables' queue", 60 * scale, 1e9, 1.0, lambda limit_s: reproduce(day, limit_s)),
    ]
    return [step for step in steps if step.name in names]


# a. tests


def test(day: Day, limit_s: float) -> dict[str, Any]:
    """Run the GPU tests; the card's compiler caches are filled meanwhile, for the benchmarks."""
    words = ["pytest", "-v", "-p", "no:cacheprovider", "--color=no"]
    if day.is_toy:
        commands = [Command("tests", [*words, "-k", "cpu", GPU_TESTS[1]], {})]
    else:
        commands = [Command("tests", [*words, "-n", "8", "-m", "needs", *GPU_TESTS], {"REQUIRE": "cuda"})]
        commands.append(_bench(day, "compile-paper", "paper", ["compiled-fp16"], 0.9 * limit_s, quick=True))
    ended = run_all(commands, limit_s, day.logs)
    found = count_results(log_of("tests", day.logs).read_text(errors="replace"))
    return {**found, "ended": [one.sentence for one in ended]}


def count_results(log: str) -> dict[str, Any]:
    """Count the results in the output of `pytest -v`, also of one that was stopped, and name the failures."""
    lines = [line for line in log.splitlines() if "::" in line and _RESULT.search(line) and "%]" in line]
    states = [_RESULT.findall(line)[0] for line in lines]
    failed = [line.strip() for line, state in zip(lines, states, strict=True) if state in ("FAILED", "ERROR")]
    counts = {name.lower(): states.count(name) for name in ("PASSED", "FAILED", "ERROR", "SKIPPED")}
    return {**counts, "failures": failed[:20]}


# b. benchmarks


def bench(day: Day, limit_s: float) -> dict[str, Any]:
    """Measure the shipped pair, then the paper's: first what opens at once, then what must be compiled."""
    if day.is_toy:
        plan = [("toy", "toy", ["eager"], 1.0)]
    else:
        plan = [
            ("default", "default", ["eager-fp16-graphs", "eager-fp16"], 0.2),
            ("paper", "paper", ["eager-fp16-graphs", "eager-fp16"], 0.25),
            ("paper-compiled", "paper", ["compiled-fp16", "eager-fp16"], 0.3),
            ("default-compiled", "default", ["compiled-fp16", "eager-fp16"], 0.25),
        ]
    figures: dict[str, Any] = {}
    for name, pair, variants, share in plan:
        ended = run_all([_bench(day, f"bench-{name}", pair, variants, share * limit_s)], share * limit_s, day.logs)[0]
        figures[name] = {"ended": ended.sentence, **read_bench(day.work / f"bench-{name}.json")}
    traces = [day.work / f"bench-{name}-trace.json" for name, *_ in reversed(plan)]
    if found := next((path for path in traces if path.exists()), None):
        bring_compressed(found, day.out / _TRACE)
    return figures


def _bench(day: Day, name: str, pair: str, variants: Sequence[str], limit_s: float, *, quick: bool = False) -> Command:
    """Return a benchmark that ends a little before its limit. quick: only to fill the compiler's caches."""
    words = ["realtime_polyp.bench.gpu", "--pair", pair, "--device", day.device, "--variants", *variants]
    words += ["--minutes", f"{max(5, limit_s - 10) / 60:.3f}", "--json", str(day.work / f"{name}.json")]
    words += ["--trace", str(day.work / f"{name}-trace.json")]
    if quick or day.is_toy:
        words += ["--rounds", "1", "--round-s", "0.2", "--delay-s", "1", "--stream-s", "0.5", "--most-streams", "2"]
    else:
        words += ["--rounds", "3", "--round-s", "1", "--delay-s", "5", "--stream-s", "2"]
    return Command(name, [*words, *(["--frame", "192x144"] if day.is_toy else [])], {})


def read_bench(path: Path) -> dict[str, Any]:
    """Return the figures of a benchmark's report that belong in a summary; {} without a report."""
    if not path.exists():
        return {}
    report = read_json(path, dict[str, Any], what="the report of a benchmark")
    speed, delay, idle, streams = (report.get(name) or {} for name in ("throughput", "delay", "idle", "streams"))
    return {
        "frames_per_s": speed.get("fps"),
        "ratio_to_eager": speed.get("ratio"),
        "share_of_matmul_limit": (report.get("arithmetic") or {}).get("share"),
        "matmul_tflop_per_s": (report.get("arithmetic") or {}).get("matmul_tflop_per_s"),
        "idle_at_full_load": idle.get("at_full_load"),
        "streams": streams.get("sustained"),
        "delay_p99_ms": delay.get("p99_ms"),
        "notes": report.get("notes", []) + report.get("failures", []),
    }


# c. training


def train(day: Day, limit_s: float) -> dict[str, Any]:
    """Train models for as long as there is time, and bring their weights in float16.

    Weights that cannot be brought are named in the figures of their model, and keep no others back.
    """
    runs = day.work / "train"
    found = train_models(day.models, day.stills(), runs, day.logs, limit_s, device=day.device, toy=day.is_toy)
    trained = [model for model in found if any((runs / model / name).exists() for name in (BEST, CHECKPOINT))]
    if not trained:
        raise RuntimeError("; ".join(figures["training"] for figures in found.values()))
    for model in trained:
        try:
            bring_half(averaged_weights(runs / model), day.out / f"{model}.fp16.safetensors")
        except (OSError, ValueError) as error:
            found[model]["weights"] = f"stay behind: {one_line(str(error))}"
    return found


# d. the tables


def reproduce(day: Day, limit_s: float) -> dict[str, Any]:
    """Run the queue of the tables' rows on EfficientNet-Lite0 at 320x384 px. Table 1 takes longest and comes last."""
    folder = day.work / "reproduce"
    words = ["trainers.reproduce", "--tables", "3", "4", "2", "1", "--backbone", "lite0"]
    words += ["--data", str(day.stills()), "--out", str(folder / "queue"), "--results", str(folder / "results")]
    words += ["--device", day.device, "--augment-on", "device", "--workers", "0", "--checkpoint-minutes", "60"]
    words += ["--hours", f"{max(1.0, limit_s - 6) / 3600:.5f}", "--parallel", str(1 if day.is_toy else day.parallel)]
    if day.is_toy:
        words += ["--size", *map(str, _TOY_SIZE), "--epochs", "1", "--limit", "16", "--batch", "4", "--draws", "200"]
    else:
        words += ["--batch", "16", "--epochs", str(_ROW_EPOCHS)]
    words += ["--resume"] if (folder / "queue").exists() else []
    ended = run_all([Command("reproduce", words, {})], limit_s, day.logs)
    bring_folder(folder / "results", day.out / "results.tar.gz", (".json", ".npz"))
    bring_folder(folder / "queue", day.out / "queue.tar.gz", (".json", ".txt", ".npz"))
    finished = sorted(path.name for path in (folder / "results").glob("*.json"))
    return {"ended": [one.sentence for one in ended], "results": finished}
