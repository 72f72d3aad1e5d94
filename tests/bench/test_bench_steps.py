"""What each step buys: ratios, and that both sides of a comparison do the same work."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import picture
from media import write_clip
from safetensors.torch import save_file

from realtime_polyp import engines
from realtime_polyp.bench import ablations
from realtime_polyp.bench.ablation_modules import AllLocations, UnitRangeInput
from realtime_polyp.bench.ablations import AblationInput
from realtime_polyp.bench.clips import images_of
from realtime_polyp.bench.comparisons import Ablation, calls_per_s, measure_ablation
from realtime_polyp.engines.deployable import to_deployable
from realtime_polyp.engines.weights import Weights, sha256_of
from realtime_polyp.models.detector import Detector, DetectorConfig
from realtime_polyp.models.efficientnet_lite import LiteConfig
from realtime_polyp.models.necks import NeckConfig
from realtime_polyp.models.variants import DETECTORS
from realtime_polyp.runtime import RuntimeConfig

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # inside OpenVINO's converter
TOY = DetectorConfig(
    backbone=LiteConfig(width=0.25, depth=0.3),
    size=(192, 256),
    neck=NeckConfig(channels=16, levels=4, relu_before_extra=True),
)


@pytest.fixture(scope="module")
def detector() -> Detector:
    torch.manual_seed(0)
    return Detector(TOY).eval()


@pytest.fixture
def scene(tmp_path: Path, fake_engines: object, monkeypatch: pytest.MonkeyPatch, detector: Detector) -> AblationInput:
    """A toy clip, fakes for whole lines, and a toy detector for what is measured in OpenVINO."""
    path = tmp_path / "fake.safetensors"
    save_file(detector.state_dict(), path)
    weights = Weights("fake", "detector", TOY.size, tmp_path, {"safetensors": path.name}, {path.name: sha256_of(path)})
    monkeypatch.setitem(DETECTORS, "fake", TOY)
    monkeypatch.setattr(ablations, "find_weights", lambda model, task: weights)
    monkeypatch.setattr(ablations, "read_manifest", lambda: {"fake": {"task": "joint"}, "other": {"task": "detector"}})
    find = vars(engines)["find_weights"]  # which fake_engines has put there
    monkeypatch.setattr(engines, "find_weights", lambda model, task: find("fake", task))  # "other" is a fake, too
    monkeypatch.setattr(ablations, "calls_per_s", partial(calls_per_s, least_s=0.01))
    clip = write_clip(tmp_path / "clip.mp4", count=12, size=(256, 192), rate=30, draw=picture)
    return AblationInput(RuntimeConfig("fake", "fake", "openvino"), clip, images_of(clip))


@pytest.mark.parametrize("name", list(ablations.ABLATIONS))
def test_every_step_can_be_measured(name: str, scene: AblationInput) -> None:
    step = ablations.ABLATIONS[name](scene)
    told = measure_ablation(step, 1, name)
    assert len(told["variants"]) >= 2 and told["measured"]
    for one in told["variants"].values():
        assert one["fps"] > 0 and one["ms"] == pytest.approx(1e3 / one["fps"], rel=1e-2, abs=6e-4)  # both are rounded
    assert next(iter(told["variants"].values()))["ratio"] == 1


def test_ratios_are_to_the_first_variant_round_by_round() -> None:
    speeds = {"plain": iter([10.0, 5.0, 20.0]), "better": iter([30.0, 15.0, 50.0])}
    step = Ablation("x", {name: partial(next, values) for name, values in speeds.items()})
    told = measure_ablation(step, 3, "x")["variants"]
    assert told["better"] == {"fps": 30.0, "ms": 33.333, "ratio": 3.0, "runs_fps": [30.0, 15.0, 50.0]}


def test_every_place_is_more_than_the_likeliest(detector: Detector) -> None:
    everywhere = AllLocations(detector)
    assert to_deployable(everywhere) is everywhere
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (1, 3, 192, 256)).astype(np.float32))
    with torch.inference_mode():
        every, best = everywhere(pixels)[1], to_deployable(detector)(pixels)[1]
    assert every.shape[1] > best.shape[1] and torch.isclose(every.max(), best.max())


def test_a_factor_taken_outside_changes_nothing(detector: Detector) -> None:
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (1, 3, 192, 256)).astype(np.float32))
    with torch.inference_mode():
        boxes, scores = detector(pixels)
        again, scores_again = UnitRangeInput(detector)(pixels / 255)
    assert torch.allclose(boxes, again, atol=1e-2) and torch.allclose(scores, scores_again, atol=1e-5)
