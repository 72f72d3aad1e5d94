"""The ranges file: its format number, and files without one."""

import json
from pathlib import Path

import pytest
from safetensors.torch import save_file
from torch import nn

from calibration.ranges import save
from realtime_polyp.engines.quantized import RANGES, RANGES_FORMAT, read_ranges
from realtime_polyp.engines.weights import add_to_manifest, find_weights


@pytest.mark.parametrize("has_format", [True, False])
def test_ranges_are_read_with_and_without_format_number(tmp_path: Path, has_format: bool) -> None:
    save_file(nn.Conv2d(3, 4, 1).state_dict(), tmp_path / "toy.safetensors")
    add_to_manifest("toy", "segmenter", (64, 96), {"safetensors": "toy.safetensors"}, tmp_path)
    save({"project.0": 6.0}, find_weights("toy", folder=tmp_path), frames=3)
    path = tmp_path / "toy.ranges.json"
    content = json.loads(path.read_text())
    assert content.pop("format") == RANGES_FORMAT
    if not has_format:
        path.write_text(json.dumps(content))
        add_to_manifest("toy", "segmenter", (64, 96), {RANGES: path.name}, tmp_path)
    assert read_ranges(find_weights("toy", folder=tmp_path)) == {"project.0": 6.0}
