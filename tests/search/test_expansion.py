"""Query expansion against plain loops and values worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtml_deploy.search.query_expansion import ExpansionOptions, expand, expand_by

CLOSE = 1e-6
"""Float32 rounding of the result; everything before it is float64."""


def expanded_by_loop(query, gallery, *, neighbours, alpha, left_out):
    """The definition, image by image."""
    result = []
    for row, point in enumerate(query.tolist()):
        pairs = sorted(
            (sum((a - b) ** 2 for a, b in zip(point, image, strict=True)), n)
            for n, image in enumerate(gallery.tolist())
            if n not in left_out(row)
        )
        length = math.sqrt(sum(value * value for value in point))
        if length == 0:
            result.append(point)
            continue
        total = [value / length for value in point]
        for _, n in pairs[:neighbours]:
            image = gallery[n].tolist()
            other = math.sqrt(sum(value * value for value in image))
            if other == 0:
                continue
            cosine = sum(a * b for a, b in zip(point, image, strict=True)) / length / other
            weight = cosine**alpha if cosine > 0 else 0.0
            total = [t + weight * value / other for t, value in zip(total, image, strict=True)]
        new = math.sqrt(sum(value * value for value in total))
        result.append([length * value / new for value in total])
    return np.array(result).reshape(query.shape)


@settings(max_examples=150, deadline=None)
@given(
    shape=st.tuples(st.integers(0, 4), st.integers(0, 9), st.integers(1, 4)),
    neighbours=st.integers(1, 12),
    alpha=st.sampled_from([0, 0.5, 1, 3]),
    seed=st.integers(0, 999),
    integers=st.booleans(),
)
def test_equals_the_definition(shape, neighbours, alpha, seed, integers):
    queries, rows, dim = shape
    rng = np.random.default_rng(seed)
    # small integers give ties, duplicates, zero vectors and opposite directions
    draw = (lambda size: rng.integers(-2, 3, size=size)) if integers else rng.normal
    query = draw(size=(queries, dim)).astype(np.float32)
    gallery = draw(size=(rows, dim)).astype(np.float32)
    removed = [np.flatnonzero(rng.random(rows) < 0.3) for _ in range(queries)]
    found = expand(
        query,
        gallery,
        options=ExpansionOptions(neighbours=neighbours, alpha=alpha),
        excluded=lambda row: removed[row],
    )
    expected = expanded_by_loop(
        query, gallery, neighbours=neighbours, alpha=alpha, left_out=lambda row: removed[row]
    )
    assert found.dtype == np.float32
    assert found == pytest.approx(expected, abs=CLOSE * 10, rel=CLOSE)


def test_unit_features_give_the_published_rule():
    query = np.array([[1.0, 0.0]], dtype=np.float32)
    gallery = np.array([[0.8, 0.6], [0.6, 0.8], [0, 1]], dtype=np.float32)
    found = expand(query, gallery, options=ExpansionOptions(neighbours=2, alpha=1))
    # (1, 0) + 0.8 (0.8, 0.6) + 0.6 (0.6, 0.8) = (2, 0.96)
    length = math.hypot(2, 0.96)
    assert found.tolist()[0] == pytest.approx([2 / length, 0.96 / length], abs=CLOSE)
    average = expand(query, gallery, options=ExpansionOptions(neighbours=2, alpha=0))
    length = math.hypot(2.4, 1.4)
    assert average.tolist()[0] == pytest.approx([2.4 / length, 1.4 / length], abs=CLOSE)


def test_length_stays_and_that_of_the_found_images_plays_no_part():
    query = np.array([[3.0, 4.0], [0.3, 0.4]], dtype=np.float32)
    near = np.array([[0, 2]], dtype=np.float32)
    found = expand_by(query, lambda row: near, alpha=1)
    assert np.linalg.norm(found, axis=1) == pytest.approx([5, 0.5], abs=CLOSE)
    assert found[0] == pytest.approx(found[1] * 10, abs=CLOSE * 10)
    assert expand_by(query, lambda row: near * 50, alpha=1) == pytest.approx(found, abs=CLOSE)


def test_removed_rows_do_not_enter():
    query = np.array([[1.0, 0.0]], dtype=np.float32)
    gallery = np.array([[1.0, 0.1], [1.0, 1.0]], dtype=np.float32)
    options = ExpansionOptions(neighbours=1, alpha=0)
    left = expand(query, gallery, options=options, excluded=lambda row: np.array([0]))
    assert left == pytest.approx(expand(query, gallery[1:], options=options))
    nothing = expand(query, gallery, options=options, excluded=lambda row: np.array([0, 1]))
    assert nothing.tolist() == query.tolist()


def test_what_points_away_or_nowhere():
    query = np.array([[1.0, 0.0], [0.0, 0.0]], dtype=np.float32)
    away = np.array([[-1.0, 0.0], [0.0, 0.0]], dtype=np.float32)
    assert expand_by(query, lambda row: away, alpha=2).tolist() == query.tolist()
    # alpha 0 weighs all alike, but an opposite image must not cancel the query
    assert expand_by(query, lambda row: away[:1], alpha=0).tolist() == query.tolist()


def test_wrong_values_are_refused():
    for neighbours, alpha in ((0, 1), (1, -0.1), (1, math.inf), (1, math.nan)):
        with pytest.raises(ValueError, match="must be"):
            ExpansionOptions(neighbours=neighbours, alpha=alpha)
    bad = np.array([[np.nan]], dtype=np.float32)
    good = np.ones((1, 1), dtype=np.float32)
    for query, gallery in ((bad, good), (good, bad)):
        with pytest.raises(ValueError, match="finite"):
            expand(query, gallery, options=ExpansionOptions(neighbours=1))
