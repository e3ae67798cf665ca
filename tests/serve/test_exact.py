"""Answers of the service are those of the library."""

import base64

import numpy as np
import pytest

import mtml_deploy as md


def images_of(place):
    return [path.read_bytes() for path in sorted((place / "images").iterdir())]


@pytest.fixture(scope="module")
def offline(place):
    with md.open_model(place / "model") as model:
        return model.embed(images_of(place))


def test_embeddings_are_those_of_the_library(service, place, offline):
    images = images_of(place)
    raw = service.send("/v1/embed", *images, Accept="application/octet-stream")
    assert raw.status == 200
    assert raw.headers["x-rows"] == str(len(images))
    rows = np.frombuffer(raw.body, "<f4").reshape(len(images), -1)
    np.testing.assert_array_equal(rows, offline.features)
    told = service.send("/v1/embed", *images).json
    for row, expected in zip(told["rows"], offline.features, strict=True):
        found = np.frombuffer(base64.b64decode(row["embedding"]), "<f4")
        np.testing.assert_array_equal(found, expected)
    numbers = service.send("/v1/embed?format=float", images[0]).json
    found = np.array(numbers["rows"][0]["embedding"], np.float32)
    np.testing.assert_array_equal(found, offline.features[0])


def test_lists_are_those_of_the_library(service, place, offline):
    with md.open_gallery(place / "cars") as gallery:
        where = md.Filter(cameras=(2,))
        expected = gallery.hit_lists(gallery.search(offline[:2], top_k=3, where=where))
    told = service.send("/v1/search?top_k=3&camera=2", *images_of(place)[:2]).json
    assert [
        [(rank["row"], rank["distance"], rank["path"], rank["camera_id"]) for rank in each["ranks"]]
        for each in told["queries"]
    ] == [[(hit.stored.row, hit.distance, hit.path, 2) for hit in hits] for hits in expected]
