"""A prepared gallery: one pass over its rows, and the results of the plain features."""

from dataclasses import replace

import numpy as np
import pytest
from helpers_embeddings import embedded

from mtml_deploy.evaluation.metrics import evaluate
from mtml_deploy.evaluation.protocols import find_protocol
from mtml_deploy.evaluation.stages import SearchOptions, stages
from mtml_deploy.search import distances
from mtml_deploy.search.distance_blocks import PlainOrder
from mtml_deploy.search.prepared import prepare
from mtml_deploy.search.query_expansion import ExpansionOptions, expand
from mtml_deploy.search.rank import rank
from mtml_deploy.search.rerank import RerankOptions, rerank

PLAIN = find_protocol("plain")


@pytest.fixture
def sets():
    """Queries [9, 5] and a gallery [60, 5] of few different values, so that distances tie."""
    rng = np.random.default_rng(0)
    points = rng.integers(0, 3, (69, 5)).astype(np.float32)
    vehicles = rng.integers(0, 6, 69)
    return embedded(points[:9], vehicles[:9]), embedded(points[9:], vehicles[9:])


def test_what_is_kept_of_the_rows():
    gallery = prepare(np.array([[3, 4], [0, 2], [-3, 0]], dtype=np.float32))
    # the mean is (0, 2): differences (3, 2), (0, 0), (-3, -2)
    assert gallery.squared_norms.tolist() == [25, 4, 9]
    assert gallery.terms.norms.tolist() == [5, 2, 3]
    assert gallery.terms.centre.tolist() == [0, 2]
    # lower bounds, at most a few roundings of float32 away
    assert (gallery.terms.spread <= [13, 0, 13]).all()
    assert gallery.terms.spread == pytest.approx([13, 0, 13], rel=1e-5)


def test_features_are_neither_copied_nor_prepared_again():
    features = np.ones((4, 3), dtype=np.float32)
    gallery = prepare(features)
    assert gallery.features is features
    assert prepare(gallery) is gallery
    assert prepare(np.ones((3, 4), dtype=np.float32).T).features.flags.c_contiguous


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 2e18])
def test_rows_without_an_order_are_refused(value):
    features = np.ones((3, 2), dtype=np.float32)
    features[1, 0] = value
    features[2, 1] = -value
    with pytest.raises(ValueError, match=r"gallery row 1 has norm .* must be finite"):
        prepare(features)


def test_other_types_and_shapes_are_refused():
    for features in (np.ones((3, 2)), np.ones(3, dtype=np.float32)):
        with pytest.raises(ValueError, match="gallery features must be float32"):
            prepare(features)


def test_every_result_is_that_of_the_features(sets):
    query, gallery = sets
    prepared = prepare(gallery.features)
    left_out = [np.array([row, row + 20]) for row in range(len(query))].__getitem__
    for top_k in (1, 7, 60):
        plain, found = (
            rank(query.features, given, top_k=top_k, excluded=left_out)
            for given in (gallery.features, prepared)
        )
        assert found.rows.tolist() == plain.rows.tolist()
        assert found.distances.tolist() == plain.distances.tolist()

    options = ExpansionOptions(neighbours=4)
    plain, found = (
        expand(query.features, given, options=options, excluded=left_out)
        for given in (gallery.features, prepared)
    )
    assert found.tobytes() == plain.tobytes()

    plain, found = (
        rerank(query.features, given, options=RerankOptions(k1=6, k2=3))
        for given in (gallery.features, prepared)
    )
    assert found.rank(top_k=60).rows.tolist() == plain.rank(top_k=60).rows.tolist()
    for block, expected in zip(found.blocks(), plain.blocks(), strict=True):
        for one, other in zip(block, expected, strict=True):
            assert one.distances.tobytes() == other.distances.tobytes()

    plain, found = (evaluate(query, gallery, PLAIN, prepared=given) for given in (None, prepared))
    assert found.cmc.tolist() == plain.cmc.tolist()
    assert found.average_precision.tolist() == plain.average_precision.tolist()
    assert (found.ties, found.verification) == (plain.ties, plain.verification)


@pytest.mark.parametrize("engine", ["numpy", "faiss", "ort"])
def test_one_pass_over_the_gallery_for_all_stages(sets, engine, monkeypatch):
    for library in {"faiss": ["faiss"], "ort": ["onnxruntime", "onnx"]}.get(engine, []):
        pytest.importorskip(library)
    query, gallery = sets
    passes = []
    real = distances._each_piece

    def counted(features, use):
        if np.shares_memory(features, gallery.features):
            passes.append(len(features))
        real(features, use)

    monkeypatch.setattr(distances, "_each_piece", counted)
    asked = stages(
        query,
        gallery,
        PLAIN,
        search=SearchOptions(engine=engine),
        expansion=ExpansionOptions(neighbours=3),
        reranking=RerankOptions(k1=6, k2=3),
    )
    for stage in asked:
        stage.ranking(5)
        stage.metrics()
    assert passes == [60]


def test_a_gallery_of_another_width_is_refused(sets):
    query, gallery = sets
    narrow = prepare(np.ones((60, 4), dtype=np.float32))
    message = "query has 5 dimensions, gallery 4"
    with pytest.raises(ValueError, match=message):
        rank(query.features, narrow, top_k=1)
    with pytest.raises(ValueError, match=message):
        expand(query.features, narrow, options=ExpansionOptions(neighbours=1))
    with pytest.raises(ValueError, match=message):
        PlainOrder(query.features, narrow)
    with pytest.raises(ValueError, match=r"query is \[9, 5\], gallery \[60, 4\]"):
        rerank(query.features, narrow)
    with pytest.raises(ValueError, match=r"prepared gallery \[60, 4\] .* set \[60, 5\]"):
        evaluate(query, gallery, PLAIN, prepared=narrow)


def test_evaluation_refuses_the_features_of_another_gallery(sets):
    query, gallery = sets
    other = replace(gallery, features=gallery.features + np.float32(1))
    with pytest.raises(ValueError, match="does not hold the features of set"):
        evaluate(query, gallery, PLAIN, prepared=prepare(other.features))
    # a copy of the same values will do
    copied = prepare(gallery.features.copy())
    expected = evaluate(query, gallery, PLAIN).mean_ap
    assert evaluate(query, gallery, PLAIN, prepared=copied).mean_ap == expected


def test_an_empty_gallery_is_one_too():
    empty = prepare(np.empty((0, 2), dtype=np.float32))
    assert empty.squared_norms.tolist() == []
    found = rank(np.ones((3, 2), dtype=np.float32), empty, top_k=4)
    assert found.rows.shape == (3, 0)
