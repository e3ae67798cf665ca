"""A filter that leaves few rows: the same lists, and only these rows are read."""

import numpy as np
import pytest
from helpers_gallery import batch, identity, new_gallery, search_by_loop

from mtml_deploy.gallery.folder import chosen, int8_search, search
from mtml_deploy.gallery.folder.int8 import code_products, encode
from mtml_deploy.gallery.values import Filter, Selection

DIM = 64
ROWS = 900
PASSING = {1: 60, 2: 500, 3: 340}
"""Camera -> rows: of each segment about 7, 56 and 38 %; of camera 2 too many to gather."""


@pytest.fixture(params=["float32", "int8"])
def filled(request, tmp_path, monkeypatch):
    """A gallery of several segments, its vectors by row number and the camera of each."""
    monkeypatch.setattr("mtml_deploy.gallery.folder.writer.SEGMENT_BYTES", 400 * DIM * 4)
    rng = np.random.default_rng(3)
    vectors = (rng.normal(size=(ROWS, DIM)) + 20).astype(np.float32)
    cameras = rng.permutation(np.repeat(list(PASSING), list(PASSING.values())))
    vectors[cameras == 1] = vectors[cameras == 1][np.arange(60) % 45]  # ties across segments
    contents = [str(row) for row in range(ROWS)]
    with new_gallery(tmp_path / "g", dtype=request.param, dim=DIM) as gallery:
        gallery.add_rows(batch(vectors, contents=contents, dim=DIM, camera_id=cameras.tolist()))
        gallery.remove(Selection(rows=(5, 700)))
        rows = {row + 1: vectors[row] for row in range(ROWS) if row + 1 not in (5, 700)}
        yield gallery, rows, dict(enumerate(cameras.tolist(), start=1))


def test_the_lists_are_those_of_the_rows_that_pass(filled):
    gallery, rows, cameras = filled
    query = np.stack([rows[1], rows[9], rows[2] + np.float32(0.1)])
    for camera in PASSING:
        passing = {row: vector for row, vector in rows.items() if cameras[row] == camera}
        for top_k in (1, 3, 40):
            where = Filter(cameras=(camera,))
            hits = gallery.search(query, model=identity(dim=DIM), top_k=top_k, where=where)
            found, distances = search_by_loop(passing, query, top_k)
            assert hits.rows.tolist() == found
            assert hits.distances.tolist() == distances


@pytest.mark.parametrize("camera", PASSING)
def test_few_rows_are_gathered_and_many_are_not(filled, camera, monkeypatch):
    gallery, rows, cameras = filled
    read = []

    def noted(*arguments, **named):
        slots = named["slots"] if "slots" in named else arguments[2]
        read.append(None if slots is None else len(slots))
        return real(*arguments, **named)

    module, name = (search, "products")
    if gallery.manifest.dtype == "int8":
        module, name = (int8_search, "code_products")
    real = getattr(module, name)
    monkeypatch.setattr(module, name, noted)
    gallery.search(
        np.ones((2, DIM), np.float32),
        model=identity(dim=DIM),
        top_k=1,
        where=Filter(cameras=(camera,)),
    )
    if camera == 2:  # more than GATHERED_SHARE
        assert set(read) == {None}
    else:
        assert None not in read
        # a segment of 17 rows or fewer that pass needs no scan
        passing = sum(cameras[row] == camera for row in rows)
        assert passing - 3 * 17 <= sum(read) <= passing


def test_products_of_gathered_rows(monkeypatch):
    monkeypatch.setattr(chosen, "_GATHERED_VALUES", 3 * 4)
    rows = np.arange(40, dtype=np.float32).reshape(10, 4)
    query = np.array([[1, 0, 0, 0], [0, 0, 1, 1]], dtype=np.float32)
    slots = np.array([0, 2, 3, 7, 9])
    # the first value of a row is 4 times its number, the last two 8 times it and 5 together
    expected = [[0, 8, 12, 28, 36], [5, 21, 29, 61, 77]]
    assert chosen.products(query, rows, slots).tolist() == expected
    assert chosen.products(query, rows, slots[:0]).shape == (2, 0)
    assert chosen.products(query, rows, None)[:, slots].tolist() == expected


def test_products_of_gathered_codes(monkeypatch):
    monkeypatch.setattr("mtml_deploy.gallery.folder.int8._DECODE_VALUES", 3 * 4)
    coded = encode(np.diag([127.0, 254, 381, 508]).astype(np.float32))
    slots = np.array([1, 3])
    errors = np.full(2, np.nan, dtype=np.float32)
    query = np.array([[1, 2, 3, 4]], dtype=np.float32)
    assert code_products(query, coded, errors, slots=slots).tolist() == [[508, 2032]]
    assert errors.tolist() == coded["error"][slots].tolist()


def test_the_choice():
    mask = np.arange(10) < 4
    assert chosen.choose(mask, 4).slots.tolist() == [0, 1, 2, 3]
    assert chosen.choose(mask, 4).left_out is None
    many = chosen.choose(~mask, 6)
    assert (many.slots, many.left_out.tolist()) == (None, mask.tolist())
    assert chosen.choose(np.ones(3, bool), 3) == chosen.Chosen(None, None)
    late = chosen.choose(mask[::-1], 4)
    assert late.slot(np.array([0, 3])).tolist() == [6, 9]
