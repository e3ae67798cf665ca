"""Places and distances are those of the float64 sums, whatever a product could get wrong."""

from fractions import Fraction

import numpy as np
import pytest

from mtml_deploy.search import proven_order
from mtml_deploy.search.distances import squared_distances, squared_norms
from mtml_deploy.search.proven_order import placed

DIM = proven_order._LEAST_DIM


def expected(query, gallery, rows, places):
    """By the sums alone, sorted as Python sorts pairs."""
    exact = squared_distances(query, gallery, rows)
    pairs = sorted(zip(exact.tolist(), rows.tolist(), range(len(rows)), strict=True))[:places]
    return [place for _, _, place in pairs], np.sqrt([near for near, _, _ in pairs]).astype("f4")


def points_of(kind, rng):
    """A query and rows, as far from easy as a gallery can be."""
    rows = rng.normal(size=(61, DIM)).astype(np.float32)
    query = rng.normal(size=DIM).astype(np.float32)
    if kind == "offset":  # all distances drown in a common part
        return query + np.float32(3000), rows + np.float32(3000)
    if kind == "ties":  # duplicates, and the query itself
        rows[20:40] = rows[:20]
        rows[50] = rows[55] = query
    if kind == "last bits":  # neighbours of one row that differ by a unit in the last place
        rows[1:] = rows[0]
        for row in range(1, 61):
            rows[row, row] = np.nextafter(rows[row, row], np.float32(9))
    if kind == "one large value":
        rows[:, 7] = 1e9
        query[7] = 1e9
    if kind == "tiny":
        return query * np.float32(1e-38), rows * np.float32(1e-38)
    return query, rows


@pytest.mark.parametrize(
    "kind", ["plain", "offset", "ties", "last bits", "one large value", "tiny"]
)
def test_order_and_distances_are_those_of_the_sums(kind):
    rng = np.random.default_rng(8)
    query, gallery = points_of(kind, rng)
    rows = rng.permutation(61)[:50]
    for places in (0, 1, 30, 50):
        found = placed(query, gallery, rows, squared_norms(gallery), places)
        order, distances = expected(query, gallery, rows, places)
        assert found.order.tolist() == order
        assert found.distances.tobytes() == distances.tobytes()
        if places:
            assert found.last >= squared_distances(query, gallery, rows[order[-1:]])[0]


def test_few_sums_are_taken(monkeypatch):
    rng = np.random.default_rng(9)
    query, gallery = points_of("plain", rng)
    asked = []
    monkeypatch.setattr(
        proven_order,
        "squared_distances",
        lambda query, gallery, rows: asked.extend(rows) or squared_distances(query, gallery, rows),
    )
    placed(query, gallery, np.arange(61), squared_norms(gallery), 61)
    assert len(asked) <= 2


@pytest.mark.parametrize("kind", ["plain", "offset", "ties", "one large value", "tiny"])
def test_the_bound_holds_for_both_ways_of_computing(kind):
    query, gallery = points_of(kind, np.random.default_rng(10))
    rows = np.array([0, 50, 60])
    near, error = proven_order._product_distances(query, gallery, rows, squared_norms(gallery))
    sums = squared_distances(query, gallery, rows)
    for row, product, total, bound in zip(
        rows, near.tolist(), sums.tolist(), error.tolist(), strict=True
    ):
        values = zip(gallery[row].tolist(), query.tolist(), strict=True)
        true = sum((Fraction(g) - Fraction(q)) ** 2 for g, q in values)
        # each within its half of the bound, in exact arithmetic
        assert abs(Fraction(product) - true) <= Fraction(bound) / 2
        assert abs(Fraction(total) - true) <= Fraction(bound) / 2


def test_intervals_that_touch_through_a_third_are_unclear():
    near = np.array([4.0, 1.0, 9.0, 4.5, 5.0, 16.0])
    error = np.array([1.2, 0.0, 0.0, 1e-12, 1e-12, 0.0])
    # 4 +- 1.2 reaches 4.5 and 5, which do not reach each other
    assert proven_order._unclear(near, error).tolist() == [0, 3, 4]
