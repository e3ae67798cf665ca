"""Ranking benchmark: what is timed, that results agree, and the arithmetic; never how fast."""

import importlib.machinery
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import helpers_ranking
import numpy as np
import pytest
from click.testing import CliRunner, Result

import benchmarks.ranking.topk
from benchmarks.__main__ import main
from benchmarks.measure.process import Entrant, FreshProcess, Outcome, Work, measure_entrants
from benchmarks.measure.rounds import Contender, Series, in_words
from benchmarks.ranking.clustered import ClusterRecipe, Labels, write_clustered
from benchmarks.ranking.data import equal_share, float32_distances, load_features, load_set
from benchmarks.ranking.evaluate import evaluate_entrants, summarise_evaluate
from benchmarks.ranking.gallery import gallery_entrants, summarise_gallery
from benchmarks.ranking.metrics import compare, judged_by_argsort
from benchmarks.ranking.peers import Peer, absent_peers, find_peers, load_evaluation
from benchmarks.ranking.rerank import rerank_entrants, summarise_rerank
from benchmarks.ranking.sizes import QUICK, RERANK_SIZES, SIZES, plan_ranking, record_kind
from benchmarks.ranking.stores import filtered_rows, store_entrants
from benchmarks.ranking.topk import summarise_topk, topk_entrants
from mtml_deploy.errors import BackendError, DataError
from mtml_deploy.evaluation.metrics import evaluate
from mtml_deploy.evaluation.protocols import find_protocol
from mtml_deploy.search.distances import squared_distances
from mtml_deploy.search.rank import rank
from mtml_deploy.search.rerank import RerankOptions, estimate_bytes, rerank

ROOT = Path(__file__).parents[2]
FLOAT32_TOLERANCE = 1e-5  # squared distances of a few dozen, from a float32 product
MEMORY_TOLERANCE = 0.02  # Linux counts pages in batches, and the interpreter takes some too
RERANKED_TOLERANCE = 1e-6  # distances 0..1 from float32 ones
METRIC_TOLERANCE = 1e-12  # the same fractions added in another order
RECIPE = ClusterRecipe(QUICK.queries, QUICK.gallery, QUICK.vehicles, QUICK.dims[0])


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clusters")
    write_clustered(RECIPE, folder)
    return folder


def done(entrant: Entrant) -> dict[str, np.ndarray]:
    """Result of an entrant's timed work, in this process."""
    work: Work = entrant.prepare()
    work.warm_up()
    found = [act() for act in work.timed]
    return {name: np.concatenate([item[name] for item in found]) for name in found[0]}


def require_order(rows, expected, distances_of, tolerance: float, key: str = "") -> None:
    """Each place holds the expected row or one as far, by the float64 distances, but for float32.

    Two rows that are as good as equally far may stand either way round: which, the last bits of a
    float32 product decide, and those depend on the processor.
    """
    assert rows.shape == expected.shape
    for query_row, (found, wanted) in enumerate(zip(rows, expected, strict=True)):
        assert len(set(found.tolist())) == len(found), key
        far = np.abs(distances_of(query_row, found) - distances_of(query_row, wanted))
        assert far.max() <= tolerance, (key, query_row)


def squared_to(data: Path):
    """Query row, gallery rows -> squared distances."""
    query, gallery = load_features(data, "query"), load_features(data, "gallery")
    return lambda row, rows: squared_distances(query[row], gallery, rows)


def outcome(key: str, seconds: float, peak: float, growth: int = 1, **result) -> Outcome:
    return Outcome(
        Series(key, key.upper(), "W.", "s", (seconds,)),
        Series(f"{key}_memory", f"{key.upper()}, memory", "W.", "B", (peak,)),
        (growth,),
        {name: np.array(values) for name, values in result.items()},
    )


def values_of(summary) -> dict[str, float]:
    return {item.key: item.value for item in summary.ratios}


def bars_of(summary) -> dict[str, float]:
    return {i.key: i.at_least for i in summary.ratios if i.at_least is not None}


# --- made-up embeddings --------------------------------------------------------------------------


def test_embeddings_are_the_same_every_time_and_of_the_seed(data: Path, tmp_path: Path):
    write_clustered(RECIPE, tmp_path)
    for part in ("query", "gallery"):
        first, again = load_set(data, part), load_set(tmp_path, part)
        assert (first.features == again.features).all()
        assert (first.vehicle_ids == again.vehicle_ids).all()
        assert (first.camera_ids == again.camera_ids).all()
    write_clustered(ClusterRecipe(40, 300, 12, 32, seed=1), tmp_path)
    assert (load_features(tmp_path, "gallery") != load_features(data, "gallery")).any()


def test_embeddings_look_like_those_after_a_relu(data: Path):
    query, gallery = load_set(data, "query"), load_set(data, "gallery")
    assert query.features.shape == (40, 32)
    assert gallery.features.shape == (300, 32)
    assert gallery.features.min() == 0
    assert 0.3 < (gallery.features == 0).mean() < 0.8
    assert set(gallery.vehicle_ids) == set(range(12))
    assert set(gallery.camera_ids) <= set(range(20))
    # queries are other images than those of the gallery
    assert not (query.features[:, None] == gallery.features[None, :40]).all(axis=2).any()


def test_they_are_neither_hopeless_nor_easy(data: Path):
    found = evaluate(load_set(data, "query"), load_set(data, "gallery"), find_protocol("veri776"))
    assert found.num_valid == 40
    chance = 1 / 12
    assert 2 * chance < found.mean_ap < 0.9


def test_passages_lie_closest_then_vehicles(data: Path):
    gallery = load_set(data, "gallery")
    distances = float32_distances(gallery.features, gallery.features)
    vehicle = gallery.vehicle_ids[:, None] == gallery.vehicle_ids
    passage = vehicle & (gallery.camera_ids[:, None] == gallery.camera_ids)
    other = ~np.eye(300, dtype=bool)
    means = [distances[m & other].mean() for m in (passage, vehicle & ~passage, ~vehicle)]
    assert means == sorted(means)
    with pytest.raises(ValueError, match="at least 1"):
        ClusterRecipe(1, 0, 1, 1)


def test_float32_distances_are_squared_and_not_negative():
    left = np.array([[0, 0], [3, 4]], dtype=np.float32)
    right = np.array([[3, 4], [0, 1], [3, 0]], dtype=np.float32)
    assert float32_distances(left, right).tolist() == [[25, 1, 9], [0, 18, 16]]
    same = np.random.default_rng(0).normal(size=(50, 40)).astype(np.float32)
    found = float32_distances(same, same)
    assert found.min() >= 0
    loop = [[np.square(a - b).sum() for b in same.astype(np.float64)] for a in same]
    assert np.abs(found - loop).max() <= FLOAT32_TOLERANCE * np.max(loop)


def test_share_of_equal_positions():
    assert equal_share(np.array([[1, 2], [3, 4]]), np.array([[1, 2], [4, 3]])) == 0.5
    with pytest.raises(ValueError, match="rank lists"):
        equal_share(np.zeros((1, 2)), np.zeros((1, 1)))


# --- processes -----------------------------------------------------------------------------------


@pytest.fixture
def importable(monkeypatch):
    """New processes can import the helpers of the tests."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))


def process(work, tmp_path: Path, threads: int = 3) -> FreshProcess:
    return FreshProcess(Entrant("e", "E", "W.", work), threads=threads, scratch=tmp_path)


def test_every_run_is_a_new_process_with_its_threads(importable, tmp_path: Path):
    run = process(helpers_ranking.environment_work, tmp_path)
    found = []
    for _ in range(2):
        assert run.measure() > 0
        found.append(int(run.result["pid"][0]))
        assert run.result["threads"].tolist() == [3, 3, 3]
    assert len({os.getpid(), *found}) == 3
    assert len(run.peaks) == len(run.growths) == 2
    assert list(tmp_path.iterdir()) == []


def test_the_warm_up_comes_first_and_every_timed_call_is_kept(importable, tmp_path: Path):
    run = process(helpers_ranking.counting_work, tmp_path)
    run.measure()
    assert run.result["before"].tolist() == [1, 2, 3]


def test_memory_is_of_the_child_and_counts_what_was_freed(importable, tmp_path: Path):
    ours = np.ones(2 * helpers_ranking.BIG_BYTES // 8)  # must not be seen
    run = process(helpers_ranking.big_work, tmp_path)
    run.measure()
    assert run.result["sum"][0] == helpers_ranking.BIG_BYTES / 8
    assert abs(run.growths[0] / helpers_ranking.BIG_BYTES - 1) <= MEMORY_TOLERANCE
    assert run.growths[0] < run.peaks[0] < ours.nbytes


def test_a_process_that_fails_says_why(importable, tmp_path: Path):
    with pytest.raises(BackendError, match=r"E ended with status 1: RuntimeError: no such kernel"):
        process(helpers_ranking.failing_work, tmp_path).measure()
    with pytest.raises(BackendError, match=r"status -9: it said nothing.*smaller size"):
        process(helpers_ranking.killed_work, tmp_path).measure()
    assert list(tmp_path.iterdir()) == []


def test_entrants_and_limits_take_turns(importable, tmp_path: Path):
    said: list[str] = []
    limit = Contender("l", "L", "W.", "FLOP/s", lambda: 2e9)
    work = helpers_ranking.counting_work
    entrants = [Entrant("a", "A", "Does a.", work), Entrant("b", "B", "Does b.", work)]
    outcomes, limits = measure_entrants(
        entrants, limits=[limit], rounds=2, threads=1, scratch=tmp_path, say=said.append, settle_s=0
    )
    assert [line.split(": ")[1].split()[0] for line in said] == ["A", "B", "L"] * 2
    assert list(outcomes) == ["a", "b"]
    assert len(outcomes["a"].seconds.values) == len(outcomes["a"].peak.values) == 2
    assert outcomes["a"].seconds.what == "Does a."
    assert (outcomes["b"].seconds.unit, outcomes["b"].peak.unit) == ("s", "B")
    assert limits["l"].values == (2e9, 2e9)


def test_units_are_for_people():
    def shown(value: float, unit) -> str:
        return in_words(value, Series("k", "T", "W.", unit, (1.0,)))

    assert shown(0.0132, "s") == "13.2 ms"
    assert shown(26.8, "s") == "26.80 s"
    assert shown(389 * 2**20, "B") == "389 MiB"
    assert shown(3.1e10, "B/s") == "31.0 GB/s"


def test_what_our_searches_import_is_not_counted_as_memory():
    code = (
        "import sys, benchmarks.ranking.topk, benchmarks.ranking.evaluate\n"
        "import benchmarks.ranking.rerank, benchmarks.ranking.gallery, benchmarks.measure.child\n"
        "heavy = {'torch', 'faiss', 'lancedb', 'pyarrow', 'onnx', 'onnxruntime'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


# --- equal results -------------------------------------------------------------------------------


def test_all_searches_find_the_same_rows(data: Path, monkeypatch):
    pytest.importorskip("torch")
    entrants, absent = topk_entrants(data)
    found = {entrant.key: done(entrant)["rows"] for entrant in entrants}
    expected = rank(load_features(data, "query"), load_features(data, "gallery"), top_k=100).rows
    assert {"topk", "topk_argsort", "topk_torch"} <= found.keys()
    for key, rows in found.items():
        require_order(rows, expected, squared_to(data), FLOAT32_TOLERANCE, key)
    assert len(found) + 3 * len(absent) == 6  # FAISS is three of them
    monkeypatch.setattr(benchmarks.ranking.topk, "find_spec", lambda name: None)
    entrants, absent = topk_entrants(data)
    assert [entrant.key for entrant in entrants] == ["topk", "topk_argsort", "topk_torch"]
    assert absent == ("FAISS: not installed, not measured.",)


def test_all_galleries_find_the_same_rows(data: Path, tmp_path: Path):
    for path in data.iterdir():
        (tmp_path / path.name).symlink_to(path)
    for store in store_entrants(tmp_path):
        done(store)
    entrants, _ = gallery_entrants(tmp_path)
    found = {entrant.key: done(entrant).get("rows") for entrant in entrants}
    expected = rank(load_features(data, "query"), load_features(data, "gallery"), top_k=100).rows
    for key, rows in found.items():
        if key in ("gallery_product", "gallery_filtered_product", "gallery_reading"):
            assert rows.size == 0  # they choose nothing
        elif key == "gallery_filtered":
            passing = filtered_rows(300)
            few = load_features(data, "gallery")[passing]
            expected_few = passing[rank(load_features(data, "query"), few, top_k=100).rows]
            assert rows.tolist() == expected_few[:30].tolist()
            assert rows.shape == (30, 3)  # one of a hundred
        else:
            assert rows.tolist() == expected[:30].tolist(), key


def test_evaluation_as_a_whole_and_after_the_distances_agree_with_argsort(data: Path):
    found = {entrant.key: done(entrant) for entrant in evaluate_entrants(data, ())}
    ours = evaluate(load_set(data, "query"), load_set(data, "gallery"), find_protocol("veri776"))
    assert list(found) == [
        "evaluation", "evaluation_argsort", "after_distances", "after_distances_argsort",
    ]  # fmt: skip
    for values in found.values():
        assert abs(values["mean_ap"][0] - ours.mean_ap) <= METRIC_TOLERANCE
        assert abs(values["mean_inp"][0] - ours.mean_inp) <= METRIC_TOLERANCE
        assert np.abs(values["cmc"] - ours.cmc).max() <= METRIC_TOLERANCE


def test_the_rule_by_hand():
    # query of vehicle 7, camera 0; by distance: 7 of camera 0 (left out), 3, 7, 5, 7
    labels = Labels(np.array([7, 3, 7, 5, 7]), np.array([0, 0, 1, 1, 2]))
    query = Labels(np.array([7, 9]), np.array([0, 0]))  # vehicle 9 has no match: skipped
    distances = np.array([[1, 2, 3, 4, 5]] * 2, dtype=np.float32)
    found = judged_by_argsort(distances, query, labels, 3)
    assert found.mean_ap == (1 / 2 + 2 / 4) / 2
    assert found.mean_inp == 2 / 4
    assert found.cmc.tolist() == [0, 1, 1]


def test_metrics_are_compared_in_words():
    ours = {"mean_ap": [0.5], "mean_inp": [0.25], "cmc": [0.5, 1.0]}
    other = {"mean_ap": [0.500001], "mean_inp": [np.nan], "cmc": [0.5, 0.9]}
    assert compare(ours, other) == (
        "mAP 0.500000 and 0.500001, equal (largest difference 1.0e-06); "
        "CMC DIFFERENT (largest difference 1.0e-01)."
    )


# --- peers ---------------------------------------------------------------------------------------


def checkout(folder: Path) -> Peer:
    """A peer whose re-ranking is the plain definition and whose evaluation is a Python file."""
    rerank_file = folder / "torchreid" / "utils" / "rerank.py"
    rerank_file.parent.mkdir(parents=True)
    rerank_file.write_text(
        f"import numpy as np\n\n\n{inspect.getsource(helpers_ranking.re_ranking)}"
    )
    cython = folder / "torchreid" / "metrics" / "rank_cylib"
    cython.mkdir(parents=True)
    (cython / "rank_cy.py").write_text(
        "def evaluate_cy(distmat, q_pids, g_pids, q_camids, g_camids, max_rank):\n"
        "    ids = [a.dtype.name + str(a.tolist()) for a in (q_pids, g_pids, q_camids, g_camids)]\n"
        "    assert ids == ['int64[7]', 'int64[3, 7]', 'int64[0]', 'int64[1, 2]'], ids\n"
        "    return [0.25] * max_rank, [0.5, 1.0], [0.25]\n"
    )
    return Peer("torchreid", folder)


def test_a_peer_that_follows_the_definition_gives_our_order(data: Path, tmp_path: Path):
    entrants, absent = rerank_entrants(data, (checkout(tmp_path),), size=QUICK)
    assert absent == ()
    ours, theirs = (done(entrant)["rows"] for entrant in entrants)
    assert ours.shape == (40, 100)
    order = rerank(load_features(data, "query"), load_features(data, "gallery"))
    require_order(theirs, ours, order.distances, RERANKED_TOLERANCE)


def test_an_order_that_is_not_the_expected_one_is_seen():
    def far(query_row, rows):
        return np.array([0.0, 1.0, 1.0 + 1e-9, 2.0])[rows]

    ours = np.array([[0, 1, 2, 3]])
    require_order(np.array([[0, 2, 1, 3]]), ours, far, FLOAT32_TOLERANCE)
    for wrong in ([0, 1, 3, 2], [1, 0, 2, 3], [0, 1, 1, 3]):
        with pytest.raises(AssertionError):
            require_order(np.array([wrong]), ours, far, FLOAT32_TOLERANCE)


def test_the_evaluation_of_a_peer_gets_labels_in_its_order(tmp_path: Path, monkeypatch):
    peer = checkout(tmp_path)
    monkeypatch.setattr(importlib.machinery, "EXTENSION_SUFFIXES", [".py"])
    judge = load_evaluation(peer)
    query = Labels(np.array([7], dtype=np.int32), np.array([0], dtype=np.int32))
    gallery = Labels(np.array([3, 7], dtype=np.int32), np.array([1, 2], dtype=np.int32))
    found = judge(np.zeros((1, 2), dtype=np.float32), query, gallery, 2)
    assert found.cmc.tolist() == [0.25, 0.25]
    assert (found.mean_ap, found.mean_inp) == (0.75, 0.25)


def test_a_peer_that_is_not_ready_says_what_to_do(tmp_path: Path):
    peer = checkout(tmp_path)
    with pytest.raises(DataError, match=r"rank_cylib holds no rank_cy.*compile it"):
        peer.compiled_evaluation()
    compiled = tmp_path / "torchreid/metrics/rank_cylib"
    (compiled / f"rank_cy{importlib.machinery.EXTENSION_SUFFIXES[0]}").write_bytes(b"not a library")
    with pytest.raises(DataError, match="cannot be loaded"):
        load_evaluation(peer)
    with pytest.raises(DataError, match=r"rerank\.py is missing.*--help"):
        Peer("fast-reid", tmp_path).reranking()


def test_sources_that_are_not_the_published_ones_are_named(tmp_path: Path):
    text = checkout(tmp_path).describe()
    assert "torchreid: patched, or of another version than commit f8cd150" in text
    assert "rank_cy.pyx (sha256 missing)" in text
    assert "rerank.py (sha256 " in text


def test_peers_are_those_that_were_named(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (peer,) = find_peers(None, Path("here"))
    assert (peer.name, peer.folder) == ("fast-reid", tmp_path / "here")
    assert absent_peers((peer,)) == ("torchreid: not installed, not measured.",)
    assert [p.name for p in find_peers(Path("a"), Path("b"))] == ["torchreid", "fast-reid"]


def test_dense_peers_do_not_run_at_100k(tmp_path: Path):
    entrants, absent = rerank_entrants(
        tmp_path, (Peer("torchreid", tmp_path),), size=RERANK_SIZES["100k"]
    )
    assert [entrant.key for entrant in entrants] == ["rerank"]
    # 100,000^2 float32 values are 37.25 GiB
    assert absent == (
        "torchreid: not run, it needs 37 GiB for each of its 100000 x 100000 matrices.",
    )


# --- ratios and bars -----------------------------------------------------------------------------


def test_topk_is_compared_with_the_limit_and_with_peers():
    rows = {"rows": [[1, 2]]}
    outcomes = {
        "topk": outcome("topk", 2.0, 100, **rows),
        "topk_torch": outcome("topk_torch", 3.0, 250, rows=[[1, 3]]),
    }
    size, dim = SIZES["veri"], 8192
    flop = 2 * 1_678 * 11_579 * 8192
    limit = Series("limit", "LIMIT", "W.", "FLOP/s", (flop / 1.8,))
    summary = summarise_topk(outcomes, limit, size=size, dim=dim)
    assert summary.series[0].values == (flop / 2,)
    found = values_of(summary)
    assert found["topk_arithmetic/limit"] == pytest.approx(0.9)
    assert found["topk_torch/topk"] == 1.5
    assert found["topk_torch_memory/topk_memory"] == 2.5
    assert bars_of(summary) == {"topk_arithmetic/limit": 0.85}
    assert summary.notes == ("TOPK_TORCH: 50.000 % of all positions hold the same row.",)
    assert bars_of(summarise_topk(outcomes, limit, size=size, dim=1024)) == {}
    assert bars_of(summarise_topk(outcomes, limit, size=SIZES["100k"], dim=8192)) == {}


def test_evaluation_has_its_bar_after_the_distances():
    metrics = {"mean_ap": [0.5], "mean_inp": [0.5], "cmc": [1.0]}
    outcomes = {
        key: outcome(key, seconds, 10, **metrics)
        for key, seconds in {
            "evaluation": 2.0, "evaluation_argsort": 5.0, "after_distances": 0.5,
            "after_distances_argsort": 3.0, "evaluation_fastreid": 3.0,
            "after_distances_fastreid": 2.5,
        }.items()
    }  # fmt: skip
    summary = summarise_evaluate(outcomes, size=SIZES["veri"])
    found = values_of(summary)
    assert found["evaluation_fastreid/evaluation"] == 1.5
    assert found["after_distances_fastreid/after_distances"] == 5
    assert found["after_distances_argsort/after_distances"] == 6
    assert bars_of(summary) == {"after_distances_fastreid/after_distances": 4}
    assert any(note.startswith("EVALUATION_FASTREID: mAP 0.5") for note in summary.notes)
    assert bars_of(summarise_evaluate(outcomes, size=SIZES["100k"])) == {}


def test_reranking_is_compared_with_peers_its_estimate_and_the_machine():
    rows = {"rows": [[1, 2, 3, 4]]}
    outcomes = {
        "rerank": outcome("rerank", 5.0, 400, growth=100, **rows),
        "rerank_torchreid": outcome("rerank_torchreid", 35.0, 4000, rows=[[1, 2, 4, 3]]),
    }
    size = RERANK_SIZES["veri"]
    summary = summarise_rerank(outcomes, size=size, dim=1024)
    found = values_of(summary)
    expected = estimate_bytes(1_678, 11_579, 1024, options=RerankOptions()) / 100
    assert found["rerank_estimate/rerank_growth"] == expected
    assert found["rerank_torchreid/rerank"] == 7
    assert found["rerank_torchreid_memory/rerank_memory"] == 10
    assert bars_of(summary) == {
        "rerank_estimate/rerank_growth": 1,
        "rerank_torchreid/rerank": 6,
        "rerank_torchreid_memory/rerank_memory": 8,
    }
    assert "50.000 % of the first 4 positions" in summary.notes[0]
    alone = {"rerank": outcomes["rerank"]}
    summary = summarise_rerank(alone, size=RERANK_SIZES["100k"], dim=1024)
    assert values_of(summary)["memory_limit/rerank_memory"] == 24 * 2**30 / 400
    assert bars_of(summary).keys() == {
        "rerank_estimate/rerank_growth", "memory_limit/rerank_memory",
    }  # fmt: skip


def test_the_gallery_is_compared_with_the_bare_product():
    seconds = {"gallery": 0.02, "gallery_product": 0.016, "gallery_reading": 0.01,
               "gallery_memory": 0.025, "gallery_lancedb": 0.2,
               "gallery_filtered": 0.004, "gallery_filtered_product": 0.001}  # fmt: skip
    outcomes = {key: outcome(key, value, 10, rows=[[1]]) for key, value in seconds.items()}
    summary = summarise_gallery(outcomes, size=SIZES["100k"], dim=1024)
    found = values_of(summary)
    assert found["gallery_product/gallery"] == pytest.approx(0.8)
    assert found["gallery_product/gallery_memory"] == pytest.approx(0.64)
    assert found["gallery_bandwidth/gallery_reading_bandwidth"] == pytest.approx(0.5)
    assert found["gallery_lancedb/gallery"] == pytest.approx(10)
    assert found["gallery/gallery_filtered"] == pytest.approx(5)
    assert found["gallery_filtered_product/gallery_filtered"] == pytest.approx(0.25)
    assert bars_of(summary) == {
        "gallery_product/gallery": 1 / 1.5, "gallery_product/gallery_memory": 1 / 1.5,
    }  # fmt: skip
    bandwidth = next(s for s in summary.series if s.key == "gallery_reading_bandwidth")
    assert bandwidth.values == (4 * 100_000 * 1024 / 0.01,)
    assert bars_of(summarise_gallery(outcomes, size=SIZES["1m"], dim=1024)) == {}


# --- plan and command line -----------------------------------------------------------------------


def kinds(*plan) -> list[str]:
    return [record_kind(*item) for item in plan]


def test_the_plan_leaves_out_what_outweighs_the_rest():
    assert kinds(*plan_ranking((), "veri", quick=False)) == [
        "ranking-topk-veri-1024", "ranking-topk-veri-8192", "ranking-evaluate-veri-1024",
        "ranking-rerank-veri-1024", "ranking-gallery-veri-1024",
    ]  # fmt: skip
    assert kinds(*plan_ranking((), "1m", quick=False)) == [
        "ranking-topk-1m-1024", "ranking-evaluate-1m-1024", "ranking-gallery-1m-1024",
    ]  # fmt: skip
    ((_, size, _),) = plan_ranking(("rerank", "rerank"), "100k", quick=False)
    assert size.queries + size.gallery == 100_000
    assert len(plan_ranking((), "1m", quick=True)) == 4
    with pytest.raises(DataError, match=r"rerank has no size 1m.*--size veri or --size 100k"):
        plan_ranking(("topk", "rerank"), "1m", quick=False)


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def test_the_command_measures_with_a_peer_from_a_relative_folder(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkout(tmp_path / "peer")
    words = ("ranking", "--out", "out", "--quick", "--case", "rerank", "--model-threads", 1,
             "--peer-torchreid", "peer")  # fmt: skip
    result = run(*words)
    assert result.exit_code == 0, result.output
    page = (tmp_path / "out" / "ranking-rerank-quick-32.md").read_text()
    assert result.stdout.strip() == page.strip()
    assert "fast-reid: not installed, not measured." in page
    assert "torchreid: patched, or of another version" in page
    record = json.loads((tmp_path / "out" / "ranking-rerank-quick-32.json").read_text())
    assert record["schema"] == 1
    assert (record["settings"]["queries"], record["settings"]["threads"]) == (40, 1)
    series = {item["key"]: item for item in record["series"]}
    assert series["rerank"]["runs"] == 1
    assert series["rerank_torchreid_memory"]["unit"] == "B"
    ratios = {item["key"]: item for item in record["ratios"]}
    assert ratios["rerank_torchreid/rerank"]["at_least"] is None  # no bar at this size
    said = [re.search(r"([\d.]+) % of the first 100 positions", note) for note in record["notes"]]
    (share,) = [float(found[1]) for found in said if found]
    assert share >= 99  # the peer's float32 distances may turn a near tie round
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "ranking-rerank-quick-32.json", "ranking-rerank-quick-32.md",
    ]  # fmt: skip
    again = run(*words)
    assert again.exit_code == 1
    assert "exists already" in again.stderr


def test_what_the_user_can_fix_is_one_line(tmp_path: Path):
    bad = run("ranking", "--out", tmp_path, "--case", "rerank", "--size", "1m")
    assert (bad.exit_code, bad.stderr.count("\n")) == (1, 1)
    assert "rerank has no size 1m" in bad.stderr
    bad = run("ranking", "--out", tmp_path, "--quick", "--case", "evaluate",
              "--peer-fast-reid", tmp_path / "none")  # fmt: skip
    assert bad.exit_code == 1
    assert "compiled evaluation of fast-reid" in bad.stderr
    assert list(tmp_path.iterdir()) == []


def test_help_needs_no_heavy_library_and_tells_how_to_compile():
    code = (
        "import sys\n"
        "for name in ('torch', 'numpy', 'faiss', 'lancedb', 'onnx', 'PIL'):\n"
        "    sys.modules[name] = None\n"
        "from benchmarks.__main__ import main\n"
        "main(['ranking', '--help'])\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "setup.py build_ext --inplace" in ran.stdout
