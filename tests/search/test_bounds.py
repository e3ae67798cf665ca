"""Lower bounds hold for every row, and are as close as the worst case of rounding allows."""

import numpy as np
import pytest

from mtml_deploy.search.distances import squared_distances
from mtml_deploy.search.error_bounds import lower_bounds, possible_rows, query_terms, row_terms


@pytest.mark.parametrize("offset", [0.0, 3.0, 1000.0])
def test_no_distance_is_below_its_bound(offset):
    rng = np.random.default_rng(4)
    points = (rng.normal(size=(600, 300)) + offset).astype(np.float32)
    query, gallery = points[:10], points[10:]
    centre = gallery.mean(axis=0, dtype=np.float64)
    rows, _ = row_terms(gallery, centre)
    bounds = lower_bounds(query, lambda points: points @ gallery.T, rows=rows)
    for point, (lower, shift, slack) in zip(query, bounds, strict=True):
        exact = squared_distances(point, gallery, np.arange(len(gallery)))
        below = exact - (lower.astype(np.float64) + shift - slack)
        assert below.min() >= 0
        # worst case of 308 roundings to either side of 2 |q - m| |g|, and as much for the rest
        length = np.linalg.norm(point - centre)
        assert below.max() <= 4 * 2 * 308 * 2**-24 * length * rows.norms.max()


@pytest.mark.parametrize("mask", [False, True])
def test_possible_rows_hold_the_nearest_and_all_that_tie_with_them(mask):
    # squared distances from 0: 9, 1, 4, 1, 1, 16; row 1 is left out
    gallery = np.array([[3], [1], [-2], [-1], [1], [4]], dtype=np.float32)
    query = np.zeros((1, 1), dtype=np.float32)
    rows, _ = row_terms(gallery, np.zeros(1))
    terms = query_terms(query, rows.centre)
    left_out = np.arange(6) == 1 if mask else np.array([1, 1])
    for count, expected in ((1, [3, 4]), (2, [3, 4]), (3, [2, 3, 4]), (5, [0, 2, 3, 4, 5])):
        product = (terms.doubled @ gallery.T)[0]
        found = possible_rows(product, rows, terms.errors[0], count, left_out=left_out)
        assert found.tolist() == expected
