"""What small micro-batches cost is said, and what they make impossible refused."""

from pathlib import Path

import pytest
import torch
from helpers_training import assert_equal_tensors, small_config

from mtml_deploy.errors import BackendError, DataError
from mtml_train.checkpoint import build_model
from mtml_train.data.loader import training_batches
from mtml_train.distributed import Process
from mtml_train.micro_batch import (
    decided,
    micro_batch_notes,
    normalised_images,
    require_statistics,
    synchronises,
)
from mtml_train.train import train


def processes(world: int, device: str = "cpu") -> Process:
    return Process(rank=0, world=world, device=torch.device(device))


@pytest.mark.parametrize(
    ("world", "device", "sync_bn", "accumulate", "expected"),
    [
        (1, "cpu", "auto", 1, 32),
        (1, "cuda", "auto", 2, 16),
        (4, "cpu", "auto", 1, 8),  # synchronising needs CUDA
        (4, "cuda", "auto", 1, 32),
        (4, "cuda", "auto", 4, 8),
        (4, "cuda", "on", 1, 32),
        (4, "cuda", "off", 1, 8),
    ],
)
def test_images_that_are_normalised_together(
    world: int, device: str, sync_bn: str, accumulate: int, expected: int
) -> None:
    config = small_config("unused", batch_size=32, sync_bn=sync_bn, accumulate=accumulate)
    process = processes(world, device)
    assert normalised_images(config, process) == expected
    assert synchronises(config, process) == (expected * accumulate == 32 and world > 1)


def test_synchronising_on_a_cpu_is_refused() -> None:
    with pytest.raises(BackendError, match="sync_bn needs CUDA GPUs"):
        synchronises(small_config("unused", sync_bn="on"), processes(2))


def test_what_auto_means_is_decided_once() -> None:
    auto, on = small_config("unused"), small_config("unused", sync_bn="on")
    assert decided(auto, processes(1, "cuda")).sync_bn == "off"
    assert decided(auto, processes(2)).sync_bn == "off"
    assert decided(auto, processes(2, "cuda")).sync_bn == "on"
    assert decided(on, processes(1, "cuda")).sync_bn == "on"


def test_few_images_are_noted() -> None:
    config = small_config("unused", batch_size=8)
    assert micro_batch_notes(config, processes(1)) == []
    assert micro_batch_notes(config, processes(4, "cuda")) == []
    (note,) = micro_batch_notes(config, processes(4))
    assert "over 2 of the 8 images of a step, because sync_bn needs CUDA; fewer" in note
    (note,) = micro_batch_notes(small_config("unused", sync_bn="off"), processes(2, "cuda"))
    assert "over 4 of the 8 images of a step, because sync_bn is off" in note
    (note,) = micro_batch_notes(small_config("unused", accumulate=2), processes(1))
    assert "over 4 of the 8 images of a step; fewer" in note


def test_triplets_inside_a_micro_batch_are_noted_and_one_vehicle_refused(tiny_set: Path) -> None:
    config = small_config(
        tiny_set, batch_size=16, sampler="pk", instances=4, triplet_weight=1.0, accumulate=2
    )
    (note,) = micro_batch_notes(config, processes(1))
    assert note == "the triplet loss compares the 8 images of a micro-batch, not all 16 of a step"
    with pytest.raises(DataError, match="a micro-batch of 4 images holds one vehicle"):
        training_batches(None, config, steps=range(1), world=2)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("variant", "size", "branch"),
    # 32 pixels end in a map of 1; 44 in 2, but its 5/7 view of 31 in 1
    [("MTML-G", 32, "identity"), ("MTML-S", 44, "scale")],
)
def test_one_value_per_channel_is_refused(variant: str, size: int, branch: str) -> None:
    changes = {"variant": variant, "image_size": size}
    config = small_config("unused", batch_size=1, **changes)
    model = build_model(config, 3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(DataError, match=rf"one image .* single value at trunks\.nets\.{branch}\."):
        require_statistics(model, config, processes(1))
    assert_equal_tensors(before, dict(model.state_dict()))
    assert model.training
    require_statistics(model, small_config("unused", batch_size=2, **changes), processes(1))
    require_statistics(model, small_config("unused", batch_size=2, **changes), processes(2, "cuda"))


def test_one_image_with_larger_maps_is_allowed() -> None:
    config = small_config("unused", batch_size=1, image_size=33)
    require_statistics(build_model(config, 3), config, processes(1))


def test_it_is_refused_before_the_first_step(tiny_set: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="single value"):
        train(small_config(tiny_set, accumulate=8), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_last_batch_that_is_not_full_is_not_trained_on(tiny_set: Path) -> None:
    # 36 images: 7 batches of 5, and one image left over
    from mtml_deploy.data.source import load_source
    from mtml_train.data.train_set import join_training_sets

    train_set = join_training_sets([load_source(f"veri:{tiny_set}", split="train")])
    config = small_config(tiny_set, batch_size=5)
    sizes = [len(batch.vehicles) for batch in training_batches(train_set, config, steps=range(8))]
    assert sizes == [5] * 8
