"""Re-ranking against a plain dense version of the definition, and a case worked by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtml_deploy.evaluation.match_ranks import match_ranks
from mtml_deploy.search.distances import squared_distances
from mtml_deploy.search.kreciprocal.candidate_pool import CandidatePool
from mtml_deploy.search.kreciprocal.neighbours import find_neighbours
from mtml_deploy.search.rerank import RerankOptions, estimate_bytes, rerank

DISTANCE_TOLERANCE = 1e-12  # the same float64 terms added in another order
RANKING_TOLERANCE = 1e-6  # a ranking holds float32


def all_distances(features):
    """Squared distances of every pair, by the sum that decides every order."""
    every = np.arange(len(features))
    return np.array([squared_distances(point, features, every) for point in features])


def neighbour_order(distances):
    """Every image's list: itself, then by (distance, row)."""
    size = len(distances)
    return [
        [i, *sorted(set(range(size)) - {i}, key=lambda j: (distances[i, j], j))]
        for i in range(size)
    ]


def rerank_dense(query, gallery, k1, k2, weight):
    """The definition with N x N arrays and Python sets."""
    features = np.concatenate([query, gallery])
    size = len(features)
    distances = all_distances(features)
    order = neighbour_order(distances)
    largest = distances.max(axis=1, keepdims=True)
    original = np.divide(distances, largest, out=np.zeros_like(distances), where=largest > 0)

    def mutual(i, k):
        return {j for j in order[i][: k + 1] if i in order[j][: k + 1]}

    vectors = np.zeros((size, size))
    for i in range(size):
        first = mutual(i, k1)
        members = set(first)
        for j in first:
            more = mutual(j, round(k1 / 2))
            if 3 * len(more & first) > 2 * len(more):
                members |= more
        chosen = sorted(members)
        weights = np.exp(-original[i, chosen])
        vectors[i, chosen] = weights / weights.sum()
    averaged = np.array([vectors[order[i][:k2]].mean(axis=0) for i in range(size)])
    final = np.empty((len(query), len(gallery)))
    for q in range(len(query)):
        for g in range(len(gallery)):
            shared = np.minimum(averaged[q], averaged[len(query) + g]).sum()
            final[q, g] = (1 - weight) * (1 - shared / (2 - shared))
            final[q, g] += weight * original[q, len(query) + g]
    return final


def require_equal(found, expected, left_out):
    """Same distances, and the same order except where the dense version has near ties itself."""
    ranking = found.rank(top_k=expected.shape[1], excluded=left_out.__getitem__)
    for q, row in enumerate(expected):
        remaining = np.setdiff1d(np.arange(len(row)), left_out[q])
        rows = ranking.rows[q]
        assert sorted(rows[: len(remaining)].tolist()) == remaining.tolist()
        assert (rows[len(remaining) :] == -1).all()
        rows = rows[: len(remaining)]
        assert np.abs(ranking.distances[q, : len(rows)] - row[rows]).max(initial=0) <= (
            RANKING_TOLERANCE
        )
        assert (np.diff(row[rows]) >= -DISTANCE_TOLERANCE).all()


@st.composite
def sets(draw):
    """Clusters, or points on a coarse grid (many ties and duplicates), queries often in both."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    queries, size, dim = draw(st.integers(1, 8)), draw(st.integers(1, 50)), draw(st.integers(1, 6))
    if draw(st.booleans()):
        points = rng.integers(-1, 2, size=(queries + size, dim)).astype(np.float64)
    else:
        centres = rng.normal(size=(6, dim))
        points = centres[rng.integers(0, 6, queries + size)]
        points = points + rng.normal(size=points.shape) * 0.3
    points = ((points + draw(st.sampled_from([0.0, 100.0]))) * draw(
        st.sampled_from([1.0, 1e-25, 1e12])
    )).astype(np.float32)  # fmt: skip
    query, gallery = points[:queries], points[queries:]
    if draw(st.booleans()):
        query = gallery[rng.integers(0, size, queries)]
    left_out = [np.flatnonzero(rng.random(size) < rng.choice([0, 0.3, 1])) for _ in range(queries)]
    k1 = draw(st.integers(1, 70))
    k2 = draw(st.integers(1, min(k1 + 1, 9)))
    return query, gallery, k1, k2, draw(st.sampled_from([0.0, 0.3, 1.0])), left_out


@settings(deadline=None, max_examples=150)
@given(sets())
def test_equals_the_dense_definition(case):
    query, gallery, k1, k2, weight, left_out = case
    found = rerank(query, gallery, options=RerankOptions(k1=k1, k2=k2, weight=weight))
    require_equal(found, rerank_dense(query, gallery, k1, k2, weight), left_out)


@pytest.mark.parametrize("block", [64, 2048])
def test_equals_the_dense_definition_at_the_papers_parameters(monkeypatch, block):
    monkeypatch.setattr("mtml_deploy.search.kreciprocal.neighbours.BLOCK", block)
    monkeypatch.setattr("mtml_deploy.search.kreciprocal.encoding.BLOCK_ROWS", block)
    monkeypatch.setattr("mtml_deploy.search.kreciprocal.jaccard.Overlap._BATCH", block)
    monkeypatch.setattr("mtml_deploy.search.reranked_order.BLOCK_VALUES", 16 * block)
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(25, 64))
    points = np.maximum(centres[rng.integers(0, 25, 380)] + rng.normal(size=(380, 64)) * 0.5, 0)
    points = points.astype(np.float32)
    found = rerank(points[:30], points[30:])
    nothing = [np.empty(0, dtype=np.int64)] * 30
    require_equal(found, rerank_dense(points[:30], points[30:], 20, 6, 0.3), nothing)


@settings(deadline=None, max_examples=60)
@given(sets())
def test_ranks_of_matches_are_those_of_the_ranking(case):
    query, gallery, k1, k2, weight, left_out = case
    found = rerank(query, gallery, options=RerankOptions(k1=k1, k2=k2, weight=weight))
    rng = np.random.default_rng(k1)
    matches = [np.flatnonzero(rng.random(len(gallery)) < 0.3) for _ in query]
    ranks, tied = match_ranks(found, matches=matches.__getitem__, excluded=left_out.__getitem__)
    rows = found.rank(top_k=len(gallery), excluded=left_out.__getitem__).rows
    assert [r.tolist() for r in ranks] == [
        (np.flatnonzero(np.isin(rows[q], matches[q])) + 1).tolist() for q in range(len(query))
    ]
    assert tied.shape == (len(query),)


def test_a_case_worked_by_hand():
    # On a line: query 0; gallery 1, 2, 10. With k1 = 1 the lists of two are {0,1} {1,0} {2,1}
    # {10,2}, so only the query and 1 are mutual. Farthest: 10 from the query, 9 from image 1.
    # Vector of the query (1, e^-0.01) / (1 + e^-0.01), of image 1 (e^-(1/81), 1) / (1 + e^-(1/81)).
    query = np.array([[0.0]], dtype=np.float32)
    gallery = np.array([[1.0], [2.0], [10.0]], dtype=np.float32)
    a, b = np.exp(-0.01), np.exp(-1 / 81)
    shared = b / (1 + b) + a / (1 + a)  # the smaller of each pair
    jaccard = 1 - shared / (2 - shared)
    ranking = rerank(query, gallery, options=RerankOptions(k1=1, k2=1, weight=0.3)).rank(top_k=3)
    expected = [0.3 * 0.01 + 0.7 * jaccard, 0.3 * 0.04 + 0.7, 1.0]
    assert ranking.rows.tolist() == [[0, 1, 2]]
    assert np.abs(ranking.distances[0] - expected).max() <= RANKING_TOLERANCE


def test_one_query_one_gallery_image():
    one = np.array([[1.0, 2.0]], dtype=np.float32)
    # both are in each other's list, and their vectors are equal: no distance but the original
    ranking = rerank(one, one + 1).rank(top_k=5)
    assert ranking.rows.tolist() == [[0]]
    # d = 1 (it is the farthest); vectors (1, 1/e) and (1/e, 1) over 1 + 1/e, averaged to halves
    assert ranking.distances[0, 0] == pytest.approx(0.3, abs=RANKING_TOLERANCE)
    assert rerank(one, one).rank(top_k=1).distances.tolist() == [[0.0]]


def test_equal_images_are_ordered_by_row():
    # more copies than a neighbour list has places
    features = np.ones((60, 5), dtype=np.float32)
    features[::2] += 1
    ranking = rerank(features[:2], features[2:]).rank(top_k=58)
    for row in ranking.rows:
        assert sorted(row.tolist()) == list(range(58))
    found = find_neighbours(features, count=4)
    assert found.rows[1].tolist() == [1, 3, 5, 7]
    assert found.rows[59].tolist() == [59, 1, 3, 5]
    assert found.rows[58].tolist() == [58, 0, 2, 4]
    assert not found.distances.any()
    assert found.farthest.tolist() == [5.0] * 60


@pytest.mark.parametrize("block", [8, 2048])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_neighbours_equal_a_plain_sort(monkeypatch, block, offset):
    monkeypatch.setattr("mtml_deploy.search.kreciprocal.neighbours.BLOCK", block)
    rng = np.random.default_rng(1)
    features = (rng.normal(size=(150, 40)) + offset).astype(np.float32)
    features[40:60] = features[10:30]
    features[100] *= 1e6  # one far away must not hide the others
    distances = all_distances(features)
    found = find_neighbours(features, count=7)
    assert found.rows.tolist() == [row[:7] for row in neighbour_order(distances)]
    assert (found.distances == np.take_along_axis(distances, found.rows.astype(int), 1)).all()
    assert (found.farthest == distances.max(axis=1)).all()


def test_masses_of_near_equal_images_do_not_pile_up(monkeypatch):
    # differences far below what float32 products of these norms can see: every pair stays possible
    monkeypatch.setattr("mtml_deploy.search.kreciprocal.candidate_pool.MIN_CAPACITY", 500)
    monkeypatch.setattr("mtml_deploy.search.kreciprocal.neighbours.BLOCK", 16)
    held = []
    cut = CandidatePool._cut

    def watched(pool):
        held.append(pool._held)
        cut(pool)

    monkeypatch.setattr(CandidatePool, "_cut", watched)
    rng = np.random.default_rng(2)
    features = np.repeat(rng.normal(size=(2, 30)), 100, axis=0).astype(np.float32) * 1000
    features[:, 0] += rng.permutation(200).astype(np.float32) / 256
    distances = all_distances(features)
    found = find_neighbours(features, count=3)
    assert found.rows.tolist() == [row[:3] for row in neighbour_order(distances)]
    assert (found.farthest == distances.max(axis=1)).all()
    # 20,000 pairs are possible; the capacity is 4 * 200 * 3, and one block of 16 x 16 comes on top
    assert 4 * 200 * 3 < max(held) <= 4 * 200 * 3 + 16 * 16


def test_progress_ends_with_all_blocks(monkeypatch):
    monkeypatch.setattr("mtml_deploy.search.kreciprocal.neighbours.BLOCK", 50)
    features = np.random.default_rng(3).normal(size=(150, 4)).astype(np.float32)
    seen = []
    find_neighbours(features, count=3, progress=lambda done, total: seen.append((done, total)))
    # three diagonal blocks and three above them
    assert seen == [(n, 6) for n in range(1, 7)]


def test_estimate_is_linear_and_fits_a_hundred_thousand():
    options = RerankOptions()
    assert estimate_bytes(10_000, 90_000, 1024, options=options) < 24 * 2**30
    # twice the images, at most little more than twice the memory
    small, large = (estimate_bytes(1_000, n, 1024, options=options) for n in (99_000, 199_000))
    assert large < 2.1 * small


def test_refusals():
    good = np.ones((2, 3), dtype=np.float32)
    bad = good.copy()
    bad[1, 2] = np.nan
    with pytest.raises(ValueError, match="gallery row 1"):
        rerank(good, bad)
    with pytest.raises(ValueError, match="0 queries, 2 gallery images"):
        rerank(good[:0], good)
    with pytest.raises(ValueError, match=r"query is \[2, 3\], gallery \[2, 2\]"):
        rerank(good, good[:, :2])
    with pytest.raises(ValueError, match="k1 must be at least 1"):
        RerankOptions(k1=3, k2=5)
    with pytest.raises(ValueError, match="lambda must be"):
        RerankOptions(weight=1.5)
    with pytest.raises(ValueError, match="top_k must be at least 1"):
        rerank(good, good).rank(top_k=0)
    with pytest.raises(ValueError, match="count and images"):
        find_neighbours(good, count=0)
