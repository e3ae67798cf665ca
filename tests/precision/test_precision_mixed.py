"""Keeping layers in fp16 until the bounds are kept."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from mtml_deploy.errors import ParityError
from mtml_deploy.precision.network import Layer
from mtml_deploy.precision.sensitivity import (
    LayerNoise,
    Quality,
    beyond,
    growing_counts,
    keep_until_passed,
)

RANKING = tuple(
    LayerNoise(Layer(f"gray.{i}", "gray", "Conv", f"n{i}", f"s{i}", 0), 1 / (i + 1))
    for i in range(11)
)


def test_growing_counts_by_hand() -> None:
    assert list(growing_counts(11)) == [0, 1, 2, 4, 8, 10]
    assert list(growing_counts(9)) == [0, 1, 2, 4, 8]
    assert list(growing_counts(2)) == [0, 1]
    assert list(growing_counts(1)) == [0]


def test_it_stops_at_the_first_that_passes() -> None:
    seen: list[list[str]] = []

    def judge(quantised: Sequence[LayerNoise]) -> Quality:
        seen.append([each.layer.name for each in quantised])
        return Quality({"gray": 1 - len(quantised) / 100}, None, len(quantised) <= 9)

    curve = keep_until_passed(RANKING, judge)
    assert [point.kept for point in curve] == [0, 1, 2]
    assert [point.quality.passed for point in curve] == [False, False, True]
    assert seen[-1] == [f"gray.{i}" for i in range(2, 11)]  # the two most sensitive are left out


def test_no_number_of_layers_is_enough() -> None:
    with pytest.raises(
        ParityError,
        match=r"with 10 of 11 layers in fp16 .* \(cosine 0\.500000, mAP 0\.2500\); nothing was",
    ):
        keep_until_passed(RANKING, lambda _: Quality({"gray": 0.5, "embedding": 0.9}, 0.25, False))


def test_the_rest_of_the_curve() -> None:
    points = beyond(RANKING, 2, lambda int8: Quality({"gray": 1 - len(int8) / 100}, None, True))
    assert [point.kept for point in points] == [4, 8, 10]
    assert points[-1].quality.cosine_min == {"gray": 0.99}
    assert beyond(RANKING, 10, lambda _: Quality({}, None, True)) == ()
