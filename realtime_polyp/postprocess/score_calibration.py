"""Calibration files: maps from scores to probabilities, and the operating point from which a box is shown.

`python -m calibration.scores` and `python -m calibration.operating_point` write the file; `run_live --calibration`
reads it. Every map is monotonic, so the ranking of boxes and their AP stay the same.
"""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from realtime_polyp.engines.base import Engine
from realtime_polyp.json_files import check_format, parse_json, read_json
from realtime_polyp.temporal.config import TemporalConfig

FORMAT = 1
# What a fit may find: beyond these, powers of scores underflow and all boxes get the same probability.
LEAST_TEMPERATURE, MOST_TEMPERATURE, MOST_BIAS = 0.05, 20.0, 20.0
MOST_TIME_S = 60.0  # of an operating point
_LEAST_STEP = 1e-300  # between the scores of a table: its slopes stay finite
_WHAT = "a calibration file"
_CURE = "make it again with calibration.scores"
Values = NDArray[np.float64]


class CalibrationError(ValueError):
    """The calibration cannot be used. The message is one sentence with the cure."""


@dataclass(frozen=True)
class TemperatureMap:
    """Temperature scaling with a bias: sigmoid(logit(score) / temperature + bias).

    Guo et al., ICML 2017; the bias is Platt's (1999). Without a bias, 0.5 maps to 0.5.

    Attributes:
        temperature: 0.05..20; above 1 it makes scores less extreme.
        bias: shift of the logit, -20..20.
    """

    temperature: float
    bias: float = 0.0

    def __post_init__(self) -> None:
        if not (LEAST_TEMPERATURE <= self.temperature <= MOST_TEMPERATURE and abs(self.bias) <= MOST_BIAS):
            raise CalibrationError(
                f"the temperature must be in {LEAST_TEMPERATURE:g}..{MOST_TEMPERATURE:g} and the bias in "
                f"-{MOST_BIAS:g}..{MOST_BIAS:g}, not {self.temperature:g} and {self.bias:g}"
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
    return bool(ends and (np.diff(pairs) > _LEAST_STEP).all())


ProbabilityMap = TemperatureMap | TableMap


@dataclass(frozen=True)
class OperatingPoint:
    """The score threshold and the times with which boxes are shown.

    Attributes:
        score_threshold: lowest score that is shown, 0..1: fused scores where `fused`, else calibrated ones.
        confirm_s: see `TemporalConfig`, 0..60 s; None where the point was chosen on stills.
        hold_s: see `TemporalConfig`, 0..60 s; None where the point was chosen on stills.
        release_s: see `TemporalConfig`, `hold_s`..60 s; None where the point was chosen on stills.
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
        in_range = all(0 <= time_s <= MOST_TIME_S for time_s in known)
        if len(known) not in (0, 3) or not in_range or (known and known[2] < known[1]):
            raise CalibrationError(
                f"confirm_s, hold_s, release_s must be in 0..{MOST_TIME_S:g} s and release_s at least hold_s, or all "
                f"null: {times}"
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
    document = read_json(path, dict[str, Any], what=_WHAT, error=CalibrationError, cure=_CURE)
    check_format(document, FORMAT, str(path), _WHAT, CalibrationError, _CURE)
    return document


def parse_calibration(document: dict[str, Any], name: str) -> Calibration:
    """Build a calibration from its JSON document. Raises CalibrationError naming what is missing or wrong."""
    found = parse_json(json.dumps(document), _Document, name, _WHAT, CalibrationError, _CURE)
    return Calibration(name, _model(found.detector), _model(found.segmenter), found.operating_point)


class _Temperature(msgspec.Struct, frozen=True, tag_field="method", tag="temperature"):
    temperature: float
    bias: float

    def __post_init__(self) -> None:
        self.map()

    def map(self) -> ProbabilityMap:
        return TemperatureMap(self.temperature, self.bias)


class _Isotonic(msgspec.Struct, frozen=True, tag_field="method", tag="isotonic"):
    from_scores: tuple[float, ...]
    to_probabilities: tuple[float, ...]

    def __post_init__(self) -> None:
        self.map()

    def map(self) -> ProbabilityMap:
        return TableMap(self.from_scores, self.to_probabilities)


class _Model(msgspec.Struct, frozen=True):
    model: str
    engine: str
    key: str
    scores: _Temperature | _Isotonic | None = None


class _Document(msgspec.Struct, frozen=True):
    """The file, without the figures of the fit."""

    detector: _Model | None = None
    segmenter: _Model | None = None
    operating_point: OperatingPoint | None = None


def _model(part: _Model | None) -> CalibratedModel | None:
    if part is None:
        return None
    return CalibratedModel(part.model, part.engine, part.key, part.scores.map() if part.scores else None)
