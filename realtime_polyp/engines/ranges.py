"""How large what flows into each convolution gets, measured on calibration frames: what eight bits are scaled by."""

import json

from realtime_polyp.engines.base import EngineError
from realtime_polyp.engines.weights import Weights
from realtime_polyp.models.state_names import upgrade_state

RANGES = "ranges"  # the kind of file beside a model's weights


def read_ranges(weights: Weights) -> dict[str, float]:
    """{convolution: largest magnitude of its input}. EngineError when they were never measured, or of other weights."""
    if RANGES not in weights.files:
        raise EngineError(
            f"{weights.model} has no activation ranges, which eight bits need: measure them with "
            f"python -m calibration.ranges --model {weights.model}"
        )
    found = json.loads(weights.path(RANGES).read_text())
    if found["weights"] != weights.checksums[weights.files["safetensors"]]:
        raise EngineError(
            f"the activation ranges of {weights.model} were measured on other weights: "
            f"run python -m calibration.ranges --model {weights.model}"
        )
    return {name: float(value) for name, value in upgrade_state(found["largest"]).items()}
