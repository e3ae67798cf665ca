"""The approximate index of a Milvus server: measured before it is used, filters included."""

import json

import numpy as np
import pytest
from helpers_cli import ok, run
from helpers_gallery import identity, new_name, search_by_loop

from benchmarks.ranking.clustered import ClusterRecipe, Clusters
from mtml_deploy.embed.embeddings import Embeddings
from mtml_deploy.gallery.milvus import search as search_module
from mtml_deploy.gallery.milvus import tune
from mtml_deploy.gallery.milvus.client import Collection
from mtml_deploy.gallery.milvus.schema import APPROXIMATE, EXACT, index_kind
from mtml_deploy.gallery.open import create_gallery, open_collection, open_gallery
from mtml_deploy.gallery.values import Filter, GalleryError, NewRows, RowRecord, Selection
from mtml_deploy.search.error_bounds import EXTRA

DIM = 24
ROWS = 3000
"""A server makes no graph of fewer than 1,024 rows of a segment, and divides them into segments."""
MODEL = identity(dim=DIM)
CLUSTERS = Clusters(ClusterRecipe(queries=12, gallery=ROWS, vehicles=60, dim=DIM))
QUERY, _ = CLUSTERS.block(1, 0, 12)
VECTORS, _ = CLUSTERS.block(2, 0, ROWS)
KEPT = dict(enumerate(VECTORS, 1))


@pytest.fixture
def name(on_server, tmp_path) -> str:
    """Rows of one rare and many usual cameras, and of a day of times, on the server."""
    name = new_name(on_server)
    create_gallery(name, MODEL)
    records = tuple(
        RowRecord(f"{i}.jpg", str(i), camera_id=7 if i % 100 == 0 else i % 3, time_us=i * 10**6)
        for i in range(ROWS)
    )
    with open_gallery(name, write=True) as gallery:
        gallery.add_rows(NewRows(MODEL, VECTORS, records))
    unknown = np.full(len(QUERY), -1, dtype=np.int32)
    Embeddings(
        features=QUERY, vehicle_ids=unknown, camera_ids=unknown, orientations=unknown,
        tracklet_ids=unknown, names=tuple(f"q{i}" for i in range(len(QUERY))), root="/q",
        source="q", model=MODEL, unit="image",
    ).save(tmp_path / "q.npz")  # fmt: skip
    return name


def test_built_measured_used_and_given_back(name, tmp_path):
    ask = ("search", "--gallery", name, "--query", tmp_path / "q.npz", "--json", tmp_path / "h",
           "--overwrite")  # fmt: skip
    exact, _ = search_by_loop(KEPT, QUERY, 10)
    assert "has no approximate index; build one" in run(*ask, "--approximate").stderr
    assert "has no approximate index" in run("gallery", "tune", name).stderr

    assert f"mtml-deploy gallery tune {name}" in ok("gallery", "index", name).stderr
    assert "HNSW, approximate, not tuned" in ok("gallery", "info", name).stdout
    assert "cannot be searched exactly; add --approximate" in run(*ask).stderr
    assert "is not tuned" in run(*ask, "--approximate").stderr

    result = ok("gallery", "tune", name, "--recall", 0.5, "--query", tmp_path / "q.npz",
                "--exclude-camera", 1)  # fmt: skip
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["ef", "recall@10", "ms", "per", "query"]
    assert "all rows: 100 % of the rows" in result.stdout
    assert "camera 7: 1 % of the rows" in result.stdout
    assert "the given filter: 67 % of the rows" in result.stdout
    # 0.45 and 0.55 of the last time, 2999 s, to the nearest: 1350 s until 1649 s, 299 rows
    assert "1970-01-01T00:22:30+00:00 to 1970-01-01T00:27:29+00:00: 9.97 %" in result.stdout
    tuning = json.loads(ok("gallery", "info", name, "--json", "-").stdout)["tuning"]
    assert tuning["recall"] == min(one["recall"] for one in tuning["measured"]) >= 0.5
    assert len(tuning["measured"]) == 5
    # 30 to 2,009 rows that pass: all of them were compared
    assert [one["recall"] for one in tuning["measured"][1:]] == [1.0] * 4

    found = ok(*ask, "--approximate")
    assert f"recall@10 {tuning['recall']:.4f} or better" in found.stderr
    record = json.loads((tmp_path / "h").read_text())
    assert record["approximate"] == tuning
    rows = [[hit["row"] for hit in query["ranks"]] for query in record["queries"]]
    share = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(rows, exact, strict=True)])
    assert share == pytest.approx(tuning["measured"][0]["recall"])
    with open_gallery(name) as gallery:
        where = Filter(cameras=(7,))
        rare = {row: vector for row, vector in KEPT.items() if (row - 1) % 100 == 0}
        hits = gallery.search(QUERY, model=MODEL, top_k=10, where=where, approximate=True)
        truth, far = search_by_loop(rare, QUERY, len(rare))
        for query, (rows, distances) in enumerate(zip(hits.rows, hits.distances, strict=True)):
            told = dict(zip(truth[query], far[query], strict=True))
            assert [told[row] for row in rows.tolist()] == distances.tolist() == sorted(distances)

    assert "is searched exactly now" in ok("gallery", "index", name, "--exact").stderr
    with open_gallery(name) as gallery:
        assert gallery.search(QUERY, model=MODEL, top_k=10).rows.tolist() == exact
        assert gallery.summary().index is None
    assert run(*ask, "--approximate").exit_code == 1


def test_a_change_of_the_index_that_was_cut_off_is_made_again(name, monkeypatch):
    exact, _ = search_by_loop(KEPT, QUERY, 10)
    with open_collection(name) as gallery:
        client, collection = gallery.collection._client, gallery.collection.address.collection
        client.release_collection(collection)
        client.drop_index(collection, "vector")
    with pytest.raises(GalleryError, match=f"index missing, expected .* gallery index {name}"):
        open_gallery(name)
    with open_collection(name, any_index=True) as gallery:
        gallery.make_index(exact=True)
        assert index_kind(gallery.collection) == EXACT
        assert gallery.search(QUERY, model=MODEL, top_k=10).rows.tolist() == exact
        # a reader that was open before cannot take the one for the other
        with open_gallery(name) as reader:
            gallery.make_index()
            assert index_kind(gallery.collection) == APPROXIMATE
            with pytest.raises(GalleryError, match="cannot be searched exactly"):
                reader.search(QUERY, model=MODEL)
        monkeypatch.setattr(tune, "_recall", lambda *_: 0.5)
        monkeypatch.setattr(tune, "SAMPLE", 20)
        with pytest.raises(GalleryError, match=r"no setting reaches recall@10 0.99: ef \d+ gives"):
            tune.tune_index(gallery, recall=0.99, top_k=10)
        assert gallery.table.manifest().tuning is None


def test_few_rows_that_pass_are_all_compared(name, tmp_path, monkeypatch):
    """Every tenth row, where a graph lost one in eight: the first 10 of a plain loop."""
    ok("gallery", "index", name)
    ok("gallery", "tune", name, "--recall", 0.5, "--query", tmp_path / "q.npz")
    where = Filter(since_us=10**9, until_us=10**9 + 300 * 10**6)
    passing = {row: vector for row, vector in KEPT.items() if 1000 <= row - 1 < 1300}
    exact, distances = search_by_loop(passing, QUERY, 10)
    asked = []
    real = Collection.search

    def search(self, points, expression, *, limit, **how):
        asked.append((limit, how["ef"], len(how["fields"])))
        return real(self, points, expression, limit=limit, **how)

    monkeypatch.setattr(Collection, "search", search)
    with open_gallery(name) as gallery:
        hits = gallery.search(QUERY, model=MODEL, top_k=10, where=where, approximate=True)
        assert hits.rows.tolist() == exact and hits.distances.tolist() == distances
        assert asked == [(151, max(151, gallery.tuning.ef), 0)]  # half of 300, without vectors
        asked.clear()
        monkeypatch.setattr(search_module, "FEW", 299)
        gallery.search(QUERY, model=MODEL, top_k=10, where=where, approximate=True)
        gallery.search(QUERY, model=MODEL, top_k=10, approximate=True)
        assert [limit for limit, _, _ in asked] == [10 + EXTRA] * 2


def test_recall_by_hand():
    truth = tune._Truth(
        "all rows", "row > 0", 1.0, False, np.array([[5, 1, 2], [3, 4, 9]]),
        np.array([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0]], np.float32),
    )  # fmt: skip
    found = [
        (np.array([5, 1, 8]), np.array([0.0, 1.0, 9.0])),
        (np.array([3, 7, 9]), np.array([1.0, 4.0, 9.0])),  # row 7 is as near as row 4
    ]
    # query 0: rows 1, 2 are wanted, 1 is found; query 1: of 3, 4 both, as 7 counts for 4
    assert tune._recall(truth, found, np.array([5, 0]), 2) == (1 / 2 + 1) / 2
    assert tune._recall(truth, found, None, 3) == (2 / 3 + 1) / 2


def test_galleries_too_small_to_measure(on_server):
    name = new_name(on_server)
    create_gallery(name, MODEL)
    with open_gallery(name, write=True) as gallery:
        gallery.add_rows(NewRows(MODEL, VECTORS[:1], (RowRecord("a", "a"),)))
    with open_collection(name) as gallery:
        gallery.make_index()
        with pytest.raises(GalleryError, match="holds 1 rows, expected 2 or more"):
            tune.tune_index(gallery, recall=0.9, top_k=3)
        gallery.remove(Selection(rows=(1,)))
