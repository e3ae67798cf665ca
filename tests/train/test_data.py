"""Batches as a pure function of seed and step: which images, in which process."""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers_training import SIZE, coloured_set, small_config

from mtml_deploy.data.records import ImageSet
from mtml_deploy.errors import DataError, ImageError
from mtml_train.config import TrainConfig
from mtml_train.data.loader import TrainBatch, training_batches
from mtml_train.data.sampler import plan_epoch, sampler_notes
from mtml_train.data.train_set import TrainSet, join_training_sets

PLAIN = {"flip": 0.0}  # no augmentation


def config(**changes: object) -> TrainConfig:
    return small_config("unused", **changes)


@pytest.fixture
def two_sets(tmp_path: Path) -> tuple[ImageSet, ImageSet]:
    """24 labelled images of vehicles 5, 7, 9 and 12 of vehicles 5 and 8 without orientation."""
    first = [((5, 7, 9)[n % 3], n % 4, n % 8) for n in range(24)]
    second = [((5, 8)[n % 2], n % 4, -1) for n in range(12)]
    return (
        coloured_set(tmp_path / "veri", first, source="veri"),
        coloured_set(tmp_path / "cityflow", second, source="cityflow"),
    )


@pytest.fixture
def joined(two_sets: tuple[ImageSet, ImageSet]) -> TrainSet:
    return join_training_sets(two_sets)


def made_set(sizes: list[int], cameras: list[int] | None = None) -> TrainSet:
    """A set of one source that is never decoded; vehicle i has sizes[i] images."""
    classes = np.repeat(np.arange(len(sizes)), sizes)
    return TrainSet(
        paths=tuple(f"{number}.jpg" for number in range(len(classes))),
        classes=classes,
        orientations=np.full(len(classes), -1),
        cameras=np.array(cameras or [0] * len(classes)),
        groups=np.zeros(len(classes), dtype=np.int64),
        identities=tuple((0, vehicle) for vehicle in range(len(sizes))),
        sets=(),
    )


def batches(train_set: TrainSet, settings: TrainConfig, **where: object) -> list[TrainBatch]:
    return list(training_batches(train_set, settings, **where))  # type: ignore[arg-type]


def assert_equal(left: list[TrainBatch], right: list[TrainBatch]) -> None:
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.vehicles, other.vehicles)
        assert torch.equal(one.orientations, other.orientations)
        assert one.numbers is not None
        assert other.numbers is not None
        assert torch.equal(one.numbers, other.numbers)


# joining


def test_equal_vehicle_numbers_of_two_sets_are_different_classes(joined: TrainSet) -> None:
    assert joined.identities == (
        (0, 5), (0, 7), (0, 9), (1, 5), (1, 8),
    )  # fmt: skip
    assert [(each.source, each.images) for each in joined.sets] == [("veri", 24), ("cityflow", 12)]
    assert joined.classes[:24].tolist() == [0, 1, 2] * 8
    assert joined.classes[24:].tolist() == [3, 4] * 6
    assert joined.orientations[:24].tolist() == list(range(8)) * 3
    assert joined.orientations[24:].tolist() == [-1] * 12
    assert joined.groups.tolist() == [0] * 24 + [1] * 12


def test_one_set_joined_with_itself_has_twice_the_classes(
    two_sets: tuple[ImageSet, ImageSet],
) -> None:
    assert len(join_training_sets([two_sets[0], two_sets[0]]).identities) == 6


def test_an_image_without_identity_is_refused(tmp_path: Path) -> None:
    images = coloured_set(tmp_path, [(1, 0, 0), (-1, 0, 0), (2, 0, 0)])
    with pytest.raises(DataError, match=r"001\.png .* has no vehicle id"):
        join_training_sets([images])


def test_one_identity_is_too_few(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found 1 vehicle identities; training needs at least 2"):
        join_training_sets([coloured_set(tmp_path, [(1, 0, 0), (1, 1, 0)])])


# plans


def test_every_batch_mixes_both_sets_in_proportion(joined: TrainSet) -> None:
    for epoch in range(5):
        plan = plan_epoch(joined, config(batch_size=6), epoch)
        assert len(plan) == 6
        for numbers in plan:
            labelled = int((joined.orientations[numbers] >= 0).sum())
            assert abs(labelled - 4) <= 1  # 24 of 36 images are labelled: 4 of 6


@pytest.mark.parametrize("batch_size", [6, 7])
def test_an_epoch_takes_each_image_at_most_once(joined: TrainSet, batch_size: int) -> None:
    plan = plan_epoch(joined, config(batch_size=batch_size), 0)
    used = Counter(number for numbers in plan for number in numbers)
    assert len(plan) == 36 // batch_size
    assert len(used) == 36 // batch_size * batch_size
    assert set(used.values()) == {1}


@pytest.mark.parametrize("sampler", ["shuffle", "pk", "pk-once"])
def test_seed_and_epoch_decide_the_plan(joined: TrainSet, sampler: str) -> None:
    settings = config(sampler=sampler, instances=2, batch_size=4)
    plan = plan_epoch(joined, settings, 3)
    assert plan == plan_epoch(joined, settings, 3)
    assert plan != plan_epoch(joined, settings, 4)
    other = config(sampler=sampler, instances=2, batch_size=4, seed=1)
    assert plan != plan_epoch(joined, other, 3)


@pytest.mark.parametrize("sampler", ["pk", "pk-once"])
@pytest.mark.parametrize("sizes", [[9] * 7, [2, 9, 4, 30, 5, 3, 8, 1]])
def test_p_times_k_batches_hold_whole_groups_of_different_vehicles(
    sizes: list[int], sampler: str
) -> None:
    train_set = made_set(sizes)
    settings = config(sampler=sampler, instances=4, batch_size=12)
    for epoch in range(4):
        plan = plan_epoch(train_set, settings, epoch)
        assert len(plan) == sum(sizes) // 12
        for numbers in plan:
            groups = [numbers[start : start + 4] for start in (0, 4, 8)]
            vehicles = [set(train_set.classes[group].tolist()) for group in groups]
            assert all(len(vehicle) == 1 for vehicle in vehicles)
            assert len(set.union(*vehicles)) == 3  # no vehicle stands twice in a batch
            for group, (vehicle,) in zip(groups, vehicles, strict=True):
                # images repeat only where there are not enough of them
                assert len(set(group)) == 4 or sizes[vehicle] < 4


def groups_of(train_set: TrainSet, instances: int, vehicle: int) -> list[list[int]]:
    """The groups of one vehicle in an epoch, in their order."""
    settings = config(sampler="pk-once", instances=instances, batch_size=2 * instances)
    order = [number for numbers in plan_epoch(train_set, settings, 0) for number in numbers]
    groups = [order[start : start + instances] for start in range(0, len(order), instances)]
    return [group for group in groups if train_set.classes[group[0]] == vehicle]


def test_no_image_comes_again_before_all_of_its_vehicle_were_there() -> None:
    sizes = [2, 5, 7, 3, 11, 4]
    train_set = made_set(sizes)
    for vehicle, size in enumerate(sizes):
        uses: Counter[int] = Counter()
        for group in groups_of(train_set, 4, vehicle):
            # four of 2 or 3 images cannot differ; else a group holds none twice
            assert max(Counter(group).values()) == -(-4 // min(size, 4))
            before = uses.copy()
            uses.update(group)
            if size <= 4:
                assert set(group) == set(np.flatnonzero(train_set.classes == vehicle).tolist())
                continue
            # those not there yet are taken first, as far as they reach
            least = counted(before, vehicle, size, train_set)
            new = [number for number in group if before[number] == min(least)]
            assert len(new) == min(4, least.count(min(least)))
        found = counted(uses, vehicle, size, train_set)
        if size > 4:
            assert max(found) - min(found) <= 1


def counted(uses: Counter[int], vehicle: int, size: int, train_set: TrainSet) -> list[int]:
    """How often each image of a vehicle was used."""
    members = np.flatnonzero(train_set.classes == vehicle).tolist()
    assert len(members) == size
    return [uses[number] for number in members]


def test_a_group_prefers_other_cameras() -> None:
    # vehicle 0: five images of camera 1, two of camera 2, one of camera 3; groups of 4
    cameras = [1, 1, 2, 1, 3, 1, 2, 1] + [4] * 8
    train_set = made_set([8, 8], cameras)
    groups = [[cameras[n] for n in group] for group in groups_of(train_set, 4, 0)]
    # first one of each, and one more of the fullest; then what is left of camera 1 and 2
    assert [sorted(group) for group in groups] == [[1, 1, 2, 3], [1, 1, 1, 2]]


def test_groups_that_cannot_be_filled_are_told() -> None:
    settings = config(sampler="pk-once", instances=4, batch_size=8)
    assert sampler_notes(made_set([4, 5]), settings) == []
    assert sampler_notes(made_set([1, 1]), config()) == []
    (note,) = sampler_notes(made_set([1, 3, 4, 2, 1]), settings)
    assert note == (
        "4 of 5 vehicles have fewer than 4 images (instances), so some of theirs are in a batch "
        "more than once; the triplet loss has no pair for 2 of them, which have a single one"
    )


def test_p_times_k_shows_every_vehicle_in_turn() -> None:
    train_set = made_set([8] * 6)  # 48 images: 12 groups of 4, two turns of 6 vehicles
    plan = plan_epoch(train_set, config(sampler="pk", instances=4, batch_size=8), 0)
    seen = Counter(int(train_set.classes[numbers[start]]) for numbers in plan for start in (0, 4))
    assert seen == dict.fromkeys(range(6), 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 40}, "36 training images do not fill one batch of 40"),
        ({"sampler": "pk", "batch_size": 6}, "batch_size 6 is not a multiple of instances 4"),
        ({"sampler": "pk", "batch_size": 24}, "needs 6 identities, there are 5"),
    ],
)
def test_plans_that_cannot_be(joined: TrainSet, changes: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        plan_epoch(joined, config(**changes), 0)


# batches


def test_a_batch_holds_the_planned_images_and_their_labels(
    joined: TrainSet, two_sets: tuple[ImageSet, ImageSet]
) -> None:
    settings = config(batch_size=6, **PLAIN)
    plan = plan_epoch(joined, settings, 0)
    for batch, numbers in zip(batches(joined, settings, steps=range(6)), plan, strict=True):
        assert batch.images.shape == (6, SIZE, SIZE, 3)
        assert batch.images.dtype == torch.uint8
        assert batch.vehicles.tolist() == joined.classes[numbers].tolist()
        assert batch.orientations.tolist() == joined.orientations[numbers].tolist()
        assert batch.numbers is not None
        assert batch.numbers.tolist() == numbers
        # the colour of an image tells its number within its own set
        expected = [number if number < 24 else number - 24 for number in numbers]
        assert batch.images[:, 0, 0, 0].tolist() == expected


def test_a_flipped_image_has_its_flipped_label(tmp_path: Path) -> None:
    images = coloured_set(tmp_path, [(n % 2, 0, 3) for n in range(4)])  # "left front"
    (batch,) = batches(join_training_sets([images]), config(batch_size=4, flip=1.0), steps=range(1))
    assert batch.orientations.tolist() == [6] * 4  # "right front"


STRONG = {
    "flip": 0.5, "pad": 0.1, "erase": 0.5, "erase_fill": "random", "jitter": 0.5,
    "auto_augment": "autoaugment", "auto_augment_share": 0.5,
}  # fmt: skip


def test_the_number_of_workers_changes_nothing(joined: TrainSet) -> None:
    alone = batches(joined, config(batch_size=6, **STRONG), steps=range(8))
    helped = batches(joined, config(batch_size=6, workers=2, **STRONG), steps=range(8))
    assert_equal(alone, helped)


def test_a_later_start_continues_the_same_sequence(joined: TrainSet) -> None:
    settings = config(batch_size=6, **STRONG)  # 6 steps an epoch: 4..8 crosses into the second
    assert_equal(
        batches(joined, settings, steps=range(9))[4:], batches(joined, settings, steps=range(4, 9))
    )


def test_an_image_is_augmented_anew_in_every_epoch(tmp_path: Path) -> None:
    images = coloured_set(tmp_path, [(n, 0, 0) for n in range(2)])
    settings = config(batch_size=2, erase=1.0)
    first, second = batches(join_training_sets([images]), settings, steps=range(2))
    order = [batch.vehicles.argsort() for batch in (first, second)]
    assert not torch.equal(first.images[order[0]], second.images[order[1]])


@pytest.mark.parametrize(("world", "accumulate"), [(2, 1), (2, 2), (3, 1)])
def test_processes_see_what_one_process_accumulates(
    joined: TrainSet, world: int, accumulate: int
) -> None:
    def read(processes: int, micro: int) -> list[list[TrainBatch]]:
        settings = config(batch_size=12, accumulate=micro, **STRONG)
        where = {"steps": range(3), "world": processes}
        return [batches(joined, settings, rank=rank, **where) for rank in range(processes)]

    (alone,) = read(1, world * accumulate)
    shares = read(world, accumulate)
    # of one step: first every process's first micro-batch, then every second one
    together = [batch for turn in zip(*shares, strict=True) for batch in turn]
    assert_equal(alone, together)


@pytest.mark.parametrize(
    ("changes", "world", "message"),
    [
        ({"batch_size": 6}, 4, "batch_size 6 does not divide into 4 processes x 1"),
        (
            {"batch_size": 8, "sampler": "pk", "instances": 4},
            4,
            "a micro-batch of 2 images does not hold whole groups of 4",
        ),
    ],
)
def test_shares_that_do_not_divide(
    joined: TrainSet, changes: dict[str, object], world: int, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        training_batches(joined, config(**changes), steps=range(1), world=world)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_cannot_be_read_is_named_without_a_call_stack(
    joined: TrainSet, workers: int
) -> None:
    for path in joined.paths:
        Path(path).write_bytes(b"\xff\xd8\xff cut off")
    with pytest.raises(ImageError) as error:
        batches(joined, config(batch_size=6, workers=workers), steps=range(2))
    assert any(path in str(error.value) for path in joined.paths)
    assert "Traceback" not in str(error.value)


LOSE_A_WORKER = """
import os, signal, sys
from multiprocessing import active_children
from mtml_deploy.data.source import load_source
from mtml_deploy.errors import BackendError
from mtml_train.config import TrainConfig
from mtml_train.data.loader import BATCHES_AHEAD, lost_workers_named, training_batches
from mtml_train.data.train_set import join_training_sets

images = join_training_sets([load_source(sys.argv[1], split="train")])
config = TrainConfig(image_size=32, workers=1, batch_size=2)
try:
    with lost_workers_named():
        for number, _ in enumerate(training_batches(images, config, steps=range(10_000))):
            for worker in active_children():
                # Ctrl-C reaches it too, and it goes on
                interrupt = number < 2 * BATCHES_AHEAD
                os.kill(worker.pid, signal.SIGINT if interrupt else signal.SIGKILL)
except BackendError as error:
    print(error)
"""


def test_a_loading_process_leaves_interrupts_and_is_missed_in_our_words(tiny_set: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOSE_A_WORKER, f"veri:{tiny_set}"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"a process that loads images has ended \(.+lower --workers", done.stdout)


def test_a_worker_s_own_errors_are_shown_and_a_parent_that_left_is_not(capsys) -> None:
    from mtml_train.data.loader import _without_lost_connections

    _without_lost_connections(ConnectionResetError, ConnectionResetError("gone"), None)
    _without_lost_connections(EOFError, EOFError(), None)
    assert capsys.readouterr().err == ""
    _without_lost_connections(ValueError, ValueError("its own"), None)
    assert "ValueError: its own" in capsys.readouterr().err
