"""Validation: the deploy package's numbers on what the model in training gives."""

import math
from pathlib import Path

import pytest
import torch
from helpers_training import coloured_set, small_config
from torch import Tensor, nn

from mtml_deploy.data.records import ImageSet
from mtml_deploy.embed.embed import embed
from mtml_deploy.errors import DataError, ImageError, ProtocolError
from mtml_train.model import MTMLOutput
from mtml_train.validate import require_protocol, split_validation, validate

CPU = torch.device("cpu")


class ColourModel(nn.Module):
    """Feature: the red level of an image. Orientation: its green level."""

    def forward(self, images: Tensor) -> MTMLOutput:
        red, green = images[:, 0, 0, 0], images[:, 0, 0, 1]
        orientation = nn.functional.one_hot(green.long(), 8).float()
        nothing = torch.zeros(len(images), 2)
        return MTMLOutput(nothing[None], orientation, nothing, red[:, None].float(), nothing)


class BlindModel(ColourModel):
    """Without branch D."""

    def forward(self, images: Tensor) -> MTMLOutput:
        full = super().forward(images)
        return MTMLOutput(full.id_logits, None, full.consensus_logits, full.fused, full.consensus)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[ImageSet, ImageSet]:
    """One query of vehicle 1 at red 100, and five gallery images."""
    query = coloured_set(tmp_path / "query", [(1, 0, 2)], colours=[(100, 2, 0)])
    gallery = coloured_set(
        tmp_path / "gallery",
        # same camera: left out; then, by distance of red: wrong, right, wrong, right
        [(1, 0, 0), (2, 1, 1), (1, 1, -1), (2, 2, 3), (1, 2, 4)],
        colours=[(100, 0, 0), (110, 1, 0), (120, 7, 0), (130, 5, 0), (140, 4, 0)],
    )
    return query, gallery


def test_metrics_by_hand(pair: tuple[ImageSet, ImageSet]) -> None:
    config = small_config("unused")
    found = validate(ColourModel(), *pair, config=config, device=CPU)  # type: ignore[arg-type]
    # right ones at rank 2 and 4: AP = (1/2 + 2/4) / 2; the last is at 4: INP = 2/4
    assert found.metrics.mean_ap == pytest.approx(0.5)
    assert found.metrics.mean_inp == pytest.approx(0.5)
    assert [found.metrics.cmc_at(rank) for rank in (1, 5, 10)] == [0.0, 1.0, 1.0]
    # of five labelled images only the gallery's fourth (label 3, green 5) is wrong
    assert found.orientation_accuracy == pytest.approx(4 / 5)
    scalars = found.scalars()
    assert scalars["mAP"] == pytest.approx(0.5)
    assert scalars["orientation_accuracy"] == pytest.approx(0.8)
    # one value scaled to length 1 is 1: all tie, and gallery rows decide: right at 2 and 4 again
    assert found.normalised is not None and found.normalised.ties == 1
    assert scalars["mAP_length_1"] == found.normalised.mean_ap == pytest.approx(0.5)


def test_no_orientation_accuracy_without_branch_d(pair: tuple[ImageSet, ImageSet]) -> None:
    found = validate(BlindModel(), *pair, config=small_config("unused"), device=CPU)  # type: ignore[arg-type]
    assert math.isnan(found.orientation_accuracy)
    assert "orientation_accuracy" not in found.scalars()


def test_images_are_decoded_by_the_threads_that_are_asked_for(
    pair: tuple[ImageSet, ImageSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def recorded(*arguments: object, **options: object) -> object:
        asked.append(options["threads"])
        return embed(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("mtml_train.validate.embed", recorded)
    config = small_config("unused", threads=3)
    validate(ColourModel(), *pair, config=config, device=CPU)  # type: ignore[arg-type]
    assert asked == [3, 3]


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_of_the_model_is_restored(pair: tuple[ImageSet, ImageSet], training: bool) -> None:
    modes = []
    model = ColourModel().train(training)
    model.register_forward_pre_hook(lambda module, _: modes.append(module.training))
    validate(model, *pair, config=small_config("unused"), device=CPU)  # type: ignore[arg-type]
    assert model.training is training
    assert set(modes) == {False}


def test_a_bad_image_stops_or_is_left_out(pair: tuple[ImageSet, ImageSet]) -> None:
    bad = pair[1].records[1].path
    bad.write_bytes(b"no image")
    config = small_config("unused")
    with pytest.raises(ImageError, match=bad.name):
        validate(ColourModel(), *pair, config=config, device=CPU)  # type: ignore[arg-type]
    config = small_config("unused", skip_bad=True)
    found = validate(ColourModel(), *pair, config=config, device=CPU)  # type: ignore[arg-type]
    # without the first wrong one: right at 1 and 3
    assert found.metrics.mean_ap == pytest.approx((1 / 1 + 2 / 3) / 2)


def test_a_protocol_that_needs_cameras_refuses_a_set_without(tmp_path: Path) -> None:
    images = coloured_set(tmp_path, [(1, -1, 0), (2, -1, 0)], colours=[(1, 1, 1), (2, 2, 2)])
    with pytest.raises(ProtocolError, match=r"2 of 2 images .* have no camera id"):
        validate(ColourModel(), images, images, config=small_config("unused"), device=CPU)  # type: ignore[arg-type]
    # and the same before any training
    with pytest.raises(ProtocolError, match=r"2 of 2 images .* have no camera id"):
        require_protocol(images, images, "veri776")
    require_protocol(images, images, "plain")
    with pytest.raises(ProtocolError, match="no evaluation protocol is called 'veri'"):
        require_protocol(images, images, "veri")


# held-out identities


@pytest.fixture
def sets(tmp_path: Path) -> list[ImageSet]:
    """Two sets of five vehicles numbered 1..5 each; four images: cameras 0, 0, 1, 2."""
    labels = [(v, c, -1) for v in range(1, 6) for c in (0, 0, 1, 2)]
    return [coloured_set(tmp_path / name, labels, source=name) for name in ("first", "second")]


def vehicles(images: list[ImageSet]) -> set[tuple[str, int]]:
    return {(s.source, record.vehicle_id) for s in images for record in s.records}


def test_held_out_identities_are_whole_and_not_trained_on(sets: list[ImageSet]) -> None:
    kept, pair = split_validation(small_config("unused", val="holdout:0.3"), sets)
    assert pair is not None
    query, gallery = pair
    # 3 of 10 vehicles, numbered anew so that equal numbers of two sets stay apart
    assert {r.vehicle_id for r in query.records} == {0, 1, 2}
    assert {r.vehicle_id for r in gallery.records} == {0, 1, 2}
    assert len(vehicles(kept)) == 7
    held = {r.path for r in (*query.records, *gallery.records)}
    assert len(held) == 3 * 4
    assert not held & {record.path for images in kept for record in images.records}
    for vehicle in range(3):
        # one query per camera, the other image of camera 0 is in the gallery
        assert [r.camera_id for r in query.records if r.vehicle_id == vehicle] == [0, 1, 2]
        assert [r.camera_id for r in gallery.records if r.vehicle_id == vehicle] == [0]
    # all four images of one vehicle come from one vehicle of one set
    for vehicle in range(3):
        folders = {r.path.parent for r in (*query.records, *gallery.records)
                   if r.vehicle_id == vehicle}  # fmt: skip
        assert len(folders) == 1


def test_the_seed_chooses_who_is_held_out(sets: list[ImageSet]) -> None:
    def held(seed: int) -> set[tuple[str, int]]:
        config = small_config("unused", val="holdout:0.3", seed=seed)
        return vehicles(sets) - vehicles(split_validation(config, sets)[0])

    assert held(0) == held(0)
    assert len({frozenset(held(seed)) for seed in range(6)}) > 1


@pytest.mark.parametrize("text", ["0", "1", "half", "-0.1", "nan", ""])
def test_a_fraction_that_is_none(sets: list[ImageSet], text: str) -> None:
    with pytest.raises(DataError, match="give a fraction between 0 and 1"):
        split_validation(small_config("unused", val=f"holdout:{text}"), sets)


def test_a_fraction_that_leaves_too_little(sets: list[ImageSet]) -> None:
    with pytest.raises(DataError, match=r"leaves 1 vehicles .* raise the fraction"):
        split_validation(small_config("unused", val="holdout:0.1"), sets)


def test_no_validation_leaves_the_sets_alone(sets: list[ImageSet]) -> None:
    assert split_validation(small_config("unused"), sets) == (sets, None)


def test_query_and_gallery_of_a_source(sets: list[ImageSet], tiny_set: Path) -> None:
    kept, pair = split_validation(small_config("unused", val=f"veri:{tiny_set}"), sets)
    assert kept == sets
    assert pair is not None
    assert [len(images.records) for images in pair] == [4, 24]


def test_queries_and_gallery_of_two_tables(tmp_path: Path) -> None:
    query, gallery = tmp_path / "query.csv", tmp_path / "gallery.csv"
    query.write_text("path,vehicle_id\nq.jpg,AB-1\n")
    gallery.write_text("path,vehicle_id\na.jpg,AB-2\nb.jpg,AB-1\n")
    config = small_config("unused", val=f"csv:{query}", val_gallery=f"csv:{gallery}")
    kept, pair = split_validation(config, [])
    assert kept == [] and pair is not None
    assert [images.names() for images in pair] == [("q.jpg",), ("a.jpg", "b.jpg")]
    assert pair[0].records[0].vehicle_id == pair[1].records[1].vehicle_id
    for val in ("", "holdout:0.1"):
        config = small_config("unused", val=val, val_gallery=f"csv:{gallery}")
        with pytest.raises(DataError, match="names none; name the queries with --val"):
            split_validation(config, [])
