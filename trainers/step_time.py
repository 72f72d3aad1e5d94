"""Time a training step, or its images, on this machine: python -m trainers.step_time --config lowrank-lite2"""

import tempfile
import time
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path

import cv2
import numpy as np
import torch

from trainers.command import command_parser, report_bad_input
from trainers.data.augment import Augment
from trainers.data.device.stills import DeviceStills
from trainers.data.stills import Batch, Still, TrainingStills
from trainers.recipes import RECIPES, Recipe
from trainers.training.contract import ModelWithLoss, Targets
from trainers.training.depthwise import use_fast_depthwise
from trainers.training.initialise import mode_setter

_EPILOG = """examples:
  python -m trainers.step_time --config lowrank-lite2
  python -m trainers.step_time --config gflv2-lite0 --steps 10
  python -m trainers.step_time --config gflv2-lite0 --augment --workers 2"""
_STILLS, _IMAGES = 64, 256  # different ones, and those that are timed


def main(arguments: list[str] | None = None) -> None:
    parser = command_parser(
        "trainers.step_time",
        description="Time a training step on the CPU, by precision and implementation of the depthwise gradient, "
        "or the augmentation of its images, by workers and on the device.",
        epilog=_EPILOG,
    )
    parser.add_argument("--config", choices=list(RECIPES), default="lowrank-lite2", metavar="NAME")
    parser.add_argument(
        "--steps", type=int, default=5, help="steps to time; the median is reported (default: %(default)s)"
    )
    parser.add_argument("--augment", action="store_true", help="time the augmentation instead of the training step")
    parser.add_argument("--workers", type=int, default=1, help="of --augment (default: %(default)s)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="of --augment (default: %(default)s)")
    options = parser.parse_args(arguments)
    with report_bad_input(parser):
        if options.steps < 1:
            raise ValueError(f"--steps must be at least 1, got {options.steps}")
        if options.workers < 0:
            raise ValueError(f"--workers must be at least 0, got {options.workers}")
        recipe = RECIPES[options.config]
        if options.augment:
            print(augment_table(recipe, options.steps, options.workers, _resolved(options.device)))
        else:
            print(table(recipe, options.steps))


def _resolved(device: str) -> str:
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: torch finds no GPU here; leave it out to measure the CPU")
    return device


def table(recipe: Recipe, steps: int) -> str:
    """Return one line per variant, with its speed relative to the first one."""
    lines = [f"{recipe.name}, batch {recipe.loop.batch}, {recipe.config.size[0]}x{recipe.config.size[1]}"]
    first = 0.0
    for precision in ("float32", "bfloat16"):
        for fast in (False, True):
            seconds = median_step_s(recipe, steps, half=precision == "bfloat16", fast=fast)
            first = first or seconds
            whose = "ours" if fast else "torch's"
            lines.append(f"{precision:9} depthwise gradient {whose:8}{seconds:7.2f} s {first / seconds:5.2f} x")
    return "\n".join(lines)


def median_step_s(recipe: Recipe, steps: int, *, half: bool, fast: bool) -> float:
    """Return the median time of forward and backward on random images, after one warm-up step."""
    torch.manual_seed(0)
    net = recipe.build(recipe.config).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    mode_setter(net, task=recipe.task, pretrained=True)(net)
    if fast:
        use_fast_depthwise(net)
    model = ModelWithLoss(net, recipe.loss)
    images = (torch.rand(recipe.loop.batch, 3, *recipe.config.size) * 255).contiguous(memory_format=torch.channels_last)
    box = torch.tensor([[40.0, 40.0, 160.0, 150.0]])
    targets = Targets([box] * len(images), (torch.rand(len(images), *recipe.config.size) > 0.5).float())
    taken = []
    for _ in range(steps + 1):
        begun = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16) if half else nullcontext():
            losses = model(images, targets)
        losses["loss"].backward()
        taken.append(time.perf_counter() - begun)
    return sorted(taken[1:])[steps // 2]


def augment_table(recipe: Recipe, rounds: int, workers: int, device: str) -> str:
    """Return images/s of both places of augmentation and their ratio, medians of rounds in which they take turns."""
    size, batch = recipe.config.size, recipe.loop.batch
    with tempfile.TemporaryDirectory() as folder:
        stills = [write_still(Path(folder), number, size) for number in range(_STILLS)]
        sets: dict[str, TrainingStills | DeviceStills] = {
            f"{workers} workers": TrainingStills(stills, size, Augment(recipe.augment)),
            f"on {device}": DeviceStills(stills, size, recipe.augment, device),
        }
    order = [[place % _STILLS for place in range(start, start + batch)] for start in range(0, _IMAGES, batch)]
    rates: dict[str, list[float]] = {name: [] for name in sets}
    for number in range(rounds + 1):
        for name, data in sets.items():
            data.epoch = number
            rates[name].append(images_per_s(data.batches(order, workers), device, late=name != f"on {device}"))
    medians = {name: sorted(values[1:])[rounds // 2] for name, values in rates.items()}
    first = medians[f"{workers} workers"]
    lines = [f"{recipe.name}, batch {batch}, {size[0]}x{size[1]}, {torch.get_num_threads()} threads of torch"]
    lines += [f"{name:12}{rate:8.1f} images/s {rate / first:5.2f} x" for name, rate in medians.items()]
    return "\n".join(lines)


def images_per_s(batches: Iterable[Batch], device: str, *, late: bool) -> float:
    """Return how fast batches come. late: time from the first batch on, which leaves out the start of the workers."""
    begun, count = time.perf_counter(), 0
    for number, (pixels, _, _) in enumerate(batches):
        if late and number == 0:
            begun = time.perf_counter()
        else:
            count += len(pixels)
    if device != "cpu":
        torch.cuda.synchronize()
    return count / (time.perf_counter() - begun)


def write_still(folder: Path, seed: int, size: tuple[int, int]) -> Still:
    """Write an image of soft waves with one round polyp, and its mask, of `size` (h, w) px."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: size[0], : size[1]]
    waves = 120 + 60 * np.sin(columns / 30 + rng.uniform(0, 6)) * np.cos(rows / 25)
    image = np.clip(waves[..., None] + rng.normal(0, 10, (*size, 3)), 0, 255).astype(np.uint8)
    centre = rng.uniform(0.3, 0.7, 2) * size
    mask = 255 * (np.hypot(rows - centre[0], columns - centre[1]) < 0.15 * size[0]).astype(np.uint8)
    paths = folder / f"{seed}.png", folder / f"{seed}_mask.png"
    for path, content in zip(paths, (image, mask), strict=True):
        cv2.imwrite(str(path), content)
    return Still(seed, *paths, size[1], size[0], "", np.zeros((0, 4), np.float32))


if __name__ == "__main__":
    main()
