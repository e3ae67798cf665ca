"""Whitening of the within-vehicle scatter against plain loops, full matrices and hand values."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtml_deploy.compression.within_vehicle import within_vehicle
from mtml_deploy.errors import EmbeddingsError

CLOSE = 1e-8
"""Relative to the largest value: float64 sums and eigenvectors, of float32 features far from 0."""


def features(rows, width, vehicles, seed=0):
    """Float32 [rows, width] around a mean per vehicle, and their vehicles, each twice or more."""
    rng = np.random.default_rng(seed)
    ids = np.concatenate([np.arange(vehicles).repeat(2), rng.integers(0, vehicles, rows)])[:rows]
    means = 10 + 3 * rng.normal(size=(vehicles, width))
    noise = rng.normal(size=(rows, width)) * np.linspace(2, 0.2, width)
    mixed = noise @ np.linalg.qr(rng.normal(size=(width, width)))[0]
    order = rng.permutation(rows)
    ids = ids[order].astype(np.int32)
    return (means[ids] + mixed).astype(np.float32), ids


def scatters_by_loop(values, ids):
    """Within scatter by N - V, and scatter of the means by N, as full matrices."""
    rows, width = values.shape
    mean = [sum(float(values[n, i]) for n in range(rows)) / rows for i in range(width)]
    within, between = np.zeros((width, width)), np.zeros((width, width))
    vehicles = sorted(set(ids.tolist()))
    for vehicle in vehicles:
        own = [n for n in range(rows) if ids[n] == vehicle]
        centre = [sum(float(values[n, i]) for n in own) / len(own) for i in range(width)]
        for i in range(width):
            for j in range(width):
                for n in own:
                    away = (values[n, i] - centre[i]) * (values[n, j] - centre[j])
                    within[i, j] += away / (rows - len(vehicles))
                apart = (centre[i] - mean[i]) * (centre[j] - mean[j])
                between[i, j] += len(own) * apart / rows
    return within, between


def shrunk(within, shrinkage):
    """S / a: scatter and average variance, over the average variance."""
    average = np.trace(within) / len(within)
    return (1 - shrinkage) * within / average + shrinkage * np.eye(len(within))


# more rows than dimensions, and fewer: the two ways to the eigenvectors
SHAPES = [(60, 5, 8), (14, 20, 6), (9, 8, 4)]


@pytest.mark.parametrize(("rows", "width", "vehicles"), SHAPES)
@pytest.mark.parametrize("shrinkage", [0.1, 0.7])
def test_all_dimensions_give_the_inverse_root_of_the_full_matrix(rows, width, vehicles, shrinkage):
    train, ids = features(rows, width, vehicles)
    within, _ = scatters_by_loop(train.astype(np.float64), ids)
    values, vectors = np.linalg.eigh(shrunk(within, shrinkage))
    expected = vectors @ np.diag(values**-0.5) @ vectors.T
    found = within_vehicle(train, ids).projection(dim=None, shrinkage=shrinkage, normalise=False)
    assert found.matrix == pytest.approx(expected, abs=CLOSE * np.abs(expected).max())
    # nothing is stretched more than the shrinkage allows
    assert np.linalg.norm(found.matrix, ord=2) <= shrinkage**-0.5 * (1 + CLOSE)
    # distances are those of the inverse scatter
    solved = np.linalg.inv(shrunk(within, shrinkage))
    projected = found.apply(train)
    for n in range(1, 4):
        apart = train[n].astype(np.float64) - train[0]
        squared = float(((projected[n] - projected[0]) ** 2).sum())
        assert squared == pytest.approx(apart @ solved @ apart, rel=1e-7)


@pytest.mark.parametrize(("rows", "width", "vehicles"), SHAPES)
def test_fewer_dimensions_are_the_generalised_eigenvectors(rows, width, vehicles):
    train, ids = features(rows, width, vehicles)
    within, between = scatters_by_loop(train.astype(np.float64), ids)
    scatter = shrunk(within, 0.1)
    eigenvalues = np.sort(np.linalg.eigvals(np.linalg.inv(scatter) @ between).real)[::-1]
    dim = min(3, vehicles - 1)
    found = within_vehicle(train, ids).projection(dim=dim, shrinkage=0.1, normalise=False)
    matrix = found.matrix
    assert matrix.shape == (width, dim)
    # white within vehicles, and vehicles apart along each column by its eigenvalue
    assert matrix.T @ scatter @ matrix == pytest.approx(np.eye(dim), abs=CLOSE)
    apart = matrix.T @ between @ matrix
    assert apart == pytest.approx(np.diag(eigenvalues[:dim]), abs=1e-7 * eigenvalues[0])
    largest = matrix[np.abs(matrix).argmax(axis=0), range(dim)]
    assert (largest > 0).all()
    kept = eigenvalues[:dim].sum() / eigenvalues[: vehicles - 1].sum()
    assert found.learnt["between_variance"] == pytest.approx(kept, abs=1e-7)


def test_values_worked_out_by_hand():
    # about the means (2, 2) and (2, 6): (+-2, +-1) and (+-2, -+1); Sw = diag(16, 4) / (4 - 2)
    train = np.array([[0, 1], [4, 3], [0, 7], [4, 5]], dtype=np.float32)
    ids = np.array([5, 5, 9, 9], dtype=np.int32)
    scatter = within_vehicle(train, ids)
    assert scatter.values == pytest.approx([8, 2])
    whole = scatter.projection(dim=None, shrinkage=0.5, normalise=False)
    # (8 + 5) / 2 and (2 + 5) / 2, over the average 5
    assert whole.matrix == pytest.approx(np.diag([(6.5 / 5) ** -0.5, (3.5 / 5) ** -0.5]))
    assert whole.mean.tolist() == [2, 4]
    # the means differ along the second axis alone
    one = scatter.projection(dim=1, shrinkage=0.5, normalise=False)
    assert one.matrix == pytest.approx(np.array([[0], [(3.5 / 5) ** -0.5]]))
    with pytest.raises(EmbeddingsError, match="2 training vehicles differ in 1 directions only"):
        scatter.projection(dim=2, shrinkage=0.5, normalise=False)
    # all shrinkage leaves the embedding as it is, about its mean
    plain = scatter.projection(dim=None, shrinkage=1, normalise=False)
    assert plain.matrix == pytest.approx(np.eye(2))
    unit = scatter.projection(dim=None, shrinkage=1, normalise=True)
    assert unit.apply(train)[0] == pytest.approx(np.array([-2, -3]) / 13**0.5)
    assert plain.learnt == {"method": "lda", "shrinkage": 1, "vehicles": 2}


def test_unknown_vehicles_and_single_images():
    train, ids = features(30, 6, 5)
    base = within_vehicle(train, ids)
    # images of unknown vehicle play no part
    more = np.concatenate([train, train[:4] * 9])
    unknown = np.concatenate([ids, np.full(4, -1, dtype=np.int32)])
    same = within_vehicle(more, unknown)
    assert same.values.tolist() == base.values.tolist()
    assert same.mean.tolist() == base.mean.tolist()
    # a vehicle with one image tells nothing of its scatter, but where a vehicle may be
    single = within_vehicle(more[:31], np.append(ids, np.int32(77)))
    assert single.values == pytest.approx(base.values, rel=CLOSE)
    assert len(single.counts) == len(base.counts) + 1


def test_blocks_and_the_order_of_images_do_not_change_the_result(monkeypatch):
    train, ids = features(50, 4, 6)
    whole = within_vehicle(train, ids).projection(dim=None, shrinkage=0.1, normalise=False)
    monkeypatch.setattr("mtml_deploy.compression.scatter._BLOCK_VALUES", 12)
    order = np.random.default_rng(3).permutation(50)
    parts = within_vehicle(train[order], ids[order])
    found = parts.projection(dim=None, shrinkage=0.1, normalise=False)
    assert found.matrix == pytest.approx(whole.matrix, abs=CLOSE)


@settings(max_examples=40, deadline=None)
@given(vehicles=st.integers(2, 6), width=st.integers(1, 14), seed=st.integers(0, 99))
def test_images_of_one_vehicle_scatter_alike_in_all_directions(vehicles, width, seed):
    train, ids = features(3 * vehicles, width, vehicles, seed)
    matrix = within_vehicle(train, ids).projection(
        dim=None, shrinkage=0.01, normalise=False).matrix  # fmt: skip
    within, _ = scatters_by_loop(train.astype(np.float64), ids)
    white = matrix.T @ shrunk(within, 0.01) @ matrix
    assert white == pytest.approx(np.eye(width), abs=1e-6)  # float32 features of about 10


def test_what_tells_nothing_is_refused():
    train, ids = features(12, 4, 4)
    nothing = "needs two vehicles and two images of one"
    for labels in (np.full(12, -1), np.full(12, 3), np.arange(12)):
        with pytest.raises(EmbeddingsError, match=nothing):
            within_vehicle(train, labels.astype(np.int32))
    with pytest.raises(EmbeddingsError, match="have the same embedding"):
        within_vehicle(np.repeat(train[:4], 3, axis=0), np.arange(4, dtype=np.int32).repeat(3))
    found = within_vehicle(train, ids)
    for shrinkage in (0, -0.1, 1.1):
        with pytest.raises(ValueError, match="shrinkage must be above 0"):
            found.projection(dim=None, shrinkage=shrinkage, normalise=True)
