"""What each branch sees of an image: pure tensor functions, traced into the exported graph.

In: RGB bytes [B, H, W, 3]. Out: one normalised float tensor per branch. Only casts, transposes and
matrix products, which every runtime computes alike (an antialiased Resize is not one of them).
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

IMAGENET_MEAN: Final = (123.675, 116.28, 103.53)
"""Per-channel mean of ImageNet in 8-bit levels: 255 x (0.485, 0.456, 0.406)."""

IMAGENET_STD: Final = (58.395, 57.12, 57.375)
"""Per-channel standard deviation in 8-bit levels: 255 x (0.229, 0.224, 0.225)."""

LUMA: Final = (0.299, 0.587, 0.114)
"""Weights of R, G, B in luma (ITU-R BT.601), which Pillow's mode "L" uses too."""


def to_planes(images: Tensor) -> Tensor:
    """Pixel levels as float planes.

    Args:
        images: uint8 [B, H, W, 3], RGB.

    Returns:
        float32 [B, 3, H, W], 0..255, in channels-last memory.
    """
    # cast first: TensorRT takes no uint8 tensor in a transpose
    return images.float().permute(0, 3, 1, 2)


def normalise(planes: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Planes with ImageNet mean 0 and standard deviation 1.

    The constants are arguments, so that a model keeps them on its device: creating them here would
    stall a GPU on every step.

    Args:
        planes: float [B, 3, H, W], 0..255.
        mean: float [3, 1, 1], `IMAGENET_MEAN`.
        std: float [3, 1, 1], `IMAGENET_STD`.

    Returns:
        float [B, 3, H, W].
    """
    return (planes - mean) / std


def gray_view(planes: Tensor, luma: Tensor) -> Tensor:
    """Luma of each pixel, three times (branch C).

    Args:
        planes: float [B, 3, H, W], 0..255.
        luma: float [3, 1, 1], `LUMA`.

    Returns:
        float [B, 3, H, W], three equal channels, 0..255.
    """
    return (planes * luma).sum(dim=1, keepdim=True).expand(-1, 3, -1, -1)


def per_channel(values: tuple[float, float, float]) -> Tensor:
    """One value per colour channel as float32 [3, 1, 1]."""
    return torch.tensor(values).view(3, 1, 1)


def scale_view(planes: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Planes resized by an antialiased bilinear filter (branch B).

    Args:
        planes: float [B, 3, H, W].
        rows: float [T, H] from `resize_matrix(H, T)`.
        columns: float [U, W] from `resize_matrix(W, U)`.

    Returns:
        float [B, 3, T, U].
    """
    # linear() acts on the last axis; written as products it stays two plain MatMuls
    narrow = functional.linear(planes, columns)  # [B, 3, H, U]
    return functional.linear(narrow.transpose(2, 3), rows).transpose(2, 3)  # [B, 3, T, U]


def resize_matrix(source: int, target: int) -> Tensor:
    """The antialiased bilinear resize of one axis as a matrix.

    A triangle filter of support max(1, source / target) source pixels around each target pixel's
    centre, normalised to sum 1: what Pillow's BILINEAR and torch's `interpolate(antialias=True)`
    compute.

    Args:
        source: length of the axis before, pixels.
        target: length after, pixels.

    Returns:
        float32 [target, source].
    """
    ratio = source / target
    support = max(1.0, ratio)
    matrix = torch.zeros(target, source, dtype=torch.float64)
    for row in range(target):
        centre = (row + 0.5) * ratio
        first, last = max(0, math.floor(centre - support)), min(source, math.ceil(centre + support))
        for column in range(first, last):
            matrix[row, column] = max(0.0, 1.0 - abs(column + 0.5 - centre) / support)
    return (matrix / matrix.sum(dim=1, keepdim=True)).float()
