"""The reduced reference numbers are the whole ones, where those are at hand."""

import numpy as np
import pytest
from conftest import needs
from golden import GOLDEN_FILES, WHOLE, golden


@needs("golden")
@pytest.mark.parametrize("name", GOLDEN_FILES)
def test_what_is_drawn_again_is_what_the_reference_used(name: str) -> None:
    whole = np.load(WHOLE / GOLDEN_FILES[name][0] / f"{name}.npz")
    reduced = golden(name)
    assert {key for key in whole.files if key.startswith("state/")} <= set(reduced)
    for key, value in reduced.items():
        expected = whole[key][:1, ::3] if key == "fused" else whole[key][: len(value)] if value.ndim else whole[key]
        assert value.shape == expected.shape and value.dtype == expected.dtype
        assert np.allclose(value, expected, rtol=0, atol=2e-6), key
