"""Data sets that are one: the same images or vehicles, named twice.

In: image sets as they were loaded. Out: an error for training sets, because each vehicle would be
two classes; a note for validation on what is trained on. Files are compared as the system knows
them, so links and other spellings of a folder are seen through; copies of a file are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

from mtml_deploy.data.records import UNKNOWN, ImageRecord, ImageSet
from mtml_deploy.data.source import parse_source
from mtml_deploy.errors import DataError
from mtml_deploy.text import printable

_File = tuple[int, int]
"""Device and number of a file."""


def require_disjoint(sets: Sequence[ImageSet]) -> None:
    """Refuse training sets that hold the same images, or the same vehicles of one data set.

    Args:
        sets: as loaded, in the order of the user.

    Raises:
        DataError: each vehicle of the overlap would become two classes.
    """
    if len(sets) < 2:
        return
    files = [_files(images) for images in sets]
    for one, other in combinations(range(len(sets)), 2):
        first, second = sets[one], sets[other]
        if shared := files[one].keys() & files[other].keys():
            example = next(record for file, record in files[other].items() if file in shared)
            found = (
                f"{len(shared)} of the {len(second.records)} images of {second.source} are images "
                f"of {first.source} too (first: {printable(example.path)})"
            )
        elif _place(first) == _place(second) and (ids := _vehicles(first) & _vehicles(second)):
            found = (
                f"{first.source} and {second.source} are of one data set and share {len(ids)} "
                f"vehicles (first: {min(ids)})"
            )
        else:
            continue
        raise DataError(
            f"{found}; each such vehicle would become two classes that no classifier can tell "
            "apart; name these images once with --data"
        )


def copies(sets: Sequence[ImageSet]) -> list[str]:
    """Notes on pairs of training sets that may be copies: same names, same vehicles."""
    labels = [
        {name: each.vehicle_id for name, each in zip(images.names(), images.records, strict=True)}
        for images in sets
    ]
    return [
        f"{sets[one].source} and {sets[other].source} hold images of the same names and vehicle "
        "ids; if one is a copy of the other, each vehicle is two classes now: name only one"
        for one, other in combinations(range(len(sets)), 2)
        if labels[one] == labels[other]
    ]


def trained_on(train_sets: Sequence[ImageSet], val_sets: Sequence[ImageSet]) -> str:
    """What of a validation the model is trained on.

    Args:
        train_sets: what is trained on.
        val_sets: queries and gallery.

    Returns:
        One sentence; empty where nothing is shared.
    """
    trained: dict[_File, ImageRecord] = {}
    for images in train_sets:
        trained |= _files(images)
    validated: dict[_File, ImageRecord] = {}
    for images in val_sets:
        validated |= _files(images)
    shared_images = trained.keys() & validated.keys()
    vehicles = {(_place(each), vehicle) for each in val_sets for vehicle in _vehicles(each)}
    shared = vehicles & {
        (_place(each), vehicle) for each in train_sets for vehicle in _vehicles(each)
    }
    count = max(len(shared), len({validated[file].vehicle_id for file in shared_images}))
    if not count:
        return ""
    return (
        f"validation: {len(shared_images)} of {len(validated)} images and {count} of "
        f"{len(vehicles)} vehicles are trained on too, so its numbers tell how well they are "
        "remembered, not how new vehicles are found; name others with --val, or --val holdout:0.1"
    )


def _files(images: ImageSet) -> dict[_File, ImageRecord]:
    """The records by what the system knows their files as; missing files are left out."""
    found: dict[_File, ImageRecord] = {}
    for record in images.records:
        try:
            status = record.path.stat()
        except (OSError, ValueError):
            continue
        found[status.st_dev, status.st_ino] = record
    return found


def _vehicles(images: ImageSet) -> set[int]:
    """The known vehicle ids."""
    return {record.vehicle_id for record in images.records} - {UNKNOWN}


def _place(images: ImageSet) -> tuple[str, Path]:
    """Format and place of a source, whichever part of it was loaded."""
    source = parse_source(images.source)
    return source.kind, source.path.resolve()
