"""int8 codes: their values, their error, faults that `verify` finds, and what they cost."""

import numpy as np
import pytest
from helpers_gallery import batch, identity, new_gallery, search_by_loop

from mtml_deploy.gallery.folder.gallery import FolderGallery
from mtml_deploy.gallery.folder.int8 import code_products, coded_type, decode, encode
from mtml_deploy.gallery.folder.vectors import HEAD_BYTES, segment_path
from mtml_deploy.gallery.values import GalleryError, Selection
from mtml_deploy.search.rank import rank

DIM = 16

FLOAT32_SUM = 16 * 2.0**-24
"""Relative error of a float32 sum of `DIM` products, by the length of the operands."""


def test_codes_by_hand():
    coded = encode(np.array([[254, -127, 1, 0], [0, 0, 0, 0]], dtype=np.float32))
    assert coded["scale"].tolist() == [2.0, 0.0]
    # 63.5 and 0.5 steps are halfway: rounded to the even code
    assert coded["codes"].tolist() == [[127, -64, 0, 0], [0, 0, 0, 0]]
    assert decode(coded).tolist() == [[254.0, -128.0, 0.0, 0.0], [0.0] * 4]
    # differences 0, 1, 1, 0
    assert coded["error"][0] == pytest.approx(np.sqrt(2), rel=1e-6)
    assert coded["error"][0] >= np.sqrt(2)


@pytest.mark.parametrize("scale", [1e-44, 1e-30, 1e-3, 1.0, 1e17])
def test_the_error_is_never_below_the_distance(scale):
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(200, DIM)) * scale).astype(np.float32)
    coded = encode(vectors)
    for row, decoded, vector in zip(coded, decode(coded), vectors, strict=True):
        distance = np.sqrt(np.square(vector.astype(np.float64) - decoded.astype(np.float64)).sum())
        assert row["error"] >= distance
        if scale >= 1e-30:  # half a step in each of DIM values at most
            assert row["error"] <= np.abs(vector).max() / 127 / 2 * np.sqrt(DIM) * (1 + 1e-5)


def test_products_are_those_of_the_decoded_vectors(monkeypatch):
    monkeypatch.setattr("mtml_deploy.gallery.folder.int8._DECODE_VALUES", 3 * DIM)
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(10, DIM)).astype(np.float32)
    query = rng.normal(size=(4, DIM)).astype(np.float32)
    coded = encode(vectors)
    errors = np.empty(10, dtype=np.float32)
    found = code_products(query, coded, errors)
    expected = query.astype(np.float64) @ decode(coded).astype(np.float64).T
    lengths = np.linalg.norm(query, axis=1)[:, None] * np.linalg.norm(vectors, axis=1)
    assert (np.abs(found - expected) <= FLOAT32_SUM * lengths * 1.1).all()
    assert np.array_equal(errors, coded["error"])


def clustered(count: int, *, dim: int, seed: int) -> np.ndarray:
    """Vehicles of about 10 close images each, not negative, with a large common part."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(count // 10 + 1, dim))
    points = centres[rng.integers(0, len(centres), count)] + 0.2 * rng.normal(size=(count, dim))
    return np.maximum(points + 1, 0).astype(np.float32)


@pytest.mark.parametrize("offset", [0.0, 50.0])
def test_the_order_is_that_of_the_float32_vectors(tmp_path, monkeypatch, offset):
    dim = 64
    monkeypatch.setattr("mtml_deploy.gallery.folder.writer.SEGMENT_BYTES", 400 * dim * 4)
    vectors = clustered(1000, dim=dim, seed=2) + np.float32(offset)
    vectors[500:520] = vectors[0]  # more exact ties than candidates beyond those wanted
    query = np.concatenate([clustered(5, dim=dim, seed=3) + np.float32(offset), vectors[:1]])
    contents = [str(i) for i in range(len(vectors))]
    with new_gallery(tmp_path / "g", dtype="int8", dim=dim) as gallery:
        gallery.add_rows(batch(vectors, contents=contents, dim=dim))
        hits = gallery.search(query, model=identity(dim=dim), top_k=15)
        alone = [gallery.search(q[None], model=identity(dim=dim), top_k=15).rows for q in query]
        gallery.remove(Selection(rows=(1, 501)))
        later = gallery.search(query, model=identity(dim=dim), top_k=15)
    expected = rank(query, vectors, top_k=15)
    assert np.array_equal(hits.rows - 1, expected.rows)
    assert np.array_equal(hits.distances, expected.distances)
    assert np.array_equal(np.concatenate(alone), hits.rows)
    rows = {i + 1: vector for i, vector in enumerate(vectors) if i not in (0, 500)}
    assert later.rows.tolist() == search_by_loop(rows, query, 15)[0]


def test_few_true_vectors_are_read(tmp_path, monkeypatch):
    """The point of the codes: without it the result would be right and slow."""
    dim = 256
    vectors = clustered(4000, dim=dim, seed=4)
    read = []
    import mtml_deploy.gallery.folder.int8_search as coded_search

    real = coded_search.squared_distances
    monkeypatch.setattr(
        coded_search,
        "squared_distances",
        lambda query, features, slots: (read.append(len(slots)), real(query, features, slots))[1],
    )
    query = vectors[:3] + np.float32(0.01)
    with new_gallery(tmp_path / "g", dtype="int8", dim=dim) as gallery:
        gallery.add_rows(batch(vectors, contents=[str(i) for i in range(4000)], dim=dim))
        gallery.search(query, model=identity(dim=dim), top_k=10)
    # 10 + 16 candidates and whoever lies within the codes' error of the tenth; 1 % of 4000 is 40
    assert 3 * 26 <= sum(read) <= 3 * 40


def test_size_on_disk(tmp_path):
    sizes = {}
    for dtype in ("float32", "int8"):
        with new_gallery(tmp_path / dtype, dtype=dtype, dim=DIM) as gallery:
            gallery.add_rows(batch(np.arange(10 * DIM), dim=DIM))
        folder = tmp_path / dtype / "vectors"
        sizes[dtype] = {p.suffix: p.stat().st_size - HEAD_BYTES for p in folder.iterdir()}
    assert sizes == {
        "float32": {".bin": 10 * DIM * 4},
        "int8": {".bin": 10 * DIM * 4, ".codes": 10 * (DIM + 8)},
    }
    assert coded_type(DIM).itemsize == DIM + 8


def test_both_files_are_on_disk_before_the_commit(tmp_path, monkeypatch):
    import os

    events = []
    real = os.fsync
    with new_gallery(tmp_path / "g", dtype="int8", dim=DIM) as gallery:
        gallery.table._database.trace(lambda sql: events.append(sql.split(" ")[0]))
        monkeypatch.setattr("os.fsync", lambda handle: (events.append("fsync"), real(handle)))
        gallery.add_rows(batch(np.arange(3 * DIM), dim=DIM))
    # two heads, their names in the folder, two times rows
    assert events.count("fsync") == 5
    assert max(i for i, event in enumerate(events) if event == "fsync") < events.index("COMMIT")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Rows 1-4 in one segment, 5-8 in another; row 2 was removed."""
    monkeypatch.setattr("mtml_deploy.gallery.folder.writer.SEGMENT_BYTES", 4 * DIM * 4)
    with new_gallery(tmp_path / "g", dtype="int8", dim=DIM) as gallery:
        gallery.add_rows(batch(np.arange(8 * DIM) + 1, dim=DIM))
        gallery.remove(Selection(rows=(2,)))
    return tmp_path / "g"


def found(folder) -> list[tuple[str, int | None]]:
    with FolderGallery(folder) as gallery:
        return [(finding.kind, finding.row) for finding in gallery.verify()]


@pytest.mark.parametrize("byte", [0, 3, 6, 8, DIM + 7])  # scale, error, first and last code
def test_changed_codes_are_corrupted(folder, byte):
    assert found(folder) == []
    path = segment_path(folder, 2, "codes")
    content = bytearray(path.read_bytes())
    content[HEAD_BYTES + (DIM + 8) + byte] ^= 1
    path.write_bytes(content)
    assert found(folder) == [("corrupted", 6)]


def test_missing_and_foreign_codes(folder):
    path = segment_path(folder, 2, "codes")
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    assert found(folder) == [("missing", 8)]
    path.write_bytes(content.replace(b"a" * 64, b"b" * 64))
    assert found(folder) == [("foreign", row) for row in (5, 6, 7, 8)]
    path.unlink()
    assert found(folder) == [("missing", row) for row in (5, 6, 7, 8)]
    with FolderGallery(folder) as gallery, pytest.raises(GalleryError, match=r"2\.codes missing"):
        gallery.search(np.zeros((1, DIM), np.float32), model=identity(dim=DIM), top_k=1)
    with FolderGallery(folder, write=True) as gallery:
        # the vectors are there: compacting makes the codes anew
        gallery.remove(Selection(rows=(3,)))
        gallery.compact()
        assert gallery.embeddings().features[:, 0].tolist() == [
            1 + DIM * i for i in (0, 3, 4, 5, 6, 7)
        ]
    assert found(folder) == []


def test_a_killed_writers_codes_are_cut_off(folder):
    for layer in ("vectors", "codes"):
        path = segment_path(folder, 2, layer)
        path.write_bytes(path.read_bytes() + b"x" * 100)
        segment_path(folder, 3, layer).write_bytes(b"left behind")
    with FolderGallery(folder, write=True) as gallery:
        assert gallery.verify() == ()
    assert segment_path(folder, 2, "codes").stat().st_size == HEAD_BYTES + 4 * (DIM + 8)
    assert not segment_path(folder, 3, "codes").exists()
