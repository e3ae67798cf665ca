"""Unit vectors of boxes: values by the tiny model's own formula, one row per box whatever it is."""

import numpy as np
import pytest
from helpers_artifact import DIM, SIZE, expected_embeddings, write_artifact
from PIL import Image

import mtml_deploy as md
from mtml_deploy.errors import ArtifactError, ImageError
from mtml_deploy.trackers import ReidModel

TOLERANCE = 1e-6
"""float32 of unit vectors, whose sums were of 512 pixels each."""

FRAME = np.random.default_rng(3).integers(0, 256, (60, 80, 3), dtype=np.uint8)  # BGR
BOXES = [[4, 5, 36, 37], [-20, 10.5, 12, 41.5], [70, 50, 90, 95]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_artifact(tmp_path_factory.mktemp("model") / "art").folder


@pytest.fixture(scope="module")
def model(folder):
    with ReidModel(folder) as opened:
        yield opened


def by_hand(x1, y1, x2, y2):
    """float64 [D] of one crop: cut out, turned to RGB, resized by Pillow, divided by its length."""
    crop = FRAME[y1:y2, x1:x2, ::-1]
    resized = Image.fromarray(crop).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    row = expected_embeddings(np.asarray(resized)[None])[0]
    return row / np.sqrt((row**2).sum())


def test_values_of_boxes_clipped_to_the_frame(model):
    expected = [by_hand(4, 5, 36, 37), by_hand(0, 10, 12, 42), by_hand(70, 50, 80, 60)]
    found = model.get_features(np.array(BOXES), FRAME)
    assert found.dtype == np.float32 and found.shape == (3, DIM) and model.dim == DIM
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=TOLERANCE)
    assert (model(FRAME, BOXES) == found).all()


def test_the_same_crops_as_embed(model, folder):
    with md.open_model(folder) as opened:
        rows = opened.embed(FRAME, boxes=BOXES, channels="BGR").features.astype(np.float64)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    assert (model.get_features(BOXES, FRAME) == unit.astype(np.float32)).all()


@pytest.mark.parametrize("boxes", [[], np.empty((0, 4)), np.empty((0, 4), np.float32)])
def test_no_box(model, boxes):
    found = model.get_features(boxes, FRAME)
    assert found.shape == (0, DIM) and found.dtype == np.float32


@pytest.mark.parametrize(
    "box", [[81, 5, 99, 9], [-9, 5, -1, 9], [5, 5, 5, 9], [9, 5, 5, 9], [1, float("nan"), 5, 9]]
)
def test_a_box_without_area_is_named(model, folder, box):
    boxes = [BOXES[0], box, BOXES[2]]
    with pytest.raises(ImageError, match="box 1: "):
        model.get_features(boxes, FRAME)
    with ReidModel(folder, bad_boxes="nan") as lenient:
        found = lenient.get_features(boxes, FRAME)
        assert lenient.get_features([box], FRAME).shape == (1, DIM)
    assert np.isnan(found).tolist() == [[False] * DIM, [True] * DIM, [False] * DIM]
    assert (found[[0, 2]] == model.get_features(np.delete(boxes, 1, axis=0), FRAME)).all()


@pytest.mark.parametrize(
    ("boxes", "image", "words"),
    [
        ([1, 2, 3, 4], FRAME, r"found \[4\]; pass \[box\]"),
        ([[1, 2, 3, 4, 0.9, 0]], FRAME, r"\[N, 4\] .*, found \[1, 6\]"),
        (BOXES, FRAME.astype(np.float32), "expected uint8"),
        (BOXES, FRAME[:, :, 0], "expected"),
    ],
)
def test_what_is_no_box_or_no_frame(model, boxes, image, words):
    with pytest.raises(ValueError, match=words):
        model.get_features(boxes, image)


def test_a_vector_of_zeros_has_no_direction(tmp_path):
    folder = write_artifact(tmp_path / "art", scale=0.0).folder
    with ReidModel(folder) as model, pytest.raises(ArtifactError, match="zeros for box 0"):
        model.get_features(BOXES, FRAME)


def test_options(folder):
    with pytest.raises(ValueError, match="bad_boxes is one of"):
        ReidModel(folder, bad_boxes="skip")
    with ReidModel(folder) as model:
        assert model.warning == ""  # fp32: compared when it was exported
        model.close()
        with pytest.raises(ValueError, match="closed"):
            model.get_features(BOXES, FRAME)
