"""Time a training step on this machine: python -m trainers.step_time --config lowrank-lite2"""

import time
from contextlib import nullcontext

import torch

from trainers.command import command_parser, report_bad_input
from trainers.recipes import RECIPES, Recipe
from trainers.training.contract import ModelWithLoss, Targets
from trainers.training.depthwise import use_fast_depthwise
from trainers.training.initialise import mode_setter

_EPILOG = """examples:
  python -m trainers.step_time --config lowrank-lite2
  python -m trainers.step_time --config gflv2-lite0 --steps 10"""


def main(arguments: list[str] | None = None) -> None:
    parser = command_parser(
        "trainers.step_time",
        description="Time a training step on the CPU, by precision and implementation of the depthwise gradient.",
        epilog=_EPILOG,
    )
    parser.add_argument("--config", choices=list(RECIPES), default="lowrank-lite2", metavar="NAME")
    parser.add_argument(
        "--steps", type=int, default=5, help="steps to time; the median is reported (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    with report_bad_input(parser):
        if options.steps < 1:
            raise ValueError(f"--steps must be at least 1, got {options.steps}")
        print(table(RECIPES[options.config], options.steps))


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


if __name__ == "__main__":
    main()
