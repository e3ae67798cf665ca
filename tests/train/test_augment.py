"""Augmentation: labels follow the flip, luma survives the jitter, shapes survive everything."""

from typing import Literal

import numpy as np
import pytest
import torch
from helpers_training import random_images

from mtml_deploy.data.records import ORIENTATIONS, UNKNOWN
from mtml_train.data.augment import apply_policy, erase, flip, jitter_colour, pad_and_crop

LUMA_ROUNDING = 0.5 + 1e-3
"""Levels: each channel is rounded by at most 0.5, and the luma weights add up to 1; float32."""


def test_a_flip_mirrors_columns_and_swaps_left_and_right() -> None:
    image = random_images(1)[0]
    for label, name in enumerate(ORIENTATIONS):
        mirrored, swapped = flip(image, label)
        assert (mirrored == image[:, ::-1]).all()
        words = {"left": "right", "right": "left"}
        assert ORIENTATIONS[swapped] == " ".join(words.get(word, word) for word in name.split())


@pytest.mark.parametrize("label", [UNKNOWN, *range(8)])
def test_two_flips_are_none(label: int) -> None:
    image = random_images(1)[0]
    twice, same = flip(*flip(image, label))
    assert (twice == image).all()
    assert same == label


def test_an_unknown_orientation_stays_unknown() -> None:
    assert flip(random_images(1)[0], UNKNOWN)[1] == UNKNOWN


@pytest.mark.parametrize("seed", range(8))
def test_the_jitter_keeps_luma_and_changes_colour(seed: int) -> None:
    # mid-range colours: a hue turned by 36 degrees and doubled stays inside 0..255
    image = np.random.default_rng(seed).integers(100, 156, size=(16, 16, 3), dtype=np.uint8)
    found = jitter_colour(image, 1.0, np.random.default_rng(seed))
    assert found.dtype == np.uint8
    assert found.shape == image.shape
    luma = np.array([0.299, 0.587, 0.114])
    assert np.abs(found @ luma - image @ luma).max() <= LUMA_ROUNDING
    assert (found != image).any()


def test_the_jitter_leaves_gray_alone() -> None:
    gray = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], 3, axis=2)
    assert (jitter_colour(gray, 1.0, np.random.default_rng(3)) == gray).all()


def test_no_jitter_at_strength_zero() -> None:
    image = random_images(1)[0]
    assert (jitter_colour(image, 0.0, np.random.default_rng(0)) == image).all()


@pytest.mark.parametrize("seed", range(5))
def test_erasing_sets_one_rectangle_to_the_mean_of_imagenet(seed: int) -> None:
    image = np.zeros((40, 60, 3), dtype=np.uint8)
    found = erase(image, np.random.default_rng(seed))
    assert not image.any()  # the input is not changed
    rows, columns = np.nonzero(found.any(axis=2))
    inside = found[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert (inside == (124, 116, 104)).all()  # 123.675, 116.28, 103.53
    assert len(rows) == inside.shape[0] * inside.shape[1]  # nothing outside
    assert 0.01 <= len(rows) / (40 * 60) <= 0.42  # 2..40 %, and rounding to whole pixels


def test_a_crop_shows_the_image_moved_by_at_most_the_padding() -> None:
    image = random_images(1, size=20)[0]
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="edge")
    shifts = set()
    for seed in range(40):
        found = pad_and_crop(image, 0.1, np.random.default_rng(seed))
        assert found.shape == image.shape
        matches = [
            (top, left)
            for top in range(5)
            for left in range(5)
            if (found == padded[top : top + 20, left : left + 20]).all()
        ]
        assert len(matches) == 1
        shifts.add(matches[0])
    assert len(shifts) > 10  # of 25: the offset is drawn anew each time


def test_no_padding_crops_nothing() -> None:
    image = random_images(1)[0]
    assert (pad_and_crop(image, 0.0, np.random.default_rng(0)) == image).all()


def test_equal_generators_give_equal_images() -> None:
    image = random_images(1)[0]
    for change in (
        lambda rng: erase(image, rng),
        lambda rng: jitter_colour(image, 0.5, rng),
        lambda rng: pad_and_crop(image, 0.2, rng),
    ):
        first, second, other = (change(np.random.default_rng(seed)) for seed in (1, 1, 2))
        assert (first == second).all()
        assert (first != other).any()


# random values and policies


def test_erasing_with_random_values() -> None:
    image = np.full((40, 40, 3), 7, dtype=np.uint8)
    erased = erase(image, np.random.default_rng(0), fill="random")
    changed = (erased != 7).any(axis=2)
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    part = erased[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    # a rectangle, of which only chance leaves 1 of 256^3 pixels as it was
    assert changed.sum() == part.shape[0] * part.shape[1]
    assert len(np.unique(part)) > 100  # of hundreds of values
    assert not np.array_equal(part[..., 0], part[..., 1])  # each channel its own
    same = erase(image, np.random.default_rng(0), fill="random")
    assert np.array_equal(erased, same)
    mean = erase(image, np.random.default_rng(0))
    assert np.array_equal((mean != 7).any(axis=2), changed)  # the same rectangle


@pytest.mark.parametrize("policy", ["autoaugment", "randaugment"])
def test_a_policy_depends_on_its_generator_alone(
    policy: Literal["autoaugment", "randaugment"],
) -> None:
    image = np.random.default_rng(1).integers(0, 256, size=(32, 32, 3), dtype=np.uint8)
    before = image.copy()
    torch.manual_seed(4)
    state = torch.get_rng_state()
    found = [apply_policy(image, policy, np.random.default_rng(seed)) for seed in range(8)]
    assert torch.equal(torch.get_rng_state(), state)  # that of the run does not move
    torch.manual_seed(5)
    again = [apply_policy(image, policy, np.random.default_rng(seed)) for seed in range(8)]
    for one, other in zip(found, again, strict=True):
        assert one.shape == image.shape
        assert one.dtype == np.uint8
        assert np.array_equal(one, other)
    assert len({one.tobytes() for one in found}) > 4
    assert np.array_equal(image, before)
