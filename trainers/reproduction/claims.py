"""Measure the paper's claims on the predictions of finished rows, by a paired bootstrap."""

from collections.abc import Mapping, Sequence

import numpy as np

from realtime_polyp.metrics.bootstrap import Draw, draws, intervals
from trainers.evaluation.claims import CLAIMS, Claim, Finding, judge
from trainers.evaluation.results import DECIMALS, round_figure
from trainers.reproduction.predictions import Predictions, mean_figures

Key = tuple[str, bool]  # recipe, at several scales
Rows = Mapping[Key, Sequence[Predictions]]  # one per seed
_ROUNDING = 2e-4  # of a difference and of both its figures, which earlier versions rounded to four digits


def measure_claims(predictions: Rows, *, samples: int) -> list[Finding]:
    """Measure every claim whose rows are all there.

    predictions: of finished rows, all on the same images. samples: of the bootstrap.
    """
    return [
        _measure(claim, *sides, samples=samples)
        for claim in CLAIMS
        if (sides := _sides(claim, predictions)) is not None
    ]


def add_earlier(
    findings: Sequence[Finding], earlier: Sequence[Finding], figures: Mapping[Key, Mapping[str, float | None]]
) -> list[Finding]:
    """Return findings and, of claims that they lack, those measured before the predictions were lost.

    An earlier finding counts while its difference is that of the two sides' figures, so not after a row was trained
    anew and came out differently. figures: of the result files.
    """
    known = {one.claim: one for one in earlier if _agrees(one, figures)} | {one.claim: one for one in findings}
    return [known[claim.text] for claim in CLAIMS if claim.text in known]


def _agrees(finding: Finding, figures: Mapping[Key, Mapping[str, float | None]]) -> bool:
    claim = next((claim for claim in CLAIMS if claim.text == finding.claim), None)
    if claim is None or finding.difference is None:
        return False
    sides = [[figures.get(key, {}).get(claim.figure) for key in side] for side in _keys_of(claim)]
    values = [[value for value in side if value is not None] for side in sides]
    if list(map(len, values)) != list(map(len, sides)):
        return False
    ours, theirs = (sum(side) / len(side) for side in values)
    return abs(ours - theirs - finding.difference) <= _ROUNDING


def _keys_of(claim: Claim) -> tuple[list[Key], list[Key]]:
    return [(one, False) for one in claim.first], [(one, claim.second_at_scales) for one in claim.second]


def _sides(claim: Claim, predictions: Rows) -> tuple[list[Predictions], list[Predictions]] | None:
    keys = _keys_of(claim)
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
