"""Principal components against plain loops and values worked out by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtml_deploy.compression.learn import CompressOptions, learn_projection
from mtml_deploy.compression.principal import WHITENING_FLOOR, principal_directions
from mtml_deploy.errors import EmbeddingsError

CLOSE = 1e-9
"""Float64 sums of a few values in another order."""


def features(rows, width, seed=0):
    """Float32 [rows, width] with different variances along mixed directions, far from zero."""
    rng = np.random.default_rng(seed)
    mixed = (
        rng.normal(size=(rows, width)) * np.linspace(3, 1, width) @ rng.normal(size=(width, width))
    )
    return (mixed + 20).astype(np.float32)


def learn(train, *, dim, whiten, normalise):
    found = principal_directions(train, most=dim)
    return found.projection(dim=dim, whiten=whiten, normalise=normalise)


def covariance_by_loop(values):
    rows, width = values.shape
    mean = [sum(float(values[n, i]) for n in range(rows)) / rows for i in range(width)]
    found = np.zeros((width, width))
    for i in range(width):
        for j in range(width):
            for n in range(rows):
                found[i, j] += (values[n, i] - mean[i]) * (values[n, j] - mean[j]) / rows
    return found


# more rows than dimensions, and fewer: the two ways to the eigenvectors
@pytest.mark.parametrize(("rows", "width", "dim"), [(40, 5, 3), (40, 5, 5), (6, 12, 4), (8, 8, 7)])
def test_directions_are_those_of_largest_variance(rows, width, dim):
    train = features(rows, width)
    found = learn(train, dim=dim, whiten=False, normalise=False)
    covariance = covariance_by_loop(train.astype(np.float64))
    largest = np.sort(np.linalg.eigvalsh(covariance))[::-1]
    for k in range(dim):
        direction = found.matrix[:, k]
        # an eigenvector of length 1, to the k-th largest eigenvalue
        assert direction @ direction == pytest.approx(1, abs=CLOSE)
        assert covariance @ direction == pytest.approx(largest[k] * direction, rel=1e-6, abs=1e-6)
        assert direction[np.abs(direction).argmax()] > 0
        for other in range(k):
            assert direction @ found.matrix[:, other] == pytest.approx(0, abs=CLOSE)
    share = largest[:dim].sum() / largest.sum()
    assert found.learnt["explained_variance"] == pytest.approx(share, abs=CLOSE)
    assert found.learnt["explained_variance"] <= 1


def test_kept_variance_and_distances_of_a_full_projection():
    train = features(30, 4)
    found = learn(train, dim=4, whiten=False, normalise=False)
    projected = found.apply(train)
    # a rotation about the mean keeps every distance
    for i in range(5):
        for j in range(i):
            before = np.linalg.norm(train[i].astype(float) - train[j].astype(float))
            assert np.linalg.norm(projected[i] - projected[j]) == pytest.approx(before, rel=CLOSE)
    assert found.learnt["explained_variance"] == pytest.approx(1, abs=CLOSE)


@pytest.mark.parametrize(("rows", "width", "dim"), [(60, 5, 5), (60, 5, 3), (9, 20, 6)])
def test_whitened_training_covariance_is_the_identity(rows, width, dim):
    train = features(rows, width)
    found = learn(train, dim=dim, whiten=True, normalise=False)
    covariance = covariance_by_loop(found.apply(train))
    kept = principal_directions(train).variances[:dim]
    expected = np.diag(kept / (kept + WHITENING_FLOOR * kept[0]))
    # float32 features of about 20 hold their small directions to about 1e-6
    assert covariance == pytest.approx(expected, abs=1e-6)
    # and so the identity, but for the floor
    assert covariance == pytest.approx(np.eye(dim), abs=WHITENING_FLOOR * kept[0] / kept[-1])


def test_values_worked_out_by_hand():
    # along (1, 1): deviations -4, 0, 4 (times sqrt 2 / 2), along (1, -1): 1, -2, 1
    long, short = np.array([-4.0, 0, 4]), np.array([1.0, -2, 1])
    train = np.stack([10 + long + short, 20 + long - short], axis=1).astype(np.float32)
    root = np.sqrt(2)
    found = learn(train, dim=2, whiten=False, normalise=False)
    assert found.mean.tolist() == [10, 20]
    assert principal_directions(train).variances == pytest.approx([2 * 32 / 3, 2 * 6 / 3])
    assert np.abs(found.matrix) == pytest.approx(np.full((2, 2), 1 / root))
    assert found.apply(train)[:, 0] == pytest.approx(long * root)
    assert np.abs(found.apply(train)[:, 1]) == pytest.approx(np.abs(short) * root)
    white = learn(train, dim=1, whiten=True, normalise=False)
    deviation = np.sqrt(64 / 3 * 1.0001)
    assert white.apply(train)[:, 0] == pytest.approx(long * root / deviation)
    assert white.learnt["explained_variance"] == pytest.approx(64 / 76)


def test_normalised_rows_have_length_one_and_the_mean_stays_zero():
    train = features(20, 6)
    plain = learn(train, dim=3, whiten=True, normalise=False)
    unit = learn(train, dim=3, whiten=True, normalise=True)
    rows = plain.apply(train)
    expected = [row / np.sqrt(sum(value * value for value in row)) for row in rows]
    assert unit.apply(train) == pytest.approx(np.array(expected), abs=CLOSE)
    symmetric = np.array([[1, 0], [-1, 0], [0, 2], [0, -2]], dtype=np.float32)
    zero = learn(symmetric, dim=1, whiten=True, normalise=True)
    assert zero.apply(np.zeros((1, 2), dtype=np.float32)).tolist() == [[0.0]]


def test_blocks_do_not_change_the_result(monkeypatch):
    train = features(50, 4)
    whole = learn(train, dim=3, whiten=True, normalise=True)
    monkeypatch.setattr("mtml_deploy.compression.scatter._BLOCK_VALUES", 12)
    parts = learn(train, dim=3, whiten=True, normalise=True)
    assert parts.matrix == pytest.approx(whole.matrix, abs=CLOSE)
    assert parts.apply(train) == pytest.approx(whole.apply(train), abs=CLOSE)


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(2, 12), width=st.integers(1, 12), seed=st.integers(0, 99), data=st.data())
def test_any_shape_gives_an_orthonormal_basis(rows, width, seed, data):
    dim = data.draw(st.integers(1, max(1, min(rows - 1, width))))
    train = features(rows, width, seed)
    try:
        found = learn(train, dim=dim, whiten=False, normalise=False)
    except EmbeddingsError as error:  # float32 rows that happen to be almost dependent
        assert "vary in" in str(error)
        return
    assert found.matrix.T @ found.matrix == pytest.approx(np.eye(dim), abs=CLOSE)
    assert np.all(np.diff(principal_directions(train).variances) <= 0)


def test_too_few_rows_or_directions_are_refused():
    with pytest.raises(EmbeddingsError, match="3 training embeddings cannot tell 3 directions"):
        learn(features(3, 5), dim=3, whiten=True, normalise=True)
    twice = np.repeat(features(3, 5), 4, axis=0)
    with pytest.raises(EmbeddingsError, match="12 training embeddings vary in 2 directions only"):
        learn(twice, dim=3, whiten=True, normalise=True)
    with pytest.raises(EmbeddingsError, match="vary in 0 directions"):
        learn(np.ones((9, 5), np.float32), dim=1, whiten=True, normalise=True)


def test_a_callers_mistakes():
    train = features(9, 3)
    vehicles = np.arange(9, dtype=np.int32) // 2
    for dim in (0, 4):
        for method in ("pca", "lda"):
            with pytest.raises(ValueError, match=r"dim must be 1\.\.3"):
                learn_projection(train, vehicles, CompressOptions(method=method, dim=dim))
    with pytest.raises(ValueError, match="pca-whiten needs a number of dimensions"):
        CompressOptions(method="pca-whiten")
    train[2, 1] = np.nan
    with pytest.raises(ValueError, match="row 2"):
        learn(train, dim=2, whiten=True, normalise=True)
    found = learn(features(9, 3), dim=2, whiten=True, normalise=True)
    with pytest.raises(ValueError, match=r"\[N, 3\]"):
        found.apply(features(9, 4))
