"""Imitated stains look like their modes, keep the brightness, and leave the black surround black."""

import numpy as np
import pytest

from trainers.data.stain import COLUMNS, stain, stains

MUCOSA, BLOOD, WHITE = (170, 99, 76), (150, 25, 20), (210, 210, 205)


def patches() -> np.ndarray:
    """Four quarters: mucosa, blood, a white coat, and the black surround."""
    image = np.zeros((40, 40, 3), np.uint8)
    image[:20, :20], image[:20, 20:], image[20:, :20] = MUCOSA, BLOOD, WHITE
    return image


def middle_stain(kind: float) -> np.ndarray:
    """The stain of a family at the middle of all its ranges, on `patches`."""
    uniforms = np.full((1, COLUMNS), 0.5)
    uniforms[0, 0] = kind
    matrices, brightness, exponents = stains(uniforms)
    return stain(patches(), matrices[0], float(brightness[0]), float(exponents[0])).astype(int)


def test_nbi_makes_mucosa_brown_and_blood_nearly_black() -> None:
    image = middle_stain(0.1)
    red, green, blue = image[10, 10]
    assert red > green > blue > 0.6 * red
    assert image[10, 30].max() < 0.35 * image[10, 10].max()


def test_bli_is_bluer_than_nbi_and_fice_weakens_red_too() -> None:
    blue_to_red = [image[10, 10][2] / image[10, 10][0] for image in map(middle_stain, (0.1, 0.4, 0.6))]
    assert blue_to_red[1] > 1.15 * blue_to_red[0]
    assert min(blue_to_red) > 1.3 * MUCOSA[2] / MUCOSA[0]


def test_lci_draws_blood_away_from_white() -> None:
    image, before = middle_stain(0.9), patches().astype(int)
    assert (image[10, 30, 1] / image[10, 30, 0]) < 0.8 * (before[10, 30, 1] / before[10, 30, 0])
    assert image[30, 10, 1] / image[10, 10, 1] > WHITE[1] / MUCOSA[1]


def test_the_brightness_stays_in_range_and_black_stays_black() -> None:
    uniforms = np.random.default_rng(0).random((300, COLUMNS))
    before = patches()
    lit = before.max(axis=2) > 0
    for drawn in zip(*stains(uniforms), strict=True):
        image = stain(before, *drawn)
        assert 0.65 < image[lit].mean() / before[lit].mean() < 1.3
        assert not image[~lit].any()


def test_a_black_image_stays_black() -> None:
    matrices, brightness, exponents = stains(np.full((1, COLUMNS), 0.5))
    black = np.zeros((8, 8, 3), np.uint8)
    assert not stain(black, matrices[0], float(brightness[0]), float(exponents[0])).any()


@pytest.mark.parametrize(("kind", "family"), [(0.29, "same"), (0.31, "other")])
def test_the_first_number_chooses_the_family(kind: float, family: str) -> None:
    same = np.array_equal(middle_stain(0.1), middle_stain(kind))
    assert same == (family == "same")
