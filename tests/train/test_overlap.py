"""The same images or vehicles, named twice: refused for training, noted for validation."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from helpers_training import coloured_set, small_config

from mtml_deploy.data.holdout import hold_out
from mtml_deploy.data.records import ImageSet
from mtml_deploy.data.source import load_source
from mtml_deploy.errors import DataError
from mtml_train.data.overlap import copies, require_disjoint, trained_on
from mtml_train.run_data import load_run_data


def loaded(*texts: str) -> list[ImageSet]:
    return [load_source(text, split="train") for text in texts]


def linked(tiny_set: Path, place: Path) -> str:
    (place / "link").symlink_to(tiny_set)
    return f"veri:{place / 'link'}"


def linked_files(tiny_set: Path, place: Path) -> str:
    shutil.copytree(tiny_set, place / "linked", copy_function=os.link)
    return f"veri:{place / 'linked'}"


def table(tiny_set: Path, place: Path) -> str:
    images = load_source(f"veri:{tiny_set}#train").records[:12:2]
    rows = [f"{each.path},{each.vehicle_id}" for each in images]
    (place / "table.csv").write_text("\n".join(["path,vehicle_id", *rows]))
    return f"csv:{place / 'table.csv'}"


@pytest.mark.parametrize(
    ("again", "shared"),
    [
        (lambda tiny, _: f"veri:{tiny}/", "36 of the 36 images"),
        (lambda tiny, _: f"veri:{tiny}#train", "36 of the 36 images"),
        (lambda tiny, _: f"veri:{tiny}/../{tiny.name}", "36 of the 36 images"),
        (linked, "36 of the 36 images"),
        (linked_files, "36 of the 36 images"),
        (table, "6 of the 6 images"),
    ],
)
def test_a_set_that_is_named_twice_is_refused(
    tiny_set: Path, tmp_path: Path, again: Callable[[Path, Path], str], shared: str
) -> None:
    with pytest.raises(DataError, match=f"{shared} .* two classes .* once with --data"):
        require_disjoint(loaded(f"veri:{tiny_set}", again(tiny_set, tmp_path)))


def test_parts_of_one_data_set_with_the_same_vehicles_are_refused(tiny_set: Path) -> None:
    # the queries are copies of gallery images: other files, the same 4 vehicles
    parts = (f"veri:{tiny_set}#query", f"veri:{tiny_set}#gallery")
    with pytest.raises(DataError, match="are of one data set and share 4 vehicles"):
        require_disjoint(loaded(*parts))
    require_disjoint(loaded(f"veri:{tiny_set}#train", parts[1]))  # other vehicles


def test_a_run_names_the_cause(tiny_set: Path) -> None:
    config = small_config(tiny_set, data=(f"veri:{tiny_set}", f"veri:{tiny_set}/"))
    with pytest.raises(DataError, match="would become two classes"):
        load_run_data(config, lambda _: None, validates=True)


def test_a_copy_is_noted(tiny_set: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_set, tmp_path / "copy")
    sets = loaded(f"veri:{tiny_set}", f"veri:{tmp_path / 'copy'}")
    require_disjoint(sets)
    (note,) = copies(sets)
    assert "if one is a copy of the other" in note
    other = tuple(replace(each, vehicle_id=each.vehicle_id + 1) for each in sets[1].records)
    assert copies([sets[0], replace(sets[1], records=other)]) == []


def test_validation_on_training_images_is_noted(tiny_set: Path, tmp_path: Path) -> None:
    text = table(tiny_set, tmp_path)  # no parts: queries and gallery are all 6 images
    val = loaded(text, text)
    count = len({each.vehicle_id for each in val[0].records})
    note = trained_on(loaded(f"veri:{tiny_set}"), val)
    assert note.startswith(f"validation: 6 of 6 images and {count} of {count} vehicles are trained")
    notes: list[object] = []
    load_run_data(
        small_config(tiny_set, data=(text,), val=text, val_protocol="plain"),
        notes.append,
        validates=True,
    )
    assert note in notes


def test_validation_on_training_vehicles_is_noted(tmp_path: Path) -> None:
    images = coloured_set(tmp_path, [(n % 4, n % 2, -1) for n in range(12)])
    train = replace(images, records=images.records[:6])  # vehicles 0 to 3
    val = replace(images, records=images.records[6:9])  # vehicles 2, 3 and 0, other images
    note = trained_on([train], [val, val])
    assert "validation: 0 of 3 images and 3 of 3 vehicles are trained on too" in note


def test_validation_on_others_is_not_noted(tiny_set: Path) -> None:
    train = loaded(f"veri:{tiny_set}")
    assert (
        trained_on(train, [load_source(f"veri:{tiny_set}#{p}") for p in ("query", "gallery")]) == ""
    )
    kept, val = hold_out(train, share=0.34, seed=0)
    assert trained_on(kept, val) == ""
