"""The cheap order is the deciding one, to the last digit, also where distances nearly tie."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtml_deploy.search import rescore as decision
from mtml_deploy.search.distances import squared_distances
from mtml_deploy.search.rescore import decide


def decide_by_loop(query, gallery, rows, count):
    exact = squared_distances(query, gallery, np.array(rows))
    order = sorted(zip(exact, rows, strict=True))[:count]
    return [row for _, row in order], [np.float32(np.sqrt(value)) for value, _ in order]


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.booleans())
def test_equals_the_plain_sort(seed, count, ties):
    rng = np.random.default_rng(seed)
    size, dim = rng.integers(1, 50), rng.integers(1, 30)
    scale = rng.choice([1e-30, 1.0, 1e15])
    gallery = rng.integers(-1, 2, (size, dim)) if ties else rng.normal(size=(size, dim))
    gallery = (gallery * scale).astype(np.float32)
    query = gallery[rng.integers(size)] if rng.random() < 0.3 else gallery[0] * np.float32(0.5)
    rows = rng.permutation(size)[: rng.integers(1, size + 1)]
    found = decide(query, gallery, rows, count)
    assert (found.rows.tolist(), found.distances.tolist()) == decide_by_loop(
        query, gallery, rows.tolist(), count
    )
    exact = squared_distances(query, gallery, found.rows[-1:])
    assert exact[0] <= found.last <= exact[0] * (1 + 1e-13 * (dim + 2))


def test_sums_in_another_order_decide_nothing(monkeypatch):
    # equal squares added in another order: sums that differ by less than their error
    rng = np.random.default_rng(0)
    dim = 512
    gallery = np.repeat(rng.normal(size=(1, dim)), 60, axis=0).astype(np.float32)
    for row in range(60):
        gallery[row] = gallery[row][rng.permutation(dim)]
    query = np.zeros(dim, dtype=np.float32)
    rows = rng.permutation(60)
    expected = decide_by_loop(query, gallery, rows.tolist(), 10)
    assert len({float(v) for v in squared_distances(query, gallery, rows)}) > 1

    def perturbed(query, gallery, rows):
        error = 1.0 * len(query) * 2.0**-53
        return squared_distances(query, gallery, rows) * (1 + rng.uniform(-error, error, len(rows)))

    for sums in (decision._close_squared_distances, perturbed):
        monkeypatch.setattr(decision, "_close_squared_distances", sums)
        found = decide(query, gallery, rows, 10)
        assert (found.rows.tolist(), found.distances.tolist()) == expected


def test_few_exact_sums_where_nothing_ties(monkeypatch):
    rng = np.random.default_rng(1)
    gallery = rng.normal(size=(200, 64)).astype(np.float32)
    asked = []

    def counted(query, gallery, rows):
        asked.append(len(rows))
        return squared_distances(query, gallery, rows)

    monkeypatch.setattr(decision, "squared_distances", counted)
    decide(gallery[0], gallery, np.arange(1, 200), 100)
    # 1e-5 of the float32 roundings are in doubt: 66 errors of 2^-53 beside 2^-24
    assert sum(asked) <= 2


@pytest.mark.parametrize("values", [1, 100, 1 << 20])
def test_parts_change_nothing(monkeypatch, values):
    rng = np.random.default_rng(2)
    gallery = rng.normal(size=(30, 33)).astype(np.float32)
    expected = decide_by_loop(gallery[0], gallery, list(range(30)), 12)
    monkeypatch.setattr(decision, "_PART_VALUES", values)
    found = decide(gallery[0], gallery, np.arange(30), 12)
    assert (found.rows.tolist(), found.distances.tolist()) == expected


def test_no_candidates():
    gallery = np.ones((3, 2), dtype=np.float32)
    found = decide(gallery[0], gallery, np.empty(0, dtype=np.int64), 5)
    assert len(found.rows) == len(found.distances) == 0
    assert found.last == 0
