"""Whether a picture shows mucosa well enough to be judged, and if not, what is in the way.

Some things measured on a thumbnail (`features`), a small classifier over them (`FrameQualityClassifier`, made by
`python -m trainers.train_quality`, kept as plain numbers in `assets/quality.json`) and a memory in seconds
(`FrameQualityFilter`). It hides nothing: what it is for is that an alarm is held back on a blurred, flooded or dazzled picture.
"""

import dataclasses
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from realtime_polyp.field_of_view import Image
from realtime_polyp.packets import FrameQuality

QUALITY_FILE = Path(__file__).resolve().parents[2] / "assets" / "quality.json"
FRAME_QUALITIES: tuple[FrameQuality, ...] = get_args(FrameQuality)
FORMAT = 1

_WIDTH_PX = 128
_LIT_LEVEL = 32  # of 255: darker is surround or a lumen far away, of which nothing can be said
_GLARE_LEVEL = 215
_SPECK_LEVEL = 20  # above or below what surrounds it
_LARGE_GLARE_PX = 7  # of the thumbnail: what survives a shrinking by this is no mere highlight
FURTHEST = 4.0  # standard deviations: a feature further out than in any training picture counts as this far
_CUT_S = 1.0
_ROUNDING_S = 1e-6

# Hue 0..180, saturation and value 0..255, as cv2 has them.
_RED = ((0, 40, 40), (20, 255, 255))
_CRIMSON = ((165, 40, 40), (180, 255, 255))  # beyond red, where hue begins anew
_YELLOW = ((21, 90, 40), (36, 255, 255))
_FOREIGN = ((37, 50, 40), (164, 255, 255))
_PALE = ((0, 0, 60), (180, 39, 255))


@dataclass(frozen=True)
class Features:
    """What is measured; shares are of the lit pixels, levels of 0..1.

    detail, form: log of the mean curvature of brightness, at the thumbnail's pixel and at four of them: a blurred
    picture keeps its form and loses its detail. along, across: log of the mean squared slope of what is small, in the
    direction where it is steepest and across it: a quick movement leaves only one of them. sparkle, pits: bright and
    dark specks: bubbles have both, highlights only the first. glare: white-out; large_glare: wider than a highlight.
    mucosa, yellow, foreign, pale: of what hue: red to orange; of bile and stool; green to violet; hardly any.
    saturation, brightness: means; colours, contrast: their standard deviations. lit: share of all pixels.
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
        return np.array([getattr(self, name) for name in FEATURES])


FEATURES = tuple(field.name for field in dataclasses.fields(Features))


def features(picture: Image) -> Features:
    """Of the endoscope's picture (h, w, 3) uint8 RGB, whatever its size."""
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
    """128 px wide, four sampled pixels averaged for each: an exact average of 1080p would take 5 ms, this 0.1 ms."""
    wanted_px = _WIDTH_PX * picture.shape[0] / picture.shape[1]
    height = 4 * round(min(max(wanted_px, 16), 4 * _WIDTH_PX) / 4)  # so that it halves twice, which is fast
    sampled = cv2.resize(picture, (2 * _WIDTH_PX, 2 * height), interpolation=cv2.INTER_NEAREST)
    return cv2.resize(sampled, (_WIDTH_PX, height), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def _texture(grey: MatLike, inner: MatLike) -> dict[str, float]:
    """detail, form, along and across inside the mask `inner` (0 or 255)."""
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
    """The structure tensor's eigenvalues, of what is smaller than 9 px: shading would hide what movement wipes out."""
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
    """How many lit pixels belong to bright (MORPH_TOPHAT) or dark (MORPH_BLACKHAT) things of less than 5 px."""
    specks = cv2.inRange(cv2.morphologyEx(grey, kind, _square(5)), _SPECK_LEVEL, 255)
    return cv2.countNonZero(cv2.bitwise_and(specks, lit))


def _colour(small: Image) -> dict[str, float]:
    """Means, spreads and shares of hues of the thumbnail, at half its size: colours are smooth."""
    half = cv2.resize(small, (small.shape[1] // 2, small.shape[0] // 2), interpolation=cv2.INTER_AREA)
    hsv = cv2.cvtColor(half, cv2.COLOR_RGB2HSV)
    lit = cv2.inRange(hsv, (0, 0, _LIT_LEVEL), (180, 255, 255))
    lit_px = max(1, cv2.countNonZero(lit))
    mean, spread = (values.ravel() / 255 for values in cv2.meanStdDev(hsv, mask=lit))
    return {
        "mucosa": (_between(hsv, *_RED) + _between(hsv, *_CRIMSON)) / lit_px,
        "yellow": _between(hsv, *_YELLOW) / lit_px,
        "foreign": _between(hsv, *_FOREIGN) / lit_px,
        "pale": _between(hsv, *_PALE) / lit_px,
        "saturation": float(mean[1]),
        "colours": float(spread[1]),
        "brightness": float(mean[2]),
        "contrast": float(spread[2]),
    }


def _between(hsv: MatLike, low: tuple[int, int, int], high: tuple[int, int, int]) -> int:
    return cv2.countNonZero(cv2.inRange(hsv, low, high))


@cache
def _square(size_px: int) -> NDArray[np.uint8]:
    return np.ones((size_px, size_px), np.uint8)


class QualityError(ValueError):
    """The classifier's file cannot be used; the message is one sentence with the cure."""


@dataclass(frozen=True)
class FrameQualityClassifier:
    """Multinomial logistic regression over k kinds of picture, of which the first is clear.

    views (k,): what each kind is shown as. mean, scale (f,): of FEATURES. weights (k, f), bias (k,). margin (k,): a
    kind counts once its log odds against "clear" are above this: chosen so that hardly any clear picture ever does.
    """

    kinds: tuple[str, ...]
    views: tuple[FrameQuality, ...]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    weights: NDArray[np.float64]
    bias: NDArray[np.float64]
    margin: NDArray[np.float64]

    def view(self, found: Features) -> FrameQuality:
        return self.views[int(self.kind(self.odds(found.vector())))]

    def odds(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log odds (..., k) of every kind against "clear", of feature vectors (..., f)."""
        far = np.clip((vectors - self.mean) / self.scale, -FURTHEST, FURTHEST)
        score = far @ self.weights.T + self.bias
        return np.asarray(score - score[..., :1])

    def kind(self, odds: NDArray[np.float64]) -> NDArray[np.intp]:
        """Index of the kind (...,) for log odds (..., k): clear unless one counts, else the likeliest of the others."""
        counts = (odds[..., 1:] > self.margin[1:]).any(axis=-1)
        return np.where(counts, 1 + odds[..., 1:].argmax(axis=-1), 0)


@cache
def read_frame_quality(path: Path = QUALITY_FILE) -> FrameQualityClassifier:
    """Raises QualityError when the file is missing, harmed, of another format, or of other features or views."""
    try:
        classifier = _parsed(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        cure = "restore it with git checkout, or make it again with trainers.train_quality"
        raise QualityError(f"cannot use the frame quality's numbers in {path} ({error}): {cure}") from error
    return classifier


def _parsed(document: dict[str, Any]) -> FrameQualityClassifier:
    """Raises ValueError, KeyError or TypeError for what is no classifier of this program's features and views."""
    if document["format"] != FORMAT or document["features"] != list(FEATURES):
        raise ValueError("they were made for another format or other features")
    kinds, views = tuple(document["kinds"]), tuple(document["views"])
    if not kinds or len(kinds) != len(views) or views[0] != "clear" or not set(views) <= set(FRAME_QUALITIES):
        raise ValueError("their kinds do not begin with clear, or belong to no view")
    names = {"mean": FEATURES, "scale": FEATURES, "weights": kinds, "bias": kinds, "margin": kinds}
    values = {name: np.array(document[name], np.float64) for name in names}
    shapes = {name: (len(of),) if name != "weights" else (len(of), len(FEATURES)) for name, of in names.items()}
    sound = all(values[name].shape == shapes[name] and np.isfinite(values[name]).all() for name in names)
    if not sound or not (values["scale"] > 0).all():
        raise ValueError("they are of the wrong number, not finite, or scales that are not above 0")
    return FrameQualityClassifier(kinds, views, **values)


@dataclass(frozen=True)
class FrameQualityFilterConfig:
    """enter_s: not clear for this long before it counts. leave_s: clear again for this long before it is over."""

    enter_s: float = 0.15
    leave_s: float = 0.10


class FrameQualityFilter:
    """The view over time: a single bad frame holds nothing back, a single good one within bad ones lets nothing go."""

    def __init__(
        self, classifier: FrameQualityClassifier, config: FrameQualityFilterConfig = FrameQualityFilterConfig()
    ) -> None:
        self._config, self._classifier = config, classifier
        self.forget()

    def forget(self) -> None:
        """A cut or a seek: the next picture counts at once."""
        self._view: FrameQuality | None = None
        self._now_s = 0.0

    def update(self, picture: Image, pts_s: float) -> FrameQuality:
        """The view at this picture (h, w, 3) uint8 RGB of the endoscope's field."""
        return self.follow(self._classifier.view(features(picture)), pts_s)

    def follow(self, found: FrameQuality, pts_s: float) -> FrameQuality:
        """The steady view, given what the picture at `pts_s` alone looks like."""
        if self._view is None or not 0 <= pts_s - self._now_s <= _CUT_S:
            self._view = self._found = found
            self._found_s = self._turned_s = pts_s
        self._now_s = pts_s
        clear = found == "clear"
        if clear != (self._found == "clear"):
            self._turned_s = pts_s
        if found != self._found:
            self._found, self._found_s = found, pts_s
        # What keeps it from being clear may alternate from picture to picture: that it does is what counts to enter.
        since_s = self._found_s if clear == (self._view == "clear") else self._turned_s
        lasting_s = self._config.leave_s if clear else self._config.enter_s
        if pts_s - since_s >= lasting_s - _ROUNDING_S:
            self._view = found
        return self._view
