"""Exact search against a plain loop: order, ties, exclusion, block sizes, refusals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtml_deploy.search.distances import squared_distances
from mtml_deploy.search.rank import rank


def rank_by_loop(query, gallery, top_k, excluded):
    """Rows and distances of the definition: sort (float64 distance, row)."""
    rows, distances = [], []
    for q, point in enumerate(query):
        exact = squared_distances(point, gallery, np.arange(len(gallery)))
        left_out = set(excluded(q).tolist())
        order = sorted((exact[g], g) for g in range(len(gallery)) if g not in left_out)
        order = order[:top_k] + [(np.inf, -1)] * (min(top_k, len(gallery)) - len(order))
        rows.append([g for _, g in order])
        distances.append([np.float32(np.sqrt(d)) for d, _ in order])
    return rows, distances


@st.composite
def searches(draw):
    """Features on a coarse grid (many ties and duplicates) or continuous, and rows left out."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    queries, size, dim = draw(st.integers(0, 6)), draw(st.integers(0, 60)), draw(st.integers(1, 9))
    offset = draw(st.sampled_from([0.0, 1.0, 1e4]))
    scale = draw(st.sampled_from([1.0, 1e-30, 1e12]))
    if draw(st.booleans()):
        points = rng.integers(-1, 2, size=(queries + size, dim)).astype(np.float64)
    else:
        points = rng.normal(size=(queries + size, dim))
    points = ((points + offset) * scale).astype(np.float32)
    left_out = [np.flatnonzero(rng.random(size) < rng.choice([0, 0.3, 1])) for _ in range(queries)]
    return points[:queries], points[queries:], draw(st.integers(1, 70)), left_out


@settings(deadline=None, max_examples=200)
@given(searches())
def test_equals_the_plain_loop(search):
    query, gallery, top_k, left_out = search
    found = rank(query, gallery, top_k=top_k, excluded=left_out.__getitem__)
    rows, distances = rank_by_loop(query, gallery, top_k, left_out.__getitem__)
    assert found.rows.dtype == np.int32
    assert found.distances.dtype == np.float32
    assert found.rows.shape == (len(query), min(top_k, len(gallery)))
    assert found.rows.tolist() == rows
    assert found.distances.tolist() == distances


def test_duplicates_at_the_cut_come_out_by_row():
    # 200 equal rows, far more than the candidates that are looked at first
    gallery = np.ones((400, 64), dtype=np.float32)
    gallery[::2] += 1
    query = np.ones((1, 64), dtype=np.float32)
    found = rank(query, gallery, top_k=5)
    assert found.rows.tolist() == [[1, 3, 5, 7, 9]]
    assert found.distances.tolist() == [[0.0] * 5]


def test_order_that_float32_products_cannot_see():
    # 300 rows whose squared distances are below 0.1 beside squared norms of 5e8, and as many on the
    # other side so that the mean is far from both: float32 resolves 30 of such a product
    rng = np.random.default_rng(0)
    base = rng.normal(size=512).astype(np.float32) * 1000
    gallery = np.concatenate([np.repeat(base[None], 300, axis=0), np.repeat(-base[None], 300, 0)])
    steps = rng.permutation(300)
    gallery[:300, 0] = np.float32(0.5) + steps.astype(np.float32) / 1024
    query = base[None].copy()
    query[0, 0] = 0.5
    expected = np.argsort(steps)[:50]
    assert rank(query, gallery, top_k=50).rows[0].tolist() == expected.tolist()


def test_the_same_for_any_block_of_queries(monkeypatch):
    rng = np.random.default_rng(1)
    # features after a ReLU: a large common part, small differences
    gallery = np.maximum(rng.normal(3, 1, size=(500, 256)), 0).astype(np.float32)
    query = np.maximum(rng.normal(3, 1, size=(33, 256)), 0).astype(np.float32)
    together = rank(query, gallery, top_k=20)
    for block in (1, 7, 16):
        monkeypatch.setattr("mtml_deploy.search.candidates.blas._BLOCK_QUERIES", block)
        again = rank(query, gallery, top_k=20)
        assert np.array_equal(again.rows, together.rows)
        assert np.array_equal(again.distances, together.distances)


def test_an_image_is_at_distance_zero_from_itself():
    features = np.random.default_rng(2).normal(size=(50, 33)).astype(np.float32)
    found = rank(features, features, top_k=1)
    assert found.rows[:, 0].tolist() == list(range(50))
    assert not found.distances.any()


def test_a_row_of_huge_norm_does_not_hide_the_others():
    gallery = np.array([[1e17], [2.0], [1.0]] + [[5.0]] * 40, dtype=np.float32)
    found = rank(np.zeros((1, 1), dtype=np.float32), gallery, top_k=2)
    assert found.rows.tolist() == [[2, 1]]


def test_a_gallery_that_is_not_contiguous():
    rng = np.random.default_rng(3)
    wide = rng.normal(size=(80, 20)).astype(np.float32)
    query = rng.normal(size=(3, 10)).astype(np.float32)
    expected = rank(query, np.ascontiguousarray(wide[:, ::2]), top_k=4)
    assert rank(query, wide[:, ::2], top_k=4).rows.tolist() == expected.rows.tolist()


def test_refusals():
    good = np.ones((2, 3), dtype=np.float32)
    bad = good.copy()
    bad[1, 2] = np.nan
    with pytest.raises(ValueError, match="query row 1"):
        rank(bad, good, top_k=1)
    with pytest.raises(ValueError, match="gallery row 1"):
        rank(good, bad, top_k=1)
    with pytest.raises(ValueError, match="top_k must be at least 1, found 0"):
        rank(good, good, top_k=0)
    with pytest.raises(ValueError, match="query has 3 dimensions, gallery 2"):
        rank(good, good[:, :2], top_k=1)
