"""The gallery against a plain model: added, removed, found, refused, and seen by readers."""

import importlib
import threading
from pathlib import Path

import numpy as np
import pytest
from helpers_gallery import DIM, batch, identity, new_gallery, search_by_loop
from hypothesis import given, settings
from hypothesis import strategies as st

from mtml_deploy.errors import EmbeddingsError, OutputExistsError
from mtml_deploy.gallery.folder.gallery import FolderGallery, create_folder_gallery
from mtml_deploy.gallery.folder.vectors import segment_path
from mtml_deploy.gallery.open import open_gallery
from mtml_deploy.gallery.values import Filter, GalleryError, NewRows, RowRecord, Selection
from mtml_deploy.search.rank import rank

steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 2**32 - 1), st.integers(0, 9)),
        st.tuples(st.just("remove"), st.integers(0, 2**32 - 1), st.integers(0, 4)),
        st.tuples(st.sampled_from(["compact", "reopen", "search"]), st.just(0), st.just(0)),
    ),
    max_size=14,
)


@settings(deadline=None, max_examples=40)
@given(steps, st.sampled_from(["float32", "int8"]))
def test_any_sequence_equals_the_plain_model(tmp_path_factory, sequence, dtype):
    folder = tmp_path_factory.mktemp("any") / "g"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mtml_deploy.gallery.folder.writer.SEGMENT_BYTES", 60)  # 5 or 10 rows a file
        # so few rows need bounds as well
        for module in (
            "search.error_bounds",
            "gallery.folder.search",
            "gallery.folder.int8_search",
        ):
            patch.setattr(f"mtml_deploy.{module}.EXTRA", 0)
        rows: dict[int, np.ndarray] = {}
        row_of: dict[str, int] = {}
        last = 0
        gallery = new_gallery(folder, dtype=dtype)
        reader = FolderGallery(folder)
        for kind, seed, count in [*sequence, ("search", 0, 0)]:
            rng = np.random.default_rng(seed)
            if kind == "add":
                # a coarse grid: contents repeat within and between batches
                new = batch(rng.integers(-2, 3, size=(count, DIM)))
                added = gallery.add_rows(new)
                for i, record in enumerate(new.records):
                    fresh = record.content not in row_of
                    if fresh:
                        last += 1
                        row_of[record.content] = last
                        rows[last] = new.features[i]
                    assert bool(added.is_new[i]) == fresh
                    assert int(added.rows[i]) == row_of[record.content]
            elif kind == "remove":
                chosen = tuple(int(row) for row in rng.integers(1, last + 2, size=count))
                gone = set(chosen) & set(rows)
                assert gallery.remove(Selection(rows=chosen)) == len(gone)
                for row in gone:
                    del rows[row]
                row_of = {content: row for content, row in row_of.items() if row in rows}
            elif kind == "compact":
                assert gallery.compact().kept == len(rows)
                files = 2 if dtype == "int8" else 1
                names = list((folder / "vectors").iterdir())
                assert len(names) == files * len(gallery.table.segments())
            elif kind == "reopen":
                gallery.close()
                gallery = FolderGallery(folder, write=True)
            query = rng.integers(-2, 3, size=(2, DIM)).astype(np.float32)
            for one in (gallery, reader):
                assert len(one) == len(rows)
                for top_k in (2, 7):
                    hits = one.search(query, model=identity(), top_k=top_k)
                    found = hits.rows.tolist(), hits.distances.tolist()
                    assert found == search_by_loop(rows, query, top_k)
            assert {s.record.content: s.row for s in gallery.rows()} == row_of
        assert reader.verify() == ()
        gallery.close()
        reader.close()


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_search_is_exact_on_what_is_stored(tmp_path, monkeypatch, dtype, scale):
    monkeypatch.setattr("mtml_deploy.gallery.folder.writer.SEGMENT_BYTES", 130 * 40 * 4)
    monkeypatch.setattr("mtml_deploy.gallery.folder.search._BLOCK_VALUES", 130 * 3)
    rng = np.random.default_rng(5)
    vectors = ((rng.normal(size=(400, 40)) + 3) * scale).astype(np.float32)
    query = ((rng.normal(size=(8, 40)) + 3) * scale).astype(np.float32)
    with new_gallery(tmp_path / "g", dtype=dtype, dim=40) as gallery:
        for start in range(0, 400, 57):
            gallery.add_rows(batch(vectors[start : start + 57], dim=40))
        hits = gallery.search(query, model=identity(dim=40), top_k=60)
        exported = gallery.embeddings()
        gallery.remove(Selection(rows=tuple(range(1, 401, 3))))
        gallery.compact()
        later = gallery.search(query, model=identity(dim=40), top_k=60)
    # the codes of int8 are for the scan: what decides are the float32 vectors themselves
    assert np.array_equal(exported.features, vectors)
    rows = {i + 1: vector for i, vector in enumerate(vectors)}
    assert hits.rows.tolist() == search_by_loop(rows, query, 60)[0]
    left = {row: vector for row, vector in rows.items() if row % 3 != 1}
    assert later.rows.tolist() == search_by_loop(left, query, 60)[0]
    expected = rank(query, vectors, top_k=60)  # the contract of the whole project
    assert np.array_equal(hits.rows - 1, expected.rows)
    assert np.array_equal(hits.distances, expected.distances)


def test_filters(tmp_path):
    records = {  # row: camera, time in s, orientation
        1: (0, 10, 0), 2: (1, 20, 1), 3: (-1, 30, -1), 4: (2, None, 7), 5: (0, 40, 1),
    }  # fmt: skip
    cameras, times, orientations = zip(*records.values(), strict=True)
    new = batch(
        [[row, 0, 0] for row in records],
        camera_id=cameras,
        orientation=orientations,
        time_us=[None if time is None else time * 10**6 for time in times],
    )
    second = 10**6
    cases = (
        (Filter(), [1, 2, 3, 4, 5]),
        (Filter(cameras=(0,)), [1, 5]),
        (Filter(cameras=(1, 2)), [2, 4]),
        (Filter(not_cameras=(0,)), [2, 3, 4]),
        (Filter(since_us=20 * second), [2, 3, 5]),
        (Filter(until_us=30 * second), [1, 2]),
        (Filter(since_us=20 * second, until_us=40 * second), [2, 3]),
        (Filter(orientations=(1, 7)), [2, 4, 5]),
        (Filter(cameras=(0,), orientations=(1,)), [5]),
        (Filter(cameras=(9,)), []),
    )
    with new_gallery(tmp_path / "g") as gallery:
        gallery.add_rows(new)
        query = np.zeros((1, DIM), np.float32)
        for where, expected in cases:
            hits = gallery.search(query, model=identity(), top_k=9, where=where)
            assert hits.rows.tolist() == [expected], where


def test_filter_leaves_few_of_many(tmp_path):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(300, DIM)).astype(np.float32)
    cameras = [i % 3 for i in range(300)]
    query = rng.normal(size=(4, DIM)).astype(np.float32)
    with new_gallery(tmp_path / "g") as gallery:
        gallery.add_rows(batch(vectors, camera_id=cameras))
        for top_k in (1, 90):
            hits = gallery.search(
                query, model=identity(), top_k=top_k, where=Filter(cameras=(1,))
            )  # fmt: skip
            rows = {i + 1: vector for i, vector in enumerate(vectors) if cameras[i] == 1}
            assert hits.rows.tolist() == search_by_loop(rows, query, top_k)[0]


def test_remove_by_path_and_vehicle_and_add_again(tmp_path):
    with new_gallery(tmp_path / "g") as gallery:
        new = batch(np.eye(3), vehicle_id=[7, 8, 7])
        assert gallery.add_rows(new).rows.tolist() == [1, 2, 3]
        assert gallery.remove(Selection(paths=(new.records[1].path,))) == 1
        assert gallery.remove(Selection(vehicles=(7,), rows=(2,))) == 2
        assert len(gallery) == 0
        assert gallery.search(new.features, model=identity(), top_k=1).rows.shape == (3, 0)
        # a removed image may come again, under a new number, also after compaction
        assert gallery.compact().dropped == 3
        added = gallery.add_rows(new)
        assert added.rows.tolist() == [4, 5, 6]
        assert added.is_new.all()


def test_removed_rows_leave_the_disk_with_compact(tmp_path):
    vectors = np.random.default_rng(1).normal(size=(4, 64)).astype(np.float32)
    with new_gallery(tmp_path / "g", dim=64) as gallery:
        gallery.add_rows(batch(vectors, contents=["keep", "secret-plate", "b", "c"], dim=64))
        gallery.remove(Selection(rows=(2,)))
        gallery.compact()
        content = b"".join(p.read_bytes() for p in (tmp_path / "g").rglob("*") if p.is_file())
        assert vectors[1].tobytes() not in content
        assert b"secret-plate" not in content
        assert vectors[0].tobytes() in content


def test_other_models_are_refused_at_every_use(tmp_path):
    query = np.zeros((1, DIM), np.float32)
    with new_gallery(tmp_path / "g") as gallery:
        gallery.add_rows(batch(np.eye(3)))
        other = identity(digit="b")
        with pytest.raises(EmbeddingsError, match="model_sha256 is b"):
            gallery.search(query, model=other, top_k=1)
        record = RowRecord(path="p", content="c")
        with pytest.raises(EmbeddingsError, match="model_sha256 is b"):
            gallery.add_rows(NewRows(other, query, (record,)))
        with pytest.raises(EmbeddingsError, match="dim is 4 and 3"):
            gallery.search(np.zeros((1, 4), np.float32), model=identity(dim=4), top_k=1)
        assert len(gallery) == 3


def test_vectors_of_another_gallery_are_refused(tmp_path):
    for name, digit in (("g", "a"), ("h", "b")):
        create_folder_gallery(tmp_path / name, identity(digit=digit))
        with FolderGallery(tmp_path / name, write=True) as gallery:
            new = batch(np.eye(3))
            gallery.add_rows(NewRows(identity(digit=digit), new.features, new.records))
    source = segment_path(tmp_path / "h", 1)
    segment_path(tmp_path / "g", 1).write_bytes(source.read_bytes())
    with FolderGallery(tmp_path / "g") as gallery, pytest.raises(EmbeddingsError, match="model"):
        gallery.search(np.zeros((1, DIM), np.float32), model=identity(), top_k=1)


def test_bad_vectors_are_refused_whole(tmp_path):
    with new_gallery(tmp_path / "g") as gallery:
        for value, text in ((np.nan, "not finite"), (1e19, "longer than")):
            with pytest.raises(EmbeddingsError, match=text):
                gallery.add_rows(batch([[0, 0, 0], [0, value, 0]]))
        assert len(gallery) == 0
        assert gallery.table.segments() == ()


def test_an_addition_that_fails_leaves_nothing(tmp_path, monkeypatch):
    folder = tmp_path / "g"
    with new_gallery(folder) as gallery:
        gallery.add_rows(batch(np.eye(3)))
        size = segment_path(folder, 1).stat().st_size

        def broken(*_):
            raise OSError("no room")

        with monkeypatch.context() as patch:
            # after the vectors are written, before they are recorded
            patch.setattr(type(gallery.table), "insert", broken)
            with pytest.raises(OSError, match="no room"):
                gallery.add_rows(batch(2 * np.eye(3)))
        assert len(gallery) == 3
        assert segment_path(folder, 1).stat().st_size == size + 3 * DIM * 4
    with FolderGallery(folder, write=True) as gallery:
        assert segment_path(folder, 1).stat().st_size == size  # cut to what is recorded
        assert gallery.add_rows(batch(3 * np.eye(3))).rows.tolist() == [4, 5, 6]
        assert gallery.verify() == ()


def test_vectors_are_on_disk_before_they_are_recorded(tmp_path, monkeypatch):
    import os

    events = []
    real = os.fsync
    with new_gallery(tmp_path / "g") as gallery:
        gallery.table._database.trace(lambda sql: events.append(sql.split(" ")[0]))
        monkeypatch.setattr("os.fsync", lambda handle: (events.append("fsync"), real(handle)))
        gallery.add_rows(batch(np.eye(3)))
        assert gallery.table._database.run("PRAGMA synchronous") == [(2,)]  # FULL
        assert gallery.table._database.run("PRAGMA journal_mode") == [("wal",)]
    assert "BEGIN" in events
    # head of the file, its name in the folder, its rows
    assert events.count("fsync") == 3
    assert max(i for i, event in enumerate(events) if event == "fsync") < events.index("COMMIT")


def test_one_writer_any_number_of_readers(tmp_path):
    with new_gallery(tmp_path / "g") as gallery:
        with pytest.raises(GalleryError, match=r"another process \(number \d+ on .+ since 2\d"):
            FolderGallery(tmp_path / "g", write=True)
        with open_gallery(str(tmp_path / "g")) as reader:
            assert len(reader) == 0
            gallery.add_rows(batch(np.eye(3)))
            assert len(reader) == 3
            with pytest.raises(ValueError, match="write=True"):
                reader.add_rows(batch(np.eye(3)))
            with pytest.raises(ValueError, match="write=True"):
                reader.remove(Selection(rows=(1,)))
    FolderGallery(tmp_path / "g", write=True).close()


def test_a_reader_sees_whole_batches_only(tmp_path, monkeypatch):
    # batches of 7 across files of 16 rows; each batch has its own vehicle
    monkeypatch.setattr("mtml_deploy.gallery.folder.writer.SEGMENT_BYTES", 16 * DIM * 4)
    folder = tmp_path / "g"
    gallery = new_gallery(folder)
    gallery.close()
    failures: list[BaseException] = []

    def write() -> None:
        try:
            with FolderGallery(folder, write=True) as writer:
                for number in range(40):
                    base = np.arange(7 * DIM).reshape(7, DIM) + 100 * number
                    added = writer.add_rows(batch(base, vehicle_id=[number] * 7))
                    if number % 10 == 9:  # rows of the first of these batches go, files change
                        writer.remove(Selection(vehicles=(number - 9,)))
                        writer.compact()
                    assert added.is_new.all()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    seen = []
    with FolderGallery(folder) as reader:
        while True:
            alive = thread.is_alive()
            hits = reader.search(np.zeros((1, DIM), np.float32), model=identity(), top_k=1000)
            assert hits.rows.shape[1] % 7 == 0
            seen.append(hits.rows.shape[1])
            if not alive:
                break
    thread.join()
    assert not failures
    assert seen[-1] == 36 * 7
    assert len(set(seen)) > 2, "the reader never ran beside the writer"


def test_names_of_other_kinds_and_places_without_a_gallery(tmp_path):
    with pytest.raises(GalleryError, match="of the kind 'other'"):
        open_gallery("other://host:19530/cars")
    with pytest.raises(GalleryError, match="is not a gallery"):
        open_gallery(str(tmp_path))
    create_folder_gallery(tmp_path / "g", identity())
    with pytest.raises(OutputExistsError):
        create_folder_gallery(tmp_path / "g", identity())
    (tmp_path / "g" / "gallery.json").write_text('{"schema": 3}')
    with pytest.raises(GalleryError, match="schema is 3, this version reads 2; use the version"):
        open_gallery(str(tmp_path / "g"))
    (tmp_path / "g" / "gallery.json").write_text("{")
    with pytest.raises(GalleryError, match="damaged"):
        open_gallery(str(tmp_path / "g"))


@pytest.mark.parametrize("write", [False, True])
def test_a_damaged_record_is_an_error(tmp_path, write):
    create_folder_gallery(tmp_path / "g", identity())
    (tmp_path / "g" / "rows.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(GalleryError, match=r"rows\.sqlite"):
        FolderGallery(tmp_path / "g", write=write)
    (tmp_path / "g" / "rows.sqlite").unlink()
    with pytest.raises(GalleryError, match=r"rows\.sqlite"):
        FolderGallery(tmp_path / "g", write=write)


def test_export_names_rows_below_their_common_folder(tmp_path):
    with new_gallery(tmp_path / "g") as gallery:
        with pytest.raises(GalleryError, match="no rows"):
            gallery.embeddings()
        for i, path in enumerate(("/a/b/1.png", "/a/c/2.png")):
            record = RowRecord(path=path, content=str(i), vehicle_id=i, time_us=5)
            gallery.add_rows(NewRows(identity(), np.full((1, DIM), i, np.float32), (record,)))
        found = gallery.embeddings()
        assert (found.root, found.names) == ("/a", ("b/1.png", "c/2.png"))
        record = RowRecord(path="s3://cars/3.png", content="3")
        gallery.add_rows(NewRows(identity(), np.full((1, DIM), 3, np.float32), (record,)))
        gallery.remove(Selection(rows=(2,)))
        found = gallery.embeddings()
        assert (found.root, found.names) == ("", ("/a/b/1.png", "s3://cars/3.png"))
        assert found.vehicle_ids.tolist() == [0, -1]
        assert found.features[:, 0].tolist() == [0, 3]
        assert found.model == identity()


def test_records_out_of_range_are_refused():
    for wrong in (
        {"vehicle_id": -2}, {"camera_id": 1 << 31}, {"orientation": 8}, {"time_us": 1 << 63},
        {"content": ""},
    ):  # fmt: skip
        with pytest.raises(ValueError):
            RowRecord(**{"path": "p", "content": "c", **wrong})
    with pytest.raises(ValueError, match="float32"):
        NewRows(identity(), np.zeros((2, DIM)), (RowRecord("p", "c"),))


def test_a_lock_file_of_a_process_that_is_gone_is_no_obstacle(tmp_path: Path):
    create_folder_gallery(tmp_path / "g", identity())
    (tmp_path / "g" / "writer.lock").write_text("1\n")
    FolderGallery(tmp_path / "g", write=True).close()


@pytest.mark.parametrize(
    ("place", "use"),
    [
        (
            "folder.view.map_rows",
            lambda g: g.search(np.eye(3, dtype="f4"), model=identity(), top_k=9),
        ),
        ("folder.verify.segment_state", lambda g: g.verify()),
        ("folder.export.read_stored", lambda g: g.embeddings()),
    ],
)
def test_files_that_a_compaction_replaces_meanwhile(tmp_path, monkeypatch, place, use):
    monkeypatch.setattr("mtml_deploy.gallery.folder.writer.SEGMENT_BYTES", 4 * DIM * 4)
    with new_gallery(tmp_path / "g") as writer, FolderGallery(tmp_path / "g") as reader:
        writer.add_rows(batch(np.arange(8 * DIM).reshape(8, DIM)))
        writer.remove(Selection(rows=(2,)))
        module, _, name = place.rpartition(".")
        target = importlib.import_module(f"mtml_deploy.gallery.{module}")
        real = getattr(target, name)
        calls = []

        def late(*arguments):
            if not calls:  # after the places of the rows were read, before their files are opened
                writer.compact()
            calls.append(name)
            return real(*arguments)

        monkeypatch.setattr(target, name, late)
        found = use(reader)
        assert len(calls) > 1
    if place == "folder.verify.segment_state":
        assert found == ()
    elif place == "folder.view.map_rows":
        assert [sorted(rows) for rows in found.rows.tolist()] == [[1, 3, 4, 5, 6, 7, 8]] * 3
    else:
        assert found.features[:, 0].tolist() == [DIM * i for i in (0, 2, 3, 4, 5, 6, 7)]


def test_order_that_float32_products_cannot_see(tmp_path):
    # 300 rows whose squared distances are below 0.1 beside squared norms of 5e8, and as many on the
    # other side so that the mean is far from both: float32 resolves 30 of such a product
    rng = np.random.default_rng(0)
    base = rng.normal(size=512).astype(np.float32) * 1000
    vectors = np.concatenate([np.repeat(base[None], 300, axis=0), np.repeat(-base[None], 300, 0)])
    steps = rng.permutation(300)
    vectors[:300, 0] = np.float32(0.5) + steps.astype(np.float32) / 1024
    query = base[None].copy()
    query[0, 0] = 0.5
    with new_gallery(tmp_path / "g", dim=512) as gallery:
        gallery.add_rows(batch(vectors, contents=[str(i) for i in range(600)], dim=512))
        hits = gallery.search(query, model=identity(dim=512), top_k=50)
    assert (hits.rows[0] - 1).tolist() == np.argsort(steps)[:50].tolist()


def test_what_is_kept_for_the_bounds(tmp_path, monkeypatch):
    float32_rounding = 2.0**-23  # of the kept number, and of the norm computed here
    monkeypatch.setattr("mtml_deploy.gallery.folder.writer.SEGMENT_BYTES", 30 * 40 * 4)
    rng = np.random.default_rng(3)
    vectors = (rng.normal(size=(70, 40)) + 5).astype(np.float32)
    with new_gallery(tmp_path / "g", dim=40) as gallery:
        for start in range(0, 70, 20):
            gallery.add_rows(batch(vectors[start : start + 20], dim=40))
        gallery.remove(Selection(rows=(1, 50)))
        for _ in range(2):
            stored = dict(enumerate(vectors.astype(np.float64), start=1))
            centres = {part.number: part.centre for part in gallery.table.segments()}
            for values in gallery.table.numbers():
                vector = stored[int(values["row"])]
                assert values["norm"] == pytest.approx(np.linalg.norm(vector), rel=float32_rounding)
                exact = np.square(vector - centres[int(values["segment"])]).sum()
                # a little below, for the eight roundings that bounds allow
                assert (1 - 16 * float32_rounding) * exact <= values["spread"] <= exact
            gallery.compact()
