"""Augmentation on the device: each change equals that of the workers, and whole recipes have their distribution."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import albumentations as A
import cv2
import numpy as np
import pytest
import torch
from albumentations.augmentations.crops.functional import crop_and_pad
from albumentations.augmentations.geometric.functional import (
    center,
    create_affine_transformation_matrix,
    warp_affine,
)
from albumentations.augmentations.pixel import functional as reference
from conftest import needs
from numpy.typing import NDArray
from scipy.stats import ks_2samp
from torch import Tensor

from trainers.data import stills as workers
from trainers.data.augment import (
    NONE,
    STRONG,
    Augment,
    AugmentConfig,
    GreyWorld,
    Specular,
    WhiteBalance,
)
from trainers.data.compose import composing_rng
from trainers.data.device import augment as device
from trainers.data.device import geometry, operations
from trainers.data.device.jpeg import jpeg
from trainers.data.stain import COLUMNS, stain, stains

SIZE = (64, 96)
Image = NDArray[np.uint8]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def scene(seed: int, size: tuple[int, int] = SIZE, polyps: int = 2) -> tuple[Image, Image]:
    """A round field of view with waves of tissue, grain and bright discs, and its label map."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    waves = [170 + 50 * np.sin(x / 13 + rng.uniform(0, 6)), 100 + 40 * np.cos(y / 9 + x / 30), 80 + 30 * np.sin(x / 7)]
    image, labels = np.stack(waves, axis=2) + rng.normal(0, 8, (*size, 3)), np.zeros(size, np.uint8)
    for number in range(1, polyps + 1):
        place = (int(rng.integers(20, size[1] - 20)), int(rng.integers(15, size[0] - 15)))
        cv2.circle(labels, place, int(rng.integers(7, 13)), number, cv2.FILLED)
    image[labels > 0] = image[labels > 0] / 2 + (118, 95, 75)
    image[np.hypot(x - size[1] / 2, y - size[0] / 2) > 0.51 * size[1]] = 0
    return np.clip(image, 0, 255).astype(np.uint8), labels


IMAGE, LABELS = scene(0)


def tensor(*images: Image) -> Tensor:
    return torch.from_numpy(np.stack([image.transpose(2, 0, 1) for image in images])).float()


def array(images: Tensor) -> NDArray[np.float32]:
    return np.asarray(images[0].numpy().transpose(1, 2, 0))


KERNEL = np.arange(25, dtype=np.float32).reshape(5, 5) / 300
GAINS = np.array([0.913, 1.117, 1.043])
SPOTS = np.random.default_rng(1).uniform([0, 0, 0.003, 0.2, 0], [1, 1, 0.02, 1, 180], (9, 5))
STAINS = stains(np.random.default_rng(3).random((1, COLUMNS)))
SINGLE: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Image], Image]]] = {
    "gamma": (
        lambda images: operations.gamma(images, np.array([0.63])),
        lambda image: reference.gamma_transform(image, 0.63),
    ),
    "brightness": (
        lambda images: operations.scale_levels(images, np.array([1.21])),
        lambda image: reference.adjust_brightness_torchvision(image, 1.21),
    ),
    "added levels": (
        lambda images: operations.add_levels(images, np.array([-7.3])),
        lambda image: A.RandomBrightnessContrast().apply(image, 1.0, -7.3),
    ),
    "contrast": (
        lambda images: operations.contrast(images, np.array([0.75])),
        lambda image: reference.adjust_contrast_torchvision(image, 0.75),
    ),
    "saturation": (
        lambda images: operations.saturation(images, np.array([1.4])),
        lambda image: reference.adjust_saturation_torchvision(image, 1.4),
    ),
    "hue": (
        lambda images: operations.hue(images, np.array([-0.04])),
        lambda image: reference.adjust_hue_torchvision(image, -0.04),
    ),
    "filter": (
        lambda images: operations.convolve(images, KERNEL[None]),
        lambda image: reference.convolve(image, KERNEL),
    ),
    "grey world": (
        lambda images: operations.grey_world(images, np.array([0.7])),
        lambda image: GreyWorld(0.8, 1.0).apply(image, 0.7),
    ),
    "white balance": (
        lambda images: operations.scale_levels(images, GAINS[None]),
        lambda image: WhiteBalance(0.1, 1.0).apply(image, GAINS),
    ),
    "highlights": (
        lambda images: operations.specular(images, SPOTS[None], np.array([8])),
        lambda image: Specular(1.0).apply(image, SPOTS[:8]),
    ),
    "stain": (
        lambda images: operations.stain(images, *STAINS),
        lambda image: stain(image, *(values[0] for values in STAINS)),
    ),
    "lower resolution": (
        lambda images: operations.downscale(images, np.array([0.63])),
        lambda image: reference.downscale(image, 0.63, cv2.INTER_NEAREST, cv2.INTER_NEAREST),
    ),
}


@pytest.mark.parametrize("name", SINGLE)
def test_a_change_of_given_strength_equals_its_counterpart(name: str) -> None:
    ours, theirs = SINGLE[name]
    wanted = theirs(IMAGE.copy()).astype(np.float32)
    found = array(ours(tensor(IMAGE)))
    assert np.abs(found - wanted).max() <= 1 and np.abs(found - wanted).mean() < 0.01
    assert np.abs(wanted - IMAGE).mean() > 0.2  # it did change something


def test_a_gaussian_blur_equals_opencv_s() -> None:
    kernel = device._gaussian_kernel(5, 1.3)
    wanted = A.GaussianBlur().apply(IMAGE, kernel.sum(axis=0))
    assert np.abs(array(operations.convolve(tensor(IMAGE), kernel[None])) - wanted).max() <= 1


@pytest.mark.parametrize("quality", [30, 50, 80])
def test_jpeg_loses_what_the_codec_loses(quality: int) -> None:
    wanted = reference.image_compression(IMAGE, quality, ".jpg").astype(np.float32)
    apart = np.abs(array(jpeg(tensor(IMAGE), np.array([quality]))) - wanted)
    assert apart.mean() < 0.1 < 1 < np.abs(wanted - IMAGE).mean() and (apart > 1).mean() < 0.02


def test_noise_is_cut_to_whole_levels_and_is_the_same_for_the_same_seed() -> None:
    grey = torch.full((3, 3, *SIZE), 100.0)
    noisy = operations.gaussian_noise(grey, np.full(3, 2.0), np.full(3, 5.0), np.array([4, 4, 5]))
    expected = np.trunc(np.random.default_rng(0).normal(2.0, 5.0, 100_000))
    assert torch.equal(noisy[0], noisy[1]) and not torch.equal(noisy[0], noisy[2])
    assert float(noisy.mean()) - 100 == pytest.approx(expected.mean(), abs=0.15)
    assert float(noisy.std()) == pytest.approx(expected.std(), abs=0.15)


@pytest.mark.parametrize(("rotate", "scale"), [(33.0, 1.2), (-170.0, 0.65), (90.0, 1.0)])
def test_an_affine_transform_equals_opencv_s_and_its_boxes_are_tight(rotate: float, scale: float) -> None:
    shear, shift = (5.0, -3.0), (10, -7)
    wanted = create_affine_transformation_matrix(
        {"x": shift[0], "y": shift[1]}, {"x": shear[0], "y": shear[1]}, {"x": scale, "y": scale}, rotate, center(SIZE)
    )
    matrices = geometry.affine_matrices(
        np.array([rotate]), np.array([scale]), np.array([shear]), np.array([shift]), SIZE
    )
    assert matrices[0] == pytest.approx(wanted)
    images, labels = geometry.warp(tensor(IMAGE), torch.from_numpy(LABELS)[None].float(), matrices)
    image = warp_affine(IMAGE, wanted, cv2.INTER_LINEAR, 0, cv2.BORDER_CONSTANT, SIZE)
    expected = warp_affine(LABELS, wanted, cv2.INTER_NEAREST, 0, cv2.BORDER_CONSTANT, SIZE)
    assert np.abs(array(images) - image).max() <= 1
    assert (labels[0].numpy() != expected).sum() <= 2
    boxes = geometry.polyp_boxes(labels.to(torch.uint8))[0]
    assert np.array_equal(boxes.numpy(), workers.polyp_boxes(labels[0].numpy().astype(np.uint8)))


def test_a_crop_equals_opencv_s_and_a_flip_is_exact() -> None:
    edges, labels = (7, 11, 80, 59), torch.from_numpy(LABELS)[None].float()
    cropped, numbers = geometry.crop(tensor(IMAGE), labels, np.array([edges]))
    border = (None, None, SIZE), (0, True)
    image = crop_and_pad(IMAGE, edges, *border[0], cv2.INTER_LINEAR, *border[1])
    assert np.abs(array(cropped) - image).max() <= 1
    expected = crop_and_pad(LABELS, edges, *border[0], cv2.INTER_NEAREST, *border[1])
    assert np.array_equal(numbers[0].numpy(), expected)
    flipped, numbers = geometry.warp(tensor(IMAGE), labels, geometry.flip_matrix(SIZE[1])[None])
    assert np.array_equal(array(flipped), IMAGE[:, ::-1]) and np.array_equal(numbers[0].numpy(), LABELS[:, ::-1])


def test_a_flip_comes_before_the_crop() -> None:
    drawn = device.Geometry(np.array([True]), np.array([True]), np.array([[7, 11, 80, 59]]), np.eye(3)[None])
    image, labels = device.change_geometry(tensor(IMAGE), torch.from_numpy(LABELS)[None].float(), drawn)
    flipped = tensor(np.ascontiguousarray(IMAGE[:, ::-1])), torch.from_numpy(LABELS[:, ::-1].copy())[None].float()
    expected, numbers = geometry.crop(*flipped, drawn.edges)
    assert torch.equal(image, expected) and torch.equal(labels, numbers)


def test_boxes_of_specks_and_of_empty_maps_are_none() -> None:
    labels = torch.zeros((3, 40, 50), dtype=torch.uint8)
    labels[1, 5:15, 10:30], labels[1, 20:22, 3:5], labels[2, 30:40, 40:50] = 1, 2, 3
    assert [boxes.tolist() for boxes in geometry.polyp_boxes(labels)] == [[], [[10, 5, 30, 15]], [[40, 30, 50, 40]]]
    assert [boxes.shape for boxes in geometry.polyp_boxes(labels[:1])] == [(0, 4)]


# whole recipes

EVERY = replace(STRONG, crop=0.2, brightness_levels=10, sharpness_probability=0.3, noise_mean=(0.0, 0.02), stain=0.15)
ALONE = {
    "geometry": replace(NONE, flip_probability=0.5, geometry_probability=1.0, crop=0.2),
    "stain": replace(NONE, stain=1.0),
    "gamma": replace(NONE, gamma_probability=1.0),
    "colour": replace(NONE, colour_probability=1.0),
    "balance": replace(NONE, grey_world=0.8, white_balance=0.15, brightness_levels=10),
    "sharpness": replace(NONE, sharpness_probability=1.0),
    "highlights": replace(NONE, specular_probability=1.0),
    "blur": replace(NONE, blur_probability=1.0),
    "coarse": replace(NONE, coarse_probability=1.0),
    "noise": replace(NONE, noise_probability=1.0, noise_mean=(0.0, 0.02)),
}


def measures(image: Image, labels: Image, boxes: NDArray[np.float32]) -> list[float]:
    """Figures of one augmented image that any change of colour, sharpness or place would move."""
    levels = image.astype(np.float32)
    luma, lit = levels.mean(axis=2), image.max(axis=2) > 12
    sizes = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    first = boxes[0].tolist() if len(boxes) else [0.0] * 4
    return [
        *levels.mean((0, 1)), *levels.std((0, 1)), float((levels[..., 0] - levels[..., 2])[lit].mean()),
        float(np.abs(np.diff(luma, axis=0)).mean()), float(np.abs(np.diff(luma, axis=1)).mean()),
        float(np.abs(cv2.Laplacian(luma, cv2.CV_32F)).mean()), float(lit.mean()),
        float((labels > 0).mean()), len(boxes), float(sizes.sum()), *first,
    ]  # fmt: skip


def by_workers(config: AugmentConfig, count: int) -> NDArray[np.float64]:
    augment = Augment(config)
    changed = [augment(*scene(place, polyps=place % 3), seed=place) for place in range(count)]
    return np.array([measures(image, labels, workers.polyp_boxes(labels)) for image, labels in changed])


def by_device(config: AugmentConfig, count: int) -> NDArray[np.float64]:
    rows = []
    for start in range(0, count, 25):
        items = [scene(place, polyps=place % 3) for place in range(start, start + 25)]
        pixels, numbers = tensor(*(image for image, _ in items)), torch.from_numpy(np.stack([one for _, one in items]))
        images, labels = device.augment(pixels.to(torch.uint8), numbers, config, np.arange(start, start + 25) + 10_000)
        boxes = geometry.polyp_boxes(labels)
        for image, found, some in zip(images, labels, boxes, strict=True):
            rows.append(measures(image.numpy().transpose(1, 2, 0), found.numpy(), some.numpy()))
    return np.array(rows)


def likely_the_same(first: NDArray[np.float64], second: NDArray[np.float64]) -> bool:
    """Whether one distribution may give both samples: Kolmogorov-Smirnov tests of all figures, at 1 % together."""
    chances = [ks_2samp(a, b, method="asymp").pvalue for a, b in zip(first.T, second.T, strict=True)]
    return bool(min(chances) > 0.01 / len(chances))


@pytest.mark.parametrize("name", ALONE)
def test_a_change_alone_has_the_same_distribution_on_both_paths(name: str) -> None:
    assert likely_the_same(by_workers(ALONE[name], 150), by_device(ALONE[name], 150))


def test_a_whole_recipe_has_the_same_distribution_on_both_paths() -> None:
    found = by_device(EVERY, 300)
    assert likely_the_same(by_workers(EVERY, 300), found)
    assert not likely_the_same(by_device(replace(EVERY, scale=(0.7, 1.7)), 300), found)  # the test would notice


def test_every_change_happens_as_often_as_the_recipe_says() -> None:
    seeds = np.arange(4000)
    draws = device.Uniforms(seeds)
    shape = device.draw_geometry(EVERY, draws, SIZE)
    colour, degradation = device.draw_colour(EVERY, draws), device.draw_degradation(EVERY, draws, seeds)
    stained = device.draw_stain(EVERY, draws).chosen
    moved = (shape.matrices != np.eye(3)).any((1, 2))
    expected = {
        "flip": (shape.flip, 0.5),
        "crop": (shape.cropped, 0.5),
        "affine": (moved, 0.9),
        "stain": (stained, 0.15),
    }
    jitter = np.stack([step.chosen for step in colour[2:-3]])
    assert (jitter.sum(axis=0)[jitter.any(axis=0)] == 4).all()  # all four, each once
    rates = [(colour[0], 0.5), (colour[1], 0.5), (colour[-3], 0.3), (colour[-2], 0.25), (colour[-1], 0.5)]
    rates += list(zip(degradation, (0.2, 0.2, 0.1, 0.1, 0.15), strict=True))
    expected |= {f"{place}": (step.chosen, rate) for place, (step, rate) in enumerate(rates)}
    expected["jitter"] = (jitter.any(axis=0), 0.8)
    for name, (chosen, rate) in expected.items():
        assert abs(chosen.mean() - rate) < 4 * np.sqrt(rate * (1 - rate) / len(seeds)), name
    together = (degradation[-1].chosen & degradation[1].chosen).mean()
    assert together == pytest.approx(0.15 * 0.2, abs=0.011)  # no change depends on another


def test_an_image_depends_on_its_seed_and_not_on_its_neighbours() -> None:
    items = [scene(place) for place in range(4)]
    pixels, labels = (
        tensor(*(image for image, _ in items)).to(torch.uint8),
        torch.from_numpy(np.stack([numbers for _, numbers in items])),
    )
    together = device.augment(pixels, labels, EVERY, np.array([3, 4, 5, 6]))
    alone = device.augment(pixels[2:3], labels[2:3], EVERY, np.array([5]))
    other = device.augment(pixels[2:3], labels[2:3], EVERY, np.array([7]))
    assert torch.equal(together[0][2], alone[0][0]) and torch.equal(together[1][2], alone[1][0])
    assert not torch.equal(alone[0], other[0])


@needs("cuda")
def test_a_card_makes_the_images_of_the_cpu() -> None:
    """All but the noise, whose random numbers are the card's own."""
    config = replace(EVERY, noise_probability=0.0)
    items = [scene(place) for place in range(64)]
    pixels, labels = (
        tensor(*(image for image, _ in items)).to(torch.uint8),
        torch.from_numpy(np.stack([numbers for _, numbers in items])),
    )
    images, numbers = device.augment(pixels, labels, config, np.arange(64))
    on_card, found = device.augment(pixels.cuda(), labels.cuda(), config, np.arange(64))
    apart = (on_card.cpu().int() - images.int()).abs()
    assert (apart > 1).float().mean() < 0.01 and apart.float().mean() < 0.1
    assert (found.cpu() != numbers).float().mean() < 0.001
    boxes = geometry.polyp_boxes(found)
    assert all(box.is_cuda for box in boxes) and [len(box) for box in boxes] == [
        len(box) for box in geometry.polyp_boxes(found.cpu())
    ]


def test_a_recipe_without_changes_changes_nothing() -> None:
    pixels, labels = tensor(IMAGE).to(torch.uint8), torch.from_numpy(LABELS)[None]
    images, numbers = device.augment(pixels, labels, NONE, np.array([1]))
    assert torch.equal(images, pixels) and torch.equal(numbers, labels)


def test_settings_without_stains_give_the_images_that_they_gave_before_there_were_any() -> None:
    """Results of trained weights can be repeated, and their runs resumed."""
    plain = replace(EVERY, stain=0.0)
    seeds = np.array([3, 4])
    draws = device.Uniforms(seeds)
    device.draw_geometry(plain, draws, SIZE)
    device.draw_colour(plain, draws)
    device.draw_degradation(plain, draws, seeds)
    assert draws.between(0, 1)[0] == np.random.default_rng(3).random(172)[171]  # a stain's numbers come behind these


def test_the_changes_of_the_workers_are_independent() -> None:
    """Half the images are flipped, half of the flipped ones get noise, and so do half of the others."""
    augment = Augment(replace(NONE, flip_probability=0.5, noise_probability=0.5, noise_std=(0.05, 0.05)))
    pairs = []
    for seed in range(60):
        image, labels = augment(IMAGE, LABELS, seed=seed)
        flipped = np.array_equal(labels, LABELS[:, ::-1])
        pairs.append((flipped, not np.array_equal(image, IMAGE[:, ::-1] if flipped else IMAGE)))
    assert 0.3 < np.mean([flipped == noisy for flipped, noisy in pairs]) < 0.7


def test_composing_draws_other_numbers_than_the_first_change() -> None:
    """With the same numbers, every mosaic (probability 0.05) would be flipped (0.5), too."""
    flips = [device.Uniforms(np.array([seed])).happens(0.5).item() for seed in range(400)]
    mosaics = [composing_rng(seed).random() < 0.05 for seed in range(400)]
    flipped = [flip for flip, is_mosaic in zip(flips, mosaics, strict=True) if is_mosaic]
    assert 8 <= len(flipped) <= 36 and 0 < sum(flipped) < len(flipped)
