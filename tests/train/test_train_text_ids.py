"""Training on tables and folders whose ids are texts."""

import json
from pathlib import Path

from helpers_training import small_config

from mtml_deploy.data.ids import NamedId
from mtml_deploy.data.records import ImageRecord, ImageSet
from mtml_deploy.data.source import load_source
from mtml_train.checkpoint import load_checkpoint
from mtml_train.data.train_set import join_training_sets
from mtml_train.train import train


def plate_table(tiny_set: Path, folder: Path) -> Path:
    """The rendered set as one table: plates, camera names and parts."""
    rows = ["path,plate,camera,split"]
    for split in ("train", "query", "gallery"):
        for record in load_source(f"veri:{tiny_set}#{split}").records:
            path = record.path.absolute()
            rows.append(f"{path},AB-{record.vehicle_id},gate {record.camera_id},{split}")
    table = folder / "all.csv"
    table.write_text("\n".join(rows))
    return table


def test_classes_are_numbers_then_texts(tmp_path: Path) -> None:
    ids = (NamedId("b"), 10, NamedId("a"), 9, NamedId("b"))
    records = tuple(ImageRecord(tmp_path / f"{n}.jpg", id_) for n, id_ in enumerate(ids))
    joined = join_training_sets(
        [ImageSet("s", tmp_path, records), ImageSet("t", tmp_path, records)]
    )
    assert joined.identities == tuple((group, id_) for group in (0, 1) for id_ in (9, 10, "a", "b"))
    assert joined.classes.tolist() == [3, 1, 2, 0, 3, 7, 5, 6, 4, 7]


def test_a_run_on_plates_is_the_run_on_numbers(tiny_set: Path, tmp_path: Path) -> None:
    table = plate_table(tiny_set, tmp_path)
    source = f"csv:{table}@id=plate"
    config = small_config(
        "unused", data=(source,), val=source, max_steps=2, val_every=1, batch_size=18
    )
    train(config, tmp_path / "run")
    card = load_checkpoint(tmp_path / "run" / "last.safetensors").card
    numbers = load_source(f"veri:{tiny_set}#train").records
    plates = sorted({f"AB-{record.vehicle_id}" for record in numbers})
    name = f"csv:{table}@vehicle_id=plate#train"
    assert card.identities == tuple((0, plate) for plate in plates)
    assert card.sources == (name,)
    kept = json.loads((tmp_path / "run" / "identities.json").read_text())
    assert [each["vehicle_id"] for each in kept] == plates
    # the queries and the gallery of the table are validated on, by the same metrics
    by_table = load_checkpoint(tmp_path / "run" / "last.safetensors").progress.validation
    train(
        small_config(tiny_set, val=f"veri:{tiny_set}", max_steps=2, val_every=1, batch_size=18),
        tmp_path / "numbers",
    )
    by_number = load_checkpoint(tmp_path / "numbers" / "last.safetensors").progress.validation
    assert by_table is not None and by_table == by_number


def test_a_held_out_part_of_folders(tiny_set: Path, tmp_path: Path) -> None:
    for record in load_source(f"veri:{tiny_set}#train").records:
        folder = tmp_path / "cars" / f"plate {record.vehicle_id}" / f"gate {record.camera_id}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / record.path.name).symlink_to(record.path.absolute())
    config = small_config(
        "unused", data=(f"folders:{tmp_path / 'cars'}",), val="holdout:0.4", max_steps=1,
        val_every=1, val_protocol="market", batch_size=8,
    )  # fmt: skip
    train(config, tmp_path / "run")
    card = load_checkpoint(tmp_path / "run" / "last.safetensors").card
    assert len(card.identities) == 6 - 2  # 0.4 of 6, rounded
    assert all(str(plate).startswith("plate ") for _, plate in card.identities)
