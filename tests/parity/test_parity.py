"""Measures of agreement, worked out by hand, and that each sees the fault it is there for."""

import numpy as np
import pytest
from numpy.typing import NDArray

from mtml_deploy.errors import ParityError
from mtml_deploy.parity import agreement as parity
from mtml_deploy.parity.agreement import (
    MAX_RELATIVE_FP32,
    MAX_ROW_DIFFERENCE,
    MIN_COSINE_FP32,
    MIN_SPREAD,
    agreement,
    branch_slices,
    require,
    row_difference,
    spread,
)


def rows(*values: tuple[float, ...]) -> NDArray[np.float32]:
    return np.array(values, dtype=np.float32)


def images(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)


def mean_colours(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A model whose rows are independent: the mean of each channel."""
    means: NDArray[np.float32] = batch.astype(np.float32).mean(axis=(1, 2))
    return means


def test_agreement_by_hand() -> None:
    # cosines 1, 24/25 and 0; distances 0, sqrt 2 of |(3, 4)| = 5, and 2 of 2
    reference = rows((1, 0), (3, 4), (2, 0))
    candidate = rows((1, 0), (4, 3), (0, 0))
    found = agreement(reference, candidate)
    assert found.cosine_min == 0.0  # a row of zeros beside another has cosine 0
    assert found.cosine_mean == pytest.approx((1 + 0.96 + 0) / 3)
    assert found.cosine_p1 == pytest.approx(0.02 * 0.96)  # 2 % of the way from 0 to 0.96
    assert found.max_abs == 2.0
    assert found.max_relative == 1.0


def test_relative_distance_is_of_the_reference() -> None:
    assert agreement(rows((3, 4)), rows((3, 9))).max_relative == pytest.approx(1.0)
    assert agreement(rows((0, 0)), rows((3, 4))).max_relative == pytest.approx(5.0)


def test_two_rows_of_zeros_agree() -> None:
    found = agreement(rows((0, 0)), rows((0, 0)))
    assert (found.cosine_min, found.max_relative) == (1.0, 0.0)


def test_a_wrong_scale_is_seen_by_the_distance_alone() -> None:
    reference = rows((3, 4), (1, 2))
    found = agreement(reference, reference * np.float32(1.01))
    assert found.cosine_min > MIN_COSINE_FP32
    assert found.max_relative == pytest.approx(0.01, rel=1e-4)
    assert found.max_relative > MAX_RELATIVE_FP32


def test_agreement_needs_equal_shapes() -> None:
    for other in (rows((1, 2), (3, 4)), rows((1, 2, 3))):
        with pytest.raises(ValueError, match="cannot compare"):
            agreement(rows((1, 2)), other)
    with pytest.raises(ValueError, match="cannot compare"):
        agreement(np.empty((0, 2), np.float32), np.empty((0, 2), np.float32))


def test_where_each_branch_stands() -> None:
    found = branch_slices(("identity", "gray"), 6)
    assert found == {"identity": slice(0, 3), "gray": slice(3, 6)}


def test_independent_rows_have_no_difference() -> None:
    assert row_difference(mean_colours, images(5)) == 0.0


def test_a_batch_whose_rows_are_mixed_up_is_seen() -> None:
    def swapped(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        return mean_colours(batch)[::-1].copy()

    assert row_difference(swapped, images(4)) > 10 * MAX_ROW_DIFFERENCE


def test_rows_that_see_their_neighbours_are_seen() -> None:
    def normalised(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        found = mean_colours(batch)  # like a BatchNorm left in training mode
        return found - np.float32(0.01) * found.mean(axis=0)

    assert row_difference(normalised, images(4)) > MAX_ROW_DIFFERENCE


def test_a_fault_at_one_row_of_the_batch_is_seen() -> None:
    def last_row_wrong(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        found = mean_colours(batch)
        if len(found) > 1:
            found[-1] *= np.float32(1.01)
        return found

    assert row_difference(last_row_wrong, images(6)) == pytest.approx(0.01, rel=1e-3)


def test_spread_by_hand() -> None:
    # the closest two are the last: 0.5 apart, relative to the later one's length of 4.5
    found = spread(rows((0, 9), (4, 0), (4.5, 0)), images(3))
    assert found == pytest.approx(0.5 / 4.5)


def test_constant_outputs_have_no_spread() -> None:
    assert spread(rows((1, 2), (1, 2), (1, 2)), images(3)) == 0.0 < MIN_SPREAD


def test_one_pair_of_equal_outputs_is_enough_to_be_seen() -> None:
    assert spread(rows((1, 0), (0, 1), (1, 0), (5, 5)), images(4)) == 0.0


def test_equal_images_may_have_equal_outputs() -> None:
    batch = images(3)
    batch[2] = batch[0]
    assert spread(rows((1, 0), (0, 1), (1, 0)), batch) > 0.5
    batch[1] = batch[0]
    assert spread(rows((1, 0), (1, 0), (1, 0)), batch) == np.inf


def test_bounds_include_their_ends() -> None:
    require("x", 1.0, at_least=1.0)
    require("x", 1.0, at_most=1.0)
    with pytest.raises(
        ParityError, match=r"cosine of gray is 0.9, must be at least 0.99; the mode"
    ):
        require("cosine of gray", 0.9, at_least=0.99)
    with pytest.raises(ParityError, match=r"x is 2, must be at most 1"):
        require("x", 2.0, at_most=1.0)


def test_what_is_not_a_number_is_outside_every_bound() -> None:
    for bounds in ({"at_least": 0.0}, {"at_most": 0.0}, {}):
        with pytest.raises(ParityError):
            require("x", float("nan"), **bounds)


def test_rows_compared_in_blocks_give_the_same_agreement(monkeypatch):
    rng = np.random.default_rng(0)
    left = rng.normal(size=(23, 7)).astype(np.float32)
    right = left + rng.normal(size=(23, 7)).astype(np.float32) * np.float32(0.1)
    whole = agreement(left, right)
    monkeypatch.setattr(parity, "_BLOCK_VALUES", 21)  # three rows at once, and two at the end
    assert agreement(left, right) == whole
