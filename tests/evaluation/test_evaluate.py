"""Metrics: hand-worked lists, and a plain loop over full orders for random labels and ties."""

import math
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from helpers_embeddings import embedded
from hypothesis import given, settings
from hypothesis import strategies as st

from mtml_deploy.errors import EmbeddingsError, ProtocolError
from mtml_deploy.evaluation.ground_truth import GroundTruth
from mtml_deploy.evaluation.metrics import average_precisions, evaluate, retrieval_metrics
from mtml_deploy.evaluation.protocols import PROTOCOLS, find_protocol
from mtml_deploy.search.distances import squared_distances
from mtml_deploy.search.rerank import RerankOptions, rerank

SUM_TOLERANCE = 1e-12  # the same fractions added in another order, in float64


def evaluate_by_loop(query, gallery, protocol):
    """Walk down the whole sorted list of each query, as the definitions read."""
    length = min(50, len(gallery))
    totals = {"step": [], "trapezoid": [], "inp": []}
    cmc = np.zeros(length)
    per_query, num_valid, ties = [], 0, 0
    for q in range(len(query)):
        vehicle, camera = query.vehicle_ids[q], query.camera_ids[q]
        exact = squared_distances(query.features[q], gallery.features, np.arange(len(gallery)))
        walk = []
        for g in range(len(gallery)):
            same = vehicle != -1 and gallery.vehicle_ids[g] == vehicle
            same_camera = camera != -1 and gallery.camera_ids[g] == camera
            if protocol.name in ("veri776", "market") and same and same_camera:
                continue
            if protocol.name in ("market", "vehicleid") and gallery.vehicle_ids[g] == -1:
                continue
            walk.append((exact[g], g, same))
        walk.sort()
        total = sum(same for _, _, same in walk)
        if total == 0 and protocol.name != "aicity-top100":
            per_query.append(np.nan)
            continue
        num_valid += total > 0
        matches = {d for d, _, same in walk if same}
        ties += any(d in matches for d, _, same in walk if not same)
        hits, step, trapezoid, inp, first = 0, 0.0, 0.0, 0.0, None
        recall_before, precision_before = 0.0, 1.0
        for rank, (_, _, same) in enumerate(walk, start=1):
            if protocol.name == "aicity-top100" and rank > 100:
                break
            hits += same
            if total:
                recall, precision = hits / total, hits / rank
                step += same * precision / total
                trapezoid += (recall - recall_before) * (precision_before + precision) / 2
                recall_before, precision_before = recall, precision
            if same and hits == total:
                inp = total / rank
            if same and first is None:
                first = rank
        for k in range(length):
            cmc[k] += first is not None and first <= k + 1
        totals["step"].append(step)
        totals["trapezoid"].append(trapezoid)
        totals["inp"].append(inp)
        per_query.append(step)
    counted = max(1, len(totals["step"]))
    means = {name: sum(values) / counted for name, values in totals.items()}
    return means, cmc / counted, per_query, num_valid, ties


@st.composite
def labelled_sets(draw):
    """Small integer features (ties, duplicates) with few vehicles, unknown ids and few cameras."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    protocol = draw(st.sampled_from(sorted(PROTOCOLS)))
    dim = draw(st.integers(1, 4))
    vehicles = draw(st.integers(1, 5))
    lowest = draw(st.sampled_from([-1, 0]))
    cameras = draw(st.integers(1, 3))
    sizes = draw(st.integers(1, 8)), draw(st.one_of(st.just(1), st.integers(1, 140)))
    coarse = draw(st.booleans())

    def make(size):
        grid = rng.integers(0, 3, size=(size, dim))
        features = grid if coarse else rng.normal(size=(size, dim))
        ids = rng.integers(lowest, vehicles, size=size)
        return embedded(features, ids, rng.integers(0, cameras, size=size))

    query, gallery = make(sizes[0]), make(sizes[1])
    if protocol == "vehicleid":  # its gallery has one image of a vehicle
        ids = gallery.vehicle_ids.copy()
        again = np.setdiff1d(np.arange(sizes[1]), np.unique(ids, return_index=True)[1])
        ids[again] = -1
        gallery = replace(gallery, vehicle_ids=ids)
    return query, gallery, find_protocol(protocol)


@settings(deadline=None, max_examples=300)
@given(labelled_sets())
def test_equals_the_plain_loop(sets):
    query, gallery, protocol = sets
    means, cmc, per_query, num_valid, ties = evaluate_by_loop(query, gallery, protocol)
    if num_valid == 0:
        with pytest.raises(ProtocolError, match=r"has a match|has a vehicle id"):
            evaluate(query, gallery, protocol)
        return
    found = evaluate(query, gallery, protocol)
    assert found.mean_ap == pytest.approx(means["step"], abs=SUM_TOLERANCE)
    assert found.mean_ap_trapezoid == pytest.approx(means["trapezoid"], abs=SUM_TOLERANCE)
    assert found.mean_inp == pytest.approx(means["inp"], abs=SUM_TOLERANCE)
    assert found.cmc == pytest.approx(cmc, abs=SUM_TOLERANCE)
    assert found.average_precision == pytest.approx(per_query, abs=SUM_TOLERANCE, nan_ok=True)
    assert (found.num_queries, found.num_valid) == (len(query), num_valid)
    assert found.ties == ties
    assert found.protocol == protocol.name
    assert found.unmatched == protocol.unmatched


@settings(deadline=None, max_examples=150)
@given(labelled_sets(), st.booleans())
def test_verification_equals_trying_every_threshold(sets, rerank_too):
    query, gallery, protocol = sets
    reranked = None
    if rerank_too:
        options = RerankOptions(k1=3, k2=2, weight=0.4)
        reranked = rerank(query.features, gallery.features, options=options)
    positive, negative = [], []
    every = np.arange(len(gallery))
    for q in range(len(query)):
        vehicle, camera = query.vehicle_ids[q], query.camera_ids[q]
        exact = squared_distances(query.features[q], gallery.features, every)
        if reranked is not None:
            exact = reranked.distances(q, every)
        for g in range(len(gallery)):
            same = gallery.vehicle_ids[g] == vehicle
            same_camera = gallery.camera_ids[g] == camera
            own_camera = protocol.name in ("veri776", "market") and same and same_camera
            junk = protocol.name in ("market", "vehicleid") and gallery.vehicle_ids[g] == -1
            if vehicle == -1 or own_camera or junk:
                continue
            (positive if same else negative).append(exact[g])
    if not positive:
        return  # refused, see above
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mtml_deploy.evaluation.verification.ONE_IN", (20, 10, 4))
        found = evaluate(query, gallery, protocol, reranked=reranked).verification
    assert (found.positives, found.negatives) == (len(positive), len(negative))
    for one_in, rate, told in zip((20, 10, 4), found.tpr, found.distances, strict=True):
        if len(negative) < one_in:
            assert (rate, told) == (None, None)
            continue
        square = sorted(negative)[len(negative) // one_in]
        assert told == (square if rerank_too else math.sqrt(square))
        best = max(
            sum(d < threshold for d in positive) / len(positive)
            for threshold in [*negative, *positive, np.inf]
            if sum(d < threshold for d in negative) * one_in <= len(negative)
        )
        assert rate == best


def with_truth(matches, junk):
    rows = [tuple(np.array(row, dtype=np.int64) for row in side) for side in (matches, junk)]
    return GroundTruth(*rows, files=(), contradictions=0)


def test_a_ground_truth_takes_the_place_of_labels():
    # no label is known; the gallery at 0, 1, 2, 3, 4 as below: row 0 junk, rows 3 and 4 match
    gallery = embedded([[0], [1], [2], [3], [4]], [-1] * 5, [-1] * 5)
    query = embedded([[0], [0]], [-1, -1], [-1, -1])
    truth = with_truth([[3, 4], []], [[0], []])
    found = evaluate(query, gallery, find_protocol("veri776"), truth=truth)
    assert found.mean_ap == pytest.approx((1 / 3 + 2 / 4) / 2, abs=SUM_TOLERANCE)
    assert (found.num_valid, found.num_queries) == (1, 2)
    # all but the junk image of the first query; the second has no match and is a known stranger
    assert (found.verification.positives, found.verification.negatives) == (2, 7)
    zero = evaluate(query, gallery, find_protocol("aicity-top100"), truth=truth)
    assert zero.mean_ap == pytest.approx(found.mean_ap / 2, abs=SUM_TOLERANCE)
    # files win over labels that say otherwise
    labelled = evaluate(ONE, SCENE, find_protocol("veri776"), truth=with_truth([[1]], [[]]))
    assert labelled.mean_ap == 1 / 2


def test_a_ground_truth_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="a ground truth of 2 for 1 queries"):
        evaluate(ONE, SCENE, find_protocol("plain"), truth=with_truth([[1], [1]], [[], []]))
    with pytest.raises(ProtocolError, match="vehicleid draws its gallery, and a ground truth"):
        evaluate(ONE, SCENE, find_protocol("vehicleid"), truth=with_truth([[1]], [[]]))
    with pytest.raises(ProtocolError, match="has a match"):
        evaluate(ONE, SCENE, find_protocol("plain"), truth=with_truth([[]], [[]]))


# Query: vehicle 1, camera 1, at 0. Gallery at 0, 1, 2, ... in the order of the rows.
SCENE = embedded([[0], [1], [2], [3], [4]], [1, 2, -1, 1, 1], [1, 2, 1, 2, 3])
ONE = embedded([[0]], [1], [1])


@pytest.mark.parametrize(
    ("name", "step", "trapezoid", "inp", "cmc"),
    [
        # own copy removed: list 2, -1, 1, 1: matches at 3 and 4
        ("veri776", (1 / 3 + 2 / 4) / 2, ((0 + 1 / 3) + (1 / 3 + 2 / 4)) / 4, 2 / 4, [0, 0, 1]),
        # junk removed too: list 2, 1, 1: matches at 2 and 3
        ("market", (1 / 2 + 2 / 3) / 2, ((0 + 1 / 2) + (1 / 2 + 2 / 3)) / 4, 2 / 3, [0, 1, 1]),
        # everything stays: matches at 1, 4 and 5
        ("plain", (1 + 2 / 4 + 3 / 5) / 3,
         ((1 + 1) + (1 / 3 + 2 / 4) + (2 / 4 + 3 / 5)) / 6, 3 / 5, [1, 1, 1]),
        ("aicity-top100", (1 + 2 / 4 + 3 / 5) / 3,
         ((1 + 1) + (1 / 3 + 2 / 4) + (2 / 4 + 3 / 5)) / 6, 3 / 5, [1, 1, 1]),
    ],
)  # fmt: skip
def test_one_scene_under_every_protocol(name, step, trapezoid, inp, cmc):
    found = evaluate(ONE, SCENE, find_protocol(name))
    assert found.mean_ap == pytest.approx(step, abs=SUM_TOLERANCE)
    assert found.mean_ap_trapezoid == pytest.approx(trapezoid, abs=SUM_TOLERANCE)
    assert found.mean_inp == pytest.approx(inp, abs=SUM_TOLERANCE)
    assert found.cmc[:3].tolist() == cmc
    assert len(found.cmc) == 5


def test_queries_without_a_match_are_skipped_or_count_as_zero():
    query = embedded([[0], [9], [5]], [1, 7, -1], [1, 1, 1])
    skipped = evaluate(query, SCENE, find_protocol("plain"))
    alone = evaluate(ONE, SCENE, find_protocol("plain"))
    assert skipped.mean_ap == alone.mean_ap
    assert (skipped.num_valid, skipped.num_queries) == (1, 3)
    assert np.isnan(skipped.average_precision[1:]).all()
    zero = evaluate(query, SCENE, find_protocol("aicity-top100"))
    assert zero.mean_ap == pytest.approx(alone.mean_ap / 3, abs=SUM_TOLERANCE)
    assert zero.cmc_at(1) == pytest.approx(1 / 3, abs=SUM_TOLERANCE)
    assert zero.average_precision[1:].tolist() == [0.0, 0.0]


def test_the_first_hundred_are_seen_but_all_matches_divide():
    # 102 gallery images, matches at ranks 2 and 102
    vehicles = [2, 1, *[2] * 99, 1]
    gallery = embedded(np.arange(102)[:, None], vehicles, [0] * 102)
    found = evaluate(ONE, gallery, find_protocol("aicity-top100"))
    assert found.mean_ap == pytest.approx(1 / 4, abs=SUM_TOLERANCE)
    assert found.mean_inp == 0
    assert len(found.cmc) == 50


@pytest.mark.parametrize(
    ("ranks", "total", "step", "trapezoid"),
    [
        ([1, 2, 4, 7], 4, 0.8303571428571429, 0.8110119047619048),
        ([1, 3], 2, 5 / 6, 19 / 24),
        ([2], 1, 0.5, 0.25),
        ([1], 2, 0.5, 0.5),
        ([], 3, 0, 0),
    ],
)
def test_both_average_precisions_by_hand(ranks, total, step, trapezoid):
    # between two other lists, which must not mix with it
    lists = [np.array([1, 2]), np.array(ranks, dtype=np.int64), np.array([3])]
    steps, trapezoids = average_precisions(lists, np.array([2, total, 5]))
    assert steps == pytest.approx([1, step, 1 / 15], abs=SUM_TOLERANCE)
    assert trapezoids == pytest.approx([1, trapezoid, 1 / 30], abs=SUM_TOLERANCE)


def test_metrics_from_ranks_of_any_order():
    ranks = [np.array([1, 3]), np.array([], dtype=np.int64), np.array([2])]
    found = retrieval_metrics(ranks, protocol=find_protocol("veri776"), gallery_size=4, ties=1)
    assert found.mean_ap == pytest.approx((5 / 6 + 1 / 2) / 2, abs=SUM_TOLERANCE)
    assert found.cmc.tolist() == [0.5, 1, 1, 1]
    assert (found.num_valid, found.num_queries, found.ties) == (2, 3, 1)


def test_cmc_at():
    found = evaluate(ONE, SCENE, find_protocol("market"))
    # the curve of a gallery of five ends at rank 5; beyond it nothing changes
    assert [found.cmc_at(rank) for rank in (1, 2, 5, 10)] == [0, 1, 1, 1]
    for rank in (0, 51):
        with pytest.raises(ValueError, match=f"asked for {rank}"):
            found.cmc_at(rank)


def test_refusals():
    protocol = find_protocol("veri776")
    other = replace(SCENE, model=msgspec.structs.replace(SCENE.model, precision="fp16"))
    with pytest.raises(EmbeddingsError, match="precision"):
        evaluate(ONE, other, protocol)
    with pytest.raises(ProtocolError, match="no camera id"):
        evaluate(embedded([[0]], [1], [-1]), SCENE, protocol)
    with pytest.raises(ProtocolError, match=r"no query of set has a match.*share no vehicle"):
        evaluate(embedded([[0]], [99], [1]), SCENE, protocol)
