"""The segmentation baselines: the papers' equations in plain loops, HRNet against its authors', toy training."""

import re
from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
import torch
from golden import golden, golden_state
from torch import Tensor, nn

from realtime_polyp.models.efficientnet_lite import EfficientNetLite, LiteConfig
from realtime_polyp.models.hrnet import HRNetConfig
from realtime_polyp.models.resnet import ResNet, ResNetConfig
from realtime_polyp.models.segmenter import SegmenterConfig
from trainers.segmenters import acfnet, acsnet, hrnet, lowrank, pranet, unetpp
from trainers.segmenters.encoders import dilate, encoder_channels, encoder_features
from trainers.training.contract import Losses, ModelWithLoss, Targets
from trainers.training.losses import mask_loss

GOLDEN_BACKBONE = HRNetConfig(
    (6, 12, 24, 48), stem_width=8, stem_blocks=2, modules=(1, 2, 1), blocks=2, mean=0.0, std=1.0
)
BACKBONE = ResNetConfig(depths=(1, 1, 1, 1), width=8)
TOY_HRNET = HRNetConfig((4, 8, 12, 16), stem_width=4, stem_blocks=1, modules=(1, 1, 1), blocks=1)
SIZE = (64, 96)
UNETPP = unetpp.UNetPPConfig(SIZE, BACKBONE, widths=(6, 8, 10, 12))
PRANET = pranet.PraNetConfig(SIZE, BACKBONE, width=6, reverse_widths=(12, 8, 8))
ACSNET = acsnet.ACSNetConfig(SIZE, BACKBONE, (16, 12, 12, 8, 8), (8, 8, 6, 6), branch=8, squeeze=4)
ACFNET = acfnet.ACFNetConfig(SIZE, BACKBONE, width=16, branch=8, rates=(1, 2, 3))
HRNET = hrnet.HRNetSegmenterConfig(SIZE, TOY_HRNET)
LOWRANK = SegmenterConfig(TOY_HRNET, SIZE, width=12, bases=3)

# each: its module, a toy configuration, the size of its answer's cells and of its supervised maps' cells, px
BASELINES: dict[str, tuple[ModuleType, object, int, tuple[int, ...]]] = {
    "unetpp": (unetpp, UNETPP, 2, (2, 2, 2, 2)),
    "pranet": (pranet, PRANET, 4, (8, 32, 16, 8)),
    "acsnet": (acsnet, ACSNET, 1, (16, 8, 4, 2, 1)),
    "acfnet": (acfnet, ACFNET, 4, (8, 8, 8)),
    "hrnet": (hrnet, HRNET, 4, (4,)),
    "lowrank": (lowrank, LOWRANK, 4, (4, 4)),
}

# What a batch norm cancels: the authors' bias before theirs; and, where a ring of PraNet's is wider than the toy's map
# and so a single cell, the shift before it (the test of the receptive field has a map that is wide enough).
CANCELLED = {"hrnet": r"net\.last_layer\.0\.bias", "pranet": r"net\.fields\.[12]\.branches\.[123]\.2\.1\.bias"}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Toys gain nothing from more, and lose minutes where the machine's cores are taken."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=BASELINES)
def name(request: pytest.FixtureRequest) -> Iterator[str]:
    torch.manual_seed(0)
    yield request.param


def built(name: str) -> nn.Module:
    module, config, _, _ = BASELINES[name]
    return module.build(config)


def discs(count: int, size: tuple[int, int]) -> tuple[Tensor, Targets]:
    """Bright discs on dark tissue, one a picture, and their masks."""
    chance = np.random.default_rng(0)
    rows, columns = np.mgrid[: size[0], : size[1]]
    centres, radii = chance.uniform(0.3, 0.7, (count, 2)) * size, chance.uniform(8, 14, count)
    masks = np.stack([np.hypot(rows - y, columns - x) < r for (y, x), r in zip(centres, radii, strict=True)])
    images = 60 + 120 * masks[:, None] + chance.normal(0, 10, (count, 3, *size))
    boxes = [torch.zeros(0, 4)] * count
    return torch.from_numpy(images).float(), Targets(boxes, torch.from_numpy(masks).float())


@pytest.mark.parametrize("size", [SIZE, (96, 160), (100, 164)], ids=str)
def test_the_answer_is_a_map_of_whole_cells(name: str, size: tuple[int, int]) -> None:
    """At other sizes than the configured one too, and at one that the backbone's strides do not divide."""
    model, cell_px, maps_px = built(name).eval(), *BASELINES[name][2:]
    pixels = torch.rand(2, 3, *size) * 255
    with torch.inference_mode():
        found, logits = model(pixels), model.logits(pixels)
        again = model(pixels)
    assert found.shape == (2, size[0] // cell_px, size[1] // cell_px)
    assert (found > 0).all() and (found < 1).all() and found.std() > 0
    assert torch.equal(found, again)
    assert [one.shape for one in logits] == [(2, -(-size[0] // px), -(-size[1] // px)) for px in maps_px]


def test_the_answer_is_made_of_the_supervised_logits() -> None:
    """UNet++ averages its four answers; the others give their last, brought to a quarter where it is coarser."""
    pixels = torch.rand(1, 3, *SIZE) * 255
    for name in BASELINES:
        torch.manual_seed(0)
        model = built(name).eval()
        with torch.inference_mode():
            found, logits = model(pixels), model.logits(pixels)
        last = nn.functional.interpolate(logits[-1][None], found.shape[-2:], mode="bilinear")[0].sigmoid()
        expected = sum(x.sigmoid() for x in logits) / 4 if name == "unetpp" else last
        assert torch.allclose(found, expected, atol=1e-6), name


def test_twenty_steps_learn_bright_discs_and_reach_every_parameter(name: str) -> None:
    images, targets = discs(4, SIZE)
    learner = ModelWithLoss(built(name), BASELINES[name][0].loss).train()
    optimiser = torch.optim.SGD(learner.parameters(), 0.1, momentum=0.9)
    touched = {key: 0.0 for key, _ in learner.named_parameters()}
    totals = []
    for _ in range(20):
        optimiser.zero_grad()
        parts: Losses = learner(images, targets)
        parts["loss"].backward()
        for key, parameter in learner.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all(), key
            touched[key] = max(touched[key], float(parameter.grad.abs().max()))
        optimiser.step()
        totals.append(parts["loss"].item())
    untouched = [key for key, most in touched.items() if most < 1e-8]
    assert [key for key in untouched if not re.fullmatch(CANCELLED.get(name, ""), key)] == []
    assert totals[-1] < 0.5 * totals[0]
    assert totals[-1] == pytest.approx(sum(part.item() for key, part in parts.items() if key != "loss"), rel=1e-5)


def test_pictures_without_a_polyp_have_finite_losses_and_gradients(name: str) -> None:
    images, targets = discs(2, SIZE)
    model = built(name).train()
    parts = BASELINES[name][0].loss(model, images, replace(targets, masks=torch.zeros_like(targets.masks)))
    assert all(part.isfinite() and part > 0 for part in parts.values())
    torch.stack(list(parts.values())).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_a_loss_computes_in_full_precision_whatever_the_net_ran_in(name: str) -> None:
    images, targets = discs(2, SIZE)
    with torch.autocast("cpu", torch.bfloat16):
        parts = BASELINES[name][0].loss(built(name).train(), images, targets)
    assert all(part.dtype == torch.float32 and part.isfinite() for part in parts.values())


def test_a_trace_agrees_on_another_picture(name: str) -> None:
    model = built(name).eval()
    with torch.inference_mode():
        traced = torch.jit.trace(model, torch.rand(1, 3, *SIZE) * 255)
        other = torch.rand(1, 3, *SIZE) * 255
        assert torch.allclose(traced(other), model(other), atol=1e-5)


def test_hrnet_with_its_last_layer_is_the_authors_network() -> None:
    """Their two classes' logits to 1e-4, one after the other, as the last layer here has one class."""
    numbers = golden("hrnet_tiny")
    state = {
        key if key.startswith("last_layer") else f"backbone.{key}": value
        for key, value in golden_state(numbers).items()
    }
    model = hrnet.build(hrnet.HRNetSegmenterConfig((96, 128), GOLDEN_BACKBONE)).eval()
    for chosen in range(2):
        last = {key: value[chosen : chosen + 1] for key, value in state.items() if key.startswith("last_layer.3")}
        missing, unexpected = model.load_state_dict(state | last, strict=False)
        assert not unexpected and all(key.endswith("num_batches_tracked") for key in missing)
        with torch.inference_mode():
            (found,) = model.logits(torch.from_numpy(numbers["image"]))
        assert np.abs(found.numpy() - numbers["logits"][:1, chosen]).max() <= 1e-4
    assert numbers["logits"].std() > 0.1


def test_reverse_attention_keeps_what_the_map_has_not_found() -> None:
    """PraNet: features * (1 - sigmoid(map)), at every channel."""
    torch.manual_seed(0)
    feature, logits = torch.randn(2, 3, 4, 5), torch.randn(2, 1, 4, 5) * 3
    found = pranet.reverse_attention(feature, logits)
    for image, channel, row, column in np.ndindex(2, 3, 4, 5):
        left = 1 - 1 / (1 + np.exp(-float(logits[image, 0, row, column])))
        assert float(found[image, channel, row, column]) == pytest.approx(
            float(feature[image, channel, row, column]) * left, abs=1e-6
        )


def test_a_reverse_stage_corrects_the_coarser_map() -> None:
    torch.manual_seed(0)
    stage, coarser = pranet.ReverseStage(4, 6, kernel=3, count=2).eval(), torch.randn(1, 1, 2, 3)
    nn.init.zeros_(stage.residue[-1].weight)
    nn.init.constant_(stage.residue[-1].bias, 0.5)
    found = stage(torch.randn(1, 4, 4, 6), coarser)
    enlarged = nn.functional.interpolate(coarser, (4, 6), mode="bilinear")
    assert torch.allclose(found, enlarged + 0.5)


def test_pranet_s_weight_is_one_plus_five_times_the_distance_from_the_mean_around() -> None:
    truth = np.zeros((20, 40), np.float32)
    truth[3:9, 5:30] = 1
    padded = np.pad(truth, 15)
    found = pranet.edge_weight(torch.from_numpy(truth)[None])[0].numpy()
    for row, column in np.ndindex(*truth.shape):
        mean = padded[row : row + 31, column : column + 31].sum() / 31**2
        assert found[row, column] == pytest.approx(1 + 5 * abs(mean - truth[row, column]), abs=1e-5)


def test_pranet_s_structure_loss_is_its_sums() -> None:
    """Weighted cross entropy over the weights' sum, and 1 - (weighted intersection + 1) / (weighted union + 1)."""
    chance = np.random.default_rng(0)
    logits, weight = chance.normal(0, 2, (2, 3, 4)), chance.uniform(1, 6, (2, 3, 4))
    truth = (chance.random((2, 3, 4)) < 0.4).astype(float)
    expected = []
    for image in range(2):
        entropy = total = shared = either = 0.0
        for row, column in np.ndindex(3, 4):
            place = image, row, column
            p, t, w = 1 / (1 + np.exp(-logits[place])), truth[place], weight[place]
            entropy -= w * (t * np.log(p) + (1 - t) * np.log(1 - p))
            total += w
            shared += w * p * t
            either += w * (p + t - p * t)
        expected.append(entropy / total + 1 - (shared + 1) / (either + 1))
    found = pranet.structure_loss(*(torch.from_numpy(x) for x in (logits, truth, weight)))
    assert float(found) == pytest.approx(np.mean(expected), abs=1e-9)


def test_a_receptive_field_learns_everywhere_and_sees_21_cells() -> None:
    torch.manual_seed(0)
    field, x = pranet.ReceptiveField(4, 3), torch.randn(2, 4, 30, 30, requires_grad=True)
    (field(x) * torch.randn(2, 3, 30, 30)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 1e-4 for p in field.parameters())
    field.eval()
    (seen,) = torch.autograd.grad(field(x)[0, :, 15, 15].sum(), x)
    columns = seen[0].abs().sum((0, 1)).nonzero().flatten()
    assert columns.min() == 15 - 11 and columns.max() == 15 + 11  # the joining convolution adds a cell on each side


def test_the_partial_decoder_needs_all_three_features() -> None:
    """The gates multiply: a feature of zeros silences the path through it, and each of them changes the map."""
    torch.manual_seed(0)
    decoder = pranet.PartialDecoder(4).eval()
    features = [torch.rand(1, 4, 8 // scale, 8 // scale) for scale in (1, 2, 4)]
    whole = decoder(*features)
    assert whole.shape == (1, 1, 8, 8)
    for index in range(3):
        without = [x * (i != index) for i, x in enumerate(features)]
        assert not torch.allclose(decoder(*without), whole, atol=1e-4)


def test_local_attention_doubles_the_unsure_and_leaves_the_sure() -> None:
    """ACSNet: x + x (1 - |p - 0.5| / 0.5)."""
    logits = torch.tensor([0.0, 1.0, -1.0, 40.0, -40.0]).view(1, 1, 1, 5)
    feature = torch.tensor([[1.0, 2.0, -3.0, 4.0, 5.0], [0.5, 0.5, 0.5, 0.5, 0.5]]).view(1, 2, 1, 5)
    found = acsnet.local_attention(feature, logits)
    for channel, column in np.ndindex(2, 5):
        p = 1 / (1 + np.exp(-float(logits[0, 0, 0, column])))
        x = float(feature[0, channel, 0, column])
        assert float(found[0, channel, 0, column]) == pytest.approx(x + x * (1 - abs(p - 0.5) / 0.5), abs=1e-6)
    assert found[0, :, 0, 0].tolist() == [2.0, 1.0] and found[0, 0, 0, 3] == pytest.approx(4.0)


def test_the_selection_weighs_each_channel_by_all_means() -> None:
    """ACSNet: squeeze and excitation, sigmoid(W2 relu(W1 mean)) times the channel."""
    torch.manual_seed(0)
    module, joined = acsnet.Selection(8, squeeze=2), torch.randn(2, 8, 3, 5)
    first, second = (layer.weight.detach().numpy() for layer in (module.squeeze, module.excite))
    assert first.shape == (4, 8) and second.shape == (8, 4)
    found = module(joined).detach().numpy()
    for image in range(2):
        means = [float(joined[image, channel].mean()) for channel in range(8)]
        middle = [max(0.0, sum(row[c] * means[c] for c in range(8))) for row in first]
        for channel in range(8):
            weight = 1 / (1 + np.exp(-sum(second[channel][m] * middle[m] for m in range(4))))
            assert np.allclose(found[image, channel], weight * joined[image, channel].numpy(), atol=1e-6)


def test_a_non_local_block_mixes_cells_by_their_likeness() -> None:
    """x + W(sum over cells j of softmax_j(theta_i phi_j) g_j), cell by cell; and nothing at the start."""
    torch.manual_seed(0)
    module, x = acsnet.NonLocal(4).eval(), torch.randn(1, 4, 2, 3)
    assert torch.equal(module(x), x)
    module.out[1].weight.data.fill_(0.7)
    with torch.no_grad():
        theta, phi, g = (conv(x)[0].flatten(1).numpy() for conv in (module.theta, module.phi, module.g))
        found = module(x)[0].flatten(1).numpy()
    weight, scale = module.out[0].weight.detach().numpy()[:, :, 0, 0], 0.7 / np.sqrt(1 + module.out[1].eps)
    for i in range(6):
        similarity = np.exp([theta[:, i] @ phi[:, j] for j in range(6)])
        mixed = sum(share * g[:, j] for j, share in enumerate(similarity / similarity.sum()))
        assert np.allclose(found[:, i], x[0].flatten(1).numpy()[:, i] + scale * (weight @ mixed), atol=1e-5)


def test_pooling_bounds_the_cells_that_are_mixed() -> None:
    """All levels of a 512 px input compare with the 16 x 16 cells of the backbone's coarsest feature."""
    assert [level.non_local.pool for level in acsnet.build(ACSNET).levels] == [2, 4, 8, 16]
    pooled, x = acsnet.NonLocal(4, pool=4), torch.randn(1, 4, 6, 8)
    pooled.out[1].weight.data.fill_(1.0)
    assert pooled(x).shape == x.shape  # 6 is not a multiple of 4
    assert not torch.allclose(pooled(x), x)


def test_class_centres_are_the_features_means_weighted_by_the_coarse_segmentation() -> None:
    """ACFNet's class centre block, and its class attention block on what it gives."""
    torch.manual_seed(0)
    features, coarse = torch.randn(2, 3, 4, 5), torch.randn(2, 2, 4, 5).softmax(1)
    centres = acfnet.class_centres(features, coarse)
    told = acfnet.class_attention(coarse, centres)
    assert centres.shape == (2, 2, 3) and told.shape == (2, 3, 4, 5)
    for image in range(2):
        expected = np.zeros((2, 3))
        for k in range(2):
            total = 0.0
            for row, column in np.ndindex(4, 5):
                share = float(coarse[image, k, row, column])
                expected[k] += share * features[image, :, row, column].numpy()
                total += share
            expected[k] /= total
        assert np.allclose(centres[image].numpy(), expected, atol=1e-6)
        for row, column in np.ndindex(4, 5):
            mixed = sum(float(coarse[image, k, row, column]) * expected[k] for k in range(2))
            assert np.allclose(told[image, :, row, column].numpy(), mixed, atol=1e-6)


def test_a_class_that_is_nowhere_has_a_centre_of_zeros() -> None:
    coarse = torch.stack([torch.ones(1, 4, 4), torch.zeros(1, 4, 4)], 1)
    centres = acfnet.class_centres(torch.full((1, 3, 4, 4), 5.0), coarse)
    assert torch.allclose(centres, torch.tensor([[[5.0] * 3, [0.0] * 3]]))


def test_acfnet_s_loss_is_the_cross_entropy_of_two_classes_weighted() -> None:
    torch.manual_seed(0)
    model, (images, targets) = acfnet.build(ACFNET).eval(), discs(2, SIZE)
    with torch.no_grad():
        parts = acfnet.loss(model, images, targets)
        features = model.pyramid(model.backbone(images)[-1])
        both = nn.functional.interpolate(model.coarse_head(features), SIZE, mode="bilinear")
        coarse = nn.functional.cross_entropy(both, targets.masks.long())
    assert float(parts["coarse"]) == pytest.approx(0.6 * float(coarse), rel=1e-5)
    assert list(parts) == ["auxiliary", "coarse", "fine"] and list(acfnet._WEIGHTS.values()) == [0.4, 0.6, 0.7]


def test_a_dilated_backbone_sees_the_same_cells_eight_pixels_apart() -> None:
    """With its weights unchanged, every fourth cell of the last stage is the plain one's, away from the borders."""
    torch.manual_seed(0)
    plain = ResNet(BACKBONE).eval()
    dilated = dilate(ResNet(BACKBONE)).eval()
    dilated.load_state_dict(plain.state_dict())
    pixels = torch.rand(1, 3, 128, 128) * 255
    with torch.no_grad():
        coarse, fine = plain(pixels), dilated(pixels)
    assert [x.shape[-1] for x in fine] == [32, 16, 16, 16]
    assert torch.allclose(fine[2][..., ::2, ::2], coarse[2], atol=1e-4)
    assert torch.allclose(fine[3][..., ::4, ::4], coarse[3], atol=1e-4)
    with pytest.raises(ValueError, match="DeformConv2d"):
        dilate(ResNet(replace(BACKBONE, deform="v2")))


def test_a_dilated_efficientnet_lite_sees_the_same_cells_too() -> None:
    torch.manual_seed(0)
    config = LiteConfig(width=0.25, depth=1.0)
    plain, dilated = EfficientNetLite(config).eval(), dilate(EfficientNetLite(config)).eval()
    dilated.load_state_dict(plain.state_dict())
    pixels = torch.rand(1, 3, 256, 256) * 255
    with torch.no_grad():
        coarse, fine = plain(pixels), dilated(pixels)
    assert [x.shape[-1] for x in fine] == [64, 32, 32, 32]
    middle = slice(6, -6)  # the borders are padded at other places
    assert torch.allclose(fine[2][..., ::2, ::2][..., middle, middle], coarse[2][..., middle, middle], atol=1e-4)


def test_encoders_give_five_features_of_the_widths_that_they_name() -> None:
    for backbone in (ResNet(BACKBONE), EfficientNetLite(LiteConfig(width=0.25))):
        features = encoder_features(backbone.eval(), torch.rand(1, 3, 64, 96) * 255)
        assert [x.shape[1] for x in features] == list(encoder_channels(backbone))
        assert [x.shape[-1] for x in features] == [48, 24, 12, 6, 3]


def test_unetpp_s_nodes_take_every_node_before_them() -> None:
    """X(i, j) has j inputs of its row and one from below: 10 nodes, of the widths that this makes."""
    model = unetpp.build(UNETPP)
    encoder, widths = (8, 32, 64, 128, 256), UNETPP.widths
    assert [len(row) for row in model.rows] == [4, 3, 2, 1]
    for i, row in enumerate(model.rows):
        for j, node in enumerate(row, 1):
            below = encoder[i + 1] if j == 1 else widths[i + 1]
            assert node.mix[0].in_channels == encoder[i] + (j - 1) * widths[i] + below
            assert node.mix[3].out_channels == widths[i]


def test_unetpp_s_later_answers_see_deeper() -> None:
    """The head of X(0, j) depends on the encoder's first j + 1 features, and on no deeper one."""
    torch.manual_seed(0)
    model, stages = unetpp.build(UNETPP).eval(), ("layer1", "layer2", "layer3", "layer4")
    pixels = torch.rand(1, 3, *SIZE) * 255
    for depth in range(1, 5):
        model.zero_grad()
        model.logits(pixels)[depth - 1].sum().backward()
        seen = [any(p.grad is not None for p in getattr(model.backbone, stage).parameters()) for stage in stages]
        assert seen == [index < depth for index in range(4)]


@pytest.mark.parametrize("kind", ["unetpp", "acsnet", "hrnet"])
def test_every_answer_is_supervised_at_the_truth_s_resolution(kind: str) -> None:
    torch.manual_seed(0)
    module, config, _, _ = BASELINES[kind]
    model, (images, targets) = module.build(config).eval(), discs(2, SIZE)
    with torch.no_grad():
        parts, logits = module.loss(model, images, targets), model.logits(images)
    assert len(parts) == len(logits)
    for part, x in zip(parts.values(), logits, strict=True):
        enlarged = nn.functional.interpolate(x[None], SIZE, mode="bilinear")[0]
        assert float(part) == pytest.approx(float(mask_loss(enlarged, targets.masks)), rel=1e-5)


def test_both_of_the_paper_s_predictions_are_supervised() -> None:
    torch.manual_seed(0)
    parts = lowrank.loss(lowrank.build(LOWRANK).eval(), *discs(2, SIZE))
    assert list(parts) == ["full", "low_rank"]
