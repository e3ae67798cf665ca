"""Lower bounds hold for every row, and are as close as the worst case of rounding allows."""

import numpy as np
import pytest

from mtml_deploy.search.distances import squared_distances
from mtml_deploy.search.error_bounds import lower_bounds, spread_about


@pytest.mark.parametrize("offset", [0.0, 3.0, 1000.0])
def test_no_distance_is_below_its_bound(offset):
    rng = np.random.default_rng(4)
    points = (rng.normal(size=(600, 300)) + offset).astype(np.float32)
    query, gallery = points[:10], points[10:]
    centre = gallery.mean(axis=0, dtype=np.float64)
    norms = np.linalg.norm(gallery.astype(np.float64), axis=1).astype(np.float32)
    bounds = lower_bounds(
        query,
        lambda points: points @ gallery.T,
        centre=centre,
        spread=spread_about(gallery, centre),
        norms=norms,
    )
    for point, (lower, shift, slack) in zip(query, bounds, strict=True):
        exact = squared_distances(point, gallery, np.arange(len(gallery)))
        below = exact - (lower.astype(np.float64) + shift - slack)
        assert below.min() >= 0
        # worst case of 308 roundings to either side of 2 |q - m| |g|, and as much for the rest
        length = np.linalg.norm(point - centre)
        assert below.max() <= 4 * 2 * 308 * 2**-24 * length * norms.max()
