"""Stages of one question: numbers by hand, and what each stage hands to the next."""

from contextlib import contextmanager
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from helpers_embeddings import embedded

from mtml_deploy.errors import EmbeddingsError
from mtml_deploy.evaluation.ground_truth import GroundTruth
from mtml_deploy.evaluation.protocols import find_protocol
from mtml_deploy.evaluation.stages import stages
from mtml_deploy.search.query_expansion import ExpansionOptions
from mtml_deploy.search.rerank import RerankOptions

PLAIN, VERI = find_protocol("plain"), find_protocol("veri776")
ROUNDING = 1e-6  # float32 features


def test_a_stage_that_is_not_asked_for_is_left_out():
    query, gallery = embedded([[0, 1]], [1]), embedded([[0, 3], [0, 2]], [2, 1])
    (stage,) = stages(query, gallery, PLAIN)
    assert (stage.suffix, stage.expansion, stage.reranking, stage.reranked) == ("", *[None] * 3)
    assert stage.ranking(2).rows.tolist() == [[1, 0]]
    # the match is first
    assert stage.metrics().mean_ap == 1


def test_an_expanded_query_is_ranked_and_measured_anew():
    # (3, 4) finds (0, 10) first: with alpha 1 its direction becomes (0.6, 0.8) + 0.8 (0, 1) =
    # (0.6, 1.6) and its length stays 5: (1.756, 4.682)
    query = embedded([[3, 4]], [1])
    # squared distances to (3, 4): 45, 65, 53; to (1.756, 4.682): 31.4, 89.9, 75.2
    gallery = embedded([[0, 10], [10, 0], [10, 2]], [2, 1, 1])
    asked = stages(query, gallery, PLAIN, expansion=ExpansionOptions(neighbours=1, alpha=1))
    before, after = asked
    assert (before.suffix, after.suffix) == ("", ", expanded")
    assert before.query is query
    length = np.hypot(0.6, 1.6)
    assert after.query.features[0] == pytest.approx([3 / length, 8 / length], rel=ROUNDING)
    assert before.ranking(3).rows.tolist() == [[0, 2, 1]]
    assert after.ranking(3).distances[0, 0] == pytest.approx(
        np.hypot(3 / length, 10 - 8 / length), rel=ROUNDING
    )
    # matches at ranks 2 and 3 in both: (1/2 + 2/3) / 2
    assert before.metrics().mean_ap == pytest.approx(7 / 12)
    assert after.metrics().mean_ap == pytest.approx(7 / 12)


def test_what_the_protocol_leaves_out_helps_nowhere():
    query = embedded([[0, 1]], [1], cameras=[5])
    # the nearest row is of the query's own vehicle and camera
    gallery = embedded([[0, 1], [1, 0], [0, 9]], [1, 1, 2], cameras=[5, 6, 6])
    plain, expanded, reranked = stages(
        query,
        gallery,
        VERI,
        expansion=ExpansionOptions(neighbours=1),
        reranking=RerankOptions(k1=1, k2=1),
    )
    # the only row left to expand by is at a right angle: it adds nothing
    assert (expanded.query.features == query.features).all()
    for stage in (plain, expanded, reranked):
        assert 0 not in stage.ranking(3).rows
        assert stage.ranking(3).rows[0, 2] == -1


def test_the_last_stage_is_the_reranked_order_of_the_one_before():
    # the example of `rerank`: images at 0, 1, 2 and 10 on a line, distances 0.0106, 0.52, 1
    query, gallery = embedded([[0]], [7]), embedded([[1], [2], [10]], [1, 7, 7])
    options, seen = RerankOptions(k1=1, k2=1, weight=0.5), []

    @contextmanager
    def watch(query, gallery, options):
        seen.append((len(query), len(gallery), options))
        yield lambda done, total: seen.append((done, total))

    plain, reranked = stages(query, gallery, PLAIN, reranking=options, watch=watch)
    assert (plain.suffix, reranked.suffix) == ("", ", re-ranked")
    assert seen[0] == (1, 3, options)
    done, total = seen[-1]
    assert done == total
    ranking = reranked.ranking(3)
    assert ranking.rows.tolist() == [[0, 1, 2]]
    assert [f"{distance:.4f}" for distance in ranking.distances[0]] == [
        "0.0106",
        "0.5200",
        "1.0000",
    ]
    # matches at ranks 2 and 3
    assert reranked.metrics().mean_ap == pytest.approx((1 / 2 + 2 / 3) / 2)
    both = list(
        stages(query, gallery, PLAIN, expansion=ExpansionOptions(neighbours=1), reranking=options)
    )
    assert [stage.suffix for stage in both] == ["", ", expanded", ", expanded, re-ranked"]
    assert both[2].query is both[1].query


def test_a_ground_truth_says_what_matches_and_what_is_left_out():
    query, gallery = embedded([[0]], [-1]), embedded([[1], [2], [3]], [-1, -1, -1])
    rows = [np.array(part, dtype=np.int64) for part in ([2], [0])]
    truth = GroundTruth(matches=(rows[0],), junk=(rows[1],), files=(), contradictions=0)
    (stage,) = stages(query, gallery, VERI, truth=truth)
    assert stage.ranking(3).rows.tolist() == [[1, 2, -1]]
    assert stage.metrics().mean_ap == 0.5


def test_sets_that_have_no_stage_are_refused():
    query, gallery = embedded([[0]], [1]), embedded([[1]], [1])
    other = replace(gallery, model=msgspec.structs.replace(gallery.model, precision="fp16"))
    with pytest.raises(EmbeddingsError, match="precision"):
        list(stages(query, other, PLAIN))
    empty = embedded(np.empty((0, 1)), [])
    for pair, role in (((empty, gallery), "query set"), ((query, empty), "gallery")):
        with pytest.raises(EmbeddingsError, match=f"the {role} .* has no images"):
            list(stages(*pair, PLAIN, reranking=RerankOptions()))
