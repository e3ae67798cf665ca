"""What marks, counts and checksums of a gallery tell of: every single change."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from helpers_gallery import DIM, batch, identity, new_gallery

from mtml_deploy.gallery.folder.facts import FACTS_BYTES, checked_numbers, checked_rows
from mtml_deploy.gallery.folder.gallery import FolderGallery
from mtml_deploy.gallery.folder.schema import SCHEMA_SQL
from mtml_deploy.gallery.folder.sqlite import Database
from mtml_deploy.gallery.folder.vectors import HEAD_BYTES, segment_path
from mtml_deploy.gallery.values import Finding, GalleryError

FILE = Path("rows.sqlite")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five rows at 1, 2, 4, 8 and 16 on the first axis."""
    with new_gallery(tmp_path / "g") as gallery:
        points = [[2.0**i, 0, 0] for i in range(5)]
        gallery.add_rows(batch(points, contents=list("abcde"), camera_id=[0, 1, 2, 3, 4]))
    return tmp_path / "g"


def rows_in(folder: Path) -> list[tuple[int, int, bytes, str, str]]:
    with closing(sqlite3.connect(folder / FILE)) as database:
        return database.execute(
            "SELECT row, removed, facts, path, content FROM rows ORDER BY row"
        ).fetchall()


def change(folder: Path, sql: str) -> None:
    with closing(sqlite3.connect(folder / FILE, isolation_level=None)) as database:
        database.execute("PRAGMA ignore_check_constraints = ON")
        database.execute(sql)


def test_every_bit_of_a_row(folder: Path):
    told = rows_in(folder)
    found = [values[:3] for values in told]
    assert checked_numbers(found, FILE)["camera"].tolist() == [0, 1, 2, 3, 4]
    row, removed, facts = found[2]
    for bit in range(8 * FACTS_BYTES):
        changed = bytearray(facts)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(GalleryError, match=r"row 3 was changed, 1 of 5 rows"):
            checked_numbers([*found[:2], (row, removed, bytes(changed)), *found[3:]], FILE)
    wrong = [
        (row, 1, facts), (6, removed, facts), (row, removed, found[1][2]), (row, removed, b""),
        (row, removed, facts + b"x"), (row, removed, "text"), (row, None, facts),
        (row, 0.0, facts), ("3", 0, facts), found[1], (-row, removed, facts),
    ]  # fmt: skip
    for values in wrong:
        with pytest.raises(GalleryError, match=r"rows.sqlite is damaged"):
            checked_numbers([*found[:2], values, *found[3:]], FILE)


@pytest.mark.parametrize(
    ("path", "content"),
    [("/images/c.pnG", "c"), ("/images/c.png", "C"), ("/images/c.pngc", ""), (b"x", "c"), (1, "c"),
     ("/images/c.png", None), ("/images/c.pn", "gc")],
)  # fmt: skip
def test_the_texts_of_a_row(folder: Path, path: object, content: object):
    row, removed, facts, *_ = rows_in(folder)[2]
    with pytest.raises(GalleryError, match="row 3"):
        checked_rows([(row, removed, facts, path, content)], int, FILE)  # type: ignore[list-item]


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM rows WHERE row = 5", "DELETE FROM rows", "DELETE FROM segments",
        "UPDATE rows SET removed = 1 WHERE row = 2", "UPDATE segments SET rows = 4",
        "UPDATE segments SET centre = zeroblob(24)", "UPDATE segments SET segment = 2",
        "UPDATE state SET value = value + 1 WHERE name = 'live'", "DELETE FROM state",
        "UPDATE rows SET row = 6 WHERE row = 5", "UPDATE rows SET path = '/x' WHERE row = 2",
        "UPDATE rows SET content = 'x' WHERE row = 2", "CREATE VIEW v AS SELECT 1",
    ],
)  # fmt: skip
def test_every_change_is_told(folder: Path, sql: str):
    change(folder, sql)
    with pytest.raises(GalleryError), FolderGallery(folder) as gallery:
        gallery.summary()
        list(gallery.rows())
    try:
        with FolderGallery(folder) as gallery:
            (finding,) = gallery.verify()
    except GalleryError:
        return  # refused before anything could be verified
    assert (finding.kind, finding.row) == ("corrupted", None)


def test_a_changed_vector(folder: Path):
    path = segment_path(folder, 1)
    content = bytearray(path.read_bytes())
    content[HEAD_BYTES + 3 * 4 * DIM + 4] ^= 1  # the second value of row 4
    path.write_bytes(content)

    def nearest(x: float) -> list[int]:
        query = np.array([[x, 0, 0]], np.float32)
        with FolderGallery(folder) as gallery:
            return gallery.search(query, model=identity(), top_k=2).rows[0].tolist()

    assert nearest(0) == [1, 2]
    with pytest.raises(GalleryError, match=r"row 4 of .* is corrupted on disk"):
        nearest(7)
    with FolderGallery(folder) as gallery:
        assert gallery.verify() == (
            Finding("corrupted", 4, "its bytes in vector file 1 were changed"),
        )


def test_a_statement_that_does_not_end(folder: Path):
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n"
    with closing(Database(folder / FILE, write=False, schema=SCHEMA_SQL)) as database:
        with pytest.raises(GalleryError, match="it does not end"):
            database.run(endless)
        assert database.run("SELECT count(*) FROM rows") == [(5,)]


def test_steps_are_counted_for_each_statement(folder: Path, monkeypatch):
    monkeypatch.setattr("mtml_deploy.gallery.folder.sqlite._STEPS", 20)
    with closing(Database(folder / FILE, write=False, schema=SCHEMA_SQL)) as database:
        for _ in range(100):
            assert database.run("SELECT count(*) FROM rows") == [(5,)]
