"""The sum that decides every order: its value, its bits, and what it refuses."""

import numpy as np
import pytest

from mtml_deploy.search.distances import (
    NORM_LIMIT,
    require_features,
    squared_distances,
    squared_norms,
)


def test_hand_worked_distances():
    gallery = np.array([[3, 4], [1, 1], [0, 2]], dtype=np.float32)
    found = squared_distances(np.array([0, 1], dtype=np.float32), gallery, np.array([2, 0]))
    # (0, 2): 0 + 1; (3, 4): 9 + 9
    assert found.tolist() == [1.0, 18.0]


@pytest.mark.parametrize("dim", [1, 3, 7, 8, 129, 1000])
def test_bits_do_not_depend_on_the_rows_asked_for(dim):
    rng = np.random.default_rng(0)
    gallery = rng.normal(size=(300, dim)).astype(np.float32)
    query = rng.normal(size=dim).astype(np.float32)
    together = squared_distances(query, gallery, np.arange(300))
    alone = [squared_distances(query, gallery, np.array([row]))[0] for row in range(300)]
    assert together.tolist() == alone


def test_chunks_cover_every_row(monkeypatch):
    monkeypatch.setattr("mtml_deploy.search.distances.CHUNK_VALUES", 5)
    gallery = np.arange(14, dtype=np.float32).reshape(7, 2)
    origin = np.zeros(2, dtype=np.float32)
    # rows (0, 1), (2, 3) ... (12, 13)
    expected = [1.0, 13.0, 41.0, 85.0, 145.0, 221.0, 313.0]
    assert squared_distances(origin, gallery, np.arange(7)).tolist() == expected
    assert squared_norms(gallery).tolist() == expected
    assert squared_norms(gallery, np.array([0.0, 1.0])).tolist()[:2] == [0.0, 8.0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1.1 * NORM_LIMIT])
def test_values_without_an_order_are_refused_by_row(bad):
    features = np.ones((3, 2), dtype=np.float32)
    features[2, 1] = bad
    with pytest.raises(ValueError, match="gallery row 2"):
        require_features("gallery", features)


@pytest.mark.parametrize(
    "features",
    [np.ones((2, 2)), np.ones(2, dtype=np.float32), np.ones((2, 0), dtype=np.float32)],
    ids=["float64", "one dimension", "no values"],
)
def test_other_shapes_and_types_are_refused(features):
    with pytest.raises(ValueError, match="query features must be float32"):
        require_features("query", features)
