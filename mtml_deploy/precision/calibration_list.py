"""A list of calibration images and the manifest beside it, which says what was chosen and how.

`NAME.txt` names one image a line, as every list of images does; `NAME.json` holds the hash and the
labels of each, and those of the images of other vehicles that were held out to compare on. So a
list is tied to the bytes it was chosen from.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from mtml_deploy.artifact.artifact import file_sha256
from mtml_deploy.data.folder import load_list
from mtml_deploy.data.ids import known_id, shown_id
from mtml_deploy.data.records import ImageRecord
from mtml_deploy.errors import DataError
from mtml_deploy.files import write_text
from mtml_deploy.lock import one_writer
from mtml_deploy.output_kind import FileKind
from mtml_deploy.outputs import require_outputs
from mtml_deploy.precision.options import LIST_COMMAND
from mtml_deploy.record_file import Fraction, Record, Sha256, parse_json, record_json
from mtml_deploy.regular_file import RECORD_BYTES, read_regular
from mtml_deploy.text import printable

Split = Literal["train"]
SPLIT: Final[Split] = "train"
"""The only split that calibration images come from."""

_FIX: Final = f"choose again: {LIST_COMMAND}"


class ListedImage(Record, frozen=True, kw_only=True):
    """One image as the manifest writes it.

    Attributes:
        path: relative to the folder of the list, or absolute.
        sha256: of the file when it was chosen.
        vehicle_id: as in `ImageRecord`.
        camera_id: as in `ImageRecord`.
        orientation: as in `ImageRecord`.
    """

    path: str
    sha256: Sha256
    vehicle_id: int | str
    camera_id: int | str
    orientation: int


class CalibrationManifest(Record, frozen=True, kw_only=True):
    """The manifest: the fields of `CalibrationSet`, the version and the split."""

    schema: Literal[1] = 1
    source: str
    split: Split
    seed: int
    heldout_fraction: Fraction
    calibration: tuple[ListedImage, ...]
    heldout: tuple[ListedImage, ...]


@dataclass(frozen=True)
class CalibrationImage:
    """One image and the bytes it had when it was chosen.

    Attributes:
        record: file and labels.
        sha256: 64 hexadecimal digits.
    """

    record: ImageRecord
    sha256: str


@dataclass(frozen=True)
class CalibrationSet:
    """What was chosen, and how.

    Attributes:
        source: data set that the images are of, as the user named it.
        seed: of the choice.
        heldout_fraction: share of the vehicles that was held out, 0..1.
        calibration: images to calibrate on, in the list's order.
        heldout: images of other vehicles, to compare calibrators on.
    """

    source: str
    seed: int
    heldout_fraction: float
    calibration: tuple[CalibrationImage, ...]
    heldout: tuple[CalibrationImage, ...]

    def __post_init__(self) -> None:
        """Refuse a set that cannot do its job.

        Raises:
            ValueError: no image in one of the parts, one listed twice, or a vehicle in both.
        """
        images = (*self.calibration, *self.heldout)
        if not self.calibration or not self.heldout:
            raise ValueError(
                f"it holds {len(self.calibration)} calibration and {len(self.heldout)} held-out "
                "images, expected some of each"
            )
        if len({image.sha256 for image in images}) < len(images):
            raise ValueError("two of its images have the same bytes")
        shared = vehicles(self.calibration) & vehicles(self.heldout)
        if shared:
            raise ValueError(f"vehicle {min(shared)} is calibrated on and held out")


def vehicles(images: Iterable[CalibrationImage]) -> frozenset[int]:
    """The vehicle ids of images."""
    return frozenset(image.record.vehicle_id for image in images)


def manifest_path(listing: Path) -> Path:
    """The manifest that belongs to a list.

    Raises:
        DataError: the list is not named *.txt, as every list of images is.
    """
    if listing.suffix.lower() != ".txt":
        raise DataError(
            f"a list of calibration images is a .txt file, found {printable(listing)}; name it "
            f"{printable(listing.with_suffix('.txt'))}"
        )
    return listing.with_suffix(".json")


def require_list_writable(listing: Path, *, overwrite: bool, inputs: Iterable[Path] = ()) -> None:
    """Refuse a list that must not be written; one that its manifest does not tell of is kept.

    Args:
        listing: the list, *.txt.
        overwrite: replace an earlier list and its manifest.
        inputs: what it is chosen from.

    Raises:
        OutputExistsError: list or manifest exists and `overwrite` is false, is none, or is an
            input.
        DataError: see `manifest_path`.
    """
    require_outputs(
        [(listing, _LIST), (manifest_path(listing), _MANIFEST)], overwrite=overwrite, inputs=inputs
    )


def write_calibration(listing: Path, chosen: CalibrationSet, *, overwrite: bool = False) -> None:
    """Write the manifest, then the list.

    Paths of images below the list's folder are written relative to it, others absolute.

    Args:
        listing: the list, *.txt.
        chosen: what it shall hold.
        overwrite: replace an earlier list and its manifest.

    Raises:
        OutputExistsError: see `require_list_writable`; none is written.
        OutputBusyError: another process is writing the list.
        DataError: see `manifest_path`.
    """
    manifest = manifest_path(listing)
    require_list_writable(listing, overwrite=overwrite)
    folder = listing.parent.absolute()
    record = CalibrationManifest(
        source=chosen.source,
        split=SPLIT,
        seed=chosen.seed,
        heldout_fraction=chosen.heldout_fraction,
        calibration=tuple(_listed(image, folder) for image in chosen.calibration),
        heldout=tuple(_listed(image, folder) for image in chosen.heldout),
    )
    names = (_written_path(image.record.path, folder) for image in chosen.calibration)
    with one_writer(listing):  # the two files are of one choice
        write_text(manifest, record_json(record, indent=1) + "\n")
        write_text(listing, "".join(f"{name}\n" for name in names))


def read_calibration(listing: Path) -> CalibrationSet:
    """The set that a list and its manifest describe; no image is opened.

    Args:
        listing: the list, *.txt.

    Returns:
        The set.

    Raises:
        DataError: one of the files is missing or damaged, or they name different images.
    """
    manifest = manifest_path(listing)
    listed = [record.path for record in load_list(listing).records]
    try:
        chosen = _parsed(read_regular(manifest, most_bytes=RECORD_BYTES), listing.parent)
    except FileNotFoundError as error:
        raise DataError(
            f"{printable(listing)} has no manifest {manifest.name} beside it, so nobody can tell "
            f"what its images are; {_FIX}"
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(f"{printable(manifest)} is not valid ({error}); {_FIX}") from error
    if listed != [image.record.path for image in chosen.calibration]:
        raise DataError(
            f"{printable(listing)} names other images than {manifest.name}: one of the two was "
            f"changed; {_FIX}"
        )
    return chosen


def require_unchanged(images: Iterable[CalibrationImage], *, listing: Path) -> None:
    """Hash images again and refuse any that is not what was chosen.

    Args:
        images: of the set that `listing` names.
        listing: for the error.

    Raises:
        DataError: files are missing or have other bytes; the first is named.
    """
    missing, changed = [], []
    for image in images:
        path = image.record.path
        try:
            if file_sha256(path) != image.sha256:
                changed.append(path)
        except OSError:
            missing.append(path)
    if missing:
        raise DataError(
            f"{len(missing)} images of {printable(listing)} cannot be read, the first is "
            f"{printable(missing[0])}; put the data set where it was, or {_FIX}"
        )
    if changed:
        raise DataError(
            f"{len(changed)} images of {printable(listing)} are not the files that were chosen, "
            f"the first is {printable(changed[0])}; bring back the files, or {_FIX}"
        )


def _is_list(path: Path) -> bool:
    """Whether a list names what the manifest beside it says."""
    read_calibration(path)
    return True


def _is_manifest(path: Path) -> bool:
    """Whether a file is a manifest of a list."""
    parse_json(read_regular(path, most_bytes=RECORD_BYTES), CalibrationManifest)
    return True


_LIST: Final = FileKind("a list of calibration images with its manifest", _is_list)
_MANIFEST: Final = FileKind("the manifest of such a list", _is_manifest)


def _written_path(path: Path, folder: Path) -> str:
    """An image's path as the list writes it."""
    absolute = path.absolute()
    inside = absolute.is_relative_to(folder)
    return (absolute.relative_to(folder) if inside else absolute).as_posix()


def _listed(image: CalibrationImage, folder: Path) -> ListedImage:
    """One image for the manifest."""
    record = image.record
    return ListedImage(
        path=_written_path(record.path, folder),
        sha256=image.sha256,
        vehicle_id=shown_id(record.vehicle_id),
        camera_id=shown_id(record.camera_id),
        orientation=record.orientation,
    )


def _parsed(content: bytes, folder: Path) -> CalibrationSet:
    """The set in a manifest's text.

    Raises:
        ValueError: not a manifest of this schema, or a field of another kind than expected.
    """
    record = parse_json(content, CalibrationManifest)
    return CalibrationSet(
        source=record.source,
        seed=record.seed,
        heldout_fraction=record.heldout_fraction,
        calibration=tuple(_image(each, folder) for each in record.calibration),
        heldout=tuple(_image(each, folder) for each in record.heldout),
    )


def _image(listed: ListedImage, folder: Path) -> CalibrationImage:
    """One image from the manifest."""
    record = ImageRecord(
        folder / listed.path,
        known_id(listed.vehicle_id),
        known_id(listed.camera_id),
        listed.orientation,
    )
    return CalibrationImage(record, listed.sha256)
