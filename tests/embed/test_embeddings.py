"""Sets of embeddings: made, cut, joined, pooled, saved."""

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from helpers_records import check_json_reader

from mtml_deploy.data.records import ImageRecord
from mtml_deploy.embed.embeddings import Embeddings, ModelIdentity
from mtml_deploy.embed.pooling import as_one
from mtml_deploy.errors import EmbeddingsError

MODEL = ModelIdentity("a" * 64, "fp32", "fused", 2)


def images(values, *, vehicles=-1, cameras=-1, root="/r", source="s", **changes):
    rows = len(values)
    found = Embeddings(
        features=np.array(values, dtype=np.float32).reshape(rows, 2),
        vehicle_ids=np.full(rows, vehicles, dtype=np.int32),
        camera_ids=np.full(rows, cameras, dtype=np.int32),
        orientations=np.full(rows, -1, dtype=np.int32),
        tracklet_ids=np.full(rows, 4, dtype=np.int32),
        names=tuple(f"{source}{row}.jpg" for row in range(rows)),
        root=root,
        source=source,
        model=MODEL,
        pixels=np.full(rows, 9, dtype=np.int32),
    )
    return replace(found, **changes)


def test_rows_follow_in_the_order_of_the_sets():
    found = Embeddings.concat([images([[1, 2], [3, 4]], vehicles=7), images([[5, 6]], source="t")])
    assert found.features.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert found.vehicle_ids.tolist() == [7, 7, -1]
    assert found.names == ("s0.jpg", "s1.jpg", "t0.jpg")
    assert (found.root, found.source) == ("/r", "s, t")
    assert found.pixels.tolist() == [9, 9, 9]
    elsewhere = Embeddings.concat([images([[1, 2]]), images([[5, 6]], root="/q", pixels=None)])
    assert elsewhere.names == ("/r/s0.jpg", "/q/s0.jpg")
    assert (elsewhere.root, elsewhere.pixels) == ("", None)
    alone = images([[1, 2]])
    assert Embeddings.concat([alone]) is alone


def test_the_mean_of_all_is_one_row():
    found = as_one(images([[1, 2], [3, 4], [8, 0]], vehicles=7, cameras=2))
    assert found.features.tolist() == [[4, 2]]
    assert found.features.dtype == np.float32
    assert (found.vehicle_ids.tolist(), found.camera_ids.tolist()) == ([7], [2])
    assert (found.names, found.unit) == (("s0.jpg and 2 more",), "tracklet")
    two = Embeddings.concat([images([[1, 2]], vehicles=7, cameras=1), images([[3, 2]], cameras=2)])
    # the vehicle of the second image and the one camera of both are not known
    found = as_one(two)
    assert (found.vehicle_ids.tolist(), found.camera_ids.tolist()) == ([-1], [-1])
    assert as_one(images([[1, 2]])).names == ("s0.jpg",)


def test_large_values_do_not_lose_digits():
    # a float32 sum of these would be off by more than the value of the last image
    values = [[1e8, 0]] + [[3, 0]] * 3
    assert as_one(images(values)).features[0, 0] == np.float32((1e8 + 9) / 4)


def test_what_does_not_belong_together_is_refused():
    left = images([[1, 2]], vehicles=1)
    with pytest.raises(EmbeddingsError, match="shows 2 vehicles, for example 1 and 2"):
        as_one(Embeddings.concat([left, images([[1, 2]], vehicles=2)]))
    with pytest.raises(EmbeddingsError, match="no images"):
        as_one(images([]))
    with pytest.raises(EmbeddingsError, match="cannot be compared"):
        Embeddings.concat(
            [left, images([[1, 2]], model=msgspec.structs.replace(MODEL, model_sha256="b" * 64))]
        )
    with pytest.raises(EmbeddingsError, match="holds images and t tracklets"):
        Embeddings.concat([left, images([[1, 2]], source="t", unit="tracklet", pixels=None)])
    with pytest.raises(ValueError, match="at least one"):
        Embeddings.concat([])


def test_features_with_the_labels_of_records():
    records = [ImageRecord(Path("a.jpg"), 7, 2, 5, 9), ImageRecord(Path("b.jpg"))]
    found = Embeddings.of(
        np.array([[1, 2], [3, 4]], dtype=np.float32),
        records,
        names=["a.jpg", "b.jpg"],
        model=MODEL,
    )
    assert found.vehicle_ids.tolist() == [7, -1]
    assert found.camera_ids.tolist() == [2, -1]
    assert found.orientations.tolist() == [5, -1]
    assert found.tracklet_ids.tolist() == [9, -1]
    assert (found.names, found.root, found.source) == (("a.jpg", "b.jpg"), "", "")
    assert found.pixels is None and found.unit == "image"
    none = Embeddings.of(np.empty((0, 2), dtype=np.float32), [], names=[], model=MODEL)
    assert len(none) == 0 and none.vehicle_ids.dtype == np.int32


FIVE = replace(
    images([[row, -row] for row in range(5)]),
    vehicle_ids=np.array([10, 11, 12, 13, 14], dtype=np.int32),
    pixels=np.array([1, 2, 3, 4, 5], dtype=np.int32),
)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (slice(1, 3), [1, 2]),
        (slice(None, None, -2), [4, 2, 0]),
        ([3, 0, 3], [3, 0, 3]),
        (np.array([-1], dtype=np.int32), [4]),
        (2, [2]),
        (np.array([True, False, False, True, False]), [0, 3]),
        ([], []),
        (slice(9, 12), []),
    ],
)
def test_rows_are_taken_with_all_that_is_known_of_them(rows, expected):
    found = FIVE[rows]
    assert found.features.tolist() == [[row, -row] for row in expected]
    assert found.features.flags.c_contiguous
    assert found.vehicle_ids.tolist() == [10 + row for row in expected]
    assert found.names == tuple(f"s{row}.jpg" for row in expected)
    assert found.pixels.tolist() == [1 + row for row in expected]
    assert found.model == MODEL


def test_a_slice_shares_its_features():
    assert np.shares_memory(FIVE[1:3].features, FIVE.features)


@pytest.mark.parametrize("rows", [5, [0, -6], np.array([True, False])])
def test_rows_that_are_not_there(rows):
    with pytest.raises(IndexError):
        FIVE[rows]


def test_a_file_named_by_text_or_path(tmp_path):
    FIVE.save(str(tmp_path / "a.npz"))
    for file in (tmp_path / "a.npz", str(tmp_path / "a.npz")):
        found = Embeddings.load(file)
        assert isinstance(found, Embeddings)
        assert found.features.tolist() == FIVE.features.tolist()
        assert (found.names, found.model) == (FIVE.names, MODEL)


def test_pooled_by_name():
    four = images([[1, 2], [3, 4], [8, 0]], vehicles=7, cameras=2)  # all of tracklet 4
    assert four.pool("tracklets").features.tolist() == [[4, 2]]
    assert four.pool("vehicles").names == ("s0.jpg",)
    assert four.pool("one").names == ("s0.jpg and 2 more",)
    weighted = replace(four, pixels=np.array([1, 1, 2], dtype=np.int32))
    assert weighted.pool("tracklets", weights="size").features.tolist() == [[5, 1.5]]
    with pytest.raises(ValueError, match=r"into is one of tracklets, .*found 'track'"):
        four.pool("track")
    with pytest.raises(ValueError, match="found 'size'"):
        four.pool("one", weights="size")


def test_any_damage_of_the_manifest_is_refused(tmp_path):
    whole = tmp_path / "whole.npz"
    images([[1, 2], [3, 4]]).save(whole)
    with np.load(whole) as file:
        arrays = dict(file)
    path, target = tmp_path / "manifest.json", tmp_path / "damaged.npz"
    path.write_text(str(arrays.pop("header")[()]))
    assert list(json.loads(path.read_text())) == ["schema", "root", "source", "unit", "model"]

    def read() -> Embeddings:
        text = path.read_text(errors="surrogateescape").replace("\0", "?")  # an array's end
        np.savez(target, header=np.array(text), **arrays)
        return Embeddings.load(target)

    check_json_reader(path, read, EmbeddingsError, named="damaged.npz")
    path.write_text(path.read_text().replace('"schema": 2', '"schema": 1'))
    with pytest.raises(EmbeddingsError, match=r"schema is 1, this version reads 2; embed the im"):
        read()
