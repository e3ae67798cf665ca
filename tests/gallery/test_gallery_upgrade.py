"""A gallery of the first version of the format is upgraded whole, as its error says."""

from __future__ import annotations

import json
import shlex
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from helpers_gallery import DIM, batch, identity, new_gallery

from mtml_deploy.cli.main import main
from mtml_deploy.data.ids import NamedId
from mtml_deploy.gallery.folder import upgrade as module
from mtml_deploy.gallery.folder.gallery import FolderGallery
from mtml_deploy.gallery.folder.upgrade import upgrade
from mtml_deploy.gallery.values import Filter, GalleryError, Selection

OLD = """
CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE segments (segment INTEGER PRIMARY KEY, rows INTEGER NOT NULL, centre BLOB NOT NULL);
CREATE TABLE rows (
    row INTEGER PRIMARY KEY, segment INTEGER NOT NULL, slot INTEGER NOT NULL,
    removed INTEGER NOT NULL DEFAULT 0, path TEXT NOT NULL, content TEXT NOT NULL,
    vehicle_id INTEGER NOT NULL, camera_id INTEGER NOT NULL, orientation INTEGER NOT NULL,
    tracklet_id INTEGER NOT NULL, time_us INTEGER,
    norm REAL NOT NULL, spread REAL NOT NULL, crc INTEGER NOT NULL,
    UNIQUE (segment, slot)
);
CREATE UNIQUE INDEX one_of_each_content ON rows (content) WHERE removed = 0;
CREATE INDEX by_path ON rows (path);
CREATE INDEX by_vehicle ON rows (vehicle_id);
"""
"""What the first version wrote; never changes."""

QUERY = np.array([[0.5, 0.25, 0.0], [3.0, -1.0, 2.0]], np.float32)


def write_old(folder: Path) -> None:
    """Turn a gallery into one of the first version, by reading every value of it."""
    with FolderGallery(folder) as gallery:
        numbers, segments = gallery.table.numbers(), gallery.table.segments()
        names = ("next_row", "next_segment", "rewrites")
        states = {name: gallery.table._state(name) for name in names}
        texts = dict(gallery.table._database.run("SELECT row, path || '|' || content FROM rows"))
        named = gallery.table._database.run("SELECT id, text FROM texts")
    for path in folder.glob("rows.sqlite*"):
        path.unlink()
    with closing(sqlite3.connect(folder / "rows.sqlite", isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.executescript(OLD)
        if named:  # the table came with the first id that was a text
            database.execute("CREATE TABLE texts (id INTEGER PRIMARY KEY, text TEXT NOT NULL)")
            database.executemany("INSERT INTO texts VALUES (?, ?)", named)
        database.executemany("INSERT INTO state VALUES (?, ?)", states.items())
        for part in segments:
            values = part.number, part.rows, part.centre.astype("<f8").tobytes()
            database.execute("INSERT INTO segments VALUES (?, ?, ?)", values)
        for row in numbers:
            time_us = None if row["time_us"] == -(2**63) else int(row["time_us"])
            database.execute(
                "INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    int(row["row"]), int(row["segment"]), int(row["slot"]), int(row["removed"]),
                    *texts[int(row["row"])].split("|"), int(row["vehicle"]), int(row["camera"]),
                    int(row["orientation"]), int(row["tracklet"]), time_us, float(row["norm"]),
                    float(row["spread"]), int(row["crc"]),
                ),
            )  # fmt: skip
    manifests = [folder / "gallery.json"]
    for path in manifests:
        values = json.loads(path.read_text())
        del values["check"]
        path.write_text(json.dumps(values | {"schema": 1}, indent=2) + "\n")


def answers(folder: Path) -> list[object]:
    with FolderGallery(folder) as gallery:
        hits = gallery.search(QUERY, model=identity(), top_k=20)
        some = gallery.search(
            QUERY, model=identity(), top_k=20, where=Filter(cameras=(1,), since_us=12)
        )
        known = list(gallery.rows())
        numbers = [stored.row for stored in known]
        return [
            hits.rows.tolist(), hits.distances.tolist(), some.rows.tolist(), known,
            gallery.vectors(numbers).tolist(), gallery.verify(), len(gallery),
            gallery.summary().removed,
        ]  # fmt: skip


@pytest.fixture(params=["float32", "int8", "texts"])
def folder(request, tmp_path: Path, monkeypatch) -> Path:
    """13 rows in 4 files, two of them removed, some without a time, or with texts as ids."""
    monkeypatch.setattr("mtml_deploy.gallery.folder.writer.SEGMENT_BYTES", 4 * DIM * 4)
    vectors = np.random.default_rng(0).standard_normal((13, DIM)).astype(np.float32)
    with new_gallery(
        tmp_path / "g", dtype="int8" if request.param == "int8" else "float32"
    ) as gallery:
        gallery.add_rows(
            batch(
                vectors,
                contents=[f"é{i}" for i in range(13)],
                vehicle_id=[
                    NamedId(f"B {i}") if request.param == "texts" and i % 2 else i - 1
                    for i in range(13)
                ],
                camera_id=[i % 3 - 1 for i in range(13)],
                orientation=[i % 9 - 1 for i in range(13)],
                tracklet_id=[2**31 - 1 - i for i in range(13)],
                time_us=[None if i % 4 == 0 else 10 + i for i in range(13)],
            )
        )
        gallery.remove(Selection(rows=(5, 13)))
    return tmp_path / "g"


def test_nothing_is_lost(folder: Path):
    before = answers(folder)
    with FolderGallery(folder) as gallery:
        numbers = gallery.table.numbers()
    write_old(folder)
    with pytest.raises(GalleryError, match="made by an earlier version") as refusal:
        FolderGallery(folder)
    words = shlex.split(str(refusal.value).split(": ")[-1])
    assert words[:3] == ["mtml-deploy", "gallery", "upgrade"]
    result = CliRunner().invoke(main, words[1:])
    assert result.exit_code == 0, result.output
    assert "11 rows and 2 removed ones kept" in result.stderr
    assert answers(folder) == before
    with FolderGallery(folder, write=True) as gallery:
        assert np.array_equal(gallery.table.numbers(), numbers)
        added = gallery.add_rows(batch(np.eye(3), contents=["new", "é1", "é4"]))
        # row numbers go on, what is there is known, what was removed may come again
        assert added.rows.tolist() == [14, 2, 15]
        assert gallery.compact().dropped == 2
        assert gallery.verify() == ()
    result = CliRunner().invoke(main, words[1:])
    assert "has the format of this version already" in result.stderr


def test_an_upgrade_that_was_killed_is_finished_by_the_next(folder: Path, monkeypatch):
    before = answers(folder)
    write_old(folder)
    for broken in ("checked_rows", "drop_old_index", "save_manifest"):
        with monkeypatch.context() as patch:
            patch.setattr(module, broken, lambda *_: 1 // 0)
            with pytest.raises(ZeroDivisionError):
                upgrade(folder)
    assert upgrade(folder) == module.Upgraded(11, 2)
    assert answers(folder) == before
    assert upgrade(folder) is None


def test_an_upgrade_that_fails_changes_nothing(folder: Path):
    write_old(folder)
    with closing(sqlite3.connect(folder / "rows.sqlite", isolation_level=None)) as database:
        database.execute("UPDATE rows SET camera_id = 'x' WHERE row = 7")
        before = list(database.iterdump())
    with pytest.raises(GalleryError, match="row 7 has a value of another type: 'x'"):
        upgrade(folder)
    with closing(sqlite3.connect(folder / "rows.sqlite", isolation_level=None)) as database:
        assert list(database.iterdump()) == before
        database.execute("UPDATE rows SET camera_id = -2 WHERE row = 7")
    with pytest.raises(GalleryError, match="ids are -1"):
        upgrade(folder)
    with closing(sqlite3.connect(folder / "rows.sqlite", isolation_level=None)) as database:
        database.execute("UPDATE rows SET camera_id = 0, norm = -1.0 WHERE row = 7")
    with pytest.raises(GalleryError, match="row 7 was changed"):
        upgrade(folder)
    with closing(sqlite3.connect(folder / "rows.sqlite", isolation_level=None)) as database:
        database.execute("UPDATE rows SET norm = 1.0 WHERE row = 7")
        database.execute("DELETE FROM segments WHERE segment = 2")
    with pytest.raises(GalleryError, match="rows of no segment"):
        upgrade(folder)


def test_an_index_of_an_earlier_version_goes(tmp_path: Path, caplog):
    folder = tmp_path / "g"
    for dropped_by in ("compact", "upgrade"):
        with new_gallery(folder) as gallery:
            gallery.add_rows(batch(np.eye(3)))
        names = ("card.json", f"{'0a' * 16}.faiss", f"{'0a' * 16}.npy", "notes.txt")
        (folder / "index").mkdir()
        for name in names:
            (folder / "index" / name).write_text("{")
        before = answers(folder)
        told = [text for text in caplog.messages if "no longer used" in text]
        caplog.clear()
        assert len(told) == (dropped_by == "compact")  # once in a process
        if dropped_by == "compact":
            with FolderGallery(folder, write=True) as gallery:
                gallery.compact()
        else:
            write_old(folder)
            upgrade(folder)
        # files of others stay
        assert [path.name for path in (folder / "index").iterdir()] == ["notes.txt"]
        assert answers(folder) == before
        shutil.rmtree(folder)
        with new_gallery(folder):
            pass
        (folder / "index").mkdir()
        (folder / "index" / "card.json").write_text("{")
        with FolderGallery(folder, write=True) as gallery:
            gallery.compact()
        assert not (folder / "index").exists()
        shutil.rmtree(folder)


def test_places_without_a_gallery(tmp_path: Path):
    with pytest.raises(GalleryError, match="is not a gallery"):
        upgrade(tmp_path)
    with new_gallery(tmp_path / "g"):
        pass
    write_old(tmp_path / "g")
    with new_gallery(tmp_path / "h"):
        shutil.copy(tmp_path / "g" / "gallery.json", tmp_path / "h" / "gallery.json")
        with pytest.raises(GalleryError, match="is being written by another process"):
            upgrade(tmp_path / "h")
