"""Files that earlier versions wrote still fill today's models."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from realtime_polyp.engines.eager import load_module
from realtime_polyp.engines.weights import find_weights, read_manifest
from realtime_polyp.models.detector import Detector
from realtime_polyp.models.joint import JointModel
from realtime_polyp.models.segmenter import Segmenter
from realtime_polyp.models.state_names import upgrade_state
from realtime_polyp.models.variants import DETECTORS, JOINTS, SEGMENTERS
from trainers.training.initialise import initialise, read_tensors
from trainers.training.run_folder import upgrade_loop


def test_old_names_become_todays_and_todays_stay() -> None:
    state = {"trunk.stem.0": 1, "fusion.trunk.stem.0": 2, "module.trunk.x": 3, "head.cls": 4, "trunks.x": 5}
    upgraded = {"backbone.stem.0": 1, "fusion.backbone.stem.0": 2, "module.backbone.x": 3, "head.cls": 4, "trunks.x": 5}
    assert upgrade_state(state) == upgraded
    assert upgrade_state(upgraded) == upgraded and list(upgrade_state(state)) == list(upgraded)
    assert upgrade_loop({"trunk_factor": 0.3, "batch": 8}) == {"backbone_factor": 0.3, "batch": 8}


def test_the_shipped_weights_fill_every_parameter() -> None:
    configs = {**DETECTORS, **SEGMENTERS, **JOINTS}
    builds = {"detector": Detector, "segmenter": Segmenter, "joint": JointModel}
    for name in read_manifest():
        weights = find_weights(name)
        state = load_file(weights.path("safetensors"))
        assert {value.dtype for value in state.values() if value.dim() > 1} == {torch.float16}
        module = load_module(weights).state_dict()
        assert set(state) == set(builds[weights.task](configs[name]).state_dict())  # type: ignore[operator]
        assert {value.dtype for value in module.values()} == {torch.float32, torch.int64}
        assert all(torch.equal(module[key], value.to(module[key].dtype)) for key, value in state.items())


def test_a_file_of_an_older_run_is_a_beginning(tmp_path: Path) -> None:
    config = DETECTORS["gflv2-lite0"]
    torch.manual_seed(1)
    older = Detector(config)
    path = tmp_path / "best.safetensors"
    save_file({key.replace("backbone.", "trunk."): value for key, value in older.state_dict().items()}, path)
    assert set(read_tensors(path)) == set(older.state_dict())
    for options in ({"init": path}, {"init": None, "backbone_from": path}):
        net: nn.Module = Detector(config)
        initialise(net, **options)  # type: ignore[arg-type]
        assert torch.equal(net.backbone.stem[0].weight, older.backbone.stem[0].weight)  # type: ignore[union-attr, index]
