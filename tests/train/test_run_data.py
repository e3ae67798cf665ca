"""What is looked at before the first step: missing files, damaged images, sets without a match."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from helpers_training import small_config

from mtml_deploy.data.csv_table import table_text
from mtml_deploy.data.source import load_source
from mtml_deploy.errors import DataError, ProtocolError
from mtml_train.config import TrainConfig
from mtml_train.run_data import Checking, load_run_data


@pytest.fixture
def copy(tiny_set: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny_set, tmp_path / "copy")
    return tmp_path / "copy"


def images(folder: Path, split: str) -> list[Path]:
    return sorted((folder / f"image_{split}").iterdir())


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def texts(config: TrainConfig) -> list[str]:
    found: list[object] = []
    load_run_data(config, found.append, validates=True)
    return [each for each in found if isinstance(each, str)]


def test_training_images_that_are_not_there_are_named_before_the_first_step(copy: Path) -> None:
    files = images(copy, "train")
    for path in files[:4]:
        path.unlink()
    files[4].write_bytes(b"")
    with pytest.raises(DataError) as caught:
        texts(small_config(copy))
    assert str(caught.value).startswith("5 of the 36 images of veri:")
    assert all(path.name in str(caught.value) for path in files[:3])
    assert files[3].name not in str(caught.value)
    assert " and 2 more" in str(caught.value)
    assert "copy the data set again (mtml-train check-data" in str(caught.value)
    left_out = [text for text in texts(small_config(copy, skip_bad=True)) if "left out" in text]
    assert len(left_out) == 5


def test_training_images_are_not_decoded_unless_bad_ones_are_left_out(copy: Path) -> None:
    cut(images(copy, "train")[7])
    assert "36 training images of 6 vehicles, 36 with orientation" in texts(small_config(copy))
    found = texts(small_config(copy, skip_bad=True))
    assert "35 training images of 6 vehicles, 35 with orientation" in found
    assert any(text.startswith(f"left out {images(copy, 'train')[7]}: ") for text in found)


@pytest.mark.parametrize("split", ["query", "test"])
@pytest.mark.parametrize("damage", [cut, Path.unlink])
def test_a_validation_image_that_does_not_open_is_found_at_once(
    copy: Path, split: str, damage: object
) -> None:
    bad = images(copy, split)[-1]
    damage(bad)  # type: ignore[operator]
    config = small_config(copy, val=f"veri:{copy}")
    with pytest.raises(DataError, match=rf"^1 of the \d+ images of veri:.*{bad.name}.*--skip-bad"):
        texts(config)
    found = texts(small_config(copy, val=f"veri:{copy}", skip_bad=True))
    assert any(text.startswith(f"left out {bad}: ") for text in found)
    # a process that does not validate leaves the images alone
    load_run_data(config, lambda _: None, validates=False)


def test_held_out_images_are_opened_too(copy: Path) -> None:
    for path in images(copy, "train"):
        cut(path)
    with pytest.raises(DataError, match=r"images of holdout:0\.34#query, which the run is to be"):
        texts(small_config(copy, val="holdout:0.34"))


def test_the_number_of_images_looked_at_is_reported(tiny_set: Path) -> None:
    found: list[object] = []
    config = small_config(tiny_set, val=f"veri:{tiny_set}")
    _, sets = load_run_data(config, found.append, validates=True)
    assert sets is not None
    query, gallery = (len(each.records) for each in sets)
    seen = [each for each in found if isinstance(each, Checking)]
    assert seen == [Checking(query, query), Checking(gallery, gallery)]


def one_camera(tiny_set: Path, folder: Path) -> str:
    records = load_source(f"veri:{tiny_set}#gallery").records
    only = min(each.camera_id for each in records)
    (folder / "one.csv").write_text(table_text([r for r in records if r.camera_id == only]))
    return f"csv:{folder / 'one.csv'}"


def test_a_set_of_one_camera_is_refused_with_the_cause_and_the_way_out(
    tiny_set: Path, tmp_path: Path
) -> None:
    source = one_camera(tiny_set, tmp_path)
    with pytest.raises(ProtocolError, match=r"from the query's own camera .*: .*plain"):
        texts(small_config(tiny_set, val=source))
    texts(small_config(tiny_set, val=source, val_protocol="plain"))


def test_a_match_that_is_left_out_is_no_match(copy: Path) -> None:
    # the gallery of the only query's vehicle is damaged, whatever camera it is of
    vehicle = images(copy, "query")[0].name[:4]
    lines = [each.name for each in images(copy, "query") if each.name.startswith(vehicle)]
    (copy / "name_query.txt").write_text("\n".join(lines) + "\n")
    for path in images(copy, "test"):
        if path.name.startswith(vehicle):
            cut(path)
    with pytest.raises(ProtocolError, match="share no vehicle"):
        texts(small_config(copy, val=f"veri:{copy}", skip_bad=True))


def test_a_set_of_bad_images_alone_is_refused(copy: Path) -> None:
    for path in images(copy, "query"):
        cut(path)
    with pytest.raises(DataError, match=r"not one of the \d+ images of veri:.*#query can be used"):
        texts(small_config(copy, val=f"veri:{copy}", skip_bad=True))
