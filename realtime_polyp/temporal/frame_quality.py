"""Classify frame quality: whether a picture shows mucosa clearly, and if not, why.

Hand-crafted features of a thumbnail (`compute_features`) go through a linear classifier (`FrameQualityClassifier`,
trained by `python -m trainers.train_quality`, stored in `assets/quality.json`) and a filter over time
(`FrameQualityFilter`). No frame is hidden: detections in a blurred, flooded or overexposed frame have less weight,
which delays alarms.
"""

import dataclasses
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, get_args

import cv2
import msgspec
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from realtime_polyp.field_of_view import Image
from realtime_polyp.folders import asset
from realtime_polyp.json_files import check_format, check_json, read_json
from realtime_polyp.packets import LONGEST_STEP_S, FrameQuality

QUALITY_FILE = asset("quality.json")
FRAME_QUALITIES: tuple[FrameQuality, ...] = get_args(FrameQuality)
FORMAT = 1
_WHAT = "a frame quality classifier"
_CURE = "restore it with git checkout, or train it again with trainers.train_quality"
_Value = Annotated[float, msgspec.Meta(ge=-1e3, le=1e3)]

_WIDTH_PX = 128
_LIT_LEVEL = 32  # of 255; darker pixels are surround or distant lumen and are ignored
_GLARE_LEVEL = 215
_SPECK_LEVEL = 20  # difference from the surroundings
_LARGE_GLARE_PX = 7  # of the thumbnail; glare that survives an erosion by this is larger than a highlight
FURTHEST = 4.0  # standard deviations; standardised features are clipped to this
_ROUNDING_S = 1e-6

# cv2 ranges: hue 0..180, saturation and value 0..255.
_RED = ((0, 40, 40), (20, 255, 255))
_CRIMSON = ((165, 40, 40), (180, 255, 255))  # red below hue 0, which wraps around
_YELLOW = ((21, 90, 40), (36, 255, 255))
_FOREIGN = ((37, 50, 40), (164, 255, 255))
_PALE = ((0, 0, 60), (180, 39, 255))


@dataclass(frozen=True)
class Features:
    """Features of a thumbnail. Shares are fractions of the lit pixels; levels are 0..1.

    Attributes:
        detail: log of the mean absolute Laplacian at full thumbnail size; blur removes it.
        form: the same at a quarter of the size; blur keeps it.
        along: log of the mean squared gradient of fine structures in their strongest direction.
        across: the same across that direction; motion blur removes one of the two.
        sparkle: share of bright specks; bubbles and highlights have them.
        pits: share of dark specks; bubbles have them, highlights do not.
        glare: share of saturated pixels.
        large_glare: share of saturated regions larger than a highlight.
        mucosa: share of red to orange hues.
        yellow: share of the hues of bile and stool.
        foreign: share of green to violet hues.
        pale: share of pixels with hardly any saturation.
        saturation: mean saturation.
        colours: standard deviation of the saturation.
        brightness: mean brightness.
        contrast: standard deviation of the brightness.
        lit: lit pixels, as a share of all pixels.
    """

    detail: float
    form: float
    along: float
    across: float
    sparkle: float
    pits: float
    glare: float
    large_glare: float
    mucosa: float
    yellow: float
    foreign: float
    pale: float
    saturation: float
    colours: float
    brightness: float
    contrast: float
    lit: float

    def vector(self) -> NDArray[np.float64]:
        """(f,) in the order of FEATURES."""
        return np.array([getattr(self, name) for name in FEATURES])


FEATURES = tuple(field.name for field in dataclasses.fields(Features))


def compute_features(picture: Image) -> Features:
    """Compute the features of the field of view, (h, w, 3) uint8 RGB of any size."""
    small = thumbnail(picture)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    lit, glare = cv2.inRange(grey, _LIT_LEVEL, 255), cv2.inRange(grey, _GLARE_LEVEL, 255)
    lit_px = max(1, cv2.countNonZero(lit))
    large_glare = cv2.erode(glare, _square(_LARGE_GLARE_PX), borderValue=255)
    inner = cv2.bitwise_and(cv2.erode(lit, _square(5), borderValue=255), cv2.bitwise_not(cv2.dilate(glare, _square(5))))
    return Features(
        **_texture(grey, inner),
        **_colour(small),
        sparkle=_specks(grey, cv2.MORPH_TOPHAT, lit) / lit_px,
        pits=_specks(grey, cv2.MORPH_BLACKHAT, lit) / lit_px,
        glare=cv2.countNonZero(glare) / lit_px,
        large_glare=cv2.countNonZero(large_glare) / lit_px,
        lit=lit_px / lit.size,
    )


def thumbnail(picture: Image) -> Image:
    """Shrink a picture to a width of 128 px, averaging four samples per px (1080p: 0.1 ms; an exact average: 5 ms)."""
    wanted_px = _WIDTH_PX * picture.shape[0] / picture.shape[1]
    height = 4 * round(min(max(wanted_px, 16), 4 * _WIDTH_PX) / 4)  # divisible by 4: later steps halve it twice
    sampled = cv2.resize(picture, (2 * _WIDTH_PX, 2 * height), interpolation=cv2.INTER_NEAREST)
    return cv2.resize(sampled, (_WIDTH_PX, height), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def _texture(grey: MatLike, inner: MatLike) -> dict[str, float]:
    """Compute detail, form, along and across inside the mask `inner` (0 or 255)."""
    size = (grey.shape[1] // 4, grey.shape[0] // 4)
    coarse = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    coarse_inner = cv2.resize(inner, size, interpolation=cv2.INTER_AREA) // 255
    along, across = _slopes(grey, inner)
    return {
        "detail": _curvature(grey, inner),
        "form": _curvature(coarse, coarse_inner),
        "along": float(np.log1p(along)),
        "across": float(np.log1p(across)),
    }


def _slopes(grey: MatLike, inner: MatLike) -> tuple[float, float]:
    """Return the eigenvalues of the structure tensor of structures below 9 px, larger first; shading is removed."""
    small = cv2.subtract(grey, cv2.blur(grey, (9, 9)), dtype=cv2.CV_16S)
    weight = (inner > 0).astype(np.float32)
    x, y = ((cv2.Sobel(small, cv2.CV_32F, *order) * weight).ravel() for order in ((1, 0), (0, 1)))
    xx, yy, xy = (float(a @ b) / max(1, cv2.countNonZero(inner)) for a, b in ((x, x), (y, y), (x, y)))
    middle, reach = (xx + yy) / 2, float(np.hypot((xx - yy) / 2, xy))
    return middle + reach, max(0.0, middle - reach)


def _curvature(grey: MatLike, inner: MatLike) -> float:
    total = cv2.norm(cv2.Laplacian(grey, cv2.CV_16S), cv2.NORM_L1, mask=inner)
    return float(np.log1p(total / max(1, cv2.countNonZero(inner))))


def _specks(grey: MatLike, kind: int, lit: MatLike) -> int:
    """Count the lit pixels of bright (MORPH_TOPHAT) or dark (MORPH_BLACKHAT) specks smaller than 5 px."""
    specks = cv2.inRange(cv2.morphologyEx(grey, kind, _square(5)), _SPECK_LEVEL, 255)
    return cv2.countNonZero(cv2.bitwise_and(specks, lit))


def _colour(small: Image) -> dict[str, float]:
    """Compute the colour features, at half the thumbnail's size because colours are smooth."""
    half = cv2.resize(small, (small.shape[1] // 2, small.shape[0] // 2), interpolation=cv2.INTER_AREA)
    hsv = cv2.cvtColor(half, cv2.COLOR_RGB2HSV)
    lit = cv2.inRange(hsv, (0, 0, _LIT_LEVEL), (180, 255, 255))
    lit_px = max(1, cv2.countNonZero(lit))
    mean, deviation = (values.ravel() / 255 for values in cv2.meanStdDev(hsv, mask=lit))
    return {
        "mucosa": (_count_between(hsv, *_RED) + _count_between(hsv, *_CRIMSON)) / lit_px,
        "yellow": _count_between(hsv, *_YELLOW) / lit_px,
        "foreign": _count_between(hsv, *_FOREIGN) / lit_px,
        "pale": _count_between(hsv, *_PALE) / lit_px,
        "saturation": float(mean[1]),
        "colours": float(deviation[1]),
        "brightness": float(mean[2]),
        "contrast": float(deviation[2]),
    }


def _count_between(hsv: MatLike, low: tuple[int, int, int], high: tuple[int, int, int]) -> int:
    return cv2.countNonZero(cv2.inRange(hsv, low, high))


@cache
def _square(size_px: int) -> NDArray[np.uint8]:
    return np.ones((size_px, size_px), np.uint8)


class QualityError(ValueError):
    """The classifier file cannot be used. The message is one sentence with the cure."""


@dataclass(frozen=True)
class FrameQualityClassifier:
    """Multinomial logistic regression over k kinds of frames; the first kind is clear.

    Attributes:
        kinds: (k,) names of the kinds in the training data.
        qualities: (k,) the frame quality that each kind is reported as.
        mean: (f,) of the features.
        scale: (f,) standard deviation of the features.
        weights: (k, f).
        bias: (k,).
        margin: (k,) log odds against clear above which a kind is accepted, set such that few clear frames are rejected.
    """

    kinds: tuple[str, ...]
    qualities: tuple[FrameQuality, ...]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    weights: NDArray[np.float64]
    bias: NDArray[np.float64]
    margin: NDArray[np.float64]

    def classify(self, features: Features) -> FrameQuality:
        """Return the quality of one frame."""
        return self.qualities[int(self.kind_index(self.log_odds(features.vector())))]

    def log_odds(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the log odds (..., k) of every kind against clear, for feature vectors (..., f)."""
        standardised = np.clip((vectors - self.mean) / self.scale, -FURTHEST, FURTHEST)
        score = standardised @ self.weights.T + self.bias
        return np.asarray(score - score[..., :1])

    def kind_index(self, log_odds: NDArray[np.float64]) -> NDArray[np.intp]:
        """Return the kind (...,) for log odds (..., k): the likeliest one if any passes its margin, else 0 (clear)."""
        accepted = (log_odds[..., 1:] > self.margin[1:]).any(axis=-1)
        return np.where(accepted, 1 + log_odds[..., 1:].argmax(axis=-1), 0)


@cache
def read_frame_quality(path: Path = QUALITY_FILE) -> FrameQualityClassifier:
    """Read the classifier.

    Raises:
        QualityError: the file is missing, damaged, of another format, or of other features or qualities.
    """
    document = read_json(path, dict[str, Any], what=_WHAT, error=QualityError, cure=_CURE)
    check_format(document, FORMAT, str(path), _WHAT, QualityError, _CURE)
    found = check_json(document, _Document, str(path), _WHAT, QualityError, _CURE)
    try:
        return _build(found)
    except ValueError as error:
        raise QualityError(f"{path} is not {_WHAT}: {error}; {_CURE}") from None


class _Document(msgspec.Struct, frozen=True):
    """The file. Numbers are bounded: real ones are below 20, and a scale near 0 would overflow."""

    features: tuple[str, ...]
    kinds: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    views: tuple[FrameQuality, ...]
    mean: tuple[_Value, ...]
    scale: tuple[Annotated[float, msgspec.Meta(ge=1e-3, le=1e3)], ...]
    weights: tuple[tuple[_Value, ...], ...]
    bias: tuple[_Value, ...]
    margin: tuple[_Value, ...]


def _build(found: _Document) -> FrameQualityClassifier:
    """Build the classifier. Raises ValueError if the lists do not fit each other or this program."""
    if found.features != FEATURES:
        raise ValueError("its features differ from those of this program")
    if len(found.views) != len(found.kinds) or found.views[0] != "clear":
        raise ValueError("its views must begin with clear and be one per kind")
    kinds, features = len(found.kinds), len(FEATURES)
    lengths = {"mean": features, "scale": features, "weights": kinds, "bias": kinds, "margin": kinds}
    for name, length in lengths.items():
        if len(getattr(found, name)) != length:
            raise ValueError(f"{name} must have {length} values, not {len(getattr(found, name))}")
    if any(len(row) != features for row in found.weights):
        raise ValueError(f"each row of weights must have {features} values")
    values = {name: np.array(getattr(found, name), np.float64) for name in lengths}
    return FrameQualityClassifier(found.kinds, found.views, **values)


@dataclass(frozen=True)
class FrameQualityFilterConfig:
    """Settings of `FrameQualityFilter`.

    Attributes:
        enter_s: how long frames must be unclear before the quality leaves "clear".
        leave_s: how long frames must be clear before it returns to "clear".
    """

    enter_s: float = 0.15
    leave_s: float = 0.10


class FrameQualityFilter:
    """Frame quality over time, with hysteresis: a single frame that differs from its neighbours changes nothing."""

    def __init__(
        self, classifier: FrameQualityClassifier, config: FrameQualityFilterConfig = FrameQualityFilterConfig()
    ) -> None:
        self._config, self._classifier = config, classifier
        self.reset()

    def reset(self) -> None:
        """Forget the past: after a cut or a seek, the next frame decides at once."""
        self._quality: FrameQuality | None = None
        self._now_s = 0.0

    def update(self, picture: Image, pts_s: float) -> FrameQuality:
        """Classify the field of view, (h, w, 3) uint8 RGB, and return the filtered quality."""
        return self.filter(self._classifier.classify(compute_features(picture)), pts_s)

    def filter(self, found: FrameQuality, pts_s: float) -> FrameQuality:
        """Return the filtered quality, given that of the frame at `pts_s` alone."""
        if self._quality is None or not 0 <= pts_s - self._now_s <= LONGEST_STEP_S:
            self._quality = self._found = found
            self._found_since_s = self._turned_s = pts_s
        self._now_s = pts_s
        clear = found == "clear"
        if clear != (self._found == "clear"):
            self._turned_s = pts_s
        if found != self._found:
            self._found, self._found_since_s = found, pts_s
        # Defects may alternate between frames: what counts to enter is the time without a clear frame.
        since_s = self._found_since_s if clear == (self._quality == "clear") else self._turned_s
        required_s = self._config.leave_s if clear else self._config.enter_s
        if pts_s - since_s >= required_s - _ROUNDING_S:
            self._quality = found
        return self._quality
