"""Going on with a run: what may change, what may not and why, and that data are the same."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import pytest
from helpers_training import assert_equal_tensors, board, coloured_set, small_config

from mtml_deploy.data.csv_table import table_text
from mtml_deploy.data.records import ImageSet
from mtml_deploy.data.source import absolute_source
from mtml_deploy.errors import DataError
from mtml_train.checkpoint import LAST, load_checkpoint
from mtml_train.config import TrainConfig
from mtml_train.data.fingerprint import fingerprint
from mtml_train.resume import (
    FIXED,
    FREE,
    require_same_data,
    require_same_share,
    require_there,
    resume_command,
    resumed_config,
)
from mtml_train.run_card import RunCard
from mtml_train.step import learning_rate
from mtml_train.train import train

pytestmark = pytest.mark.usefixtures("tiny")

OTHER = {
    # a value of each setting that differs from its default and is allowed
    "variant": "MTML-S", "backbone": "resnet18", "weights": "none", "init": "r", "image_size": 64,
    "scale_size": 40, "consensus_dim": 8, "batch_size": 16, "sampler": "pk", "instances": 2,
    "flip": 0.1, "pad": 0.1, "erase": 0.1, "jitter": 0.1, "seed": 3, "lr": 1e-3, "beta1": 0.8,
    "beta2": 0.9, "weight_decay": 0.1, "schedule": "cosine", "warmup_epochs": 1.0,
    "consensus_weight": 2.0, "temperature": 2.0, "detach_consensus": True, "label_smoothing": 0.1,
    "consensus_gradient": 0.5,
    "triplet_weight": 1.0, "triplet_margin": 0.1, "amp": "bf16", "sync_bn": "off",
    "identity_loss": "circle", "identity_scale": 30.0, "identity_margin": 0.2,
    "triplet_on": "both", "triplet_distance": "cosine",
    "optimizer": "sgd", "momentum": 0.8, "head_lr": 10.0, "warmup_steps": 5, "freeze_steps": 7,
    "max_grad_norm": 2.0, "ema": 0.99,
    "auto_augment": "randaugment", "auto_augment_share": 0.5, "erase_fill": "random",
    "last_stride": 1, "pooling": "gem", "neck": "bn",
    "deterministic": True, "data": ("veri:other",), "max_steps": 9, "workers": 0, "threads": 2,
    "device": "cpu",
    "save_every": 3, "log_every": 3, "skip_bad": True, "val": "veri:other",
    "val_gallery": "veri:third", "val_every": 2, "best_by": "CMC@1", "patience": 3,
    "val_protocol": "plain", "epochs": 200, "accumulate": 2,
}  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Path]:
    """A run folder that is removed at once: a checkpoint is large."""
    yield tmp_path / "run"
    shutil.rmtree(tmp_path / "run", ignore_errors=True)


# settings


def test_every_setting_is_known_to_be_free_or_says_why_it_is_not() -> None:
    names = {each.name for each in fields(TrainConfig)}
    assert names == FREE | FIXED.keys() == set(OTHER)
    assert not FREE & FIXED.keys()


@pytest.mark.parametrize("name", sorted(OTHER))
def test_a_setting_changes_or_is_refused_with_its_reason(name: str, tmp_path: Path) -> None:
    config, flags = TrainConfig(), {name: OTHER[name]}
    if name in FREE:
        assert resumed_config(config, flags, out=tmp_path) == replace(config, **flags)
        return
    with pytest.raises(DataError) as caught:
        resumed_config(config, flags, out=tmp_path)
    assert f"was started with {name} = " in str(caught.value)
    assert FIXED[name] in str(caught.value)
    # what is said again is no change
    assert resumed_config(config, {name: getattr(config, name)}, out=tmp_path) == config


@pytest.mark.parametrize(
    ("was", "value", "message"),
    [
        ({"epochs": 5}, {"epochs": 4}, "to 4: a run is only made longer"),
        ({}, {"val": "holdout:0.1"}, "takes vehicles out of the training images"),
        ({"val": "holdout:0.1"}, {"val": ""}, "takes vehicles out of the training images"),
        ({"val": "holdout:0.1"}, {"val": "holdout:0.2"}, "takes vehicles out"),
        ({}, {"workers": -1}, "workers is 0 or more, found -1"),
        ({"lr": 3e-4}, {"lr": 1e-3}, "lr = 0.0003, --resume cannot change it to 0.001: it decides"),
    ],
)
def test_changes_that_are_refused(
    was: dict[str, object], value: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        resumed_config(replace(TrainConfig(), **was), value, out=tmp_path)  # type: ignore[arg-type]


def card(processes: int, accumulate: int, **changes: object) -> RunCard:
    config = small_config("x", batch_size=24, accumulate=accumulate, **changes)
    return RunCard(config, "paper", (), (), processes)


@pytest.mark.parametrize(
    ("before", "now"), [((1, 4), (4, 1)), ((4, 1), (2, 2)), ((2, 3), (2, 3)), ((2, 3), (1, 6))]
)
def test_equal_micro_batches_go_on(before: tuple[int, int], now: tuple[int, int]) -> None:
    require_same_share(card(*before), card(*now))


@pytest.mark.parametrize(
    ("before", "now", "message"),
    [
        ((4, 1), (2, 1), "4 processes x 1 micro-batches.* takes 6 images .*add --accumulate 2"),
        ((1, 1), (1, 2), "add --accumulate 1"),
        ((1, 1), (2, 1), "start 1 processes with --accumulate 1"),
    ],
)
def test_other_micro_batches_are_refused(
    before: tuple[int, int], now: tuple[int, int], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        require_same_share(card(*before), card(*now))


def test_a_run_goes_on_in_as_many_processes() -> None:
    assert resume_command(Path("r"), 1) == "mtml-train --out r --resume"
    assert resume_command(Path("r"), 4) == (
        "torchrun --nproc-per-node 4 -m mtml_train --out r --resume"
    )


@pytest.mark.parametrize("now", [(4, 1), (2, 1), (1, 1)])
def test_shared_statistics_go_on_with_any_processes(now: tuple[int, int]) -> None:
    require_same_share(card(4, 1, sync_bn="on"), card(*now, sync_bn="on"))


def test_shared_statistics_need_the_same_micro_batches() -> None:
    with pytest.raises(DataError, match=r"takes 24 images .*would take 12, .*add --accumulate 1"):
        require_same_share(card(4, 1, sync_bn="on"), card(2, 2, sync_bn="on"))


def test_triplets_need_the_same_images_together() -> None:
    changes = {"sync_bn": "on", "sampler": "pk", "triplet_weight": 1.0}
    require_same_share(card(4, 1, **changes), card(4, 1, **changes))
    with pytest.raises(DataError, match="start 4 processes with --accumulate 1"):
        require_same_share(card(4, 1, **changes), card(2, 1, **changes))


# data


def write_table(folder: Path, images: ImageSet) -> str:
    """The set as a source; the same file each time."""
    (folder / "table.csv").write_text(table_text(images.records))
    return f"csv:{folder / 'table.csv'}"


def labelled(folder: Path) -> ImageSet:
    return coloured_set(folder, [(41 + number % 2, number % 3, number % 8) for number in range(16)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r[:-4], "holds 12 training images now, 16 when the run started"),
        (lambda r: (*r[1:], r[0]), "but other ones, or in another order"),
        (
            lambda r: tuple(replace(each, vehicle_id=83 - each.vehicle_id) for each in r),
            "with other vehicle ids, cameras or orientations",  # 41 and 42 swapped
        ),
        (lambda r: (replace(r[0], camera_id=9), *r[1:]), "with other vehicle ids, cameras"),
        (lambda r: (replace(r[0], orientation=-1), *r[1:]), "with other vehicle ids, cameras"),
    ],
)
def test_other_records_are_noticed(change: object, message: str, tmp_path: Path) -> None:
    images = labelled(tmp_path)
    changed = replace(images, records=change(images.records))  # type: ignore[operator]
    cards = [replace(card(1, 1), sets=(fingerprint(each),)) for each in (images, changed)]
    require_same_data(cards[0], cards[0])
    with pytest.raises(DataError, match=message):
        require_same_data(*cards)


def test_moved_images_are_the_same_and_contents_are_not_looked_at(tmp_path: Path) -> None:
    first, second = labelled(tmp_path / "a"), labelled(tmp_path / "b")
    for record in second.records:
        record.path.unlink()
    found = [fingerprint(each) for each in (first, second)]
    assert [each.source for each in found] == [str(tmp_path / "a"), str(tmp_path / "b")]
    assert found[0].names_sha256 == found[1].names_sha256
    assert found[0].labels_sha256 == found[1].labels_sha256


def test_another_number_of_data_sets_is_refused(tmp_path: Path) -> None:
    one = fingerprint(labelled(tmp_path))
    with pytest.raises(DataError, match=r"started with 2 data sets .*, found 1; name all of them"):
        require_same_data(replace(card(1, 1), sets=(one, one)), replace(card(1, 1), sets=(one,)))


def test_resuming_with_other_labels_is_refused(tmp_path: Path, run: Path) -> None:
    images = labelled(tmp_path / "images")
    config = small_config("x", data=(write_table(tmp_path, images),), max_steps=1)
    train(config, run)
    before = (run / LAST).read_bytes()
    swapped = [replace(each, vehicle_id=83 - each.vehicle_id) for each in images.records]
    write_table(tmp_path, replace(images, records=tuple(swapped)))
    with pytest.raises(DataError, match="with other vehicle ids"):
        train(replace(config, max_steps=2), run, resume=load_checkpoint(run / LAST, resume=True))
    assert (run / LAST).read_bytes() == before


def test_a_run_goes_on_from_anywhere_and_with_moved_data(
    tiny_set: Path, tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "start").mkdir()
    shutil.copytree(tiny_set, tmp_path / "start" / "data")
    monkeypatch.chdir(tmp_path / "start")
    config = small_config("data", max_steps=1, val="veri:data", val_every=9)
    train(config, run)
    absolute = f"veri:{tmp_path / 'start' / 'data'}"
    stopped = load_checkpoint(run / LAST, resume=True).card
    assert (stopped.config.data, stopped.config.val) == ((absolute,), absolute)
    assert stopped.sources == (f"{absolute}#train",)

    monkeypatch.chdir(tmp_path)
    checkpoint = load_checkpoint(run / LAST, resume=True)
    train(replace(checkpoint.card.config, max_steps=2), run, resume=checkpoint)
    (tmp_path / "start" / "data").rename(tmp_path / "moved")
    checkpoint = load_checkpoint(run / LAST, resume=True)
    with pytest.raises(DataError) as caught:
        train(replace(checkpoint.card.config, max_steps=3), run, resume=checkpoint)
    assert f"mtml-train --out {run} --resume --data veri:NEW_PLACE" in str(caught.value)
    flags = {"data": ("veri:moved",), "max_steps": 3}
    with pytest.raises(DataError, match=r'--val veri:NEW_PLACE, or go on .*: --val ""'):
        train(resumed_config(checkpoint.card.config, flags, out=run), run, resume=checkpoint)
    config = resumed_config(checkpoint.card.config, flags | {"val": "veri:moved"}, out=run)
    progress = train(config, run, resume=checkpoint)
    assert progress.step == 3
    assert load_checkpoint(run / LAST).card.sources == (f"veri:{tmp_path / 'moved'}#train",)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("veri:data", "veri:{here}/data"),
        ("veri:data#gallery", "veri:{here}/data#gallery"),
        ("csv:a/t#1.csv", "csv:{here}/a/t#1.csv"),
        ("csv:t.csv@id=plate,camera=cam", "csv:{here}/t.csv@vehicle_id=plate,camera_id=cam"),
        ("csv:t.csv@id=plate#train", "csv:{here}/t.csv@vehicle_id=plate#train"),
        ("folders:cars#query", "folders:{here}/cars#query"),
        ("images", "{here}/images"),
        ("/there", "/there"),
        ("veri:/there#train", "veri:/there#train"),
    ],
)
def test_absolute_sources(text: str, expected: str) -> None:
    assert absolute_source(text) == expected.format(here=Path.cwd())
    assert absolute_source(absolute_source(text)) == absolute_source(text)


def test_the_new_place_is_named_with_all_that_belongs_to_a_source(tmp_path: Path) -> None:
    source = f"csv:{tmp_path}/t.csv@id=plate#train"
    with pytest.raises(DataError, match=r"--resume --data csv:NEW_PLACE@vehicle_id=plate#train$"):
        require_there(small_config("x", data=(source,)), out=tmp_path)
    two = small_config("x", data=(f"veri:{tmp_path}/a", f"veri:{tmp_path}/b"))
    with pytest.raises(DataError, match=r"--data veri:NEW_PLACE for each .*order$"):
        require_there(two, out=tmp_path)


# longer runs


def test_a_finished_run_is_trained_longer_as_if_it_had_been_asked_at_once(
    tiny_set: Path, run: Path
) -> None:
    config = small_config(tiny_set, epochs=1, save_every=100)
    train(config, run)
    checkpoint = load_checkpoint(run / LAST, resume=True)
    notes: list[object] = []
    train(config, run, resume=checkpoint, report=notes.append)
    assert "4 of 4 steps were done already; train longer with --epochs N, N above 1" in str(notes)
    longer = resumed_config(config, {"epochs": 2}, out=run)
    notes.clear()
    assert train(longer, run, resume=checkpoint, report=notes.append).step == 8
    assert "2 epochs in place of 1" in notes
    assert "from step 4 of 8" in notes
    found = dict(load_checkpoint(run / LAST, resume=True).tensors)
    shutil.rmtree(run)
    train(longer, run)
    assert_equal_tensors(found, dict(load_checkpoint(run / LAST, resume=True).tensors))


def test_the_cosine_of_a_longer_run_is_that_of_its_new_length(tiny_set: Path, run: Path) -> None:
    config = small_config(tiny_set, epochs=1, schedule="cosine")
    train(config, run)
    longer = resumed_config(config, {"epochs": 2}, out=run)
    notes: list[object] = []
    train(longer, run, resume=load_checkpoint(run / LAST, resume=True), report=notes.append)
    rates = board(run, "speed/learning_rate")
    expected = [learning_rate(config, step, 4) for step in range(4)]
    expected += [learning_rate(longer, step, 4) for step in range(4, 8)]
    assert [rates[step] for step in range(1, 9)] == pytest.approx(expected)
    # half way down a cosine of 8 steps: (1 % + 100 %) / 2 of 1e-4, after 1 % at the end of 4 steps
    assert expected[4] == pytest.approx(0.505e-4)
    assert any("the learning rate changes from 1e-06 to 5.05e-05 here" in str(n) for n in notes)
