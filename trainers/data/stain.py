"""Imitated virtual stains: NBI, BLI, FICE and LCI, made from white light by mixing the channels.

Real modes use narrow bands of light, which a white-light image does not hold; a matrix near theirs gives their look.
Sources: Gono et al. 2004 (NBI: green light shown as red, blue light as green and blue); Osawa and Yamamoto 2014 (FICE,
BLI: narrow bands, estimated or lit, shown with gains); Fukuda et al. 2015 (LCI: reds and whites of mucosa drawn apart).
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[Any]

COLUMNS = 18  # uniform random numbers of one stain
DARK = 12  # levels; darker pixels are the black surround
MOST_GAIN = 2.5  # of the mean brightness' correction: noise of dark images would show

_NBI = ((-0.04, 1.05, 0.0), (-0.06, 0.2, 1.05), (-0.06, 0.0, 0.95))
_BLI = ((0.05, 0.75, 0.0), (-0.1, 0.15, 1.2), (-0.1, 0.0, 1.3))
_FICE = (  # bands shown as red, green and blue, nm: 525-495-495, 550-500-470, 540-490-420
    ((0.0, 1.0, 0.0), (-0.1, 0.5, 0.65), (-0.1, 0.4, 0.7)),
    ((0.15, 0.85, 0.0), (-0.1, 0.6, 0.5), (-0.1, 0.1, 1.0)),
    ((0.1, 0.9, 0.0), (-0.05, 0.3, 0.9), (0.0, -0.2, 1.4)),
)
_LCI_WIDER = (0.3, 0.7)  # by how much the distance of green and blue from mucosa's share of red grows
_MUCOSA = (1.0, 0.58, 0.45)  # mucosa's levels under white light, relative to red
_SHARES = (0.3, 0.55, 0.8)  # ends of the shares of NBI, BLI and FICE; LCI has the rest
_GAIN, _MIX = 0.12, 0.05  # largest relative change of a channel's gain, largest change of an entry


def stains(uniforms: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Turn uniform random numbers (n, COLUMNS) into n stains, on both paths of augmentation.

    Returns:
        matrices (n, 3, 3) for columns of RGB; (n,) mean brightness relative to before; (n,) exponents of the gamma.
    """
    kind, which, wider, blue, brightness, exponent = uniforms[:, :6].T
    family = np.digitize(kind, _SHARES)
    narrow = np.where((family == 0)[:, None, None], _NBI, _BLI)
    fice = np.array(_FICE)[np.minimum((which * len(_FICE)).astype(int), len(_FICE) - 1)]
    bases = np.where((family == 2)[:, None, None], fice, narrow)
    bases = np.where((family == 3)[:, None, None], _linked_colour(wider, blue), bases)
    gains = 1 + _GAIN * (2 * uniforms[:, 6:9] - 1)
    mixes = _MIX * (2 * uniforms[:, 9:18].reshape(-1, 3, 3) - 1)
    return (bases + mixes) * gains[:, :, None], 0.9 + 0.25 * brightness, 0.85 + 0.35 * exponent


def _linked_colour(wider: Numbers, blue: Numbers) -> Numbers:
    """Return matrices (n, 3, 3) of LCI: reds become redder, whites whiter, and all a little purple."""
    low, high = _LCI_WIDER
    grown = low + (high - low) * wider
    matrices = np.tile(np.eye(3), (len(wider), 1, 1))
    for channel in (1, 2):
        matrices[:, channel, channel] = 1 + grown
        matrices[:, channel, 0] = -grown * _MUCOSA[channel]
    matrices[:, 2] *= (1.2 + 0.3 * blue)[:, None]
    return matrices


def stain(image: NDArray[np.uint8], matrix: Numbers, brightness: float, exponent: float) -> NDArray[np.uint8]:
    """Mix the channels of an image (h, w, 3), bring its mean to `brightness` times that of before, change its gamma."""
    lit = image.max(axis=2) > DARK
    mixed = np.maximum(cv2.transform(image.astype(np.float32), matrix.astype(np.float32)), 0)
    if lit.any():
        mixed *= min(MOST_GAIN, brightness * float(image[lit].mean()) / max(float(mixed[lit].mean()), 1.0))
    return np.rint(255 * (np.minimum(mixed, 255) / 255) ** np.float32(exponent)).astype(np.uint8)
