"""Textured pictures, and the same as NV12 planes."""

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from fakes import picture
from numpy.typing import NDArray

if TYPE_CHECKING:
    import av

BT709_LIMITED = (1, 1)  # as FFmpeg numbers them


def textured(size: tuple[int, int], seed: int = 0) -> NDArray[np.uint8]:
    """Tissue with grain (H, W, 3), of size (w, h)."""
    image = cv2.GaussianBlur(picture(5 + seed, size), (5, 5), 0).astype(np.float32)
    grain = cv2.GaussianBlur(np.random.default_rng(seed).normal(0, 40, image.shape).astype(np.float32), (0, 0), 2)
    return np.clip(image + grain, 0, 255).astype(np.uint8)


def nv12_frame(image: NDArray[np.uint8], matrix: int, colour_range: int) -> "av.VideoFrame":
    """Convert an image by FFmpeg; the test is skipped without av, which the GPU machine of trainers/gpu lacks."""
    av = pytest.importorskip("av")
    rgb = av.VideoFrame.from_ndarray(image, format="rgb24")
    frame = rgb.reformat(format="yuv420p", dst_colorspace=matrix, dst_color_range=colour_range)
    frame = frame.reformat(format="nv12")
    frame.colorspace, frame.color_range = matrix, colour_range
    return frame
