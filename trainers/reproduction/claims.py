"""Measure the paper's claims on the predictions of finished rows, by a paired bootstrap."""

from collections.abc import Mapping, Sequence

import numpy as np

from realtime_polyp.metrics.bootstrap import Draw, draws, intervals
from trainers.evaluation.claims import CLAIMS, Claim, Finding, judge
from trainers.evaluation.results import DECIMALS, round_figure
from trainers.reproduction.predictions import Predictions, mean_figures

Rows = Mapping[tuple[str, bool], Sequence[Predictions]]  # (recipe, at several scales): one per seed


def measure_claims(predictions: Mapping[tuple[str, bool], Sequence[Predictions]], *, samples: int) -> list[Finding]:
    """Measure every claim whose rows are all there.

    predictions: of finished rows, all on the same images. samples: of the bootstrap.
    """
    return [
        _measure(claim, *sides, samples=samples)
        for claim in CLAIMS
        if (sides := _sides(claim, predictions)) is not None
    ]


def _sides(claim: Claim, predictions: Rows) -> tuple[list[Predictions], list[Predictions]] | None:
    keys = ([(one, False) for one in claim.first], [(one, claim.second_at_scales) for one in claim.second])
    if any(key not in predictions for side in keys for key in side):
        return None
    first, second = ([one for key in side for one in predictions[key]] for side in keys)
    return first, second


def _measure(claim: Claim, first: list[Predictions], second: list[Predictions], *, samples: int) -> Finding:
    def difference(draw: Draw) -> dict[str, float | None]:
        ours, theirs = (mean_figures(side, draw)[claim.figure] for side in (first, second))
        return {"": None if ours is None or theirs is None else ours - theirs}

    count = first[0].images
    drawn = draws(count, samples=samples, groups=first[0].groups)
    interval = intervals(drawn, difference)[""]
    value = difference(np.arange(count))[""]
    return Finding(
        claim=claim.text,
        figure=claim.figure,
        difference=round_figure(value),
        interval=None if interval is None else (round(interval.low, DECIMALS), round(interval.high, DECIMALS)),
        paper=None if claim.paper is None else round(claim.paper / 100, 4),
        verdict=judge(interval),
    )
