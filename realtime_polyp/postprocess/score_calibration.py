"""Calibration files: maps from scores to probabilities, and the operating point from which a box is shown.

`python -m calibration.scores` and `python -m calibration.operating_point` write the file; `run_live --calibration`
reads it. Every map is monotonic, so the ranking of boxes and their AP stay the same.
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
    """The calibration cannot be used. The message is one sentence with the cure."""


@dataclass(frozen=True)
class TemperatureMap:
    """Temperature scaling with a bias: sigmoid(logit(score) / temperature + bias).

    Guo et al., ICML 2017; the bias is Platt's (1999). Without a bias, 0.5 maps to 0.5.

    Attributes:
        temperature: above 0; above 1 it makes scores less extreme.
        bias: shift of the logit.
    """

    temperature: float
    bias: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0 and math.isfinite(self.bias)):
            raise CalibrationError(
                f"the temperature must be above 0 and the bias finite, not {self.temperature} and {self.bias}"
            )

    def __call__(self, scores: Values) -> Values:
        """Map scores of any shape. Computed with odds, not logits, which are infinite at 0 and 1."""
        right, wrong = scores ** (1 / self.temperature), (1 - scores) ** (1 / self.temperature)
        weighted = right * math.exp(self.bias)
        return weighted / (weighted + wrong)


@dataclass(frozen=True)
class TableMap:
    """Piecewise linear map, as isotonic regression gives.

    Attributes:
        scores: (n,) strictly rising from 0 to 1.
        probabilities: (n,) strictly rising from 0 to 1.
    """

    scores: tuple[float, ...]
    probabilities: tuple[float, ...]

    def __post_init__(self) -> None:
        pairs = np.array([self.scores, self.probabilities]) if len(self.scores) == len(self.probabilities) else None
        if pairs is None or not _rises_from_0_to_1(pairs):
            raise CalibrationError(
                "an isotonic map needs as many scores as probabilities, both strictly rising from 0 to 1"
            )

    def __call__(self, scores: Values) -> Values:
        return np.interp(scores, self.scores, self.probabilities)


def _rises_from_0_to_1(pairs: Values) -> bool:
    """Check pairs (2, n)."""
    ends = pairs.shape[1] >= 2 and (pairs[:, 0] == 0).all() and (pairs[:, -1] == 1).all()
    return bool(ends and (np.diff(pairs) > 0).all())


ProbabilityMap = TemperatureMap | TableMap


@dataclass(frozen=True)
class OperatingPoint:
    """The score threshold and the times with which boxes are shown.

    Attributes:
        score_threshold: lowest score that is shown, 0..1: fused scores where `fused`, else calibrated ones.
        confirm_s: see `TemporalConfig`; None where the point was chosen on stills.
        hold_s: see `TemporalConfig`; None where the point was chosen on stills.
        release_s: see `TemporalConfig`; None where the point was chosen on stills.
        data: the data that it was chosen on.
        fused: it was chosen with detector-segmenter fusion.
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
            raise CalibrationError(f"score_threshold must be in 0..1, not {self.score_threshold}")
        if len(known) not in (0, 3) or any(time_s < 0 for time_s in known) or (known and known[2] < known[1]):
            raise CalibrationError(
                f"confirm_s, hold_s, release_s must be 0 or more and release_s at least hold_s, or all null: {times}"
            )

    def temporal_config(self, default: TemporalConfig) -> TemporalConfig:
        """Return the default with this point's times."""
        if self.confirm_s is None or self.hold_s is None or self.release_s is None:
            return default
        return replace(default, confirm_s=self.confirm_s, hold_s=self.hold_s, release_s=self.release_s)


@dataclass(frozen=True)
class CalibratedModel:
    """The model that a calibration was fitted on.

    Attributes:
        model: name of the model.
        engine: name of the engine that ran it.
        key: that engine's key.
        map: from scores to probabilities; None where it was not fitted.
    """

    model: str
    engine: str
    key: str
    map: ProbabilityMap | None


@dataclass(frozen=True)
class Calibration:
    """The validated content of a calibration file.

    Attributes:
        name: file name, for messages.
        detector: the detector's map.
        segmenter: the segmenter's map.
        operating_point: threshold and times; None where none was chosen.
    """

    name: str
    detector: CalibratedModel | None = None
    segmenter: CalibratedModel | None = None
    operating_point: OperatingPoint | None = None

    @property
    def fuses(self) -> bool:
        """Whether fusion may run: a map, and a point chosen without fusion, apply to the detector's raw scores."""
        return self.operating_point.fused if self.operating_point else self.detector is None

    def apply(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map detector scores of any shape to the probabilities that their boxes are right."""
        return _apply_map(scores, self.detector)

    def detector_score(self, probability: float) -> float:
        """Return the lowest detector score, within 1e-9, that `apply` maps to at least this probability."""
        low, high = 0.0, 1.0
        while high - low > 1e-9:
            middle = (low + high) / 2
            reached = float(self.apply(np.array([middle], np.float32))[0]) >= probability
            low, high = (low, middle) if reached else (middle, high)
        return low

    def apply_mask(self, probability: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map a segmenter's probabilities of any shape; outlines at 0.5 do not move."""
        return _apply_map(probability, self.segmenter)

    def score_threshold(self, default: float) -> float:
        """Return the operating point's threshold, else the default mapped by `apply`, which shows the same boxes."""
        if self.operating_point:
            return self.operating_point.score_threshold
        return float(self.apply(np.array([default], np.float32))[0])

    def temporal_config(self, default: TemporalConfig = TemporalConfig()) -> TemporalConfig:
        """Return the default with the operating point's times."""
        return self.operating_point.temporal_config(default) if self.operating_point else default

    def check(self, engine: Engine) -> str | None:
        """Return a one-sentence caution when the file was fitted on another engine of this model, else None.

        Raises:
            CalibrationError: it was fitted on another model.
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
            "probabilities may be slightly off"
        )


def _apply_map(values: NDArray[np.float32], fitted: CalibratedModel | None) -> NDArray[np.float32]:
    if fitted is None or fitted.map is None:
        return values
    # In float64 and rounded once at the end, so that the order of scores is kept.
    return fitted.map(np.clip(values, 0, 1, dtype=np.float64)).astype(np.float32)


def read_calibration(path: Path) -> Calibration:
    """Read a calibration file.

    Raises:
        CalibrationError: the file is missing, damaged or of another format.
    """
    return parse_calibration(read_document(path), path.name)


def read_document(path: Path) -> dict[str, Any]:
    """Read the JSON document and check its format. Raises CalibrationError."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CalibrationError(f"cannot read the calibration {path}: {error}") from error
    version = found.get("format") if isinstance(found, dict) else None
    if version != FORMAT:
        raise CalibrationError(
            f"{path} is not a calibration file of format {FORMAT}; its format is {version!r}: make it again with "
            "calibration.scores"
        )
    return dict(found)


def parse_calibration(document: dict[str, Any], name: str) -> Calibration:
    """Build a calibration from its JSON document. Raises CalibrationError naming what is missing or wrong."""
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
        raise CalibrationError(f"{name} is not a valid calibration file: {error}") from error


def _model(part: dict[str, Any] | None, task: Task) -> CalibratedModel | None:
    if part is None:
        return None
    fitted = part.get("scores")
    known = _map(fitted) if fitted is not None else None
    return CalibratedModel(_string(part, "model"), _string(part, "engine"), _string(part, "key"), known)


def _map(part: dict[str, Any]) -> ProbabilityMap:
    if part["method"] not in _MAPS:
        raise CalibrationError(f"unknown method {part['method']!r}; choose from {', '.join(_MAPS)}")
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
    return OperatingPoint(_number(part, "score_threshold"), confirm_s, hold_s, release_s, _string(part, "data"), fused)


def _number(part: dict[str, Any], name: str) -> float:
    value = part[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise CalibrationError(f"{name} must be a number, not {value!r}")
    return float(value)


def _string(part: dict[str, Any], name: str) -> str:
    if not isinstance(part[name], str):
        raise CalibrationError(f"{name} must be a string, not {part[name]!r}")
    return str(part[name])
