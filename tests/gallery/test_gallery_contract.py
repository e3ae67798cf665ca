"""What every kind of gallery does alike: in a folder, on milvus-lite, on a Milvus server."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from helpers_gallery import batch, identity, new_name, search_by_loop

from mtml_deploy.data.clock import FIRST_US, LAST_US, UNKNOWN_TIME
from mtml_deploy.data.ids import NamedId
from mtml_deploy.embed.embeddings import Embeddings
from mtml_deploy.errors import EmbeddingsError, OutputExistsError
from mtml_deploy.gallery.open import create_gallery, open_gallery
from mtml_deploy.gallery.values import (
    Filter,
    GalleryError,
    NewLabels,
    NewRows,
    RowRecord,
    Selection,
)

DIM = 16
MODEL = identity(dim=DIM)


@pytest.fixture(params=["folder", "milvus-lite", "milvus"])
def name(request, tmp_path) -> str:
    """A name under which there is no gallery yet."""
    if request.param == "folder":
        return str(tmp_path / "g")
    fixture = "milvus_lite" if request.param == "milvus-lite" else "on_server"
    return new_name(request.getfixturevalue(fixture))


@pytest.fixture(params=["folder", "milvus-lite", "milvus"])
def gallery(request, tmp_path):
    """A new one, open for writing."""
    if request.param == "milvus":
        name = request.getfixturevalue("made_on_server")(DIM)
    else:
        lite = request.param == "milvus-lite"
        name = new_name(request.getfixturevalue("milvus_lite")) if lite else str(tmp_path / "g")
        create_gallery(name, MODEL)
    with open_gallery(name, write=True) as opened:
        yield opened


def vectors(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)


def found(gallery, query, top_k=9, where=Filter()):  # noqa: B008 - frozen
    hits = gallery.search(query, model=MODEL, top_k=top_k, where=where)
    assert hits.rows.dtype == np.int64
    assert hits.distances.dtype == np.float32
    return hits.rows.tolist(), hits.distances.tolist()


def test_a_new_gallery_is_empty_and_is_not_made_twice(name):
    create_gallery(name, MODEL)
    with pytest.raises(OutputExistsError, match="exists already and was left as it is"):
        create_gallery(name, MODEL)
    with open_gallery(name) as gallery:
        assert gallery.model == MODEL
        assert len(gallery) == 0
        assert list(gallery.rows()) == []
        assert gallery.holds(["x"]) == {}
        assert gallery.verify() == ()
        assert found(gallery, vectors(2)) == ([[], []], [[], []])
        with pytest.raises(GalleryError, match="no rows to export"):
            gallery.embeddings()


def test_no_gallery_there(name):
    with pytest.raises(GalleryError, match="mtml-deploy gallery create"):
        open_gallery(name)


def test_numbers_ascend_and_equal_contents_are_kept_once(gallery):
    new = batch(vectors(4), contents=["a", "b", "a", "c"], dim=DIM)
    added = gallery.add_rows(new)
    assert added.rows.tolist() == [1, 2, 1, 3]
    assert added.is_new.tolist() == [True, True, False, True]
    again = gallery.add_rows(batch(vectors(3, seed=1), contents=["c", "d", "a"], dim=DIM))
    assert again.rows.tolist() == [3, 4, 1]
    assert again.is_new.tolist() == [False, True, False]
    assert set(gallery.holds(["a", "d", "nowhere", "b"])) == {"a", "b", "d"}
    assert len(gallery) == 4
    nothing = gallery.add_rows(batch(np.empty((0, DIM)), dim=DIM))
    assert nothing.rows.tolist() == []


def test_what_is_known_comes_back(gallery):
    records = (
        RowRecord("/a b/Straße/☃.jpg", "one", 0, 2**31 - 1, 7, 12, FIRST_US),
        RowRecord("https://x/y?z='\"\\n%$", "two\n\t\"'\\ in [row]"),
        RowRecord("", "three", time_us=LAST_US),
    )
    gallery.add_rows(NewRows(MODEL, vectors(3), records))
    assert [(stored.row, stored.record) for stored in gallery.rows()] == list(enumerate(records, 1))
    given = [stored.row for stored in gallery.rows([3, 99, 1, 3, -1])]
    assert given == [3, 1, 3]
    assert set(gallery.holds([record.content for record in records])) == {
        record.content for record in records
    }


def test_vectors_of_rows(gallery):
    kept = vectors(5)
    gallery.add_rows(batch(kept, dim=DIM))
    assert np.array_equal(gallery.vectors([4, 1, 4]), kept[[3, 0, 3]])
    assert gallery.vectors([]).shape == (0, DIM)
    gallery.remove(Selection(rows=(4,)))
    with pytest.raises(GalleryError, match="row 4"):
        gallery.vectors([1, 4])


@pytest.mark.parametrize("shift", [0.0, 30.0])
def test_the_order_is_that_of_float64_distances(gallery, shift):
    # a common part far larger than the differences: float32 distances lose most digits
    kept = vectors(300) * (0.01 if shift else 1) + np.float32(shift)
    kept[100:140] = kept[7]  # exact ties, more than the candidates beyond those asked for
    for start in range(0, 300, 77):
        part = kept[start : start + 77]
        contents = [str(start + n) for n in range(len(part))]
        gallery.add_rows(batch(part, contents=contents, dim=DIM))
    rows = {i + 1: vector for i, vector in enumerate(kept)}
    for point in (kept[7], kept[250], vectors(1, seed=3)[0] * 0.01 + np.float32(shift)):
        query = point[None]
        for top_k in (1, 12, 60):
            assert found(gallery, query, top_k) == search_by_loop(rows, query, top_k)
    everything = found(gallery, kept[:1], 1000)
    assert everything == search_by_loop(rows, kept[:1], 1000)


def test_filters(gallery):
    records = {  # row: camera, time in s, orientation
        1: (0, 10, 0), 2: (1, 20, 1), 3: (-1, 30, -1), 4: (2, None, 7), 5: (0, -40, 1),
    }  # fmt: skip
    cameras, times, orientations = zip(*records.values(), strict=True)
    gallery.add_rows(
        batch(
            np.arange(1, 6)[:, None] * np.ones(DIM),
            dim=DIM,
            camera_id=cameras,
            orientation=orientations,
            time_us=[None if time is None else time * 10**6 for time in times],
        )
    )
    second = 10**6
    cases = (
        (Filter(), [1, 2, 3, 4, 5]),
        (Filter(cameras=(0,)), [1, 5]),
        (Filter(cameras=(1, 2)), [2, 4]),
        (Filter(not_cameras=(0,)), [2, 3, 4]),
        (Filter(not_cameras=(0, 9)), [2, 3, 4]),
        (Filter(cameras=(0, 1), not_cameras=(0,)), [2]),
        (Filter(since_us=20 * second), [2, 3]),
        (Filter(until_us=20 * second), [1, 5]),
        (Filter(since_us=-40 * second, until_us=20 * second), [1, 5]),
        (Filter(orientations=(1, 7)), [2, 4, 5]),
        (Filter(cameras=(0,), orientations=(1,), until_us=0), [5]),
        (Filter(cameras=(9,)), []),
    )
    query = np.zeros((1, DIM), np.float32)
    for where, expected in cases:
        assert found(gallery, query, where=where)[0] == [expected], where


def test_removing(gallery):
    new = batch(vectors(6), dim=DIM, vehicle_id=[7, 8, 7, 9, 8, -1])
    gallery.add_rows(new)
    assert gallery.remove(Selection(rows=(99,), paths=("nowhere",), vehicles=(5,))) == 0
    assert gallery.remove(Selection(paths=(new.records[1].path,))) == 1
    assert gallery.remove(Selection(vehicles=(7,), rows=(2, 3, 6))) == 3
    assert [stored.row for stored in gallery.rows()] == [4, 5]
    assert sorted(found(gallery, new.features[:1])[0][0]) == [4, 5]
    assert len(gallery) == 2
    # a removed image may come again, under a new number, also after the last one has gone
    again = gallery.add_rows(new)
    assert again.rows.tolist() == [7, 8, 9, 4, 5, 10]
    gallery.remove(Selection(rows=tuple(range(11))))
    assert len(gallery) == 0
    assert gallery.compact().kept == 0
    assert gallery.add_rows(new).rows.tolist() == [11, 12, 13, 14, 15, 16]


def test_reopening_and_readers(name):
    kept = vectors(8)
    create_gallery(name, MODEL)
    with open_gallery(name, write=True) as gallery, open_gallery(name) as reader:
        gallery.add_rows(batch(kept[:5], dim=DIM))
        assert len(reader) == 5
        with pytest.raises(ValueError, match="write=True"):
            reader.add_rows(batch(kept, dim=DIM))
        with pytest.raises(ValueError, match="write=True"):
            reader.remove(Selection(rows=(1,)))
    rows = {i + 1: vector for i, vector in enumerate(kept)}
    with open_gallery(name, write=True) as gallery:
        assert gallery.model == MODEL
        assert gallery.add_rows(batch(kept, dim=DIM)).is_new.tolist() == [False] * 5 + [True] * 3
        assert found(gallery, kept[:2], 4) == search_by_loop(rows, kept[:2], 4)
        gallery.close()
        gallery.close()


def test_other_models_and_bad_vectors_are_refused(gallery):
    gallery.add_rows(batch(vectors(2), dim=DIM))
    other = identity(dim=DIM, digit="b")
    with pytest.raises(EmbeddingsError, match="model_sha256 is b"):
        gallery.search(vectors(1), model=other, top_k=1)
    with pytest.raises(EmbeddingsError, match="model_sha256 is b"):
        gallery.add_rows(NewRows(other, vectors(1), (RowRecord("p", "c"),)))
    wide = identity(dim=DIM + 1)
    with pytest.raises(EmbeddingsError, match="dim is 17 and 16"):
        gallery.search(np.zeros((1, DIM + 1), np.float32), model=wide, top_k=1)
    for value, text in ((np.nan, "not finite"), (1e19, "longer than")):
        bad = vectors(3)
        bad[1, 4] = value
        with pytest.raises(EmbeddingsError, match=text):
            gallery.add_rows(batch(bad, contents=["x", "y", "z"], dim=DIM))
        with pytest.raises(ValueError, match="finite"):
            gallery.search(bad, model=MODEL, top_k=1)
    with pytest.raises(ValueError, match="top_k"):
        gallery.search(vectors(1), model=MODEL, top_k=0)
    assert len(gallery) == 2


def test_summary_verify_and_export(gallery, tmp_path):
    kept = vectors(4)
    gallery.add_rows(
        batch(
            kept,
            contents=list("abcd"),
            dim=DIM,
            vehicle_id=[3, -1, 3, 4],
            camera_id=[2, 0, -1, 2],
            orientation=[0, -1, 7, 1],
            tracklet_id=[5, 6, -1, 7],
            time_us=[None, 10**6, 0, None],
        )
    )
    gallery.add_rows(batch(kept[2:3], contents=["e"], dim=DIM))
    summary = gallery.summary()
    assert (summary.rows, summary.vehicles, summary.cameras, summary.with_time) == (5, 2, (0, 2), 2)
    assert summary.first_time == "1970-01-01T00:00:00+00:00"
    assert summary.last_time == "1970-01-01T00:00:01+00:00"
    assert (summary.dtype, summary.model) == ("float32", MODEL)
    seen = []
    (finding,) = gallery.verify(progress=lambda *numbers: seen.append(numbers))
    assert (finding.kind, finding.row) == ("duplicate", 5)
    assert finding.text.endswith("row 3")
    assert seen[-1] == (5, 5)
    gallery.embeddings().save(tmp_path / "e.npz")
    embeddings = Embeddings.load(tmp_path / "e.npz")
    assert np.array_equal(embeddings.features, kept[[0, 1, 2, 3, 2]])
    assert embeddings.vehicle_ids.tolist() == [3, -1, 3, 4, -1]
    assert embeddings.camera_ids.tolist() == [2, 0, -1, 2, -1]
    assert embeddings.orientations.tolist() == [0, -1, 7, 1, -1]
    assert embeddings.tracklet_ids.tolist() == [5, 6, -1, 7, -1]
    assert embeddings.names == ("a.png", "b.png", "c.png", "d.png", "e.png")
    assert (embeddings.root, embeddings.model) == ("/images", MODEL)


def embedded(features: np.ndarray, *, cameras=None, unit="image") -> Embeddings:
    """Rows 0.png, 1.png, ... of vehicles 0, 1, ..., seen by given cameras."""
    count = len(features)
    unknown = np.full(count, -1, dtype=np.int32)
    return Embeddings(
        features=features,
        vehicle_ids=np.arange(count, dtype=np.int32),
        camera_ids=unknown if cameras is None else np.array(cameras, dtype=np.int32),
        orientations=unknown,
        tracklet_ids=unknown,
        names=tuple(f"{i}.png" for i in range(count)),
        root="/cars",
        source="cars",
        model=MODEL,
        unit=unit,
    )


def test_embeddings_in_and_hits_with_names_out(name):
    # row n lies n along the first axis: 3 is nearest to 3.2, then 4 at 0.8, then 2 at 1.2
    features = np.zeros((6, DIM), dtype=np.float32)
    features[:, 0] = range(6)
    query = np.zeros((1, DIM), dtype=np.float32)
    query[0, 0] = np.float32(3.2)
    cars = embedded(features, cameras=(0, 1, 2, -1, 1, 0))
    create_gallery(name, cars.model)
    morning = datetime(2024, 5, 1, 8, tzinfo=timezone(timedelta(hours=2)))
    times = {"4.png": morning, "none.png": morning}
    with open_gallery(name, write=True) as gallery:
        done = gallery.add(cars, camera_id=9, time=datetime(1970, 1, 2), times=times)
        assert (done.added, done.present) == (6, 0)
        again = gallery.add(cars)
        assert (again.added, again.present) == (0, 6)
        assert [hit.row for hit in gallery.rows([1, 5])] == [1, 5]
        (places,) = gallery.hit_lists(gallery.search(embedded(query), top_k=3))
        assert [(hit.rank, hit.path) for hit in places] == [
            (1, "/cars/3.png"), (2, "/cars/4.png"), (3, "/cars/2.png"),
        ]  # fmt: skip
        assert [hit.distance for hit in places] == pytest.approx([0.2, 0.8, 1.2], abs=1e-6)
        records = [hit.stored.record for hit in places]
        assert [record.vehicle_id for record in records] == [3, 4, 2]
        assert [record.camera_id for record in records] == [9, 1, 2]
        # 19844 days of 86400 s, and 6 hours in UTC; one day
        assert [record.time_us for record in records] == [
            86_400 * 10**6, (19844 * 86400 + 6 * 3600) * 10**6, 86_400 * 10**6,
        ]  # fmt: skip
        # numbers of any kind, with the model that made them
        expected = gallery.search(embedded(query), top_k=3)
        for numbers in (query, query.astype(np.float64), query.tolist()):
            hits = gallery.search(numbers, model=MODEL, top_k=3)
            assert hits.rows.tolist() == expected.rows.tolist() == [[4, 5, 3]]
        for where, rows in (
            (Filter().between(morning), [5]),
            (Filter(cameras=[1, 9]).between(None, morning), [4, 2]),
            (Filter().between(datetime(1970, 1, 2), datetime(1970, 1, 2, tzinfo=UTC)), []),
        ):
            assert gallery.search(query, model=MODEL, where=where).rows.tolist() == [rows]


def test_a_moment_for_every_row(gallery):
    cars = embedded(vectors(3))
    moments = [datetime(1970, 1, 1, 0, 0, 1), None, datetime(1970, 1, 1, 0, 0, 0, 7)]
    gallery.add(cars, times=moments)
    assert [stored.record.time_us for stored in gallery.rows()] == [10**6, None, 7]
    with pytest.raises(ValueError, match="2 times of 3 rows"):
        gallery.add(cars, times=moments[:2])


def test_embeddings_that_are_refused(gallery):
    with pytest.raises(ValueError, match="expected Embeddings or model="):
        gallery.search(vectors(1))
    with pytest.raises(EmbeddingsError, match="holds tracklets"):
        gallery.add(embedded(vectors(2), unit="tracklet"))
    assert len(gallery) == 0


def test_a_path_is_a_folder(tmp_path):
    create_gallery(tmp_path / "g", MODEL)
    with open_gallery(tmp_path / "g") as gallery:
        assert len(gallery) == 0
    assert (tmp_path / "g" / "gallery.json").is_file()


def test_the_python_of_the_docs(tmp_path, monkeypatch, capsys):
    text = (Path(__file__).parents[2] / "docs" / "gallery.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    embedded(vectors(3), cameras=(3, 1, 1)).save("cars.npz")
    embedded(vectors(1)).save("queries.npz")
    exec(text.split("```python\n")[1].split("```")[0], {})
    # the query is row 0 itself, which camera 3 took
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["1", "2"]
    assert sorted(line.split()[3] for line in lines) == ["/cars/1.png", "/cars/2.png"]


def test_ids_that_are_texts(gallery):
    plates = [NamedId("AB-1"), NamedId('京A"·\\1'), 7, NamedId("AB-1")]
    cameras = [NamedId("north gate"), NamedId("x" * 200), NamedId("north gate"), 4]
    points = vectors(4)
    gallery.add_rows(batch(points, dim=DIM, vehicle_id=plates, camera_id=cameras))
    kept = [(str(s.record.vehicle_id), str(s.record.camera_id)) for s in gallery.rows()]
    assert kept == [
        (str(plate), str(camera)) for plate, camera in zip(plates, cameras, strict=True)
    ]
    summary = gallery.summary()
    assert summary.vehicles == 3
    assert summary.cameras == (4, "north gate", "x" * 200)
    wanted = Filter(cameras=(NamedId("north gate"),))
    assert sorted(found(gallery, points[:1], where=wanted)[0][0]) == [1, 3]
    assert found(gallery, points[:1], where=Filter(cameras=(NamedId("west"),)))[0] == [[]]
    others = Filter(not_cameras=(NamedId("north gate"),))
    assert sorted(found(gallery, points[:1], where=others)[0][0]) == [2, 4]
    exported = gallery.embeddings()
    assert [exported.named(vehicle) for vehicle in exported.vehicle_ids.tolist()] == plates
    assert gallery.remove(Selection(vehicles=(NamedId("AB-1"),))) == 2
    assert [str(s.record.vehicle_id) for s in gallery.rows()] == [str(plates[1]), "7"]


def test_labels_are_changed_and_the_rest_stays(name):
    create_gallery(name, MODEL)
    with open_gallery(name, write=True) as gallery:
        labels_are_changed(gallery, name)


def labels_are_changed(gallery, name):
    points = vectors(4)
    gallery.add_rows(batch(points, dim=DIM))
    before = list(gallery.rows())
    with open_gallery(name) as reader:
        assert found(reader, points[:1], where=Filter(cameras=(7,))) == ([[]], [[]])
        labels = NewLabels(vehicle_id=NamedId("AB 41"), camera_id=7, orientation=3, time_us=5)
        assert gallery.relabel([4, 2, 2, 99], labels) == 2
        rows, _ = found(reader, points[:1], where=Filter(cameras=(7,), since_us=5, until_us=6))
        assert sorted(rows[0]) == [2, 4]
        after = list(reader.rows())
    assert [each.row for each in after] == [1, 2, 3, 4]
    for row in (0, 2):
        assert after[row] == before[row]
    for row in (1, 3):
        old, now = before[row].record, after[row].record
        assert now == RowRecord(old.path, old.content, NamedId("AB 41"), 7, 3, -1, 5)
        assert str(now.vehicle_id) == "AB 41"
    np.testing.assert_array_equal(gallery.vectors([1, 2, 3, 4]), points)
    assert gallery.relabel([4], NewLabels(camera_id=-1, time_us=UNKNOWN_TIME)) == 1
    assert next(gallery.rows([4])).record.time_us is None
    assert next(gallery.rows([4])).record.camera_id == -1
    with pytest.raises(ValueError, match="orientation"):
        gallery.relabel([1], NewLabels(orientation=8))
    assert gallery.remove(Selection(rows=(1,))) == 1
    assert gallery.relabel([1], labels) == 0
    assert gallery.relabel([], labels) == 0
    assert gallery.verify() == ()
    assert len(gallery) == 3
