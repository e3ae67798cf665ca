"""Several query images as one set, or as one query."""

from dataclasses import replace

import numpy as np
import pytest

from mtml_deploy.embed.embeddings import Embeddings, ModelIdentity
from mtml_deploy.embed.joined import as_one, joined
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
    found = joined([images([[1, 2], [3, 4]], vehicles=7), images([[5, 6]], source="t")])
    assert found.features.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert found.vehicle_ids.tolist() == [7, 7, -1]
    assert found.names == ("s0.jpg", "s1.jpg", "t0.jpg")
    assert (found.root, found.source) == ("/r", "s, t")
    assert found.pixels.tolist() == [9, 9, 9]
    elsewhere = joined([images([[1, 2]]), images([[5, 6]], root="/q", pixels=None)])
    assert elsewhere.names == ("/r/s0.jpg", "/q/s0.jpg")
    assert (elsewhere.root, elsewhere.pixels) == ("", None)
    alone = images([[1, 2]])
    assert joined([alone]) is alone


def test_the_mean_of_all_is_one_row():
    found = as_one(images([[1, 2], [3, 4], [8, 0]], vehicles=7, cameras=2))
    assert found.features.tolist() == [[4, 2]]
    assert found.features.dtype == np.float32
    assert (found.vehicle_ids.tolist(), found.camera_ids.tolist()) == ([7], [2])
    assert (found.names, found.unit) == (("s0.jpg and 2 more",), "tracklet")
    two = joined([images([[1, 2]], vehicles=7, cameras=1), images([[3, 2]], cameras=2)])
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
        as_one(joined([left, images([[1, 2]], vehicles=2)]))
    with pytest.raises(EmbeddingsError, match="no images"):
        as_one(images([]))
    with pytest.raises(EmbeddingsError, match="cannot be compared"):
        joined([left, images([[1, 2]], model=replace(MODEL, model_sha256="b" * 64))])
    with pytest.raises(EmbeddingsError, match="holds images and t tracklets"):
        joined([left, images([[1, 2]], source="t", unit="tracklet", pixels=None)])
    with pytest.raises(ValueError, match="at least one"):
        joined([])
