"""Who is held out, against plain loops of the rules: runs of users must find the same again."""

import hashlib
import random
from pathlib import Path

import numpy as np
import pytest
from helpers_calibration import image

from mtml_deploy.calibration.candidates import Candidates
from mtml_deploy.calibration.choose import choose
from mtml_deploy.data.holdout import by_generator, by_hash, held_out, hold_out, split_by_id
from mtml_deploy.data.records import ImageRecord, ImageSet
from mtml_deploy.errors import DataError

SHARES = (0.01, 0.1, 0.25, 0.5, 0.9)
SEEDS = (0, 1, 7, 2**40)


def by_hand(vehicles, share, seed):
    """Those with the lowest SHA-256("seed vehicle id"), one after the other."""
    tickets = {hashlib.sha256(f"{seed} vehicle {v}".encode()).hexdigest(): v for v in vehicles}
    held = set()
    for _ in range(max(1, round(share * len(vehicles)))):
        held.add(tickets.pop(min(tickets)))
    return held


def by_numpy(vehicles, share, seed):
    """The first vehicles of NumPy's permutation, with their numbers in ascending order."""
    ordered = sorted(vehicles)
    numbers = np.random.default_rng((seed, len(ordered))).permutation(len(ordered))
    held = {}
    for place in sorted(numbers[: max(1, round(share * len(ordered)))].tolist()):
        held[ordered[place]] = len(held)
    return held


def some_ids(count):
    return random.Random(count).sample(range(10_000), count)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_vehicles_as_by_the_plain_loops(share, seed):
    ids = some_ids(40)
    found = held_out([*ids, *ids[:5]], share=share, shuffle=by_hash(seed))
    assert found == by_hand(ids, share, seed)
    pairs = [(number % 3, number) for number in ids]
    found = held_out(reversed(pairs), share=share, shuffle=by_generator(seed))
    assert found == set(by_numpy(pairs, share, seed))


def test_an_order_by_hand():
    # printf "0 vehicle 1" | sha256sum and so on: 21dc..., d8f5..., 15bc...
    assert by_hash(0)([1, 2, 3]) == [3, 1, 2]
    assert held_out([1, 2, 3], share=0.5, shuffle=by_hash(0)) == {3, 1}
    with pytest.raises(ValueError, match=r"found 1\.0"):
        held_out([1, 2], share=1.0, shuffle=by_hash(0))
    assert held_out([], share=0.5, shuffle=by_hash(0)) == frozenset()


@pytest.mark.parametrize("share", (0.1, 0.25, 0.5))
@pytest.mark.parametrize("seed", SEEDS)
def test_a_local_split_and_a_calibration_set_hold_out_the_same(share, seed):
    ids = some_ids(30)
    records = [
        ImageRecord(Path(f"/d/{vehicle}-{camera}-{n}.jpg"), vehicle, camera)
        for vehicle in ids
        for camera in (1, 2)
        for n in range(2)
    ]
    split = split_by_id(ImageSet("set", Path("/d"), tuple(records)), seed=seed, test_share=share)
    expected = by_hand(ids, share, seed)
    assert {record.vehicle_id for record in (*split.query, *split.gallery)} == expected
    images = tuple(
        image(record.path.name, record.vehicle_id, record.camera_id, 0) for record in records
    )
    candidates = Candidates("veri:V", images, len(images), 0, 0, ())
    chosen = choose(candidates, count=4, heldout_fraction=share, seed=seed)
    assert {one.record.vehicle_id for one in chosen.heldout} <= expected
    assert not {one.record.vehicle_id for one in chosen.calibration} & expected


@pytest.mark.parametrize("share", (0.1, 0.3, 0.5))
@pytest.mark.parametrize("seed", SEEDS)
def test_a_validation_set_is_that_of_the_plain_loop(share, seed):
    sets = [
        ImageSet(name, Path(f"/{name}"), tuple(
            ImageRecord(Path(f"/{name}/{vehicle}-{camera}-{n}.jpg"), vehicle, camera)
            for vehicle in some_ids(20)
            for n in range(2)
            for camera in (3, 1)
        ))
        for name in ("one", "two")
    ]  # fmt: skip
    keys = {(group, r.vehicle_id) for group, one in enumerate(sets) for r in one.records}
    held = by_numpy(keys, share, seed)
    train, query, gallery, seen = [], [], [], set()
    for group, one in enumerate(sets):
        for record in one.records:
            number = held.get((group, record.vehicle_id))
            if number is None:
                train.append(record.path)
            elif (number, record.camera_id) in seen:
                gallery.append((record.path, number))
            else:
                seen.add((number, record.camera_id))
                query.append((record.path, number))
    rest, (found_query, found_gallery) = hold_out(sets, share=share, seed=seed)
    assert [record.path for one in rest for record in one.records] == train
    assert [(r.path, r.vehicle_id) for r in found_query.records] == query
    assert [(r.path, r.vehicle_id) for r in found_gallery.records] == gallery
    assert found_query.source == f"holdout:{share:g}#query"


def test_too_few_to_validate_on():
    records = tuple(ImageRecord(Path(f"/d/{v}.jpg"), v, 1) for v in range(8))
    with pytest.raises(DataError, match="leaves 4 vehicles and 0 gallery images"):
        hold_out([ImageSet("set", Path("/d"), records)], share=0.5, seed=0)
