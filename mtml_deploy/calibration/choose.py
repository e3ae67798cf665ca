"""Which images are calibrated on: by vehicle, balanced over cameras and orientations, seeded.

In: training images. Out: a `CalibrationSet`. The choice depends on the seed, the labels and the
file names alone, never on order or library version.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from mtml_deploy.calibration.candidates import Candidates
from mtml_deploy.data.holdout import by_hash, draw, held_out
from mtml_deploy.errors import DataError
from mtml_deploy.precision.calibration_list import CalibrationImage, CalibrationSet, vehicles


def choose(
    candidates: Candidates, *, count: int, heldout_fraction: float, seed: int
) -> CalibrationSet:
    """Images to calibrate on, and images of other vehicles to compare calibrators on.

    Args:
        candidates: from `read_candidates`.
        count: images to calibrate on, 1 or more.
        heldout_fraction: share of the vehicles to hold out, between 0 and 1; at least one vehicle.
            As many images are held out as this share of `count`, at least one.
        seed: any integer.

    Returns:
        The set.

    Raises:
        DataError: fewer than two vehicles, or fewer images than asked for.
        ValueError: a number outside its range.
    """
    if count < 1 or not 0 < heldout_fraction < 1:
        raise ValueError(f"count >= 1 and 0 < fraction < 1, found {count}, {heldout_fraction}")
    known = vehicles(candidates.images)
    apart = held_out(known, share=heldout_fraction, shuffle=by_hash(seed))
    held = max(1, len(apart))
    if len(known) <= held:
        raise DataError(
            f"{candidates.source} has {len(known)} vehicles to choose from, and {held} held out "
            "leave none to calibrate on; lower --holdout or give a set of more vehicles"
        )
    parts = {True: list[CalibrationImage](), False: list[CalibrationImage]()}
    for image in candidates.images:
        parts[image.record.vehicle_id in apart].append(image)
    wanted = {False: count, True: max(1, round(heldout_fraction * count))}
    for is_held, what in ((False, "calibrate on"), (True, "hold out")):
        if len(parts[is_held]) < wanted[is_held]:
            raise DataError(
                f"{wanted[is_held]} images to {what} were asked for, and {candidates.source} has "
                f"{len(parts[is_held])} of the vehicles drawn for it; lower --count, or change "
                "--holdout"
            )
    return CalibrationSet(
        source=candidates.source,
        seed=seed,
        heldout_fraction=heldout_fraction,
        calibration=balanced(parts[False], wanted[False], seed=seed),
        heldout=balanced(parts[True], wanted[True], seed=seed),
    )


def balanced(
    images: Sequence[CalibrationImage], count: int, *, seed: int
) -> tuple[CalibrationImage, ...]:
    """Some of the images, as evenly over camera x orientation, and over vehicles, as they allow.

    One image after another is taken from the pair of camera and orientation that has given fewest;
    of equal ones, from that whose camera and orientation have given fewest. There it is an image of
    the vehicle that has given fewest. What is left open is drawn by the hash of seed and name. An
    unknown camera or orientation counts as one of its own.

    Args:
        images: to choose from.
        count: how many, at most as many as there are.
        seed: any integer.

    Returns:
        `count` images in the order they were taken, so that a list cut short is balanced too.
    """
    pairs: dict[tuple[int, int], list[CalibrationImage]] = defaultdict(list)
    for image in sorted(images, key=lambda image: draw(seed, image.record.path.name)):
        pairs[image.record.camera_id, image.record.orientation].append(image)
    ordered = {pair: draw(seed, f"camera {pair[0]} orientation {pair[1]}") for pair in pairs}
    given: Counter[tuple[int, int]] = Counter()
    by_camera: Counter[int] = Counter()
    by_orientation: Counter[int] = Counter()
    by_vehicle: Counter[int] = Counter()
    chosen = []
    for _ in range(count):
        pair = min(
            pairs,
            key=lambda pair: (
                given[pair],
                by_camera[pair[0]] + by_orientation[pair[1]],
                ordered[pair],
            ),
        )
        waiting = pairs[pair]
        # the first of equal ones: `waiting` is in drawn order
        image = min(waiting, key=lambda image: by_vehicle[image.record.vehicle_id])
        waiting.remove(image)
        if not waiting:
            del pairs[pair]
        given[pair] += 1
        by_camera[pair[0]] += 1
        by_orientation[pair[1]] += 1
        by_vehicle[image.record.vehicle_id] += 1
        chosen.append(image)
    return tuple(chosen)
