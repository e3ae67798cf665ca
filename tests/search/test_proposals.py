"""Every engine gives the same ranking, bit for bit, and its bounds hold for every row."""

import importlib.util
import logging
import sys

import numpy as np
import pytest
from helpers_gpu import require_gpu, skip_if_absent

from mtml_deploy.errors import BackendError, MissingExtraError, MtmlError
from mtml_deploy.search.candidates import tiles
from mtml_deploy.search.candidates.open import open_engine
from mtml_deploy.search.distances import squared_distances
from mtml_deploy.search.prepared import prepare
from mtml_deploy.search.rank import rank

LIBRARIES = {"numpy": (), "faiss": ("faiss",), "ort": ("onnxruntime", "onnx")}


def opened(name, gallery, *, count, memory_bytes=None):
    return open_engine(name, prepare(gallery), device="cpu", count=count, memory_bytes=memory_bytes)


@pytest.fixture(params=sorted(LIBRARIES))
def engine(request):
    for library in LIBRARIES[request.param]:
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"{library} is not installed")
    return request.param


def relu(rng, size, dim, offset=0.0):
    """Features after a ReLU, with a common part."""
    return (np.maximum(rng.normal(0.5, 1, (size, dim)), 0) + offset).astype(np.float32)


def plain(rng):
    return relu(rng, 40, 48), relu(rng, 700, 48)


def few_queries(rng):  # fewer than FAISS sends to BLAS
    return relu(rng, 3, 48), relu(rng, 700, 48)


def grid(rng):  # masses of ties
    points = rng.integers(0, 2, (340, 6)).astype(np.float32)
    return points[:40], points[40:]


def duplicates(rng):  # more equal rows than candidates
    gallery = np.repeat(relu(rng, 20, 16), 30, axis=0)
    return relu(rng, 30, 16), gallery[rng.permutation(600)]


def large_offset(rng):
    return relu(rng, 30, 64, 1e4), relu(rng, 500, 64, 1e4)


def unequal_norms(rng):
    gallery = relu(rng, 400, 24) * np.float32(10) ** rng.integers(-12, 12, (400, 1))
    return relu(rng, 30, 24), gallery.astype(np.float32)


def tiny_values(rng):
    return relu(rng, 30, 24) * np.float32(1e-30), relu(rng, 300, 24) * np.float32(1e-30)


def denormal_products(rng):
    return relu(rng, 30, 24) * np.float32(1e-22), relu(rng, 300, 24) * np.float32(1e-22)


def huge_values(rng):
    return relu(rng, 30, 24) * np.float32(1e17), relu(rng, 300, 24) * np.float32(1e17)


CASES = (
    plain,
    few_queries,
    grid,
    duplicates,
    large_offset,
    unequal_norms,
    tiny_values,
    denormal_products,
    huge_values,
)


def rank_by_loop(query, gallery, top_k, left_out):
    rows, distances = [], []
    for point, absent in zip(query, left_out, strict=True):
        exact = squared_distances(point, gallery, np.arange(len(gallery)))
        order = np.lexsort((np.arange(len(gallery)), exact))
        order = order[~np.isin(order, absent)][:top_k]
        missing = min(top_k, len(gallery)) - len(order)
        rows.append([*order.tolist(), *[-1] * missing])
        distances.append([*np.sqrt(exact[order]).astype(np.float32).tolist(), *[np.inf] * missing])
    return rows, distances


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
@pytest.mark.parametrize("top_k", [1, 20, 10_000])
def test_the_same_ranking(engine, case, top_k):
    rng = np.random.default_rng(5)
    query, gallery = case(rng)
    left_out = [np.flatnonzero(rng.random(len(gallery)) < share) for share in
                rng.choice([0, 0.02, 0.9, 1], len(query))]  # fmt: skip
    found = rank(query, gallery, top_k=top_k, excluded=left_out.__getitem__, engine=engine)
    rows, distances = rank_by_loop(query, gallery, top_k, left_out)
    assert found.rows.tolist() == rows
    assert found.distances.tolist() == distances


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_no_row_that_is_not_listed_is_below_the_floor(engine, case):
    query, gallery = case(np.random.default_rng(6))
    left_out = [np.array([0, 7])] * len(query)
    proposed = opened(engine, gallery, count=5).propose(query, left_out, 5)
    for row, point in enumerate(query):
        proposal = proposed(row)
        exact = squared_distances(point, gallery, np.arange(len(gallery)))
        assert not np.isin(left_out[row], proposal.rows).any()
        listed = np.union1d(proposal.rows, left_out[row])
        others = np.setdiff1d(np.arange(len(gallery)), listed)
        if np.isinf(proposal.floor):  # then the places wanted are surely among those listed
            fifth = np.sort(exact[proposal.rows])[4]
            assert len(others) == 0 or exact[others].min() >= fifth
        else:
            assert exact[others].min() >= proposal.floor


def test_floors_prove_ordinary_lists(engine, caplog):
    rng = np.random.default_rng(7)
    query, gallery = relu(rng, 50, 256), relu(rng, 2000, 256)
    with caplog.at_level(logging.INFO, logger="mtml_deploy.search.rank"):
        rank(query, gallery, top_k=20, engine=engine)
    assert not caplog.records


def test_queries_without_proof_are_counted(engine, caplog):
    query, gallery = duplicates(np.random.default_rng(8))
    with caplog.at_level(logging.INFO, logger="mtml_deploy.search.rank"):
        found = rank(query, gallery, top_k=10, engine=engine)
    # 30 copies of the nearest row: the 10th place ties with rows beyond the 26 candidates
    expected = 0 if engine == "numpy" else 1
    assert len(caplog.records) == expected
    assert all("30 of 30 queries" in record.getMessage() for record in caplog.records)
    assert found.rows.tolist() == rank_by_loop(query, gallery, 10, [[]] * 30)[0]


@pytest.mark.parametrize("values", [48, 48 * 37, 1 << 24])
def test_tiles_and_blocks_change_nothing(engine, monkeypatch, values):
    rng = np.random.default_rng(9)
    query, gallery = plain(rng)
    expected = rank(query, gallery, top_k=30)
    monkeypatch.setattr(tiles, "_TILE_VALUES", values)
    monkeypatch.setattr(tiles, "_BLOCK_QUERIES", 17)
    found = rank(query, gallery, top_k=30, engine=engine)
    assert np.array_equal(found.rows, expected.rows)
    assert np.array_equal(found.distances, expected.distances)


def worst_case(rng, near, unit):
    """What a float32 library may give at its worst: near rows pushed away, far rows pulled in."""
    middle = np.median(near, axis=1, keepdims=True)
    return np.where(near < middle, near + unit, near - unit)


@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_the_worst_rounding_of_a_product_changes_nothing(monkeypatch, offset):
    rng = np.random.default_rng(10)
    query, gallery = relu(rng, 20, 4000, offset), relu(rng, 300, 4000, offset)
    # rows at nearly equal distances, which rounding to the worst side brings out of order
    gallery = (gallery[:1] + (gallery - gallery[:1]) * np.float32(1e-2)).astype(np.float32)
    expected = rank_by_loop(query, gallery, 150, [[]] * 20)

    def product(points, rows, out):
        wide, others = points.astype(np.float64), rows.astype(np.float64)
        bound = (
            4000 * 2.0**-24 * np.outer(np.linalg.norm(wide, axis=1), np.linalg.norm(others, axis=0))
        )
        out[:] = worst_case(rng, wide @ others, bound)

    monkeypatch.setattr(np, "matmul", product)
    found = rank(query, gallery, top_k=150)
    assert (found.rows.tolist(), found.distances.tolist()) == expected


def test_the_worst_rounding_of_a_library_changes_nothing(monkeypatch):
    rng = np.random.default_rng(11)
    query, gallery = relu(rng, 20, 4000), relu(rng, 300, 4000)
    gallery = (gallery[:1] + (gallery - gallery[:1]) * np.float32(1e-2)).astype(np.float32)
    expected = rank_by_loop(query, gallery, 100, [[]] * 20)

    class Worst:
        pair_bytes = 0
        keeps = False

        def load(self, tile):
            self.tile = tile.astype(np.float64)
            return self

        def nearest(self, query, count):
            wide = query.astype(np.float64)
            near = np.square(wide[:, None] - self.tile).sum(axis=2)
            both = np.linalg.norm(wide, axis=1)[:, None] + np.linalg.norm(self.tile, axis=1)
            near = worst_case(rng, near, 4000 * 2.0**-24 * both**2)
            rows = np.argsort(near, axis=1)[:, :count]
            return np.take_along_axis(near, rows, axis=1), rows

    monkeypatch.setattr("mtml_deploy.search.candidates.faiss_tiles.FaissTiles", Worst)
    found = rank(query, gallery, top_k=100, engine="faiss")
    assert (found.rows.tolist(), found.distances.tolist()) == expected


def test_a_list_with_gaps_is_not_trusted():
    class Gaps:
        pair_bytes = 0
        keeps = False

        def load(self, tile):
            return self

        def nearest(self, query, count):
            near = np.full((len(query), count), 1e30)
            return near, np.full((len(query), count), -1)

    gallery = np.ones((100, 3), dtype=np.float32)
    engine = tiles.TiledEngine(Gaps(), prepare(gallery), count=2, memory_bytes=None)
    proposal = engine.propose(gallery[:1], [np.empty(0, np.int64)], 2)(0)
    assert len(proposal.rows) == 0
    assert proposal.floor == 0


@pytest.mark.gpu
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
@pytest.mark.parametrize("top_k", [1, 20, 10_000])
def test_a_gpu_gives_the_same_ranking(monkeypatch, case, top_k):
    require_gpu("ort")
    query, gallery = case(np.random.default_rng(12))
    expected = rank(query, gallery, top_k=top_k)
    monkeypatch.setattr(tiles, "_TILE_VALUES", 100 * gallery.shape[1])
    try:
        found = rank(query, gallery, top_k=top_k, engine="ort", device="cuda:0")
    except MtmlError as error:
        skip_if_absent("ort", error)
    assert np.array_equal(found.rows, expected.rows)
    assert np.array_equal(found.distances, expected.distances)


def test_only_onnx_runtime_knows_other_devices():
    points = np.ones((2, 3), dtype=np.float32)
    with pytest.raises(BackendError, match="engine numpy searches on the CPU, asked for cuda:0"):
        rank(points, points, top_k=1, device="cuda:0")
    with pytest.raises(ValueError, match="engine is 'annoy', expected one of numpy, faiss, ort"):
        rank(points, points, top_k=1, engine="annoy")


@pytest.mark.parametrize(("engine", "missing", "extra"), [
    ("faiss", "faiss", "faiss"), ("ort", "onnxruntime", "cpu"), ("ort", "onnx", "onnx")
])  # fmt: skip
def test_a_missing_library_is_named(monkeypatch, engine, missing, extra):
    if engine == "ort" and missing != "onnxruntime":
        pytest.importorskip("onnxruntime")
    monkeypatch.setitem(sys.modules, missing, None)
    points = np.ones((2, 3), dtype=np.float32)
    with pytest.raises(MissingExtraError, match=rf"mtml-reid\[{extra}\]"):
        rank(points, points, top_k=1, engine=engine)
