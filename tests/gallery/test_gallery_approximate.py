"""The approximate index: true answers, nothing hidden, recall as measured, and what is refused."""

import json
import shutil
import sys

import numpy as np
import pytest
from helpers_gallery import batch, identity, new_gallery, search_by_loop

from benchmarks.ranking.clustered import ClusterRecipe, Clusters
from mtml_deploy.errors import EmbeddingsError, MissingExtraError
from mtml_deploy.gallery.approximate.build import build_index, default_lists
from mtml_deploy.gallery.approximate.open import open_index
from mtml_deploy.gallery.approximate.search import search_approximate
from mtml_deploy.gallery.approximate.tune import _ladder, _recall, tune_index
from mtml_deploy.gallery.folder.gallery import FolderGallery, create_folder_gallery
from mtml_deploy.gallery.index_manifest import index_path, load_index_manifest, rows_path
from mtml_deploy.gallery.values import Filter, GalleryError, Hits, NewRows, RowRecord, Selection

pytest.importorskip("faiss", reason="needs faiss, the extra of approximate indexes")

DIM = 24
ROWS = 2000
CLUSTERS = Clusters(ClusterRecipe(queries=20, gallery=ROWS, vehicles=60, dim=DIM))
QUERY, _ = CLUSTERS.block(1, 0, 20)
VECTORS, LABELS = CLUSTERS.block(2, 0, ROWS)
MODEL = identity(dim=DIM)


def rows_of(first: int, stop: int) -> NewRows:
    """Images first..stop - 1 of the set; image i becomes row i + 1 where all are added in order."""
    return batch(
        VECTORS[first:stop],
        contents=[str(i) for i in range(first, stop)],
        dim=DIM,
        camera_id=LABELS.camera_ids[first:stop].tolist(),
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """1,600 rows in several files, indexed; tests copy it."""
    folder = tmp_path_factory.mktemp("built") / "g"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mtml_deploy.gallery.folder.writer.SEGMENT_BYTES", 500 * DIM * 4)
        with new_gallery(folder, dim=DIM) as gallery:
            gallery.add_rows(rows_of(0, 1600))
            build_index(gallery)
    return folder


@pytest.fixture
def gallery(built, tmp_path):
    shutil.copytree(built, tmp_path / "g")
    with FolderGallery(tmp_path / "g", write=True) as opened:
        yield opened


def ask(gallery, *, probes, top_k=10, where=Filter(), query=QUERY):  # noqa: B008 - frozen
    index = open_index(gallery)
    return search_approximate(
        gallery, index, query, model=MODEL, top_k=top_k, probes=probes, where=where
    )


def require_true(hits, rows, *, query=QUERY):
    """Every hit is a row of `rows` with its distance; nearest first, ties by row; none twice."""
    for point, found, distances in zip(query, hits.rows, hits.distances, strict=True):
        places = []
        for row, distance in zip(found.tolist(), distances, strict=True):
            exact = float(np.square(rows[row].astype(np.float64) - point).sum())
            assert np.float32(np.sqrt(exact)) == distance
            places.append((exact, row))
        assert places == sorted(places)
        assert len(set(found.tolist())) == len(found)


def test_hits_are_true_and_few_are_missed(gallery):
    rows = {i + 1: vector for i, vector in enumerate(VECTORS[:1600])}
    expected = search_by_loop(rows, QUERY, 10)[0]
    shares = []
    for probes in (1, 4, load_index_manifest(gallery.folder).lists):
        hits = ask(gallery, probes=probes)
        assert hits.rows.shape == (20, 10)
        require_true(hits, rows)
        shares.append(np.mean([
            len(set(found) & set(truth)) / 10
            for found, truth in zip(hits.rows.tolist(), expected, strict=True)
        ]))  # fmt: skip
    assert shares[0] < 1.0, "one list of many cannot find everything: the index was not used"
    assert shares == sorted(shares)
    assert shares[-1] == 1.0  # all lists: 8-bit codes alone, with room for their error


def test_new_rows_are_seen_and_removed_ones_are_not(gallery):
    gallery.add_rows(rows_of(1600, ROWS))
    nearest = [row[0] for row in search_by_loop(dict(enumerate(VECTORS, 1)), QUERY, 1)[0]]
    gallery.remove(Selection(rows=tuple({*nearest, 1650, 1, 500})))
    rows = {i + 1: v for i, v in enumerate(VECTORS) if i + 1 not in {*nearest, 1650, 1, 500}}
    new = {row: vector for row, vector in rows.items() if row > 1600}
    for _ in range(2):
        hits = ask(gallery, probes=1)
        require_true(hits, rows)
        # every new row that belongs before the last hit is there, whatever list it would be in
        truth, distances = search_by_loop(new, QUERY, 10)
        last = hits.distances[:, -1]
        for i, found in enumerate(hits.rows.tolist()):
            near = {row for row, d in zip(truth[i], distances[i], strict=True) if d < last[i]}
            assert near <= set(found)
        gallery.compact()  # rows move to other files, their numbers stay
    everything = load_index_manifest(gallery.folder).lists
    assert ask(gallery, probes=everything).rows.tolist() == search_by_loop(rows, QUERY, 10)[0]


def test_filters_and_lists_as_long_as_an_exact_search_gives(gallery):
    gallery.add_rows(rows_of(1600, 1700))
    cameras = LABELS.camera_ids[:1700]
    rare = int(np.argmin(np.bincount(cameras[:1600], minlength=20)))
    for where, allowed in (
        (Filter(cameras=(rare,)), cameras == rare),
        (Filter(not_cameras=(rare,)), cameras != rare),
        (Filter(cameras=(99,)), cameras == 99),
    ):
        rows = {i + 1: VECTORS[i] for i in np.flatnonzero(allowed).tolist()}
        for top_k in (3, 2000):
            hits = ask(gallery, probes=1, top_k=top_k, where=where)
            assert hits.rows.shape == (20, min(top_k, len(rows)))
            require_true(hits, rows)
            if top_k == 2000:  # there is nothing to leave out
                assert hits.rows.tolist() == search_by_loop(rows, QUERY, top_k)[0]


def test_lists_that_hold_too_few_rows_make_all_be_looked_at(gallery):
    hits = ask(gallery, probes=1, top_k=700)
    assert hits.rows.shape == (20, 700)
    require_true(hits, {i + 1: vector for i, vector in enumerate(VECTORS[:1600])})


def test_int8_galleries_are_rescored_by_their_true_vectors(tmp_path):
    with new_gallery(tmp_path / "g", dtype="int8", dim=DIM) as gallery:
        gallery.add_rows(rows_of(0, 600))
        lists = build_index(gallery).lists
        rows = {i + 1: vector for i, vector in enumerate(VECTORS[:600])}
        hits = ask(gallery, probes=lists)
        assert hits.rows.tolist() == search_by_loop(rows, QUERY, 10)[0]


def test_tuning_keeps_the_cheapest_setting_that_reaches_the_target(gallery):
    tried = []
    tuned = tune_index(gallery, recall=0.95, top_k=10, queries=QUERY, tried=tried.append)
    assert list(tuned.rungs) == tried
    assert [rung.probes for rung in tried] == list(_ladder(tuned.manifest.lists))[: len(tried)]
    assert all(rung.recall < 0.95 for rung in tried[:-1])
    tuning = load_index_manifest(gallery.folder).tuning
    assert tuning == tuned.manifest.tuning
    assert (tuning.target, tuning.top_k, tuning.queries) == (0.95, 10, 20)
    # measured anew, by the definition
    rows = {i + 1: vector for i, vector in enumerate(VECTORS[:1600])}
    expected = search_by_loop(rows, QUERY, 10)[0]
    found = ask(gallery, probes=tuning.probes).rows.tolist()
    share = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, expected, strict=True)])
    assert tuning.recall == pytest.approx(share)
    assert tuning.recall >= 0.95


def test_rows_that_ask_pass_over_themselves(gallery):
    tuned = tune_index(gallery, recall=0.01, top_k=1)
    # were a row its own answer, one list would find it always
    assert tuned.rungs[0].recall < 1.0
    assert tuned.manifest.tuning.queries == 200


def test_a_target_out_of_reach(gallery, monkeypatch):
    monkeypatch.setattr("mtml_deploy.gallery.approximate.tune._recall", lambda *_: 0.875)
    with pytest.raises(GalleryError, match=r"recall@10 0\.9: all 25 lists give 0\.8750"):
        tune_index(gallery, recall=0.9, top_k=10, queries=QUERY)
    assert load_index_manifest(gallery.folder).tuning is None


def test_recall_by_hand():
    def hits(rows, distances):
        return Hits(np.array([rows]), np.array([distances], dtype=np.float32))

    exact = [hits([1, 2, 3], [0, 1, 1]), hits([4, 5, 6], [0, 2, 3])]
    found = [hits([1, 9, 8], [0, 1, 2]), hits([4, 5, 7], [0, 2, 9])]
    # first: row 9 is as near as row 2, so it counts; 2 of 3. second: 2 of 3
    assert _recall(exact, found, None, 3) == pytest.approx(2 / 3)
    # rows 1 and 4 asked: 9 of (2, 3), 5 of (5, 6)
    assert _recall(exact, found, np.array([1, 4]), 2) == pytest.approx(1 / 2)


def test_ladder_and_default_lists():
    assert list(_ladder(1)) == [1]
    assert list(_ladder(2)) == [1, 2]
    assert list(_ladder(10)) == [1, 2, 3, 4, 6, 8, 10]
    assert list(_ladder(16)) == [1, 2, 3, 4, 6, 8, 12, 16]
    assert [default_lists(n) for n in (1, 128, 1600, 10**6)] == [1, 2, 25, 4000]


def test_files_that_were_changed_or_are_gone(gallery):
    manifest = load_index_manifest(gallery.folder)
    for path in (
        index_path(gallery.folder, manifest.name),
        rows_path(gallery.folder, manifest.name),
    ):
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(GalleryError, match=r"its sha256 is .* build it again"):
            open_index(gallery)
        path.unlink()
        with pytest.raises(GalleryError, match="its sha256 is missing"):
            open_index(gallery)
        path.write_bytes(content)
        open_index(gallery)


@pytest.mark.parametrize("text", ["{", '{"schema": 2}', '{"schema": 1, "tuning": null}'])
def test_a_damaged_manifest(gallery, text):
    (gallery.folder / "index" / "card.json").write_text(text)
    with pytest.raises(GalleryError, match=r"card\.json is damaged"):
        open_index(gallery)


def test_a_manifest_that_names_a_file_elsewhere(gallery):
    path = gallery.folder / "index" / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"name": "../../x"}))
    with pytest.raises(GalleryError, match="name is a file name"):
        open_index(gallery)


def test_the_index_of_another_gallery(gallery, tmp_path):
    with new_gallery(tmp_path / "h", dim=DIM) as other:
        other.add_rows(rows_of(100, 1700))
        build_index(other)
    shutil.rmtree(gallery.folder / "index")
    shutil.copytree(tmp_path / "h" / "index", gallery.folder / "index")
    with pytest.raises(GalleryError, match=r"another state of it: row 1 .*1600 of 1600 rows"):
        open_index(gallery)
    create_folder_gallery(tmp_path / "m", identity(dim=DIM, digit="b"))
    with FolderGallery(tmp_path / "m", write=True) as third:
        new = rows_of(0, 100)
        third.add_rows(NewRows(third.model, new.features, new.records))
        build_index(third)
    shutil.rmtree(gallery.folder / "index")
    shutil.copytree(tmp_path / "m" / "index", gallery.folder / "index")
    with pytest.raises(GalleryError, match="another model or type"):
        open_index(gallery)


def test_a_gallery_restored_from_a_backup(built, tmp_path):
    """Row numbers then come again with other vectors."""
    shutil.copytree(built, tmp_path / "g")
    with FolderGallery(tmp_path / "g", write=True) as gallery:
        gallery.add_rows(rows_of(1600, 1610))
        build_index(gallery)
    for name in ("rows.sqlite", "vectors"):
        source, target = built / name, tmp_path / "g" / name
        if source.is_dir():
            shutil.rmtree(target)
            shutil.copytree(source, target)
        else:
            shutil.copyfile(source, target)
    with FolderGallery(tmp_path / "g", write=True) as gallery:
        open_index(gallery)  # every row is in it still
        gallery.add_rows(rows_of(1700, 1705))
        with pytest.raises(GalleryError, match="row 1601 is not in it as it is now"):
            open_index(gallery)


def test_a_build_that_fails_leaves_the_old_index(gallery, monkeypatch):
    before = load_index_manifest(gallery.folder)

    def broken(*_):
        raise OSError("no room")

    with monkeypatch.context() as patch:
        patch.setattr("mtml_deploy.gallery.approximate.build.np.save", broken)
        with pytest.raises(OSError, match="no room"):
            build_index(gallery)
    assert load_index_manifest(gallery.folder) == before
    open_index(gallery)
    after = build_index(gallery, lists=3)
    names = {path.name for path in (gallery.folder / "index").iterdir()}
    assert names == {"card.json", f"{after.name}.faiss", f"{after.name}.npy"}
    assert (after.lists, after.rows, after.last_row) == (3, 1600, 1600)


def test_refusals(gallery, tmp_path):
    index = open_index(gallery)
    with pytest.raises(EmbeddingsError, match="model_sha256 is b"):
        search_approximate(
            gallery, index, QUERY, model=identity(dim=DIM, digit="b"), top_k=1, probes=1
        )  # fmt: skip
    for top_k, probes in ((0, 1), (1, 0), (1, 26)):
        with pytest.raises(ValueError, match="probes"):
            search_approximate(gallery, index, QUERY, model=MODEL, top_k=top_k, probes=probes)
    with pytest.raises(GalleryError, match="1601 lists were asked for, expected 1 to 1600"):
        build_index(gallery, lists=1601)
    with FolderGallery(gallery.folder) as reader:
        for change in (build_index, lambda g: tune_index(g, recall=0.5, top_k=1)):
            with pytest.raises(ValueError, match="write=True"):
                change(reader)
    with new_gallery(tmp_path / "h", dim=DIM) as empty:
        with pytest.raises(GalleryError, match="no rows to index"):
            build_index(empty)
        with pytest.raises(GalleryError, match="has no approximate index; build one"):
            open_index(empty)
        record = RowRecord(path="p", content="c")
        empty.add_rows(NewRows(MODEL, VECTORS[:1], (record,)))
        assert build_index(empty).lists == 1
        assert ask(empty, probes=1).rows.tolist() == [[1]] * 20
        with pytest.raises(GalleryError, match="2 or more"):
            tune_index(empty, recall=0.5, top_k=1)


def test_without_the_library(gallery, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    for use in (build_index, open_index):
        with pytest.raises(MissingExtraError, match=r"mtml-reid\[faiss\]"):
            use(gallery)
