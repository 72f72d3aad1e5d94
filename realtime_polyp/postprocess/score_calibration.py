"""What a calibration file says, and its use: scores that mean probabilities, and the point at which to show a box.

`python -m calibration.scores` and `python -m calibration.operating_point` write the file; `run_live --calibration`
reads it. Every map keeps the order of the scores, so that a ranking and its AP stay what they were.
"""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.engines.base import Engine, Task
from realtime_polyp.temporal.config import TemporalConfig

FORMAT = 1
Values = NDArray[np.float64]


class CalibrationError(ValueError):
    """The calibration cannot be used; the message is one sentence with the cure."""


@dataclass(frozen=True)
class TemperatureMap:
    """sigmoid(logit(score) / temperature + bias): Guo et al., ICML 2017, with Platt's bias; without one 0.5 stays."""

    temperature: float
    bias: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0 and math.isfinite(self.bias)):
            raise CalibrationError(
                f"a temperature must be above 0 and a bias finite, not {self.temperature} and {self.bias}"
            )

    def __call__(self, scores: Values) -> Values:
        """By odds instead of logits: exact at 0 and at 1, which have no logit."""
        right, wrong = scores ** (1 / self.temperature), (1 - scores) ** (1 / self.temperature)
        weighted = right * math.exp(self.bias)
        return weighted / (weighted + wrong)


@dataclass(frozen=True)
class TableMap:
    """Straight lines between points that rise in both: scores (n,) and probabilities (n,), from 0 to 1."""

    scores: tuple[float, ...]
    probabilities: tuple[float, ...]

    def __post_init__(self) -> None:
        pairs = np.array([self.scores, self.probabilities]) if len(self.scores) == len(self.probabilities) else None
        if pairs is None or not _rises_from_0_to_1(pairs):
            raise CalibrationError(
                "the points of an isotonic map must be as many scores as probabilities, each rising from 0 to 1"
            )

    def __call__(self, scores: Values) -> Values:
        return np.interp(scores, self.scores, self.probabilities)


def _rises_from_0_to_1(pairs: Values) -> bool:
    """Of pairs (2, n)."""
    ends = pairs.shape[1] >= 2 and (pairs[:, 0] == 0).all() and (pairs[:, -1] == 1).all()
    return bool(ends and (np.diff(pairs) > 0).all())


ProbabilityMap = TemperatureMap | TableMap


@dataclass(frozen=True)
class OperatingPoint:
    """From what score on a box is shown, and after how long; times None: chosen on stills, which have none.

    score_threshold: of calibrated scores where the file has a map, or, where fused, of a box's score once box and mask
    heard each other. data: what it was chosen on.
    """

    score_threshold: float
    confirm_s: float | None
    hold_s: float | None
    release_s: float | None
    data: str
    fused: bool = False

    def __post_init__(self) -> None:
        times = (self.confirm_s, self.hold_s, self.release_s)
        known = [time_s for time_s in times if time_s is not None]
        if not 0 <= self.score_threshold <= 1:
            raise CalibrationError(f"a score threshold must lie in 0..1, not at {self.score_threshold}")
        if len(known) not in (0, 3) or any(time_s < 0 for time_s in known) or (known and known[2] < known[1]):
            raise CalibrationError(
                f"confirm_s, hold_s, release_s must be 0 or more, release_s no less than hold_s, or all null: {times}"
            )

    def smooth(self, usual: TemporalConfig) -> TemporalConfig:
        if self.confirm_s is None or self.hold_s is None or self.release_s is None:
            return usual
        return replace(usual, confirm_s=self.confirm_s, hold_s=self.hold_s, release_s=self.release_s)


@dataclass(frozen=True)
class CalibratedModel:
    """What one model's figures were fitted on: its name, its engine and that engine's key. map: None, not fitted."""

    model: str
    engine: str
    key: str
    map: ProbabilityMap | None


@dataclass(frozen=True)
class Calibration:
    """One file, checked. name: the file's, for messages."""

    name: str
    detector: CalibratedModel | None = None
    segmenter: CalibratedModel | None = None
    operating_point: OperatingPoint | None = None

    @property
    def fuses(self) -> bool:
        """Box and mask may hear each other: a map, and a point chosen without, are of the detector's own scores."""
        return self.operating_point.fused if self.operating_point else self.detector is None

    def apply(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Detections' scores, of any shape, as the probabilities that their boxes are right."""
        return _mapped(scores, self.detector)

    def detector_score(self, probability: float) -> float:
        """The lowest detector score, within 1e-9, that `apply` maps to at least this probability."""
        low, high = 0.0, 1.0
        while high - low > 1e-9:
            middle = (low + high) / 2
            reached = float(self.apply(np.array([middle], np.float32))[0]) >= probability
            low, high = (low, middle) if reached else (middle, high)
        return low

    def apply_mask(self, probability: NDArray[np.float32]) -> NDArray[np.float32]:
        """A segmenter's map of any shape; its outlines at 0.5 stay where they are."""
        return _mapped(probability, self.segmenter)

    def score_threshold(self, usual: float) -> float:
        """The operating point's, or the usual one in the units of `apply`, which then shows the same boxes."""
        if self.operating_point:
            return self.operating_point.score_threshold
        return float(self.apply(np.array([usual], np.float32))[0])

    def smooth(self, usual: TemporalConfig = TemporalConfig()) -> TemporalConfig:
        """The usual configuration with the operating point's times."""
        return self.operating_point.smooth(usual) if self.operating_point else usual

    def check(self, engine: Engine) -> str | None:
        """One sentence when the figures come from another engine of this model, whose scores may differ a little.

        Raises CalibrationError when they come from another model.
        """
        fitted = self.detector if engine.task == "detector" else self.segmenter
        if fitted is None:
            return None
        if fitted.model != engine.model:
            raise CalibrationError(
                f"{self.name} was made for the {engine.task} {fitted.model}, not for {engine.model}: run "
                f"calibration.scores for {engine.model}, or choose --{engine.task} {fitted.model}"
            )
        if fitted.key == engine.key:
            return None
        return (
            f"{self.name} was made with {fitted.engine} ({fitted.key}) and {engine.name} ({engine.key}) is running: "
            "probabilities may be a little off"
        )


def _mapped(values: NDArray[np.float32], fitted: CalibratedModel | None) -> NDArray[np.float32]:
    if fitted is None or fitted.map is None:
        return values
    # In float64: rounded only once, two scores never change places.
    return fitted.map(np.clip(values, 0, 1, dtype=np.float64)).astype(np.float32)


def read_calibration(path: Path) -> Calibration:
    """Raises CalibrationError when the file is not there, is none of ours, or lacks something."""
    return parse_calibration(read_document(path), path.name)


def read_document(path: Path) -> dict[str, Any]:
    """The file's content, of a format that is understood. Raises CalibrationError."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CalibrationError(f"cannot read the calibration {path}: {error}") from error
    version = found.get("format") if isinstance(found, dict) else None
    if version != FORMAT:
        raise CalibrationError(
            f"{path} is not a calibration of format {FORMAT} but of {version!r}: make it again with calibration.scores"
        )
    return dict(found)


def parse_calibration(document: dict[str, Any], name: str) -> Calibration:
    """Raises CalibrationError naming what is missing or wrong."""
    point = document.get("operating_point")
    try:
        return Calibration(
            name,
            _model(document.get("detector"), "detector"),
            _model(document.get("segmenter"), "segmenter"),
            _operating_point(point) if point is not None else None,
        )
    except KeyError as error:
        raise CalibrationError(f"{name} lacks {error}: make it again with calibration.scores") from error
    except CalibrationError as error:
        raise CalibrationError(f"{name}: {error}") from error
    except (TypeError, AttributeError, ValueError) as error:
        raise CalibrationError(f"{name} is not laid out as a calibration: {error}") from error


def _model(part: dict[str, Any] | None, task: Task) -> CalibratedModel | None:
    if part is None:
        return None
    fitted = part.get("scores")
    known = _map(fitted) if fitted is not None else None
    return CalibratedModel(_text(part, "model"), _text(part, "engine"), _text(part, "key"), known)


def _map(part: dict[str, Any]) -> ProbabilityMap:
    if part["method"] not in _MAPS:
        raise CalibrationError(f"unknown method {part['method']!r}: known are {', '.join(_MAPS)}")
    return _MAPS[part["method"]](part)


def _temperature(part: dict[str, Any]) -> ProbabilityMap:
    return TemperatureMap(_number(part, "temperature"), _number(part, "bias"))


def _isotonic(part: dict[str, Any]) -> ProbabilityMap:
    columns = [tuple(float(value) for value in part[name]) for name in ("from_scores", "to_probabilities")]
    return TableMap(*columns)


_MAPS = {"temperature": _temperature, "isotonic": _isotonic}


def _operating_point(part: dict[str, Any]) -> OperatingPoint:
    confirm_s, hold_s, release_s = (
        None if part[name] is None else _number(part, name) for name in ("confirm_s", "hold_s", "release_s")
    )
    fused = part.get("fused", False)
    if not isinstance(fused, bool):
        raise CalibrationError(f"fused must be true or false, not {fused!r}")
    return OperatingPoint(_number(part, "score_threshold"), confirm_s, hold_s, release_s, _text(part, "data"), fused)


def _number(part: dict[str, Any], name: str) -> float:
    value = part[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise CalibrationError(f"{name} must be a number, not {value!r}")
    return float(value)


def _text(part: dict[str, Any], name: str) -> str:
    if not isinstance(part[name], str):
        raise CalibrationError(f"{name} must be a text, not {part[name]!r}")
    return str(part[name])
