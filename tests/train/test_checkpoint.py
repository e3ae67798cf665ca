"""Checkpoints: what is written comes back, alone is enough, and damage is said."""

import json
import shutil
import struct
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from helpers_training import assert_equal_tensors, random_images, small_config
from torch import nn

from mtml_deploy.errors import CheckpointError
from mtml_train.checkpoint import (
    BEST,
    LAST,
    build_model,
    find_checkpoint,
    load_checkpoint,
    load_model,
    load_optimizer,
    save_checkpoint,
)
from mtml_train.data.fingerprint import SetFingerprint
from mtml_train.run_card import Progress, RunCard, write_run_files

CARD = RunCard(
    config=small_config("somewhere", lr=3e-4, sampler="pk", instances=2),
    recipe="strong",
    identities=((0, 5), (1, 5), (1, 80)),
    sets=(
        SetFingerprint("veri:somewhere", 70, 70, "a" * 64, "b" * 64),
        SetFingerprint("cityflow:elsewhere", 7, 0, "c" * 64, "d" * 64),
    ),
    processes=2,
)
PROGRESS = Progress(step=12, images=96, best=0.25, validation={"mAP": 0.25, "CMC@1": 0.5})


def small_model(seed: int = 0) -> nn.Module:
    """Stands in for an MTML: saving asks a model for its tensors only."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def stepped(model: nn.Module) -> torch.optim.Optimizer:
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(5, 3)).sum().backward()
    optimizer.step()
    return optimizer


@pytest.fixture
def file(tmp_path: Path) -> Path:
    model = small_model()
    save_checkpoint(tmp_path / LAST, CARD, PROGRESS, model, optimizer=stepped(model))
    return tmp_path / LAST


def test_everything_comes_back(tmp_path: Path) -> None:
    model = small_model()
    optimizer = stepped(model)
    save_checkpoint(tmp_path / LAST, CARD, PROGRESS, model, optimizer=optimizer)
    random_state = torch.get_rng_state()
    found = load_checkpoint(tmp_path / LAST, resume=True)
    assert found.path == tmp_path / LAST
    assert found.card == CARD
    assert found.progress == PROGRESS
    assert_equal_tensors(found.weights(), model.state_dict())

    torch.rand(3)
    other = small_model(seed=1)
    restored = torch.optim.Adam(other.parameters())
    load_optimizer(found, restored)
    assert torch.equal(torch.get_rng_state(), random_state)
    left, right = optimizer.state_dict()["state"], restored.state_dict()["state"]
    assert left.keys() == right.keys()
    for number in left:
        assert_equal_tensors(right[number], left[number])


def test_without_resume_only_the_model_is_read(file: Path) -> None:
    assert all(name.startswith("model.") for name in load_checkpoint(file).tensors)


def test_a_checkpoint_without_optimiser_is_not_resumed(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / BEST, CARD, PROGRESS, small_model())
    found = load_checkpoint(tmp_path / BEST, resume=True)
    with pytest.raises(CheckpointError, match=f"it holds weights only; resume from {LAST}"):
        load_optimizer(found, torch.optim.Adam(small_model().parameters()))


def test_the_optimiser_of_another_model_is_refused(file: Path) -> None:
    found = load_checkpoint(file, resume=True)
    for other in (nn.Linear(3, 4), nn.Sequential(small_model(), nn.Linear(3, 4)), nn.Linear(2, 2)):
        with pytest.raises(CheckpointError, match="holds the optimiser of another model"):
            load_optimizer(found, torch.optim.Adam(other.parameters()))


def test_a_resumed_optimiser_steps_like_the_one_that_was_saved(tmp_path: Path) -> None:
    # channels-last weights, as in training: a file holds its tensors in the other order
    def model() -> nn.Module:
        torch.manual_seed(0)
        return nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)

    def step(conv: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
        images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
        optimizer.zero_grad()
        conv(images).square().sum().backward()
        optimizer.step()

    straight = model()
    optimizer = torch.optim.Adam(straight.parameters(), fused=True)
    step(straight, optimizer, 1)
    save_checkpoint(tmp_path / LAST, CARD, PROGRESS, straight, optimizer=optimizer)
    step(straight, optimizer, 2)

    found = load_checkpoint(tmp_path / LAST, resume=True)
    resumed = model()
    resumed.load_state_dict(found.weights())
    restored = torch.optim.Adam(resumed.parameters(), fused=True)
    load_optimizer(found, restored)
    step(resumed, restored, 2)
    assert_equal_tensors(dict(resumed.state_dict()), dict(straight.state_dict()))


@pytest.mark.parametrize(
    "name", ["optimizer.x.exp_avg", "optimizer.0", "optimizer.9.exp_avg", "optimizer.0.exp_avg_sq"]
)
def test_an_optimiser_with_damaged_names_is_refused(file: Path, name: str) -> None:
    found = load_checkpoint(file, resume=True)
    damaged = replace(found, tensors=dict(found.tensors) | {name: torch.ones(1)})
    with pytest.raises(CheckpointError, match="holds the optimiser of another model"):
        load_optimizer(damaged, torch.optim.Adam(small_model().parameters()))


@torch.inference_mode()
def test_one_file_alone_rebuilds_the_model(tmp_path: Path) -> None:
    config = small_config("somewhere")
    card = replace(CARD, config=config)
    torch.manual_seed(3)
    model = build_model(config, 3).eval()
    save_checkpoint(tmp_path / "run" / BEST, card, PROGRESS, model)
    moved = tmp_path / "alone" / "any name.safetensors"
    moved.parent.mkdir()
    shutil.move(tmp_path / "run" / BEST, moved)
    rebuilt = load_model(load_checkpoint(moved))
    assert not rebuilt.training
    images = torch.from_numpy(random_images(2))
    assert torch.equal(rebuilt(images).fused, model(images).fused)
    assert torch.equal(rebuilt(images).consensus_logits, model(images).consensus_logits)


def test_weights_that_do_not_fit_the_settings_are_refused(file: Path) -> None:
    with pytest.raises(CheckpointError, match="do not fit its own settings"):
        load_model(load_checkpoint(file))


def test_a_run_folder_means_its_best_checkpoint_else_its_last(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        find_checkpoint(tmp_path)
    for name in (LAST, BEST):
        save_checkpoint(tmp_path / name, CARD, PROGRESS, small_model())
        assert find_checkpoint(tmp_path) == tmp_path / name
    assert find_checkpoint(tmp_path / LAST) == tmp_path / LAST
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        find_checkpoint(tmp_path / "absent.safetensors")


def test_the_files_of_a_run_folder(tmp_path: Path) -> None:
    write_run_files(tmp_path, CARD)
    settings = json.loads((tmp_path / "config.json").read_text())
    assert (settings["recipe"], settings["lr"], settings["sampler"]) == ("strong", 3e-4, "pk")
    assert json.loads((tmp_path / "identities.json").read_text()) == [
        {"class": 0, "source": "veri:somewhere", "vehicle_id": 5},
        {"class": 1, "source": "cityflow:elsewhere", "vehicle_id": 5},
        {"class": 2, "source": "cityflow:elsewhere", "vehicle_id": 80},
    ]


# damage


def test_the_loss_scaling_of_fp16_comes_back(tmp_path: Path) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=7)
    save_checkpoint(tmp_path / LAST, CARD, PROGRESS, small_model(), scaler=scaler)
    found = load_checkpoint(tmp_path / LAST).scaler
    assert found == scaler.state_dict()
    assert type(found["growth_interval"]) is int  # torch takes no other kind of number


def test_a_write_that_fails_leaves_the_old_file(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = file.read_bytes()

    def fail(_: object, path: Path, **__: object) -> None:
        path.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", fail)
    with pytest.raises(OSError, match="no space"):
        save_checkpoint(file, CARD, PROGRESS, small_model(seed=1))
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [LAST]


def test_a_truncated_file_is_refused(file: Path) -> None:
    whole = file.read_bytes()
    for length in (0, 4, 8, 100, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=LAST):
            load_checkpoint(file, resume=True)


def test_a_flipped_bit_in_any_number_is_found(file: Path) -> None:
    whole = file.read_bytes()
    start = 8 + struct.unpack("<Q", whole[:8])[0]
    for position in range(start, len(whole), 97):
        damaged = bytearray(whole)
        damaged[position] ^= 1
        file.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="its checksum"):
            load_checkpoint(file, resume=True)


@pytest.mark.parametrize(
    ("slot", "value", "words"),
    [
        ("exp_avg", float("nan"), "exp_avg of parameter 0 holds impossible numbers"),
        ("exp_avg_sq", -1.0, "exp_avg_sq of parameter 0 holds impossible numbers"),
        ("step", 13.0, "parameter 0 is at a step beyond 12"),
        ("step", -1.0, "parameter 0 is at a step beyond 12"),
    ],
)
def test_a_state_that_no_step_leaves(file: Path, slot: str, value: float, words: str) -> None:
    found = load_checkpoint(file, resume=True)
    tensors = dict(found.tensors)
    name = f"optimizer.0.{slot}"
    tensors[name] = torch.full_like(tensors[name], value)
    with pytest.raises(CheckpointError, match=words):
        load_optimizer(replace(found, tensors=tensors), stepped(small_model()))


def test_a_state_of_another_type(file: Path) -> None:
    found = load_checkpoint(file, resume=True)
    for slot in ("step", "exp_avg"):
        tensors = dict(found.tensors)
        tensors[f"optimizer.0.{slot}"] = tensors[f"optimizer.0.{slot}"].to(torch.bool)
        with pytest.raises(CheckpointError, match=rf"{slot} of parameter 0 is torch\.bool"):
            load_optimizer(replace(found, tensors=tensors), stepped(small_model()))


def test_a_flipped_bit_in_the_header_never_ends_in_another_error(file: Path) -> None:
    whole = bytearray(file.read_bytes())
    header = 8 + struct.unpack("<Q", whole[:8])[0]
    refused = 0
    positions = [*range(8), *range(8, header, 5)]
    for position in positions:
        damaged = whole.copy()
        damaged[position] ^= 1 << (position % 8)
        file.write_bytes(damaged)
        try:
            load_checkpoint(file, resume=True)  # a flipped digit can still be a checkpoint
        except CheckpointError as error:
            assert str(file) in str(error)
            refused += 1
    assert refused > len(positions) / 2


@pytest.mark.parametrize("content", [b"PK\x03\x04 a torch file", b"{}", b"\x00" * 64])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"x\.safetensors"):
        load_checkpoint(tmp_path / "x.safetensors")


def test_tensors_of_somebody_else_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "resnet.safetensors"
    for metadata in (None, {"format": "pt"}):
        safetensors.torch.save_file({"weight": torch.ones(2)}, path, metadata=metadata)
        with pytest.raises(CheckpointError, match="is not a checkpoint of mtml-train"):
            load_checkpoint(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 1}, "schema is 1, this version reads 3"),
        ({"config": {"colour": "red"}}, "unknown setting 'colour'"),
        ({"config": {"epochs": "many"}}, "epochs must be an integer"),
        ({"config": {"epochs": 0}}, "epochs is 1 or more"),
        ({"config": 3}, "config must be an object, found 3"),
        ({"identities": [[0]]}, r"identities\[0\]"),
        ({"identities": [[0, 5], [2, 5]]}, "identities name data set 2 of 2"),
        ({"identities": None}, "identities must be a list"),
        ({"progress": {"step": 1, "speed": 2}}, "progress has the unknown speed"),
        ({"sets": [{"source": "x", "images": 1}]}, r"sets\[0\] lacks with_orientation"),
        ({"processes": 0}, "processes must be an integer of 1 or more, found 0"),
        ({"recipe": ...}, "it lacks recipe"),
    ],
)
def test_a_header_with_a_fault_is_refused(
    tmp_path: Path, file: Path, changes: dict[str, object], message: str
) -> None:
    with safetensors.safe_open(file, framework="pt") as opened:
        header = json.loads(opened.metadata()["mtml"]) | changes
    header = {name: value for name, value in header.items() if value is not ...}
    path = tmp_path / "changed.safetensors"
    safetensors.torch.save_file(
        {"model.weight": torch.ones(2)}, path, metadata={"mtml": json.dumps(header)}
    )
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(path)
