"""Vectors by row number, also while the files are replaced."""

import numpy as np
import pytest
from helpers_gallery import DIM, batch, new_gallery

from mtml_deploy.gallery.folder.gallery import FolderGallery
from mtml_deploy.gallery.folder.vectors import HEAD_BYTES, segment_path
from mtml_deploy.gallery.values import GalleryError, Selection


@pytest.fixture
def gallery(tmp_path, monkeypatch):
    """Rows 1-8, row n is [n, n, n]; four a file."""
    monkeypatch.setattr("mtml_deploy.gallery.folder.writer.SEGMENT_BYTES", 4 * DIM * 4)
    with new_gallery(tmp_path / "g") as opened:
        opened.add_rows(batch(np.repeat(np.arange(1, 9), DIM)))
        yield opened


def test_in_the_order_asked_for_also_repeated(gallery):
    found = gallery.vectors([7, 2, 2, 5])
    assert found.dtype == np.float32
    assert found.tolist() == [[7] * 3, [2] * 3, [2] * 3, [5] * 3]
    assert gallery.vectors([]).shape == (0, DIM)


def test_codes_do_not_round_what_decides_the_order(tmp_path):
    with new_gallery(tmp_path / "g", dtype="int8") as opened:
        opened.add_rows(batch([[0.1, 1, 0]]))
        assert opened.vectors([1])[0, 0] == np.float32(0.1)


def test_rows_that_are_not_there(gallery):
    gallery.remove(Selection(rows=(3,)))
    for rows in ([1, 3], [9], [0]):
        with pytest.raises(GalleryError, match=f"does not hold row {rows[-1]} "):
            gallery.vectors(rows)


def test_a_changed_byte_is_found(gallery):
    path = segment_path(gallery.folder, 2)
    content = bytearray(path.read_bytes())
    content[HEAD_BYTES] ^= 1
    path.write_bytes(content)
    assert gallery.vectors([4, 6]).tolist() == [[4] * 3, [6] * 3]
    with pytest.raises(GalleryError, match=r"row 5 .* corrupted"):
        gallery.vectors([4, 5])


def test_a_compaction_meanwhile(gallery, monkeypatch):
    import mtml_deploy.gallery.folder.reader as stored_rows

    gallery.remove(Selection(rows=(2,)))
    real = stored_rows.read_stored
    calls = []

    def late(*arguments):
        if not calls:  # after the places were read, before their files are opened
            calls.append(1)
            monkeypatch.setattr("mtml_deploy.gallery.folder.compact.read_stored", real)
            gallery.compact()
        return real(*arguments)

    with FolderGallery(gallery.folder) as reader:
        monkeypatch.setattr(stored_rows, "read_stored", late)
        assert reader.vectors([8, 1]).tolist() == [[8] * 3, [1] * 3]
    assert calls
