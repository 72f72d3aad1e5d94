"""The temporal filter's settings, as a session file stores them: fact `filter`."""

import dataclasses
from dataclasses import dataclass, replace
from typing import Any, TypedDict

import numpy as np

from realtime_polyp.config import PipelineConfig
from realtime_polyp.json_files import Share, check_json
from realtime_polyp.postprocess.nms import SCORE_THRESHOLD, WEAK_THRESHOLD
from realtime_polyp.temporal.config import LEAST_WEIGHT, PROBABILITIES, Evidence, TemporalConfig

FACT = "filter"
_LEAST_SCORE = 1e-6
_OLD_KNOTS = 200  # of a curve that an earlier version described by a power


@dataclass(frozen=True)
class FilterSettings:
    """What decides which tracks a filter makes of the same detections.

    Attributes:
        score_threshold: lowest score of a box that starts a track and is shown, 0..1.
        weak_threshold: lowest score of a box that continues a track, 0..1.
        evidence: evidence weights of the scores.
        temporal: times of the tracker; None: polyps were not followed over time.
    """

    score_threshold: float = SCORE_THRESHOLD
    weak_threshold: float = WEAK_THRESHOLD
    evidence: Evidence = PROBABILITIES
    temporal: TemporalConfig | None = TemporalConfig()

    def at(self, score_threshold: float) -> "FilterSettings":
        """Return the settings with another threshold. The curve of an older session is 0 up to its own threshold: at
        another one it gets today's least weight, or a lower threshold would show nothing more."""
        if score_threshold == self.score_threshold:
            return self
        return replace(self, score_threshold=score_threshold, evidence=self.evidence.at_least(LEAST_WEIGHT))

    @property
    def floor(self) -> float:
        """Lowest score of a box that the tracker uses."""
        return min(self.score_threshold, self.weak_threshold) if self.temporal else self.score_threshold


def settings_of(config: PipelineConfig) -> FilterSettings:
    """Return the settings of a pipeline."""
    return FilterSettings(config.score_threshold, config.weak_threshold, config.evidence, config.temporal)


def to_fact(settings: FilterSettings) -> dict[str, Any]:
    """Convert to JSON types, for `SessionStore.set_fact(FACT, ...)`."""
    return dataclasses.asdict(settings)


def from_fact(fact: object) -> FilterSettings:
    """Read what `to_fact` wrote; None, of a session without it, gives the defaults. Raises ValueError."""
    if fact is None:
        return FilterSettings()
    if isinstance(fact, dict) and isinstance(fact.get("evidence"), dict) and "power" in fact["evidence"]:
        fact = fact | {"evidence": _from_power(fact)}
    return check_json(fact, FilterSettings, f"fact {FACT}", "a filter's settings")


class _PowerCurve(TypedDict):
    """Evidence as versions before 2026-11-28 stored it: a power of the log-odds above the threshold."""

    sure_score: float
    power: float
    penalty: float
    miss_penalty: float


def _from_power(fact: dict[str, Any]) -> dict[str, Any]:
    """Return the evidence of an older session as a curve; its weights differ by less than 0.001. Raises ValueError."""
    where, what = f"fact {FACT}", "a filter's settings"
    old = check_json(fact["evidence"], _PowerCurve, where, what)
    start = check_json(fact.get("score_threshold", SCORE_THRESHOLD), Share, where, what)
    penalties = {name: old[name] for name in ("penalty", "miss_penalty")}
    if not (0 < old["sure_score"] < 1 and old["power"] > 0):
        raise ValueError(f"{where} is not {what}: sure_score {old['sure_score']:g} with power {old['power']:g}")
    if start >= old["sure_score"]:  # everything that reached the threshold had full weight
        return {"scores": [start], "weights": [1.0]} | penalties
    least, most = (np.log(one / (1 - one)) for one in (max(start, _LEAST_SCORE), old["sure_score"]))
    odds = np.linspace(least, most, _OLD_KNOTS)
    weights = ((odds - least) / (most - least)) ** old["power"]
    return {"scores": (1 / (1 + np.exp(-odds))).tolist(), "weights": weights.tolist()} | penalties
