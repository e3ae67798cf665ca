"""Ranks of matches when distances tie or nearly tie, and when work is split into blocks."""

import numpy as np
import pytest

from mtml_deploy.evaluation.match_ranks import match_ranks
from mtml_deploy.search.distance_blocks import PlainOrder


def column(values):
    return np.array(values, dtype=np.float32)[:, None]


def rows(*lists):
    return [np.array(items, dtype=np.int64) for items in lists].__getitem__


def test_ties_go_by_gallery_row():
    # distances from 0: row 0: 2, row 1: 1, row 2: 1, row 3: 1; rows 0 and 2 match
    ranks, tied = match_ranks(
        PlainOrder(column([0]), column([2, 1, -1, 1])), matches=rows([0, 2]), excluded=rows([])
    )
    # order 1, 2, 3, 0
    assert ranks[0].tolist() == [2, 4]
    assert tied.tolist() == [True]


def test_ties_among_matches_or_among_others_are_no_ties():
    ranks, tied = match_ranks(
        PlainOrder(column([0]), column([1, 1, 2, 2])), matches=rows([0, 1]), excluded=rows([])
    )
    assert ranks[0].tolist() == [1, 2]
    assert tied.tolist() == [False]


def test_rows_left_out_take_no_rank_and_do_not_match():
    ranks, _ = match_ranks(
        PlainOrder(column([0, 0]), column([1, 2, 3, 4])),
        matches=rows([0, 3], [0]),
        excluded=rows([0, 1], [0]),
    )
    assert [found.tolist() for found in ranks] == [[2], []]


def test_near_ties_are_ordered_by_the_exact_sum():
    # squared norms of 1e12 leave 1e-4 of resolution to a float64 product; distances are below 1e-6
    query = np.array([[1e6, 0]], dtype=np.float32)
    gallery = np.array([[1e6, 2e-4], [1e6, 1e-4], [1e6, 3e-4]], dtype=np.float32)
    ranks, tied = match_ranks(PlainOrder(query, gallery), matches=rows([0]), excluded=rows([]))
    assert ranks[0].tolist() == [2]
    assert not tied[0]


@pytest.mark.parametrize(("queries", "values"), [(1, 1 << 23), (3, 1 << 23), (1024, 150)])
def test_blocks_and_tiles_change_nothing(monkeypatch, queries, values):
    rng = np.random.default_rng(0)
    query = rng.integers(0, 3, size=(20, 4)).astype(np.float32)
    gallery = rng.integers(0, 3, size=(50, 4)).astype(np.float32)
    matches = [np.flatnonzero(rng.random(50) < 0.2) for _ in range(20)]
    left_out = [np.flatnonzero(rng.random(50) < 0.2) for _ in range(20)]
    expected, tied = match_ranks(
        PlainOrder(query, gallery), matches=matches.__getitem__, excluded=left_out.__getitem__
    )
    monkeypatch.setattr("mtml_deploy.search.distance_blocks._BLOCK_QUERIES", queries)
    monkeypatch.setattr("mtml_deploy.search.distance_blocks._BLOCK_VALUES", values)
    monkeypatch.setattr("mtml_deploy.search.distance_blocks._TILE_VALUES", 24)
    again, tied_again = match_ranks(
        PlainOrder(query, gallery), matches=matches.__getitem__, excluded=left_out.__getitem__
    )
    assert [a.tolist() for a in again] == [e.tolist() for e in expected]
    assert tied_again.tolist() == tied.tolist()
    assert tied.any()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_without_an_order_are_refused(value):
    for query, gallery, name in (([value], [1, 2], "query"), ([0], [1, value], "gallery")):
        with pytest.raises(ValueError, match=f"{name} row .* finite"):
            PlainOrder(column(query), column(gallery))


def test_an_empty_gallery_has_no_matches():
    ranks, tied = match_ranks(
        PlainOrder(column([0, 1]), np.empty((0, 1), dtype=np.float32)),
        matches=rows([], []),
        excluded=rows([], []),
    )
    assert [found.tolist() for found in ranks] == [[], []]
    assert tied.tolist() == [False, False]
