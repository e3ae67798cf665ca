"""Vehicles held out of labelled training images, to be looked for where nothing else is tested.

In: labelled images and a seed. Out: images to train on, to look for, to look in; the three share no
vehicle but the last two. The choice depends on the seed, the ids and the names, never on the order
of the images.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from mtml_deploy.data.records import UNKNOWN, ImageRecord, ImageSet
from mtml_deploy.errors import DataError

Vehicle = TypeVar("Vehicle", int, tuple[int, int])
"""An id, or the number of a set and an id in it."""


def draw(seed: int, text: str) -> bytes:
    """A random place in an order, the same on every machine and with every library."""
    return hashlib.sha256(f"{seed} {text}".encode("utf-8", "surrogateescape")).digest()


def by_hash(seed: int) -> Callable[[list[int]], list[int]]:
    """Shuffles vehicle ids by the hash of seed and id."""
    return lambda ids: sorted(ids, key=lambda vehicle: draw(seed, f"vehicle {vehicle}"))


def by_generator(seed: int) -> Callable[[list[Vehicle]], list[Vehicle]]:
    """Shuffles vehicles by NumPy's generator, seeded with `seed` and their number."""

    def shuffle(vehicles: list[Vehicle]) -> list[Vehicle]:
        rng = np.random.default_rng((seed, len(vehicles)))
        return [vehicles[number] for number in rng.permutation(len(vehicles))]

    return shuffle


def held_out(
    vehicles: Iterable[Vehicle],
    *,
    share: float,
    shuffle: Callable[[list[Vehicle]], list[Vehicle]],
) -> frozenset[Vehicle]:
    """A share of the vehicles, drawn.

    Args:
        vehicles: to draw from, in any order; one that comes again counts once.
        share: of the vehicles, between 0 and 1; at least one vehicle is drawn.
        shuffle: brings the vehicles, given ascending, in a drawn order: `by_hash` or, as a training
            run does that goes on where it was stopped, `by_generator`.

    Returns:
        The first vehicles of that order.

    Raises:
        ValueError: `share` outside 0..1.
    """
    if not 0 < share < 1:
        raise ValueError(f"share is between 0 and 1, found {share}")
    drawn = shuffle(sorted(set(vehicles)))
    return frozenset(drawn[: max(1, round(share * len(drawn)))])


@dataclass(frozen=True)
class LocalSplit:
    """Disjoint lists of images, each in the order of the set they are from.

    Attributes:
        source: the set.
        seed: the seed.
        test_share: share of the vehicles that was asked for.
        train: images of the other vehicles.
        query: images to look for; each has a match in `gallery` before another camera.
        gallery: the other images of the test vehicles, those of vehicles that are no query's
            included.
        unknown: images of unknown vehicle, in no list.
    """

    source: str
    seed: int
    test_share: float
    train: tuple[ImageRecord, ...]
    query: tuple[ImageRecord, ...]
    gallery: tuple[ImageRecord, ...]
    unknown: int

    def parts(self) -> dict[str, tuple[ImageRecord, ...]]:
        """The lists by name."""
        return {"train": self.train, "query": self.query, "gallery": self.gallery}


def split_by_id(images: ImageSet, *, seed: int, test_share: float) -> LocalSplit:
    """Split a labelled set by vehicle.

    Test vehicles are drawn by the hash of seed and id. Of a test vehicle that two or more cameras
    saw, one image of each camera that has two or more is a query, drawn by the hash of seed and
    name; so each query has a match before another camera. All else of the test vehicles is gallery.

    Args:
        images: labelled images, for example the training part of CityFlow.
        seed: any integer.
        test_share: share of the vehicles to test on, between 0 and 1; at least one vehicle.

    Returns:
        The split.

    Raises:
        DataError: fewer than two vehicles, none left to train on, or no test vehicle that can be
            looked for.
        ValueError: `test_share` outside 0..1.
    """
    if not 0 < test_share < 1:
        raise ValueError(f"test_share is between 0 and 1, found {test_share}")
    vehicles = {record.vehicle_id for record in images.records} - {UNKNOWN}
    test = held_out(vehicles, share=test_share, shuffle=by_hash(seed))
    count = max(1, len(test))
    if len(vehicles) <= count:
        raise DataError(
            f"{images.source} has {len(vehicles)} vehicles, and {count} to test on leave none to "
            "train on; lower --holdout or give a set of more vehicles"
        )
    queries = _query_paths([r for r in images.records if r.vehicle_id in test], seed)
    if not queries:
        raise DataError(
            f"none of the {count} test vehicles of {images.source} was seen by two cameras, one of "
            "them with two images, so none can be looked for; raise --holdout, choose another "
            "--seed or give a set that tells its cameras"
        )
    tested = [record for record in images.records if record.vehicle_id in test]
    return LocalSplit(
        source=images.source,
        seed=seed,
        test_share=test_share,
        train=tuple(r for r in images.records if r.vehicle_id not in {*test, UNKNOWN}),
        query=tuple(record for record in tested if record.path in queries),
        gallery=tuple(record for record in tested if record.path not in queries),
        unknown=sum(record.vehicle_id == UNKNOWN for record in images.records),
    )


def hold_out(
    sets: Sequence[ImageSet], *, share: float, seed: int
) -> tuple[list[ImageSet], tuple[ImageSet, ImageSet]]:
    """Take a share of the vehicles out of training sets, to validate on.

    Of a held-out vehicle the first image of each camera is a query, the others are gallery. Two
    sets may use one id for two vehicles: the held-out ones are numbered anew.

    Args:
        sets: training sets; a vehicle of one is none of another.
        share: of all vehicles, between 0 and 1; at least one vehicle.
        seed: any integer.

    Returns:
        The sets without the held-out vehicles; query set and gallery.

    Raises:
        DataError: fewer than two vehicles are held out, or none has a gallery image.
        ValueError: `share` outside 0..1.
    """
    vehicles = ((group, r.vehicle_id) for group, one in enumerate(sets) for r in one.records)
    drawn = held_out(vehicles, share=share, shuffle=by_generator(seed))
    numbers = {vehicle: number for number, vehicle in enumerate(sorted(drawn))}
    rest: list[ImageSet] = []
    queries: dict[tuple[int, int], ImageRecord] = {}
    gallery: list[ImageRecord] = []
    for group, one in enumerate(sets):
        train = []
        for record in one.records:
            number = numbers.get((group, record.vehicle_id))
            if number is None:
                train.append(record)
                continue
            moved = replace(record, path=record.path.absolute(), vehicle_id=number)
            if queries.setdefault((number, record.camera_id), moved) is not moved:
                gallery.append(moved)
        rest.append(replace(one, records=tuple(train)))
    if not gallery or len(drawn) < 2:
        raise DataError(
            f"a hold-out of {share:g} leaves {len(drawn)} vehicles and {len(gallery)} gallery "
            "images to validate on; raise the fraction"
        )
    root = Path(gallery[0].path.anchor)  # the sets may lie anywhere
    query = ImageSet(f"holdout:{share:g}#query", root, tuple(queries.values()))
    return rest, (query, ImageSet(f"holdout:{share:g}#gallery", root, tuple(gallery)))


def split_lines(split: LocalSplit) -> list[str]:
    """What a split holds, one line per list."""
    lines = []
    for name, part in split.parts().items():
        counts = counts_of(part)
        lines.append(
            f"{name:<8}{counts['images']} images of {counts['vehicles']} vehicles before "
            f"{counts['cameras']} cameras"
        )
    if split.unknown:
        lines.append(f"{split.unknown} images of unknown vehicle are in no list")
    return lines


def _query_paths(tested: Iterable[ImageRecord], seed: int) -> frozenset[Path]:
    """The images of the test vehicles that become queries."""
    cameras: dict[int, dict[int, list[ImageRecord]]] = defaultdict(lambda: defaultdict(list))
    for record in tested:
        if record.camera_id != UNKNOWN:
            cameras[record.vehicle_id][record.camera_id].append(record)
    return frozenset(
        min(seen, key=lambda record: draw(seed, record.path.name)).path
        for by_camera in cameras.values()
        if len(by_camera) > 1
        for seen in by_camera.values()
        if len(seen) > 1
    )


def counts_of(part: tuple[ImageRecord, ...]) -> dict[str, int]:
    """Images, vehicles and known cameras of a list."""
    return {
        "images": len(part),
        "vehicles": len({record.vehicle_id for record in part}),
        "cameras": len({record.camera_id for record in part} - {UNKNOWN}),
    }
