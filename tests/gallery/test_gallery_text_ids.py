"""Galleries whose ids are texts."""

import json
import sqlite3
from pathlib import Path

import pytest
from helpers_gallery import batch, new_gallery

from mtml_deploy.data import ids
from mtml_deploy.data.ids import NamedId
from mtml_deploy.gallery.folder.gallery import FolderGallery
from mtml_deploy.gallery.folder.schema import ROWS_FILE
from mtml_deploy.gallery.hit_lists import hits_json, hits_text
from mtml_deploy.gallery.milvus.entities import entity_of, stored_row
from mtml_deploy.gallery.summary import summary_lines
from mtml_deploy.gallery.values import Filter, GalleryError, RowRecord, Selection

PLATES = [NamedId("AB-1"), NamedId("AB-2"), 7, NamedId("AB-1")]
CAMERAS = [NamedId("north"), NamedId("south"), NamedId("north"), 4]


def filled(folder: Path) -> FolderGallery:
    gallery = new_gallery(folder)
    points = [[x, 0, 0] for x in range(4)]
    gallery.add_rows(batch(points, vehicle_id=PLATES, camera_id=CAMERAS))
    return gallery


def texts(folder: Path) -> set[str]:
    connection = sqlite3.connect(folder / ROWS_FILE)
    found = connection.execute("SELECT text FROM texts").fetchall()
    connection.close()
    return {text for (text,) in found}


def test_rows_keep_their_texts(tmp_path: Path) -> None:
    filled(tmp_path / "g").close()
    with FolderGallery(tmp_path / "g") as gallery:
        records = [stored.record for stored in gallery.rows()]
        assert [str(record.vehicle_id) for record in records] == ["AB-1", "AB-2", "7", "AB-1"]
        assert [str(record.camera_id) for record in records] == ["north", "south", "north", "4"]
        summary = gallery.summary()
        assert (summary.vehicles, summary.cameras) == (3, (4, "north", "south"))
        assert "cameras   4, north, south" in summary_lines(summary)
        exported = gallery.embeddings()
        assert [exported.named(i) for i in exported.vehicle_ids.tolist()] == PLATES


def test_search_and_remove_by_text(tmp_path: Path) -> None:
    with filled(tmp_path / "g") as gallery:
        query = [[0, 0, 0]]

        def found(where: Filter) -> list[int]:
            hits = gallery.search(query, model=gallery.model, where=where)
            return hits.rows[0].tolist()

        assert found(Filter(cameras=(NamedId("north"),))) == [1, 3]
        assert found(Filter(not_cameras=(NamedId("north"), 4))) == [2]
        assert found(Filter(cameras=(NamedId("west"),))) == []
        assert gallery.remove(Selection(vehicles=(NamedId("AB-1"),))) == 2
        assert found(Filter()) == [2, 3]


def test_reports_show_the_texts(tmp_path: Path) -> None:
    with filled(tmp_path / "g") as gallery:
        rows = gallery.embeddings()
        lists = gallery.hit_lists(gallery.search(rows[:1], top_k=2))
        (query,) = json.loads(hits_json("g", rows[:1], lists))["queries"]
        assert [(p["vehicle_id"], p["camera_id"]) for p in query["ranks"]] == [
            ("AB-1", "north"), ("AB-2", "south")
        ]  # fmt: skip
        assert "vehicle AB-1, camera north" in hits_text(rows[:1], lists, limit=1)[1]


def test_a_gallery_of_numbers_has_no_texts(tmp_path: Path) -> None:
    with new_gallery(tmp_path / "g") as gallery:
        gallery.add_rows(batch([[1, 0, 0]], vehicle_id=[7]))
        gallery.remove(Selection(rows=(1,)))
        gallery.compact()
    assert texts(tmp_path / "g") == set()


def test_compaction_forgets_the_texts_of_removed_rows(tmp_path: Path) -> None:
    with filled(tmp_path / "g") as gallery:
        gallery.remove(Selection(vehicles=(NamedId("AB-2"),)))
        assert texts(tmp_path / "g") == {"AB-1", "AB-2", "north", "south"}
        gallery.compact()
        assert [str(stored.record.vehicle_id) for stored in gallery.rows()] == ["AB-1", "7", "AB-1"]
    assert texts(tmp_path / "g") == {"AB-1", "north"}
    content = b"".join(path.read_bytes() for path in (tmp_path / "g").glob("rows.sqlite*"))
    assert b"AB-2" not in content and b"AB-1" in content


def test_one_number_of_two_texts_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ids, "number_of", lambda text: 2**31 + len(text))
    with new_gallery(tmp_path / "g") as gallery:
        gallery.add_rows(batch([[1, 0, 0]], vehicle_id=[NamedId("a")]))
        with pytest.raises(GalleryError, match="'b' has the number of 'a'"):
            gallery.add_rows(batch([[2, 0, 0]], vehicle_id=[NamedId("b")]))
        assert len(gallery) == 1 and [str(s.record.vehicle_id) for s in gallery.rows()] == ["a"]


def test_a_text_that_is_missing_is_damage(tmp_path: Path) -> None:
    filled(tmp_path / "g").close()
    connection = sqlite3.connect(tmp_path / "g" / ROWS_FILE)
    connection.execute("UPDATE texts SET text = 'AB-9' WHERE text = 'AB-2'")
    connection.commit()
    connection.close()
    with (
        FolderGallery(tmp_path / "g") as gallery,
        pytest.raises(GalleryError, match="lacks the te"),
    ):
        list(gallery.rows())


def test_a_number_without_text_is_no_record() -> None:
    with pytest.raises(ValueError, match="ids are -1"):
        RowRecord("a.jpg", "c", vehicle_id=int(NamedId("AB-1")))


@pytest.mark.parametrize("text", ['["AB-2"]', "[1]", "{}", "[", '"AB-1"'])
def test_texts_of_a_collection_that_were_changed(text: str) -> None:
    rows = batch([[1, 0, 0]], vehicle_id=[NamedId("AB-1")])
    entity = entity_of(5, rows.records[0], rows.features[0])
    assert stored_row(entity).record == rows.records[0]
    entity["id_texts"] = text
    with pytest.raises(GalleryError, match="row 5 was not written by this program"):
        stored_row(entity)
