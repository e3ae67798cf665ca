"""The list and its manifest: written, read back, and refused where they or the images changed."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from helpers_calibration import chosen, on_disk
from helpers_precision import mini_artifact, write_pictures
from helpers_records import check_json_reader

from mtml_deploy.data.source import load_source
from mtml_deploy.errors import DataError, OutputExistsError
from mtml_deploy.precision.calibration_list import (
    CalibrationSet,
    manifest_path,
    read_calibration,
    require_unchanged,
    write_calibration,
)
from mtml_deploy.precision.convert import convert
from mtml_deploy.precision.options import Conversion


@pytest.fixture
def made(tmp_path: Path) -> CalibrationSet:
    """Six images to calibrate on and two held out, and the list of them."""
    paths = write_pictures(tmp_path / "images", 8)
    found = chosen(paths, heldout=2)
    write_calibration(tmp_path / "list.txt", found)
    return found


def test_what_is_written_is_read(made: CalibrationSet, tmp_path: Path) -> None:
    assert read_calibration(tmp_path / "list.txt") == made
    assert (tmp_path / "list.txt").read_text().splitlines()[0] == "images/000.png"
    values = json.loads((tmp_path / "list.json").read_text())
    assert (values["split"], values["seed"], values["heldout_fraction"]) == ("train", 7, 0.25)
    assert values["heldout"][1] == {
        "path": "images/007.png", "sha256": made.heldout[1].sha256, "vehicle_id": 2,
        "camera_id": 1, "orientation": 0,
    }  # fmt: skip
    # any command takes the list as a source of images
    assert len(load_source(str(tmp_path / "list.txt")).records) == 6


def test_a_list_moves_with_the_images_below_it(made: CalibrationSet, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("list.txt", "list.json", "images"):
        shutil.move(tmp_path / name, moved / name)
    found = read_calibration(moved / "list.txt")
    assert found.calibration[0].record.path == moved / "images" / "000.png"
    require_unchanged((*found.calibration, *found.heldout), listing=moved / "list.txt")


def test_images_elsewhere_are_named_absolutely(
    made: CalibrationSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    relative = [Path("images") / image.record.path.name for image in made.calibration]
    (tmp_path / "lists").mkdir()
    elsewhere = replace(made, calibration=tuple(on_disk(path, 1) for path in relative))
    write_calibration(Path("lists/list.txt"), elsewhere)
    found = read_calibration(Path("lists/list.txt"))
    assert found.calibration[0].record.path == tmp_path / "images" / "000.png"


def test_existing_files_stay(made: CalibrationSet, tmp_path: Path) -> None:
    for name in ("list.txt", "list.json"):
        (tmp_path / name).rename(tmp_path / "kept")
        before = sorted(path.name for path in tmp_path.iterdir())
        with pytest.raises(OutputExistsError):
            write_calibration(tmp_path / "list.txt", made)
        assert sorted(path.name for path in tmp_path.iterdir()) == before
        (tmp_path / "kept").rename(tmp_path / name)
    write_calibration(tmp_path / "list.txt", replace(made, seed=8), overwrite=True)
    assert read_calibration(tmp_path / "list.txt").seed == 8


def test_a_list_is_a_text_file() -> None:
    with pytest.raises(DataError, match=r"is a \.txt file, found a/LIST; name it a/LIST\.txt"):
        manifest_path(Path("a/LIST"))
    assert manifest_path(Path("a/b.c.txt")) == Path("a/b.c.json")


def test_a_list_without_manifest(made: CalibrationSet, tmp_path: Path) -> None:
    (tmp_path / "list.json").unlink()
    with pytest.raises(DataError, match=r"no manifest list\.json .* mtml-deploy calibrate choose"):
        read_calibration(tmp_path / "list.txt")


@pytest.mark.parametrize("edit", ["shorter", "longer", "reordered"])
def test_an_edited_list_is_refused(made: CalibrationSet, tmp_path: Path, edit: str) -> None:
    lines = (tmp_path / "list.txt").read_text().splitlines()
    lines = {
        "shorter": lines[:-1],
        "longer": [*lines, "images/006.png"],
        "reordered": [lines[1], lines[0], *lines[2:]],
    }[edit]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"names other images than list\.json"):
        read_calibration(tmp_path / "list.txt")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"schema": 2}, "schema is 2, this version reads 1"),
        ({"split": "query"}, "split must be 'train', found 'query'"),
        ({"more": 1}, "unknown more, expected schema, source, split"),
        ({"seed": "0"}, "seed must be an integer, found '0'"),
        ({"heldout_fraction": None}, r"heldout_fraction must be a number in 0..1, found None"),
        ({"calibration": 3}, "calibration must be a list, each an object, found 3"),
        ({"calibration": [{"path": "a"}]}, r"calibration\[0\] lacks sha256, vehicle_id"),
        ({"heldout": []}, "6 calibration and 0 held-out"),
    ],
)
def test_a_damaged_manifest_is_refused(
    made: CalibrationSet, tmp_path: Path, change: dict[str, object], reason: str
) -> None:
    path = tmp_path / "list.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match=rf"list\.json is not valid \(.*{reason}"):
        read_calibration(tmp_path / "list.txt")


@pytest.mark.parametrize(
    ("name", "value"), [("path", 3), ("sha256", None), ("camera_id", 1.5), ("orientation", 8)]
)
def test_a_damaged_image_is_refused(
    made: CalibrationSet, tmp_path: Path, name: str, value: object
) -> None:
    path = tmp_path / "list.json"
    values = json.loads(path.read_text())
    values["heldout"][0][name] = value
    path.write_text(json.dumps(values))
    with pytest.raises(DataError, match=r"list\.json is not valid"):
        read_calibration(tmp_path / "list.txt")


def test_any_damage_of_the_manifest_is_refused(made: CalibrationSet, tmp_path: Path) -> None:
    check_json_reader(
        tmp_path / "list.json", lambda: read_calibration(tmp_path / "list.txt"), DataError
    )


def test_parts_that_overlap_are_refused(made: CalibrationSet) -> None:
    with pytest.raises(ValueError, match="vehicle 1 is calibrated on and held out"):
        replace(made, heldout=tuple(replace_vehicle(made, 1)))
    with pytest.raises(ValueError, match="the same bytes"):
        replace(made, calibration=made.calibration[:1] * 2)


def replace_vehicle(made: CalibrationSet, vehicle: int):
    return [replace(each, record=replace(each.record, vehicle_id=vehicle)) for each in made.heldout]


def test_changed_and_missing_images_are_named(made: CalibrationSet, tmp_path: Path) -> None:
    listing = tmp_path / "list.txt"
    with (tmp_path / "images" / "003.png").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(DataError, match=r"^1 images .* the first is .*003\.png; bring back"):
        require_unchanged(made.calibration, listing=listing)
    require_unchanged(made.heldout, listing=listing)
    (tmp_path / "images" / "004.png").unlink()
    with pytest.raises(DataError, match=r"^1 images .* cannot be read, .*004\.png; put the data"):
        require_unchanged(made.calibration, listing=listing)


def converted(place: Path) -> dict[str, object] | None:
    asked = Conversion(
        precision="int8", images=str(place / "compared"), calibration=place / "list.txt"
    )
    before = mini_artifact(place / "fp32")
    return convert(before, place / "int8", asked).manifest.conversion


def test_a_conversion_verifies_the_list(made: CalibrationSet, tmp_path: Path) -> None:
    write_pictures(tmp_path / "compared", 4, seed=1)
    record = converted(tmp_path)
    assert record is not None and record["calibration_verified"] is True


def test_a_conversion_says_that_a_plain_list_is_not_verified(
    made: CalibrationSet, tmp_path: Path
) -> None:
    write_pictures(tmp_path / "compared", 4, seed=1)
    (tmp_path / "list.json").unlink()
    record = converted(tmp_path)
    assert record is not None and record["calibration_verified"] is False


def test_a_conversion_refuses_other_bytes(made: CalibrationSet, tmp_path: Path) -> None:
    write_pictures(tmp_path / "compared", 4, seed=1)
    shutil.copy(tmp_path / "compared" / "000.png", tmp_path / "images" / "000.png")
    with pytest.raises(DataError, match="are not the files that were chosen"):
        converted(tmp_path)
    assert not (tmp_path / "int8").exists()
