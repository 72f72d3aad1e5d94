"""Second pictures on the device, with the random numbers of `trainers/data/second_picture.py`: the same images."""

import numpy as np
import torch
from torch import Tensor

from trainers.data.device.compose import shrink
from trainers.data.second_picture import SecondPicture


def paste_second_pictures(
    images: Tensor, labels: Tensor, pixels: Tensor, label_maps: Tensor, drawn: dict[int, SecondPicture]
) -> tuple[Tensor, Tensor]:
    """Paste second pictures into images (N, 3, h, w) uint8 and clear their label maps (N, h, w); return both.

    pixels, label_maps: all stills, (n, 3, h, w) and (n, h, w) uint8. drawn: by place in the batch.
    """
    if not drawn:
        return images, labels
    places = torch.tensor(list(drawn), device=images.device)
    ink = torch.from_numpy(np.stack([one.ink for one in drawn.values()])[:, None]).to(images.device)
    images[places] = torch.where(ink > 0, ink, images[places])
    for place, one in drawn.items():
        rows, columns = one.inner
        size = (rows.stop - rows.start, columns.stop - columns.start)
        images[place][:, rows, columns] = shrink(pixels[one.donor], label_maps[one.donor], size)[0]
        labels[place][one.outer] = 0
    return images, labels
