"""What `verify` finds: nothing in a sound gallery, and every kind of fault by its row."""

import sqlite3

import numpy as np
import pytest
from helpers_gallery import DIM, batch, identity, new_gallery

from mtml_deploy.gallery.folder.gallery import FolderGallery
from mtml_deploy.gallery.folder.vectors import HEAD_BYTES, segment_path
from mtml_deploy.gallery.values import GalleryError, Selection

ROW_BYTES = DIM * 4


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Rows 1-4 in one file, 5-8 in another; row 2 was removed."""
    monkeypatch.setattr("mtml_deploy.gallery.folder.writer.SEGMENT_BYTES", 4 * ROW_BYTES)
    with new_gallery(tmp_path / "g") as gallery:
        gallery.add_rows(batch(np.arange(8 * DIM).reshape(8, DIM)))
        gallery.remove(Selection(rows=(2,)))
    return tmp_path / "g"


def found(folder) -> list[tuple[str, int | None]]:
    with FolderGallery(folder) as gallery:
        return [(finding.kind, finding.row) for finding in gallery.verify()]


def flip(folder, segment: int, slot: int, byte: int = 0) -> None:
    path = segment_path(folder, segment)
    content = bytearray(path.read_bytes())
    content[HEAD_BYTES + slot * ROW_BYTES + byte] ^= 1
    path.write_bytes(content)


def test_a_sound_gallery(folder):
    assert found(folder) == []


@pytest.mark.parametrize("byte", range(ROW_BYTES))
def test_one_changed_byte(folder, byte):
    flip(folder, 2, 1, byte)
    assert found(folder) == [("corrupted", 6)]


def test_a_removed_row_may_be_anything(folder):
    flip(folder, 1, 1)
    assert found(folder) == []


def test_missing_rows(folder):
    path = segment_path(folder, 2)
    path.write_bytes(path.read_bytes()[: -ROW_BYTES - 1])  # one row and a byte of another
    assert found(folder) == [("missing", 7), ("missing", 8)]
    path.unlink()
    assert found(folder) == [("missing", row) for row in (5, 6, 7, 8)]
    with FolderGallery(folder) as gallery, pytest.raises(GalleryError, match="missing"):
        gallery.search(np.zeros((1, DIM), np.float32), model=identity(), top_k=1)


def test_foreign_rows(folder):
    path = segment_path(folder, 1)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"a" * 64, b"b" * 64))
    assert found(folder) == [("foreign", row) for row in (1, 3, 4)]


def test_duplicate_rows(folder):
    with FolderGallery(folder, write=True) as gallery:
        # the same vector once as a file and once from embeddings has two contents
        gallery.add_rows(batch([[0, 1, 2], [3, 4, 5], [0, 1, 2]], contents=["x", "y", "z"]))
    assert found(folder) == [("duplicate", 9), ("duplicate", 11)]  # row 2, like row 10, is gone


def test_a_damaged_record(folder):
    database = sqlite3.connect(folder / "rows.sqlite")
    database.execute("PRAGMA writable_schema = ON")
    database.execute("DELETE FROM sqlite_master WHERE name = 'by_path'")
    database.commit()
    database.close()
    with pytest.raises(GalleryError, match="does not hold the tables of a record of rows"):
        FolderGallery(folder)


def test_damage_is_not_copied_but_can_be_removed(folder):
    flip(folder, 2, 1)
    with FolderGallery(folder, write=True) as gallery:
        with pytest.raises(GalleryError, match=r"row 6 .* corrupted"):
            gallery.compact()
        assert len(gallery) == 7
        gallery.remove(Selection(rows=(6,)))
        assert gallery.compact().kept == 6
    assert found(folder) == []


def test_nothing_is_appended_to_a_short_file(folder):
    with FolderGallery(folder, write=True) as gallery:
        gallery.remove(Selection(rows=(8,)))
        gallery.compact()  # rows 1 3 4 5 and 6 7
    segments = sorted((folder / "vectors").iterdir())
    segments[-1].write_bytes(segments[-1].read_bytes()[:-ROW_BYTES])
    with FolderGallery(folder, write=True) as gallery:
        assert gallery.add_rows(batch(-np.eye(3))).rows.tolist() == [9, 10, 11]
    assert found(folder) == [("missing", 7)]
    with FolderGallery(folder, write=True) as gallery:
        gallery.remove(Selection(rows=(7,)))
        assert gallery.compact().kept == 8
    assert found(folder) == []
