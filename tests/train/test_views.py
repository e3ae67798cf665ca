"""Views against torch's own resize, and worked out by hand."""

import pytest
import torch
from torch.nn import functional

from mtml_train.views import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    LUMA,
    gray_view,
    normalise,
    per_channel,
    resize_matrix,
    scale_view,
    to_planes,
)

FLOAT32_LEVELS = 2e-3
"""Of 255 levels: torch places the filter's centre in float32, off by up to 160 x 6e-8 pixels, and
so its weights by about 1e-5 of each other."""


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ((224, 224), (160, 160)), ((32, 32), (23, 23)), ((64, 64), (16, 16)), ((20, 20), (50, 50)),
        ((9, 9), (9, 9)), ((64, 32), (46, 23)), ((20, 48), (50, 31)),
    ],
)  # fmt: skip
def test_resize_is_the_antialiased_bilinear_one(
    source: tuple[int, int], target: tuple[int, int]
) -> None:
    generator = torch.Generator().manual_seed(0)
    planes = torch.rand(2, 3, *source, generator=generator) * 255
    expected = functional.interpolate(
        planes, size=target, mode="bilinear", antialias=True, align_corners=False
    )
    found = scale_view(planes, *map(resize_matrix, source, target))
    assert found.shape == (2, 3, *target)
    torch.testing.assert_close(found, expected, rtol=0, atol=FLOAT32_LEVELS)


@pytest.mark.parametrize(("source", "target"), [(224, 160), (10, 33)])
def test_rows_of_the_resize_sum_to_one(source: int, target: int) -> None:
    matrix = resize_matrix(source, target)
    assert (matrix >= 0).all()
    torch.testing.assert_close(matrix.double().sum(dim=1), torch.ones(target).double(), rtol=1e-6,
                               atol=0)  # fmt: skip


def test_halving_by_hand() -> None:
    # support 2 pixels: weights 1/4, 3/4, 3/4, 1/4 around a centre between two pixels, of which
    # the border cuts one off: 3/4, 3/4, 1/4 normalised by 7/4
    expected = torch.tensor([[3, 3, 1, 0], [0, 1, 3, 3]]) / 7
    torch.testing.assert_close(resize_matrix(4, 2), expected)


def test_the_scale_view_does_not_turn_the_image() -> None:
    rows = torch.arange(8.0).view(1, 1, 8, 1).expand(1, 3, 8, 8)  # brighter downwards
    found = scale_view(rows, resize_matrix(8, 4), resize_matrix(8, 4))[0, 0]
    assert (found[1:] > found[:-1]).all()
    torch.testing.assert_close(found, found[:, :1].expand(4, 4))  # constant along a row


def test_planes_keep_rows_columns_and_channels_apart() -> None:
    images = torch.arange(2 * 2 * 3 * 3, dtype=torch.uint8).view(2, 2, 3, 3)  # [B, H, W, C]
    planes = to_planes(images)
    assert planes.dtype == torch.float32
    assert planes.shape == (2, 3, 2, 3)
    assert planes[1, 2, 0, 1].item() == images[1, 0, 1, 2].item()


def test_gray_is_luma_three_times() -> None:
    planes = torch.tensor([[200.0], [100.0], [50.0]]).view(1, 3, 1, 1)
    gray = gray_view(planes, per_channel(LUMA))
    # 0.299 x 200 + 0.587 x 100 + 0.114 x 50 = 59.8 + 58.7 + 5.7
    torch.testing.assert_close(gray, torch.full((1, 3, 1, 1), 124.2))


def test_gray_keeps_a_gray_image() -> None:
    planes = torch.full((1, 3, 2, 2), 77.0)
    torch.testing.assert_close(gray_view(planes, per_channel(LUMA)), planes)


def test_normalise_by_hand() -> None:
    mean, std = per_channel(IMAGENET_MEAN), per_channel(IMAGENET_STD)
    torch.testing.assert_close(mean.flatten() / 255, torch.tensor([0.485, 0.456, 0.406]))
    torch.testing.assert_close(std.flatten() / 255, torch.tensor([0.229, 0.224, 0.225]))
    planes = (mean + 2 * std).expand(3, 4, 4)[None]
    torch.testing.assert_close(normalise(planes, mean, std), torch.full((1, 3, 4, 4), 2.0))
