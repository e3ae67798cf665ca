"""The images of a data set that may be calibrated on: its training split, nothing it is tested on.

In: a source with splits. Out: hashed training images, or an error that says what was seen in both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mtml_deploy.data.file_facts import decode_files, read_files
from mtml_deploy.data.records import UNKNOWN
from mtml_deploy.data.source import SPLIT_FORMS, load_source, parse_source
from mtml_deploy.errors import DataError
from mtml_deploy.precision.calibration_list import SPLIT, CalibrationImage, vehicles
from mtml_deploy.text import printable

Progress = Callable[[int, int], None]

_TESTED: Final = ("query", "gallery")


@dataclass(frozen=True)
class Candidates:
    """Training images to choose from.

    Attributes:
        source: the data set, without a split.
        images: of known vehicles, no two with the same bytes, in the data set's order.
        found: images in the training split.
        unknown: of these, images of unknown vehicle, which belong to no side of a split by id.
        copies: of these, images with the bytes of an earlier one.
        notes: what was tolerated while reading the data set.
    """

    source: str
    images: tuple[CalibrationImage, ...]
    found: int
    unknown: int
    copies: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Tested:
    """What a data set is tested on.

    Attributes:
        source: the data set, without a split.
        vehicles: known vehicle ids of its queries and gallery.
        files: an image file by its SHA-256.
    """

    source: str
    vehicles: frozenset[int]
    files: Mapping[str, Path]


def training_source(text: str) -> str:
    """The data set in a source text, which must have a training split and name no other.

    Args:
        text: for example "veri:DIR" or "veri:DIR#train", or a table with a column split.

    Returns:
        The text without the split.

    Raises:
        DataError: a source that does not tell what is trained and what is tested on, or another
            split than train.
    """
    source = parse_source(text)
    expected = f"expected a data set that tells its parts, {SPLIT_FORMS}"
    if source.kind == "path":
        raise DataError(
            f"{text!r} does not say which of its images are tested on, and none of those may be "
            f"calibrated on; {expected}"
        )
    splits = source.splits()
    if SPLIT not in splits or not set(splits) & set(_TESTED):
        told = f"only tells {', '.join(splits)}" if splits else "tells no parts"
        raise DataError(
            f"{text!r} {told}, and images that are tested on may not be calibrated on; {expected}: "
            "give each row of a table train, query, gallery or test in a column split"
        )
    if source.split not in (None, SPLIT):
        raise DataError(
            f"{text!r} is the {source.split} split, and a model that is calibrated on what it is "
            f"tested on tests too well; {expected}, of which the training images are taken"
        )
    return source.text()


def read_candidates(source: str, *, progress: Progress) -> Candidates:
    """The training images of a data set, each file hashed.

    Args:
        source: from `training_source`.
        progress: called with (files read, all files).

    Returns:
        The candidates.

    Raises:
        DataError: the data set is broken, or a file is missing or is no image.
    """
    images = load_source(f"{source}#{SPLIT}")
    hashes = _hashes([record.path for record in images.records], source, progress)
    known = [record for record in images.records if record.vehicle_id != UNKNOWN]
    first: dict[str, CalibrationImage] = {}
    for record in known:
        sha256 = hashes[record.path]
        first.setdefault(sha256, CalibrationImage(record, sha256))
    return Candidates(
        source=source,
        images=tuple(first.values()),
        found=len(images.records),
        unknown=len(images.records) - len(known),
        copies=len(known) - len(first),
        notes=images.notes,
    )


def read_tested(source: str, *, progress: Progress) -> Tested:
    """Queries and gallery of a data set, each file hashed.

    Args:
        source: from `training_source`.
        progress: called with (files read, all files).

    Returns:
        Ids and hashes.

    Raises:
        DataError: the data set is broken, or a file is missing or is no image.
    """
    told = parse_source(source).splits()
    records = [
        record
        for split in _TESTED
        if split in told
        for record in load_source(f"{source}#{split}").records
    ]
    hashes = _hashes([record.path for record in records], source, progress)
    return Tested(
        source=source,
        vehicles=frozenset(record.vehicle_id for record in records) - {UNKNOWN},
        files={sha256: path for path, sha256 in hashes.items()},
    )


def require_untested(images: Iterable[CalibrationImage], tested: Tested) -> None:
    """Refuse images of vehicles, or with the bytes, that a data set is tested on.

    Args:
        images: what would be calibrated on.
        tested: from `read_tested`.

    Raises:
        DataError: says how many and names the first.
    """
    images = tuple(images)
    shared = sorted(vehicles(images) & tested.vehicles)
    if shared:
        raise DataError(
            f"{len(shared)} vehicles are among the queries or the gallery of {tested.source} too, "
            f"the first is {shared[0]}, expected none; correct the label files, or calibrate on "
            "the data set that the model was trained on"
        )
    twins = [image for image in images if image.sha256 in tested.files]
    if twins:
        raise DataError(
            f"{len(twins)} images are also images that {tested.source} is tested on, the first is "
            f"{printable(twins[0].record.path)} = {printable(tested.files[twins[0].sha256])}, "
            "expected none; take them out of the training split's name list"
        )


def require_decodable(images: Sequence[CalibrationImage], *, progress: Progress) -> None:
    """Decode images, so that a broken one is found before a conversion is under way.

    Args:
        images: what was chosen.
        progress: called with (images decoded, all images).

    Raises:
        DataError: says how many cannot be decoded and names the first.
    """
    paths = [image.record.path for image in images]
    faults = decode_files(paths, threads=0, done=lambda done: progress(done, len(paths)))
    if faults:
        path, reason = next(iter(faults.items()))
        raise DataError(
            f"{len(faults)} of the chosen images cannot be decoded, the first is "
            f"{printable(path)} ({reason}); copy the data set again, or take them out of the "
            "training split's name list"
        )


def _hashes(paths: Sequence[Path], source: str, progress: Progress) -> dict[Path, str]:
    """SHA-256 of every file."""
    files = read_files(paths, threads=0, done=lambda done: progress(done, len(paths)))
    faults = [file for file in files.values() if file.fault]
    if faults:
        raise DataError(
            f"{len(faults)} images of {source} are of no use, the first is "
            f"{printable(faults[0].path)} ({faults[0].fault}); for all of them run: "
            f"mtml-train check-data {source}"
        )
    return {path: file.sha256 for path, file in files.items()}
