"""`mtml-deploy search` beyond the exact list: re-ranking, approximate, bounded; `gallery index`."""

import json
from pathlib import Path

import pytest
from helpers_cli import ok, run
from helpers_embeddings import embedded
from helpers_gallery import batch, identity

from benchmarks.ranking.clustered import ClusterRecipe, Clusters
from mtml_deploy.cli.gallery_search import Finding, chosen_finder
from mtml_deploy.gallery.folder.gallery import FolderGallery, create_folder_gallery
from mtml_deploy.gallery.values import Filter, GalleryError
from mtml_deploy.search.rerank import rerank

DIM = 16
QUERIES = 4
ROWS = 400
CLUSTERS = Clusters(ClusterRecipe(queries=QUERIES, gallery=ROWS, vehicles=20, dim=DIM))
QUERY, _ = CLUSTERS.block(1, 0, QUERIES)
VECTORS, LABELS = CLUSTERS.block(2, 0, ROWS)


def refused(*words: object, text: str, status: int = 1) -> None:
    result = run(*words)
    assert result.exit_code == status, result.output
    assert text in result.stderr
    assert "Traceback" not in result.output


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A gallery `g` with rows of 20 cameras and an embeddings file of queries, `q.npz`."""
    create_folder_gallery(tmp_path / "g", identity(dim=DIM), dtype="int8")
    with FolderGallery(tmp_path / "g", write=True) as gallery:
        gallery.add_rows(batch(VECTORS, dim=DIM, camera_id=LABELS.camera_ids.tolist()))
    queries = embedded(
        QUERY, names=(f"{i}.jpg" for i in range(QUERIES)), source="made up", model=identity(dim=DIM)
    )
    queries.save(tmp_path / "q.npz")
    return tmp_path


def search(place: Path, *words: object) -> dict:
    out = place / "out.json"
    ok("search", "--gallery", place / "g", "--query", place / "q.npz",
       "--json", out, "--overwrite", *words)  # fmt: skip
    return json.loads(out.read_text())


def rows(found: dict) -> list[list[int]]:
    return [[hit["row"] for hit in query["ranks"]] for query in found["queries"]]


def test_reranked_lists(place: Path) -> None:
    found = search(place, "--rerank", "--top-k", 5)  # 400 rows: all are in the shortlist
    plain = search(place, "--top-k", ROWS)
    assert plain["rerank"] is None
    assert plain["queries"][0]["ranks"][0]["place_before"] is None
    assert found["rerank"] == {"k1": 20, "k2": 6, "weight": 0.3, "shortlist": 1000}
    for i, query in enumerate(found["queries"]):
        expected = rerank(QUERY[i : i + 1], VECTORS).rank(top_k=5)
        assert [hit["row"] - 1 for hit in query["ranks"]] == expected.rows[0].tolist()
        values = [hit["reranked"] for hit in query["ranks"]]
        assert values == expected.distances[0].tolist()
        for hit in query["ranks"]:
            before = plain["queries"][i]["ranks"][hit["place_before"] - 1]
            assert (before["row"], before["distance"]) == (hit["row"], hit["distance"])
    text = ok("search", "--gallery", place / "g", "--query", place / "q.npz", "--rerank").stdout
    assert " re-ranked 0." in text.splitlines()[1]
    assert ", was " in text.splitlines()[1]


def test_a_shorter_shortlist_and_a_filter(place: Path) -> None:
    camera = int(LABELS.camera_ids[0])
    found = search(
        place, "--rerank", "--shortlist", 8, "--top-k", 8, "--camera", camera, "--k1", 4, "--k2", 2
    )
    exact = search(place, "--top-k", 8, "--camera", camera)
    assert [sorted(one) for one in rows(found)] == [sorted(one) for one in rows(exact)]
    assert {hit["camera_id"] for query in found["queries"] for hit in query["ranks"]} == {camera}
    assert found["rerank"]["shortlist"] == 8


def test_options_that_do_not_fit(place: Path) -> None:
    words = ("search", "--gallery", place / "g", "--query", place / "q.npz")
    refused(*words, "--shortlist", 5, text="add --rerank", status=2)
    refused(*words, "--rerank", "--shortlist", 5, text="raise --shortlist", status=2)
    refused(*words, "--memory-gib", 0, text="memory-gib", status=2)
    refused(*words, "--memory-gib", 0.001, text="allow as much: --memory-gib 0.03")
    refused(*words, "--approximate", text="is always searched exactly")


def test_bounded_memory_gives_the_same_lists(place: Path) -> None:
    assert rows(search(place, "--memory-gib", 0.04)) == rows(search(place))


def test_what_only_a_folder_or_only_a_server_has(place: Path, milvus_lite) -> None:
    class Server:
        model = identity(dim=DIM)

    with pytest.raises(GalleryError, match="is not a folder"):
        chosen_finder(Server(), "milvus://h/c", Filter(), Finding(memory_bytes=2**30))
    for name in (place / "g", f"{milvus_lite}x"):
        for command in ("index", "tune"):
            refused("gallery", command, name, text=f"{name} is always searched exactly, expected")
