"""Run lengths and polygons from files: good ones stay as they are, damaged ones never reach the C library."""

import json
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from realtime_polyp.metrics.run_lengths import checked, compressed, decode, dice, encode, fill_polygons

SIZE = (1280, 720)
BLOB = {"size": [4, 4], "counts": "358"}  # 3 px of background, 5 of a polyp, 8 of background, column by column


def demo_masks() -> list[dict[str, Any]]:
    truth = json.loads((ROOT / "assets" / "demo_truth.json").read_text(encoding="utf-8"))
    return [polyp["mask"] for frame in truth["frames"] for polyp in frame["polyps"]]


def test_good_masks_stay_bit_for_bit_as_they_are() -> None:
    masks = demo_masks()
    assert len(masks) == 756 and [checked(one, SIZE) for one in masks] == masks
    assert (decode(masks[0]) == coco_mask.decode(masks[0])).all()


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32), st.floats(0, 1))
def test_any_mask_passes_and_its_list_of_lengths_is_the_same_mask(h: int, w: int, seed: int, share: float) -> None:
    mask = np.random.default_rng(seed).random((h, w)) < share
    runs = encode(mask)
    changes = np.flatnonzero(np.diff(mask.ravel(order="F").astype(np.int8))) + 1
    listed = np.diff([0, *([0] if mask[0, 0] else []), *changes, h * w]).tolist()
    assert checked(runs) == runs == compressed({"size": [h, w], "counts": listed})
    assert (decode(runs) == mask).all()


def test_empty_runs_within_a_mask_are_joined() -> None:
    assert compressed({"size": [4, 4], "counts": [3, 2, 0, 3, 8]}) == BLOB == checked(BLOB)


@pytest.mark.parametrize(
    ("runs", "sentence"),
    [
        ({"size": [2**31, 1280], "counts": "0"}, "1280 x 2147483648 px cannot be read"),
        ({"size": [16384, 16384], "counts": "0"}, "at most 134,217,728"),
        ({"size": [4, 10**400], "counts": "0"}, "cannot be read"),
        ({"size": [0, 4], "counts": "0"}, "a side has 1 to 16384 px"),
        ({"size": [4.0, 4], "counts": "358"}, r"has the size \[4.0, 4\]: it must be"),
        ({"size": None, "counts": "358"}, "has the size None"),
        ({"size": [4, 4], "counts": ""}, "counts are empty"),
        ({"size": [4, 4], "counts": "35é"}, "a character outside '0' to 'o'"),
        ({"size": [4, 4], "counts": "35\x00"}, "a character outside '0' to 'o'"),
        ({"size": [4, 4], "counts": "35h"}, "break off"),
        ({"size": [4, 4], "counts": "ooooooooo0"}, "a number that is too long"),
        ({"size": [4, 4], "counts": "3@O"}, "has the run length -16: none may be below 0"),
        ({"size": [4, 4], "counts": "357"}, "add up to 15 px, its size is 4 x 4 = 16"),
        ({"size": [4, 4], "counts": [3, -1, 14]}, "has the run length -1"),
        ({"size": [4, 4], "counts": [3, 2**70]}, "has the run length 11805"),
        ({"size": [4, 4], "counts": [3, float("nan")]}, "has the run length nan"),
        ({"size": [4, 4], "counts": [3, True, 12]}, "has the run length True"),
        ({"size": [4, 4], "counts": []}, "add up to 0 px"),
        ({"size": [4, 4], "counts": {"3": 5}}, "must be compressed COCO run lengths"),
        ([1, 2], "must be compressed COCO run lengths"),
    ],
)
def test_damaged_run_lengths_are_one_sentence(runs: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        compressed(runs)


def test_a_mask_of_another_picture_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the size \[4, 4\], the video's is \[720, 1280\]"):
        checked(BLOB, SIZE)


def test_mutated_masks_are_refused_or_fill_their_picture() -> None:
    masks, rng, passed = demo_masks(), np.random.default_rng(0), 0
    for _ in range(5000):
        known = masks[rng.integers(len(masks))]
        text = bytearray(known["counts"].encode())
        for place in rng.integers(len(text), size=rng.integers(1, 4)):
            text[place] = rng.integers(33, 127)
        try:
            runs = checked({**known, "counts": text.decode()}, SIZE)
        except ValueError:
            continue
        passed += 1
        assert decode(runs).shape == (720, 1280) and 0 <= dice([runs], [known]) <= 1
    assert 0 < passed < 100


def test_polygons_are_filled_as_coco_fills_them() -> None:
    outline = [[10.0, 5, 60.5, 8, 30, 40], [70, 30, 99, 30, 99, 49, 70, 49]]
    known = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(outline, 50, 100)))
    assert (fill_polygons(outline, (100, 50)) == known).all() and known.sum() == 1402


@pytest.mark.parametrize(
    ("polygons", "sentence"),
    [
        ([[2e9, 20, 50, 20, 40, 60]], r"a corner at x = 2000000000.0, far outside the picture of 100x50 px"),
        ([[5, 20, 50, -float("inf"), 40, 60]], "a corner at y = -inf"),
        ([[5, 20, 50, float("nan"), 40, 60]], "a corner at y = nan"),
        ([[5, 20, 50, 10**400, 40, 60]], "a corner at y = 1000"),
        ([[5, 20, 50, "9", 40, 60]], "a corner at '9', which is not a number"),
        ([[5, 20, 50, 9]], "needs three corners"),
        ([[5, 20, 50, 9, 8, 7, 6]], "needs three corners"),
        ([5, 20, 50, 9, 8, 7], "needs three corners"),
        ([], "must be a list of polygons"),
        ([[-100, 0, 200, 0] * 60], "an outline has 120 corners and is 36,000 px long"),
        ([[1, 1, 2, 1, 2, 2] * 40_000], "an outline has 120,000 corners"),
    ],
)
def test_wrong_polygons_are_one_sentence(polygons: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        fill_polygons(polygons, (100, 50))
