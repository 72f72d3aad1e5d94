"""A run's losses and validation figures as one picture."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # training runs on machines without a screen
import matplotlib.pyplot as plt  # noqa: E402

VALIDATION = ("AP", "AP50", "AP75", "dice", "miou")  # what is no loss in a run's history


def draw_curves(history: list[dict[str, float]], path: Path) -> None:
    """history: one dict an epoch with "epoch", losses, and validation figures where there were any."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), constrained_layout=True)
    names = sorted({name for entry in history for name in entry} - {"epoch"})
    for name in names:
        points = [(entry["epoch"], entry[name]) for entry in history if name in entry]
        axis = right if name in VALIDATION else left
        axis.plot(*zip(*points, strict=True), marker="o", markersize=3, label=name)
    for axis, title in ((left, "training loss"), (right, "validation")):
        axis.set(title=title, xlabel="epoch")
        axis.grid(alpha=0.3)
        if axis.lines:
            axis.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)
