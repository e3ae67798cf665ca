"""Augmentation of one training image: NumPy in, NumPy out, a pure function of its random generator.

In: RGB uint8 [H, W, 3] and its orientation label. Out: the same shape, and the label it has now.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torchvision import transforms

from mtml_deploy.data.records import FLIPPED_ORIENTATION, UNKNOWN
from mtml_train.config import EraseFill, Policy
from mtml_train.views import IMAGENET_MEAN, LUMA

# luma and two axes of pure colour: rows of RGB -> YUV (ITU-R BT.601)
_TO_YUV: Final = np.array([LUMA, [-0.14713, -0.28886, 0.436], [0.615, -0.51499, -0.10001]])
_MEAN: Final = tuple(round(level) for level in IMAGENET_MEAN)
_FROM_YUV: Final = np.linalg.inv(_TO_YUV)


def flip(image: NDArray[np.uint8], orientation: int) -> tuple[NDArray[np.uint8], int]:
    """The image mirrored left to right, and the orientation class it shows then.

    Args:
        image: uint8 [H, W, 3].
        orientation: 0..7, or -1 for unknown.

    Returns:
        uint8 [H, W, 3], and 0..7 or -1.
    """
    mirrored = UNKNOWN if orientation == UNKNOWN else FLIPPED_ORIENTATION[orientation]
    return image[:, ::-1], mirrored


def pad_and_crop(
    image: NDArray[np.uint8], fraction: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """A random crop of the original size after padding by repeated border pixels.

    Args:
        image: uint8 [H, W, 3].
        fraction: padding on each side, as a fraction of that side's length.
        rng: source of the offset.

    Returns:
        uint8 [H, W, 3].
    """
    height, width = image.shape[:2]
    rows, columns = round(height * fraction), round(width * fraction)
    padded = np.pad(image, ((rows, rows), (columns, columns), (0, 0)), mode="edge")
    top, left = int(rng.integers(2 * rows + 1)), int(rng.integers(2 * columns + 1))
    return padded[top : top + height, left : left + width]


def erase(
    image: NDArray[np.uint8], rng: np.random.Generator, *, fill: EraseFill = "mean"
) -> NDArray[np.uint8]:
    """A copy with one random rectangle without content (Zhong et al. 2020).

    Args:
        image: uint8 [H, W, 3].
        rng: source of area (2 to 40 % of the image), aspect (0.3 to 3.3), place and values.
        fill: "mean" for the ImageNet mean, "random" for a value of its own for every pixel and
            channel.

    Returns:
        uint8 [H, W, 3].
    """
    height, width = image.shape[:2]
    area = rng.uniform(0.02, 0.4) * height * width
    aspect = np.exp(rng.uniform(np.log(0.3), np.log(1 / 0.3)))
    rows = min(height, max(1, round(np.sqrt(area * aspect))))
    columns = min(width, max(1, round(np.sqrt(area / aspect))))
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    erased = image.copy()
    erased[top : top + rows, left : left + columns] = (
        np.array(_MEAN, dtype=np.uint8)
        if fill == "mean"
        else rng.integers(256, size=(rows, columns, 3), dtype=np.uint8)
    )
    return erased


def apply_policy(
    image: NDArray[np.uint8], policy: Policy, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """The image after a published policy of shears, turns, shifts and changes of tone.

    No policy mirrors an image, so orientation labels stay.

    Args:
        image: uint8 [H, W, 3].
        policy: "autoaugment" (Cubuk et al. 2019, the one learnt on ImageNet) or "randaugment"
            (Cubuk et al. 2020, two operations of magnitude 9 of 30).
        rng: source of all choices.

    Returns:
        uint8 [H, W, 3]; what comes in at the border has the ImageNet mean.
    """
    # torchvision draws from torch's global generator: seeded here, and put back as it was
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**63)))
        changed = _policy(policy)(Image.fromarray(image))
    return np.array(changed)


@cache
def _policy(name: Policy) -> nn.Module:
    """The transform of a policy."""
    fill = [float(level) for level in _MEAN]
    kinds: dict[Policy, type[nn.Module]] = {
        "autoaugment": transforms.AutoAugment,
        "randaugment": transforms.RandAugment,
    }
    return kinds[name](fill=fill)


def jitter_colour(
    image: NDArray[np.uint8], strength: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """The image with other hues and saturation but the same luma.

    The gray branch learns what is left without colour. A jitter of brightness or contrast would
    disturb exactly that, so only the two colour axes are turned and stretched.

    Args:
        image: uint8 [H, W, 3].
        strength: 0..1; at 1 hues turn by up to 36 degrees and saturation changes by up to 100 %.
        rng: source of angle and stretch.

    Returns:
        uint8 [H, W, 3]; luma differs only by rounding and where a colour leaves 0..255.
    """
    angle = rng.uniform(-0.2, 0.2) * np.pi * strength
    stretch = 1.0 + rng.uniform(-1.0, 1.0) * strength
    turn = np.eye(3)
    turn[1:, 1:] = stretch * np.array(
        [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    )
    matrix = (_FROM_YUV @ turn @ _TO_YUV).astype(np.float32)
    turned: NDArray[np.float32] = np.rint(image @ matrix.T)  # [H, W, 3]
    return np.clip(turned, 0, 255).astype(np.uint8)
