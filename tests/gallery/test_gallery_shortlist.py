"""Local re-ranking: the method on a shortlist, and how far it agrees with the full one."""

import numpy as np
import pytest
from helpers_gallery import batch, identity, new_gallery

from benchmarks.ranking.clustered import ClusterRecipe, Clusters
from benchmarks.ranking.local_rerank import local_agreement
from mtml_deploy.gallery.local_rerank import rerank_shortlists
from mtml_deploy.gallery.values import Filter, Hits
from mtml_deploy.search.rank import rank
from mtml_deploy.search.rerank import RerankOptions, rerank

DIM = 24
OPTIONS = RerankOptions(k1=6, k2=3)


@pytest.fixture(scope="module")
def sets():
    clusters = Clusters(ClusterRecipe(queries=5, gallery=300, vehicles=20, dim=DIM))
    query, _ = clusters.block(1, 0, 5)
    gallery, labels = clusters.block(2, 0, 300)
    return query, gallery, labels


def test_a_shortlist_of_everything_is_the_full_method_for_one_query(sets, tmp_path):
    query, vectors, _ = sets
    with new_gallery(tmp_path / "g", dim=DIM) as gallery:
        gallery.add_rows(batch(vectors, dim=DIM))
        hits = gallery.search(query, model=identity(dim=DIM), top_k=300)
        found = rerank_shortlists(query, hits, gallery.vectors, top_k=20, options=OPTIONS)
    before = rank(query, vectors, top_k=300)
    for i in range(len(query)):
        expected = rerank(query[i : i + 1], vectors, options=OPTIONS).rank(top_k=20)
        assert (found.hits.rows[i] - 1).tolist() == expected.rows[0].tolist()
        assert np.array_equal(found.reranked[i], expected.distances[0])
        # each row keeps its distance, and its place before is where the search had it
        places = found.places_before[i] - 1
        assert before.rows[i][places].tolist() == expected.rows[0].tolist()
        assert np.array_equal(before.distances[i][places], found.hits.distances[i])


def test_only_the_shortlist_counts_and_queries_do_not_mix(sets, tmp_path):
    query, vectors, labels = sets
    asked = []
    where = Filter(cameras=tuple(range(10)))
    with new_gallery(tmp_path / "g", dim=DIM) as gallery:
        gallery.add_rows(batch(vectors, dim=DIM, camera_id=labels.camera_ids.tolist()))

        def vectors_of(rows):
            asked.append(len(rows))
            return gallery.vectors(rows)

        hits = gallery.search(query, model=identity(dim=DIM), top_k=40, where=where)
        together = rerank_shortlists(query, hits, vectors_of, top_k=10, options=OPTIONS)
        for i in range(len(query)):
            one = Hits(hits.rows[i : i + 1], hits.distances[i : i + 1])
            alone = rerank_shortlists(query[i : i + 1], one, vectors_of, top_k=10, options=OPTIONS)
            assert np.array_equal(alone.hits.rows[0], together.hits.rows[i])
            assert np.array_equal(alone.reranked[0], together.reranked[i])
    assert asked == [40] * 10  # 300 rows, or 3 million: no more is read
    found = labels.camera_ids[together.hits.rows - 1]
    assert found.max() < 10
    rows = np.sort(hits.rows[0]) - 1
    expected = rerank(query[:1], vectors[rows], options=OPTIONS).rank(top_k=10)
    assert (together.hits.rows[0] - 1).tolist() == rows[expected.rows[0]].tolist()


def test_equal_distances_are_ordered_by_row(tmp_path):
    # two pairs of equal images, the farther pair first
    vectors = np.array([[3, 0], [3, 0], [1, 0], [1, 0]], dtype=np.float32)
    with new_gallery(tmp_path / "g", dim=2) as gallery:
        gallery.add_rows(batch(vectors, contents=list("abcd"), dim=2))
        query = np.zeros((1, 2), dtype=np.float32)
        hits = gallery.search(query, model=identity(dim=2), top_k=4)
        options = RerankOptions(k1=2, k2=1)
        found = rerank_shortlists(query, hits, gallery.vectors, top_k=4, options=options)
    assert found.hits.rows.tolist() == [[3, 4, 1, 2]]
    assert found.reranked[0, 0] == found.reranked[0, 1]


def test_no_rows_and_wrong_sizes(tmp_path):
    query = np.zeros((2, DIM), dtype=np.float32)
    with new_gallery(tmp_path / "g", dim=DIM) as gallery:
        hits = gallery.search(query, model=identity(dim=DIM), top_k=5)
        assert rerank_shortlists(query, hits, gallery.vectors, top_k=5).hits.rows.shape == (2, 0)
        for queries, top_k in ((query, 0), (query[:1], 1)):
            with pytest.raises(ValueError, match="top_k"):
                rerank_shortlists(queries, hits, gallery.vectors, top_k=top_k)


def test_agreement_by_hand():
    """Everything in the shortlist and one query: the two methods are one."""
    clusters = Clusters(ClusterRecipe(queries=1, gallery=60, vehicles=6, dim=DIM))
    query, asked = clusters.block(1, 0, 1)
    gallery, labels = clusters.block(2, 0, 60)
    found = local_agreement(
        query, gallery, asked.vehicle_ids, labels.vehicle_ids, shortlist=60, options=OPTIONS
    )
    assert (found.top1, found.top10, found.kendall) == (1.0, 1.0, 1.0)
    assert found.map_local == found.map_full


def test_agreement_with_the_full_method():
    """Bounds a little below what was measured on this recipe: an error would be far below them."""
    clusters = Clusters(ClusterRecipe(queries=30, gallery=2000, vehicles=50, dim=64))
    query, asked = clusters.block(1, 0, 30)
    gallery, labels = clusters.block(2, 0, 2000)
    found = local_agreement(query, gallery, asked.vehicle_ids, labels.vehicle_ids, shortlist=500)
    assert found.top10 >= 0.85
    assert found.kendall >= 0.7
    assert found.map_local - found.map_before >= 0.6 * (found.map_full - found.map_before) > 0
