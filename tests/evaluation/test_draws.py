"""Drawn galleries: what is pooled, what is drawn, and metrics against a plain loop."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from helpers_embeddings import embedded
from hypothesis import given, settings
from hypothesis import strategies as st

from mtml_deploy.errors import EmbeddingsError, ProtocolError
from mtml_deploy.evaluation.protocols import find_protocol
from mtml_deploy.evaluation.random_galleries import (
    DrawnMetrics,
    ImagePool,
    draw_gallery,
    evaluate_draws,
    pool_images,
)
from mtml_deploy.search.distances import squared_distances
from mtml_deploy.search.rerank import RerankOptions, rerank

RULE = find_protocol("vehicleid")
SUM_TOLERANCE = 1e-12  # the same fractions added in another order, in float64


def pooled(images):
    return ImagePool(images, copies=0, unknown=0)


def test_copies_are_pooled_once_and_unknown_vehicles_left_out():
    gallery = embedded(
        [[1, 0], [0, 1], [5, 5], [1, 1]],
        [1, 1, -1, 2],
        names=["t/a", "t/b", "t/c", "t/d"],
        source="G",
    )
    query = embedded(
        # a copy with another rounding; a name of another vehicle; a name with another picture
        [[1, 1e-6], [0, 1], [3, 3]], [1, 2, 2], names=["q/a", "q/b", "q/d"], source="Q"
    )  # fmt: skip
    found = pool_images(gallery, query)
    assert found.images.names == ("t/a", "t/b", "t/d", "q/b", "q/d")
    assert found.images.vehicle_ids.tolist() == [1, 1, 2, 2, 2]
    assert (found.copies, found.unknown) == (1, 1)
    assert found.images.source == "G and Q"
    assert pool_images(gallery).images.names == ("t/a", "t/b", "t/d")


def test_another_camera_is_another_image():
    gallery = embedded([[1], [1]], [1, 1], [1, 2], ["c1/a", "c2/a"])
    assert pool_images(gallery).copies == 0
    assert pool_images(replace(gallery, camera_ids=np.array([1, 1], dtype=np.int32))).copies == 1


def test_sets_that_do_not_belong_together_are_refused():
    images = embedded([[1], [2]], [1, 1])
    other = replace(images, model=msgspec.structs.replace(images.model, precision="fp16"))
    with pytest.raises(EmbeddingsError, match="precision"):
        pool_images(images, other)
    with pytest.raises(ProtocolError, match="one kind"):
        pool_images(images, replace(images, unit="tracklet"))


def test_each_draw_takes_one_image_of_each_vehicle_whatever_their_order():
    vehicles = [1, 2, 2, 3, 3, 3]
    images = embedded(np.arange(6)[:, None], vehicles)
    order = [4, 0, 5, 2, 1, 3]
    shuffled = replace(
        images,
        vehicle_ids=images.vehicle_ids[order],
        names=tuple(images.names[row] for row in order),
    )
    chosen = set()
    for draw in range(20):
        drawn = draw_gallery(images, seed=0, draw=draw)
        assert images.vehicle_ids[drawn].tolist() == [1, 2, 3]
        assert drawn[order].tolist() == draw_gallery(shuffled, seed=0, draw=draw).tolist()
        chosen.add(tuple(drawn))
    assert len(chosen) > 3
    assert any(
        (draw_gallery(images, seed=0, draw=n) != draw_gallery(images, seed=1, draw=n)).any()
        for n in range(5)
    )


def test_every_image_is_drawn_equally_often():
    images = embedded(np.arange(4)[:, None], [7] * 4)
    draws = 4000
    counts = sum(draw_gallery(images, seed=3, draw=n).astype(int) for n in range(draws))
    # five standard deviations of a binomial count
    assert np.abs(counts - draws / 4).max() < 5 * np.sqrt(draws * 1 / 4 * 3 / 4)


def by_loop(images, drawn):
    """mAP, trapezoid mAP, mINP and CMC@1, 2 of one draw, one query after the other."""
    gallery = np.flatnonzero(drawn)
    values = []
    for q in np.flatnonzero(~drawn):
        exact = squared_distances(images.features[q], images.features, gallery)
        order = sorted(range(len(gallery)), key=lambda g: (exact[g], g))
        rank = 1 + [images.vehicle_ids[gallery[g]] for g in order].index(images.vehicle_ids[q])
        trapezoid = 1.0 if rank == 1 else 1 / rank / 2
        values.append((1 / rank, trapezoid, 1 / rank, rank <= 1, rank <= 2))
    return np.mean(np.array(values, dtype=float), axis=0)


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.integers(1, 8), st.booleans())
def test_equals_the_plain_loop(seed, size, vehicles, coarse):
    rng = np.random.default_rng(seed)
    features = rng.integers(0, 3, (size, 2)) if coarse else rng.normal(size=(size, 2))
    images = embedded(features, rng.integers(0, vehicles, size))
    found_vehicles = len(set(images.vehicle_ids.tolist()))
    if found_vehicles == size:
        with pytest.raises(ProtocolError, match="has two images"):
            evaluate_draws(pooled(images), RULE, draws=1, seed=0)
        return
    (found,) = evaluate_draws(pooled(images), RULE, draws=3, seed=seed)
    assert found.gallery_size == found_vehicles
    for draw, metrics in enumerate(found.draws):
        drawn = draw_gallery(images, seed=seed, draw=draw)
        expected = by_loop(images, drawn)
        values = (metrics.mean_ap, metrics.mean_ap_trapezoid, metrics.mean_inp,
                  metrics.cmc_at(1), metrics.cmc_at(2))  # fmt: skip
        assert values == pytest.approx(expected, abs=SUM_TOLERANCE)
        assert metrics.num_valid == metrics.num_queries == size - found_vehicles


def test_spread_over_draws():
    images = embedded([[0], [1], [10], [2], [11]], [1, 1, 2, 2, 2])
    (found,) = evaluate_draws(pooled(images), RULE, draws=5, seed=1)
    ap = [drawn.mean_ap for drawn in found.draws]
    assert len(set(ap)) > 1
    spread = found.spread(lambda drawn: drawn.mean_ap)
    mean = sum(ap) / 5
    assert spread.mean == pytest.approx(mean, abs=SUM_TOLERANCE)
    deviation = (sum((value - mean) ** 2 for value in ap) / 4) ** 0.5
    assert spread.std == pytest.approx(deviation, abs=SUM_TOLERANCE)
    assert (spread.low, spread.high) == (min(ap), max(ap))
    assert found.mean_ap == pytest.approx(mean, abs=SUM_TOLERANCE)
    first = [drawn.cmc[0] for drawn in found.draws]
    assert found.cmc[0] == pytest.approx(sum(first) / 5, abs=SUM_TOLERANCE)
    # too few pairs for any false positive rate
    assert found.spread(lambda drawn: drawn.verification.tpr[0]) is None
    alone = replace(found, draws=found.draws[:1])
    assert alone.spread(lambda drawn: drawn.mean_ap).std is None


def test_equal_seeds_draw_equally_and_fewer_draws_are_the_first():
    images = embedded(np.random.default_rng(0).normal(size=(30, 3)), [n % 4 for n in range(30)])
    (ten,) = evaluate_draws(pooled(images), RULE, draws=10, seed=5)
    (three,) = evaluate_draws(pooled(images), RULE, draws=3, seed=5)
    assert isinstance(ten, DrawnMetrics)
    assert [d.mean_ap for d in ten.draws[:3]] == [d.mean_ap for d in three.draws]


def test_each_draw_is_reranked_by_itself():
    rng = np.random.default_rng(0)
    vehicles = [n % 6 for n in range(48)]
    images = embedded(rng.normal(size=(6, 4))[vehicles] + rng.normal(size=(48, 4)), vehicles)
    options, steps = RerankOptions(k1=4, k2=2, weight=0.2), []
    before, found = evaluate_draws(
        pooled(images), RULE, draws=3, seed=0, reranking=options,
        progress=lambda done, total: steps.append((done, total)),
    )  # fmt: skip
    assert steps == [(1, 3), (2, 3), (3, 3)]
    for draw, metrics in enumerate(found.draws):
        drawn = draw_gallery(images, seed=0, draw=draw)
        query, gallery = images.features[~drawn], images.features[drawn]
        rows = rerank(query, gallery, options=options).rank(top_k=6).rows
        ids = images.vehicle_ids[drawn][rows]  # [Q, 6]
        ranks = 1 + np.argmax(ids == images.vehicle_ids[~drawn, None], axis=1)
        assert metrics.mean_ap == pytest.approx((1 / ranks).mean(), abs=SUM_TOLERANCE)
    (plain,) = evaluate_draws(pooled(images), RULE, draws=3, seed=0)
    assert found.mean_ap != before.mean_ap == plain.mean_ap


def test_refusals():
    images = pooled(embedded([[0], [1]], [1, 1]))
    for draws, rule in ((0, RULE), (1, find_protocol("plain"))):
        with pytest.raises(ValueError, match=f"{draws} draws"):
            evaluate_draws(images, rule, draws=draws, seed=0)
    with pytest.raises(ProtocolError, match=r"0 vehicles .*\(2 images are of unknown"):
        evaluate_draws(pool_images(embedded([[0], [1]], [-1, -1])), RULE, draws=1, seed=0)
