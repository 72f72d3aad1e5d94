"""The models against the reference implementations, the paper's equations and plain loops."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from golden import golden, golden_state
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from realtime_polyp.engines.deployable import to_deployable
from realtime_polyp.models.detector import Detector, DetectorConfig, DetectorMaps, GFLHead, decode, points_of
from realtime_polyp.models.efficientnet_lite import LITE0, LITE2, EfficientNetLite, LiteConfig, freeze, from_published
from realtime_polyp.models.hrnet import HRNet, HRNetConfig
from realtime_polyp.models.necks import NeckConfig
from realtime_polyp.models.segmenter import LowRank, Segmenter, SegmenterConfig
from realtime_polyp.models.variants import DETECTORS, SEGMENTERS

NARROW = LiteConfig(width=0.25, depth=0.3)
TOY_DETECTOR = DetectorConfig(
    backbone=NARROW, size=(64, 96), neck=NeckConfig(channels=16, levels=4, relu_before_extra=True)
)
TOY_HRNET = HRNetConfig((6, 12, 24, 48), stem_width=8, stem_blocks=2, modules=(1, 2, 1), blocks=2, mean=0.0, std=1.0)


def test_hrnet_is_the_authors_network() -> None:
    """Their parameters under their names, their features, to 1e-4."""
    numbers = golden("hrnet_tiny")
    backbone = {name: value for name, value in golden_state(numbers).items() if not name.startswith("last_layer")}
    model = HRNet(TOY_HRNET).eval()
    missing, unexpected = model.load_state_dict(backbone, strict=False)
    assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing)
    with torch.inference_mode():
        found = model(torch.from_numpy(numbers["image"]))
    assert found.shape == (1, 90, 24, 32) and found.shape[1] == model.channels
    assert np.abs(found.numpy()[:, ::3] - numbers["fused"]).max() <= 1e-4  # the file has every third channel
    assert numbers["fused"].std() > 0.1  # there was something to get wrong


@settings(max_examples=15)
@given(st.integers(0, 1000), st.integers(1, 6), st.integers(2, 12))
def test_the_low_rank_module_is_the_paper_s_equations(seed: int, bases: int, channels: int) -> None:
    """F_a = softmax(phi(F_p)), b = F_p^T F_a / N, F_l = F_a b^T (section 2.2.2), in numpy and float64."""
    torch.manual_seed(seed)
    module, full = LowRank(channels, bases).double(), torch.randn(2, channels, 5, 7, dtype=torch.float64)
    found = module(full).detach().numpy()
    weight, bias = (p.detach().numpy() for p in (module.phi.weight[:, :, 0, 0], module.phi.bias))  # type: ignore[union-attr]
    for image in range(2):
        f_p = full[image].numpy().reshape(channels, 35).T
        logits = f_p @ weight.T + bias
        f_a = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        b = f_p.T @ f_a / 35
        f_l = f_a @ b.T
        assert np.abs(found[image].reshape(channels, 35).T - f_l).max() < 1e-12
        assert np.linalg.matrix_rank(found[image].reshape(channels, 35), tol=1e-9) <= bases


def test_the_low_rank_module_lowers_the_rank_of_what_had_more() -> None:
    torch.manual_seed(0)
    full = torch.randn(1, 24, 8, 8, dtype=torch.float64)
    ranks = [np.linalg.matrix_rank(x.detach().numpy().reshape(24, 64), tol=1e-9)
             for x in (full, LowRank(24, 5).double()(full))]  # fmt: skip
    assert ranks[0] == 24 and 1 < ranks[1] <= 5


@given(st.integers(0, 1000))
@settings(max_examples=10)
def test_decoding_is_a_loop_over_edges(seed: int) -> None:
    torch.manual_seed(seed)
    points, strides = points_of([torch.Size((2, 3)), torch.Size((1, 2))], (8, 16))
    edges = torch.randn(2, 8, 4, 17) * 3
    boxes = decode(DetectorMaps(torch.zeros(2, 8), edges, points, strides))
    expected_points = [(8 * x, 8 * y, 8) for y in range(2) for x in range(3)] + [(0, 0, 16), (16, 0, 16)]
    for image in range(2):
        for place, (x, y, stride) in enumerate(expected_points):
            distances = []
            for edge in edges[image, place].double().numpy():
                probability = np.exp(edge) / np.exp(edge).sum()
                distances.append(stride * sum(bin_ * p for bin_, p in enumerate(probability)))
            left, top, right, bottom = distances
            expected = [x - left, y - top, x + right, y + bottom]
            assert boxes[image, place].tolist() == pytest.approx(expected, abs=1e-3)


def test_the_score_is_class_times_quality_of_the_four_distributions() -> None:
    """GFLv2: of each edge the top four probabilities and their mean, through two layers (Li et al., section 3.2)."""
    torch.manual_seed(0)
    head = GFLHead(TOY_DETECTOR).eval()
    x = torch.randn(1, 16, 2, 3)
    with torch.inference_mode():
        scores, edges = head(x, 1)
        classes = head.cls(head.cls_tower(x, 1)).flatten(1).sigmoid()
        for place in range(6):
            statistics: list[Tensor] = []
            for edge in edges[0, place].softmax(-1):
                top = edge.sort(descending=True).values[:4]
                statistics += [*top, top.mean()]
            quality = head.quality(torch.stack(statistics))
            assert scores[0, place] == pytest.approx((classes[0, place] * quality).item(), rel=1e-5)


@pytest.mark.parametrize("count", [1, 20, 128])
def test_the_best_candidates_are_those_of_the_whole_answer(count: int) -> None:
    """By class alone: the places chosen, their boxes and their scores are the whole answer's."""
    torch.manual_seed(0)
    model = Detector(TOY_DETECTOR).eval()
    torch.nn.init.normal_(model.head.cls.weight, std=0.2)
    torch.nn.init.normal_(model.head.reg.weight, std=0.2)
    pixels = torch.rand(2, 3, 64, 96) * 255
    with torch.inference_mode():
        boxes, scores = model(pixels)
        levels = model.pyramid(model.backbone(pixels)[model.config.neck.start :])
        classes = torch.cat([model.head.raw(x, level)[0] for level, x in enumerate(levels)], dim=1)
        best_boxes, best_scores = model.best(pixels, count)
    chosen = classes.topk(count, dim=1).indices
    assert torch.allclose(best_boxes, boxes.gather(1, chosen[..., None].expand(-1, -1, 4)), atol=1e-3)
    assert torch.allclose(best_scores, scores.gather(1, chosen), atol=1e-6)
    assert count == 128 or scores.scatter(1, chosen, 0).max() <= classes.sort(descending=True).values[:, count].max()


def test_the_low_rank_answer_is_the_head_on_the_low_rank_map() -> None:
    torch.manual_seed(0)
    module, head, full = LowRank(12, 3), torch.nn.Conv2d(12, 1, 1), torch.randn(2, 12, 5, 7)
    with torch.inference_mode():
        assert torch.allclose(module.apply_head(head, full), head(module(full)), atol=1e-6)


@pytest.mark.parametrize("count", [1, 2])
def test_shapes_and_ranges_of_the_detector(count: int) -> None:
    torch.manual_seed(0)
    with torch.inference_mode():
        boxes, scores = Detector(TOY_DETECTOR).eval()(torch.rand(count, 3, 64, 96) * 255)
    places = 8 * 12 + 4 * 6 + 2 * 3 + 1 * 2
    assert boxes.shape == (count, places, 4) and scores.shape == (count, places)
    assert (scores > 0).all() and (scores < 1).all() and (boxes[..., 2:] >= boxes[..., :2]).all()
    assert scores.max() < 0.05  # at the start almost every place is background


@pytest.mark.parametrize("backbone", [NARROW, TOY_HRNET], ids=["lite", "hrnet"])
def test_shapes_and_ranges_of_the_segmenter(backbone: LiteConfig | HRNetConfig) -> None:
    torch.manual_seed(0)
    model = Segmenter(SegmenterConfig(backbone=backbone, size=(64, 96), width=12, bases=3)).eval()
    pixels = torch.rand(2, 3, 64, 96) * 255
    with torch.inference_mode():
        found, logits = model(pixels), model.logits(pixels)
    assert found.shape == (2, 16, 24) and all(one.shape == (2, 16, 24) for one in logits)
    assert (found > 0).all() and (found < 1).all()
    assert torch.allclose(found, logits[1].sigmoid())  # the answer comes from F_l


def test_the_named_models_fit_their_own_sizes() -> None:
    for name, config in DETECTORS.items():
        assert config.size[0] % 32 == config.size[1] % 32 == 0, name
    for name, segmenter in SEGMENTERS.items():
        assert segmenter.size[0] % 32 == segmenter.size[1] % 32 == 0, name


def test_each_level_of_the_head_has_its_own_statistics() -> None:
    torch.manual_seed(0)
    head = GFLHead(TOY_DETECTOR).train()
    x = torch.randn(4, 16, 4, 4) + 3
    before = [norm.running_mean.clone() for norm in head.cls_tower.norms[0]]  # type: ignore[union-attr]
    head(x, 2)
    changed = [
        not torch.equal(norm.running_mean, old)  # type: ignore[arg-type]
        for norm, old in zip(head.cls_tower.norms[0], before, strict=True)  # type: ignore[arg-type]
    ]
    assert changed == [False, False, True, False]


def test_frozen_stages_learn_nothing_even_in_training() -> None:
    torch.manual_seed(0)
    backbone = EfficientNetLite(NARROW).train()
    freeze(backbone, stages=2)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    sum(x.sum() for x in backbone(torch.randn(2, 3, 64, 64))).backward()
    torch.optim.SGD([p for p in backbone.parameters() if p.requires_grad], 0.1).step()
    still = ("stem.", "stages.0.", "stages.1.")
    for name, value in backbone.state_dict().items():
        if name.startswith(still):
            assert torch.equal(value, before[name]), name
    assert any(not torch.equal(v, before[n]) for n, v in backbone.state_dict().items() if n.startswith("stages.6."))


@pytest.mark.parametrize("config", [LITE0, LITE2])
def test_published_checkpoints_fill_every_tensor_of_the_backbone(config: LiteConfig) -> None:
    """From a checkpoint made up in the published names: each tensor arrives, none twice."""
    backbone = EfficientNetLite(config)
    state: dict[str, Tensor] = {}
    convs = {"expand": ("_expand_conv", "_bn0"), "depthwise": ("_depthwise_conv", "_bn1")}
    block = 0
    for stage in backbone.stages:
        for module in stage:
            for part, (conv, bn) in {**convs, "project": ("_project_conv", "_bn2")}.items():
                if isinstance(getattr(module, part, None), torch.nn.Sequential) and len(getattr(module, part)):
                    _publish(state, getattr(module, part), f"_blocks.{block}.{conv}", f"_blocks.{block}.{bn}")
            block += 1
    _publish(state, backbone.stem, "_conv_stem", "_bn0")
    state |= {"_fc.weight": torch.zeros(2, 2), "_conv_head.weight": torch.zeros(2, 2)}
    for number, value in enumerate(state.values()):
        value.fill_(number)
    renamed = from_published(state, config)
    assert set(renamed) == set(backbone.state_dict())
    assert len({float(value.flatten()[0]) for value in renamed.values()}) == len(renamed)
    del state["_blocks.1._bn1.weight"]
    with pytest.raises((KeyError, RuntimeError)):
        EfficientNetLite(config).load_state_dict(from_published(state, config))


def _publish(state: dict[str, Tensor], module: torch.nn.Module, conv: str, bn: str) -> None:
    for name, value in module.state_dict().items():
        index, kind = name.split(".", 1)
        state[f"{conv if index == '0' else bn}.{kind}"] = torch.zeros_like(value)


def test_a_configuration_is_changed_by_replacing_its_values() -> None:
    wide = replace(TOY_DETECTOR, neck=replace(TOY_DETECTOR.neck, channels=24))
    assert Detector(wide).head.cls.in_channels == 24 and Detector(TOY_DETECTOR).head.cls.in_channels == 16


class FromHost(TorchDispatchMode):
    """Counts operations that touch a tensor of the host, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def __torch_dispatch__(self, function, types, arguments=(), options=None):  # type: ignore[no-untyped-def]
        answer = function(*arguments, **(options or {}))
        tensors = [one for one in tree_leaves((arguments, options, answer)) if isinstance(one, torch.Tensor)]
        self.found |= {str(function) for one in tensors if one.device.type == "cpu"}
        return answer


@pytest.mark.parametrize("name", [*DETECTORS, *SEGMENTERS])
def test_a_model_brings_nothing_from_the_host(name: str) -> None:
    """A copy from the host, or a value asked for, would stop a CUDA graph from being captured. Without contents here:
    the paper's models cost nothing."""
    with torch.device("meta"):
        model = Detector(DETECTORS[name]) if name in DETECTORS else Segmenter(SEGMENTERS[name])
    watch = FromHost()
    with torch.inference_mode(), watch:
        to_deployable(model.eval())(torch.empty((2, 3, *model.config.size), device="meta"))
    assert not watch.found
