"""Copy-paste and mosaics on the device, with the random numbers of `trainers/data/compose.py`: the same images.

The polyps, on whose places and sizes a draw depends, are measured once, when the stills are loaded. Whether a polyp
fits where it is to go is decided on the device, so that nothing waits for the answer.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.data.compose import COLOUR_MATCH, DARK, FEATHER_PX, MOST_OVERLAP, TRIES
from trainers.data.device.geometry import sample
from trainers.data.device.operations import cut, on_device, rounded, soften


@dataclass(frozen=True)
class Polyps:
    """The polyps of a label map.

    Attributes:
        numbers: (k,) their labels.
        centres: (k, 2) mean x and y, px.
        diagonals: (k,) length of the diagonal of the tight box, px.
    """

    numbers: NDArray[np.uint8]
    centres: NDArray[np.float64]
    diagonals: NDArray[np.float64]


@dataclass(frozen=True)
class Paste:
    """One polyp to be pasted.

    Attributes:
        target: place in the batch.
        donor: index of the still that it comes from.
        number: its label there, and `new_number` in the target.
        side: of the square that holds it, px.
        matrix: (2, 3) px of that square, to px of the donor.
        corners: (TRIES, 2) top and left of the square in the target, of which the first that fits is taken.
    """

    target: int
    donor: int
    number: int
    new_number: int
    side: int
    matrix: NDArray[np.float64]
    corners: NDArray[np.int64]


def measure_polyps(labels: NDArray[np.uint8]) -> Polyps:
    """Measure the polyps of a label map (h, w)."""
    numbers = np.unique(labels[labels > 0])
    places = [np.nonzero(labels == number) for number in numbers]
    centres = [[xs.mean(), ys.mean()] for ys, xs in places]
    diagonals = [np.hypot(np.ptp(xs) + 1, np.ptp(ys) + 1) for ys, xs in places]
    return Polyps(numbers, np.array(centres, np.float64).reshape(-1, 2), np.array(diagonals, np.float64))


def draw_paste(
    target: int, most: int, donor: int, polyps: Polyps, size: tuple[int, int], rng: np.random.Generator
) -> Paste | None:
    """Draw which polyp is pasted and how, as `compose.copy_paste` does; None if it cannot fit.

    target: place in the batch; most: largest label there. donor, polyps: index of the other still, and its polyps.
    """
    if not len(polyps.numbers) or most == 255:
        return None
    number = rng.choice(polyps.numbers)
    which = int(np.flatnonzero(polyps.numbers == number)[0])
    scale, angle_deg = float(rng.uniform(0.5, 1.2)), float(rng.uniform(-180, 180))
    side = int(np.ceil(1.3 * scale * polyps.diagonals[which])) + 2 * FEATHER_PX
    matrix = _to_donor(polyps.centres[which], scale, angle_deg, side)
    if rng.random() < 0.5:
        matrix = np.stack([-matrix[:, 0], matrix[:, 1], matrix[:, 2] + matrix[:, 0] * (side - 1)], axis=1)
    if side >= min(size):
        return None
    corners = [[int(rng.integers(size[0] - side)), int(rng.integers(size[1] - side))] for _ in range(TRIES)]
    return Paste(target, donor, int(number), most + 1, side, matrix, np.array(corners))


def _to_donor(centre: NDArray[np.float64], scale: float, angle_deg: float, side: int) -> NDArray[np.float64]:
    """Return the matrix (2, 3) from px of the square to px of the donor: the inverse of `cv2.getRotationMatrix2D`."""
    cosine, sine = np.cos(np.deg2rad(angle_deg)) / scale, np.sin(np.deg2rad(angle_deg)) / scale
    turn = np.array([[cosine, -sine], [sine, cosine]])
    return np.concatenate([turn, (centre - turn @ np.full(2, side / 2))[:, None]], axis=1)


def paste(
    images: Tensor, labels: Tensor, pixels: Tensor, label_maps: Tensor, pastes: list[Paste]
) -> tuple[Tensor, Tensor]:
    """Paste polyps of the stills into images (N, 3, h, w) uint8 and label maps (N, h, w) of a batch; return both.

    pixels, label_maps: all stills, (n, 3, h, w) and (n, h, w) uint8.
    """
    if not pastes:
        return images, labels
    targets, donors, numbers, new_numbers, sides = (
        torch.tensor([getattr(one, name) for one in pastes], device=images.device)
        for name in ("target", "donor", "number", "new_number", "side")
    )
    patches, shapes = _cut_out(pixels[donors].float(), label_maps[donors] == numbers[:, None, None], pastes, sides)
    under, marked = images[targets].float(), labels[targets]
    corner, fits = _find_places(under, marked, shapes, pastes)
    alpha = soften(shapes.float(), FEATHER_PX / 2)
    placed = _place(torch.cat([patches, shapes.float(), alpha], dim=1), corner, sides, marked.shape[-2:])
    patch, shape, alpha = placed[:, :3], placed[:, 3:4], placed[:, 4:]
    area = shape.sum((2, 3), keepdim=True).clamp(min=1)
    shift = COLOUR_MATCH * ((under - patch) * shape).sum((2, 3), keepdim=True) / area
    blended = cut(alpha * (patch + shift) + (1 - alpha) * under)
    images[targets] = torch.where(fits[:, None, None, None], blended, under).to(torch.uint8)
    new = fits[:, None, None] & (shape[:, 0] > 0)
    labels[targets] = torch.where(new, new_numbers[:, None, None].to(torch.uint8), marked)
    return images, labels


def _cut_out(donors: Tensor, masks: Tensor, pastes: list[Paste], sides: Tensor) -> tuple[Tensor, Tensor]:
    """Return transformed patches (n, 3, s, s) and shapes (n, 1, s, s) bool, each in the top left of its square."""
    places = torch.arange(max(one.side for one in pastes), device=donors.device, dtype=torch.float32)
    matrices = on_device(np.stack([one.matrix for one in pastes]), donors)
    a, b, c = (matrices[:, :, place, None, None] for place in range(3))
    x, y = (a * places + b * places[:, None] + c).unbind(1)
    inside = (places < sides[:, None, None]) & (places[:, None] < sides[:, None, None])
    shapes = sample(masks[:, None].float(), x, y, nearest=True) > 0
    return rounded(sample(donors, x, y, padding="reflection")), shapes & inside[:, None]


def _find_places(under: Tensor, marked: Tensor, shapes: Tensor, pastes: list[Paste]) -> tuple[Tensor, Tensor]:
    """Return the first corner (n, 2) whose place is tissue without a polyp, and whether there is one (n,)."""
    corners = torch.from_numpy(np.stack([one.corners for one in pastes])).to(under.device)
    bad = torch.stack([marked > 0, under.amax(1) < DARK], dim=1)
    most = MOST_OVERLAP * shapes.sum((1, 2, 3))
    free = []
    for attempt in range(TRIES):
        covered = _window(bad, corners[:, attempt], shapes.shape[-1]) & shapes
        free.append((covered.sum((2, 3)) <= most[:, None]).all(1) & (most > 0))
    every = torch.stack(free, dim=1)
    first = torch.where(every, torch.arange(TRIES, device=every.device), TRIES - 1).amin(1)
    return corners[torch.arange(len(pastes), device=every.device), first], every.any(1)


def _window(maps: Tensor, corner: Tensor, side: int) -> Tensor:
    """Return the squares (n, c, side, side) at the corners (n, 2) of maps; outside, the edge is repeated."""
    places = torch.arange(side, device=maps.device)
    rows = (corner[:, :1] + places).clamp(max=maps.shape[2] - 1)
    columns = (corner[:, 1:] + places).clamp(max=maps.shape[3] - 1)
    return _gather(maps, rows, columns)


def _place(squares: Tensor, corner: Tensor, sides: Tensor, size: torch.Size) -> Tensor:
    """Return zeros (n, c, h, w) with the squares at their corners (n, 2), as far as their own sides (n,) reach."""
    rows = torch.arange(size[0], device=squares.device) - corner[:, :1]
    columns = torch.arange(size[1], device=squares.device) - corner[:, 1:]
    inside_y, inside_x = ((places >= 0) & (places < sides[:, None]) for places in (rows, columns))
    last = squares.shape[-1] - 1
    moved = _gather(squares, rows.clamp(0, last), columns.clamp(0, last))
    return moved * (inside_y[:, :, None] & inside_x[:, None, :])[:, None]


def _gather(maps: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return maps (n, c, h, w) at their own rows (n, a) and columns (n, b): (n, c, a, b)."""
    n, channels, _, width = maps.shape
    some = maps.gather(2, rows[:, None, :, None].expand(n, channels, -1, width))
    return some.gather(3, columns[:, None, None, :].expand(n, channels, rows.shape[1], -1))


def draw_split(size: tuple[int, int], rng: np.random.Generator) -> tuple[int, int]:
    """Draw the common corner, row and column, of the four images of a mosaic, as `compose.mosaic` does."""
    split_y, split_x = (int(length * rng.uniform(0.35, 0.65)) for length in size)
    return split_y, split_x


def mosaic(pixels: Tensor, labels: Tensor, split: tuple[int, int], most: list[int]) -> tuple[Tensor, Tensor]:
    """Shrink four stills (4, 3, h, w), (4, h, w) uint8 into the quarters of one; most: largest label of each."""
    height, width = labels.shape[1:]
    image, numbers = torch.empty_like(pixels[0]), torch.empty_like(labels[0])
    used = 0
    for number in range(4):
        rows = slice(0, split[0]) if number < 2 else slice(split[0], height)
        columns = slice(0, split[1]) if number % 2 == 0 else slice(split[1], width)
        small, found = shrink(pixels[number], labels[number], (rows.stop - rows.start, columns.stop - columns.start))
        image[:, rows, columns] = small
        numbers[rows, columns] = torch.where(found > 0, found + used, 0)
        used += most[number]
    return image, numbers


def shrink(pixels: Tensor, labels: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Shrink an image by area and its label map to the nearest pixel, as `cv2.resize` does."""
    levels = pixels.float()
    rows, columns = (on_device(_areas(old, new), levels) for old, new in zip(labels.shape, size, strict=True))
    small = rounded(rows @ levels @ columns.T).to(torch.uint8)
    nearest = [
        torch.from_numpy((np.arange(new) * (1 / (new / old))).astype(np.int64)).to(labels.device)
        for old, new in zip(labels.shape, size, strict=True)
    ]
    return small, labels[nearest[0][:, None], nearest[1]]


def _areas(old: int, new: int) -> NDArray[np.float64]:
    """Return the share (new, old) that each old pixel has in each new one."""
    ends = np.arange(new + 1)[:, None] * (old / new)
    left = np.maximum(ends[:-1], np.arange(old))
    right = np.minimum(ends[1:], np.arange(old) + 1)
    return np.maximum(0, right - left) * (new / old)
