"""One folder per vehicle: `DIR/VEHICLE/x.jpg`, or `DIR/VEHICLE/CAMERA/x.jpg`.

The names of the folders are the ids, as in a table; nothing is read from the names of the images.
Folders train, query and gallery directly in DIR are its parts, each with a folder per vehicle.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mtml_deploy.data.folder import load_folder
from mtml_deploy.data.ids import read_id
from mtml_deploy.data.records import UNKNOWN, ImageRecord, ImageSet, unknown_notes
from mtml_deploy.data.text_files import SPLITS, Split, chosen_part, shortened
from mtml_deploy.errors import DataError
from mtml_deploy.text import printable


def splits_of(root: Path) -> tuple[Split, ...]:
    """The parts that have a folder of their own; none where the folders are vehicles."""
    return tuple(split for split in SPLITS if (root / split).is_dir())


def load_folders(
    root: Path, *, split: Split | None = None, default: Split | None = None
) -> ImageSet:
    """The images of one part, or of all vehicles.

    Args:
        root: the folder.
        split: only images of this part; it must have a folder.
        default: likewise, where there are such folders.

    Returns:
        One record per image, by name.

    Raises:
        DataError: no such folder, no image, an image that is in no vehicle's folder or deeper than
            a camera's, or parts of which none was named.
    """
    splits = splits_of(root)
    part = chosen_part(f"folders:{printable(root)}", splits, split, default)
    if part and part not in splits:
        raise DataError(
            f"{printable(root)} has no folder {part}, expected one with a folder per vehicle; add "
            f"it, or leave out #{part}"
        )
    folder = root / part if part else root
    images = load_folder(folder)
    records = tuple(_record(record.path, folder) for record in images.records)
    notes = [*images.notes]
    if part:
        others = sorted(p.name for p in root.iterdir() if p.is_dir() and p.name not in SPLITS)
        if others:
            notes.append(f"{len(others)} folders beside the parts are not used: "
                         f"{shortened([printable(name) for name in others])}")  # fmt: skip
    return replace(
        images,
        source=f"folders:{root}{f'#{part}' if part else ''}",
        root=root,
        records=records,
        notes=(*notes, *unknown_notes(records, "vehicle_id", "camera_id")),
    )


def _record(path: Path, folder: Path) -> ImageRecord:
    """What the folders of an image tell."""
    *folders, _ = path.relative_to(folder).parts
    if not 1 <= len(folders) <= 2:
        raise DataError(
            f"{printable(path)} lies in {len(folders)} folders below {printable(folder)}, expected "
            "VEHICLE/IMAGE or VEHICLE/CAMERA/IMAGE; move it"
        )
    try:
        vehicle, camera = (*map(read_id, folders), UNKNOWN)[:2]
    except ValueError as error:
        raise DataError(f"{printable(path)}: {error}; rename the folder") from error
    return ImageRecord(path, vehicle, camera)
