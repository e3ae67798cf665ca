"""Runs that start from an own model: what they take of it, by a plain look at the tensors."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from helpers_training import WIDTH, coloured_set, small_config
from torch import Tensor

from mtml_deploy.data.csv_table import table_text
from mtml_deploy.errors import CheckpointError, DataError
from mtml_train.checkpoint import LAST, build_model, load_checkpoint
from mtml_train.cli import train as cli
from mtml_train.config import TrainConfig
from mtml_train.data.fingerprint import SetFingerprint
from mtml_train.fine_tune import model_settings
from mtml_train.known_vehicles import shared_sets
from mtml_train.model import MTML
from mtml_train.resume import resumed_config
from mtml_train.train import train

pytestmark = pytest.mark.usefixtures("tiny")

CARS = {"a": [1] * 4 + [2] * 4 + [3] * 4 + [5] * 4, "b": [1] * 4 + [2] * 4 + [7] * 4 + [9] * 4}
"""Vehicles of the images of two sets whose ids have nothing to do with each other."""


def table(folder: Path, vehicles: Sequence[int]) -> str:
    """Two cameras and two orientations, as a source; written anew each time."""
    labels = [(vehicle, number % 2, number % 2) for number, vehicle in enumerate(vehicles)]
    images = coloured_set(folder, labels)
    (folder / "table.csv").write_text(table_text(images.records))
    return f"csv:{folder / 'table.csv'}"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """An MTML-SG after two steps on the first set."""
    source = table(tmp_path / "a", CARS["a"])
    config = small_config("x", data=(source,), variant="MTML-SG", max_steps=2, lr=0.1)
    train(config, tmp_path / "own")
    return tmp_path / "own"


def started(own: Path, **changes: object) -> tuple[TrainConfig, MTML, list[str]]:
    """A run before its first step that starts from `own`: settings, model and notes."""
    was = load_checkpoint(own).card.config
    out = own.parent / f"new{len(list(own.parent.iterdir()))}"
    config = replace(was, max_steps=0, init=str(own), seed=5, **changes)  # type: ignore[arg-type]
    notes: list[str] = []
    train(config, out, report=lambda each: notes.append(str(each)))
    found = load_checkpoint(out / LAST)
    model = build_model(config, len(found.card.identities))
    model.load_state_dict(found.weights())
    return config, model, notes


def weights(run: Path) -> dict[str, Tensor]:
    return load_checkpoint(run / LAST).weights()


def fresh(config: TrainConfig, identities: int) -> MTML:
    """The same model without --init."""
    torch.manual_seed(config.seed)
    return build_model(config, identities)


def equal(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one.detach(), other.detach())


def test_the_same_data_take_everything_and_only_the_weights(own: Path) -> None:
    config, model, notes = started(own)
    was = weights(own)
    assert all(equal(value, was[name]) for name, value in model.state_dict().items())
    progress = load_checkpoint(own.parent / "new2" / LAST).progress
    assert (progress.step, progress.images, progress.best) == (0, 0, -1.0)
    assert any("rows of 4 of 4 vehicles in the classifiers" in note for note in notes)
    assert any("new: optimiser, learning rate and epochs" in note for note in notes)
    # the first step is that of a new run: Adam without a past moves weights by the learning rate
    train(replace(config, max_steps=1, lr=1e-3), own.parent / "one")
    moved = (weights(own.parent / "one")["fusion.bias"] - was["fusion.bias"]).abs()
    assert moved.max().item() == pytest.approx(1e-3, rel=0.01)


def test_necks_go_with_the_features_that_they_stand_behind(own: Path) -> None:
    config = replace(load_checkpoint(own).card.config, neck="bn", max_steps=1)
    train(config, own.parent / "necked")
    was = weights(own.parent / "necked")
    _, model, _ = started(own.parent / "necked", variant="MTML-OG")
    for part in ("necks.gray", "consensus_neck"):
        for name in ("weight", "running_mean", "running_var"):
            found = model.state_dict()[f"{part}.{name}"]
            assert equal(found, was[f"{part}.{name}"])
            assert found.std() > 0  # trained: a fresh one has the same value everywhere
    _, narrow, _ = started(own.parent / "necked", consensus_dim=8)
    assert equal(narrow.consensus_neck.state_dict()["running_mean"], torch.zeros(8))


def test_another_variant_takes_the_branches_that_both_have(own: Path) -> None:
    config, model, notes = started(own, variant="MTML-OG")
    was, new = weights(own), fresh(config, 4)
    for name in ("identity", "gray"):
        for key, value in model.trunks.nets[name].state_dict().items():
            assert equal(value, was[f"trunks.nets.{name}.{key}"])
        assert equal(model.id_heads[name].weight, was[f"id_heads.{name}.weight"])
    orientation = model.id_heads["orientation"].weight
    assert equal(orientation, new.id_heads["orientation"].weight)
    # columns of SG: identity, scale, gray; of OG: identity, gray, orientation
    here, there = model.fusion.weight, was["fusion.weight"]
    assert equal(here[:, :WIDTH], there[:, :WIDTH])
    assert equal(here[:, WIDTH : 2 * WIDTH], there[:, 2 * WIDTH :])
    assert equal(here[:, 2 * WIDTH :], new.fusion.weight[:, 2 * WIDTH :])
    text = "\n".join(notes)
    assert "takes backbones of identity, gray; the fusion layer (columns of these branches)" in text
    assert (
        "new: branches orientation (backbones: weights none); nothing of the model's branches"
        in text
    )


def test_ids_of_another_data_set_name_other_vehicles(own: Path, tmp_path: Path) -> None:
    source = table(tmp_path / "b", CARS["b"])
    config, model, notes = started(own, data=(source,))
    was, new = weights(own), fresh(config, 4)
    assert equal(model.trunks.nets["scale"][0].weight, was["trunks.nets.scale.0.weight"])
    assert equal(model.fusion.weight, was["fusion.weight"])
    assert equal(model.consensus_head.weight, new.consensus_head.weight)
    assert equal(model.id_heads["gray"].weight, new.id_heads["gray"].weight)
    assert any("an id of another data set names another vehicle" in note for note in notes)
    assert any("new: the classifiers of all 4 vehicles" in note for note in notes)


def test_joined_with_its_own_data_a_vehicle_keeps_its_row(own: Path, tmp_path: Path) -> None:
    other = table(tmp_path / "b", CARS["b"])
    first = load_checkpoint(own).card.config.data[0]
    config, model, notes = started(own, data=(other, first))
    was, new = weights(own), fresh(config, 8)
    # classes now: 1, 2, 7, 9 of b, then 1, 2, 3, 5 of a
    for head, rows in (
        (model.consensus_head, "consensus_head"),
        (model.id_heads["identity"], "id_heads.identity"),
    ):
        for name in ("weight", "bias"):
            found = getattr(head, name)
            assert equal(found[4:], was[f"{rows}.{name}"])
            assert not equal(found[:4], was[f"{rows}.{name}"])
    assert equal(model.consensus_head.weight[:4], new.consensus_head.weight[:4])
    assert any("rows of 4 of 8 vehicles" in note for note in notes)


def test_a_set_that_has_grown_keeps_the_rows_of_its_vehicles(own: Path, tmp_path: Path) -> None:
    table(tmp_path / "a", [4, 4, *CARS["a"][4:]])  # 1 has gone, 4 is new: 2, 3, 4, 5
    config, model, notes = started(own)
    was, new = weights(own)["consensus_head.weight"], fresh(config, 4).consensus_head.weight
    found = model.consensus_head.weight
    assert equal(found[[0, 1, 3]], was[[1, 2, 3]])
    assert equal(found[2], new[2])
    assert any("rows of 3 of 4 vehicles" in note for note in notes)
    assert any("lies in the same place, so an id is taken to name the same" in n for n in notes)


def fingerprint(source: str, content: str) -> SetFingerprint:
    return SetFingerprint(source, 4, 0, content * 64, "0" * 64)


def test_which_sets_are_the_same(tmp_path: Path) -> None:
    a, b = (f"csv:{tmp_path}/{name}.csv" for name in "ab")
    before = (fingerprint(a, "1"), fingerprint(b, "2"))
    moved = shared_sets((fingerprint(f"csv:{tmp_path}/c.csv", "2"),), before)
    assert (dict(moved.groups), moved.changed) == ({0: 1}, False)
    grown = shared_sets((fingerprint(f"{a}#train", "3"),), before)
    assert (dict(grown.groups), grown.changed) == ({0: 0}, True)
    assert shared_sets((fingerprint(f"{a}@vehicle_id=plate", "3"),), before).groups == {}
    assert shared_sets((fingerprint(f"veri:{tmp_path}/d", "3"),), before).groups == {}
    # a text is not the number that it looks like
    assert grown.rows([(0, 1), (0, "x")], [(0, "x"), (1, 1)]) == [(1, 0)]


@pytest.mark.parametrize(
    ("changes", "same", "text"),
    [
        ({"image_size": 48}, True, "rows of 4 of 4"),
        ({"neck": "bn"}, False, "new: their necks; the classifiers of all 4 vehicles"),
        ({"identity_loss": "circle"}, False, "its classifiers have another form"),
        ({"consensus_dim": 8}, True, "the fusion layer (8 wide, the model's was 16)"),
    ],
)
def test_another_shape_takes_what_means_the_same(
    own: Path, changes: dict[str, object], same: bool, text: str
) -> None:
    _, model, notes = started(own, **changes)
    was = weights(own)
    assert equal(model.trunks.nets["gray"][0].weight, was["trunks.nets.gray.0.weight"])
    assert equal(model.id_heads["gray"].weight, was["id_heads.gray.weight"]) is same
    assert text in "\n".join(notes)


def test_another_backbone_and_no_checkpoint_are_refused(own: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has the backbone resnet18, this run resnet34; start from"):
        started(own, backbone="resnet34")
    config = small_config("x", data=(f"csv:{tmp_path}/a/table.csv",), init=str(tmp_path / "none"))
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        train(config, tmp_path / "new")


def test_the_record_tells_where_the_weights_come_from(own: Path, tmp_path: Path) -> None:
    first = load_checkpoint(own).card.config.data[0]
    second = table(tmp_path / "b", CARS["b"])
    config = replace(load_checkpoint(own).card.config, data=(second,), init=str(own), max_steps=1)
    train(config, tmp_path / "next")
    origin = load_checkpoint(tmp_path / "next").card.origin
    assert origin is not None
    assert (origin.checkpoint, origin.step) == (str(own / LAST), 2)
    assert origin.sources == (first,)
    # it goes on as itself, and is no longer asked for what it started from
    (own / LAST).unlink()
    checkpoint = load_checkpoint(tmp_path / "next" / LAST, resume=True)
    train(replace(config, max_steps=2), tmp_path / "next", resume=checkpoint)
    assert load_checkpoint(tmp_path / "next").card.origin == origin
    with pytest.raises(DataError, match="goes on with its own weights"):
        resumed_config(config, {"init": "other"}, out=tmp_path)
    config = replace(config, init=str(tmp_path / "next"))
    train(config, tmp_path / "third")
    last = load_checkpoint(tmp_path / "third").card.origin
    assert last is not None and last.sources == (first, second)


def test_vehicles_that_the_model_remembers_are_told(own: Path, tmp_path: Path) -> None:
    first = load_checkpoint(own).card.config.data[0]
    (note,) = [n for n in started(own, val="holdout:0.5")[2] if n.startswith("validation: the")]
    assert "was trained on 2 of its 2 vehicles" in note
    second = table(tmp_path / "b", CARS["b"])
    changes = {"data": (second,), "val": first, "val_protocol": "plain"}
    (note,) = [n for n in started(own, **changes)[2] if n.startswith("validation: the model")]
    assert "was trained on 4 of its 4 vehicles" in note
    changes["val"] = second
    assert not [n for n in started(own, **changes)[2] if n.startswith("validation: the model")]


def test_the_command_takes_the_shape_of_the_model(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[TrainConfig] = []
    monkeypatch.setattr(cli, "_train", lambda config, *_: calls.append(config))
    words = ["--init", str(own), "--data", "veri:x", "--out", str(tmp_path / "new")]
    result = CliRunner().invoke(cli.train_main, [*words, "--recipe", "strong"])
    assert result.exit_code == 0, result.output
    was = load_checkpoint(own).card.config
    assert model_settings(calls[0]) == model_settings(was)
    assert (calls[0].init, calls[0].triplet_weight) == (str(own), 1.0)
    assert "variant = MTML-SG" in result.stderr and "neck = none" in result.stderr
    result = CliRunner().invoke(cli.train_main, [*words, "--variant", "MTML-S"])
    assert (calls[1].variant, calls[1].backbone) == ("MTML-S", "resnet18")
    assert re.search(r"as in .*: backbone = resnet18, image_size = 32, consensus_dim = 16\n",
                     result.stderr)  # fmt: skip
