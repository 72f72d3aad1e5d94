"""The temporal filter's settings, as a session file stores them: fact `filter`."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from realtime_polyp.config import PipelineConfig
from realtime_polyp.json_files import check_json
from realtime_polyp.postprocess.nms import SCORE_THRESHOLD, WEAK_THRESHOLD
from realtime_polyp.temporal.config import PROBABILITIES, Evidence, TemporalConfig

FACT = "filter"


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
    return check_json(fact, FilterSettings, f"fact {FACT}", "a filter's settings")
