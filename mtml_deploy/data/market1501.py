"""Images named as Market-1501 names them: `0002_c1s1_000451_03.jpg` is vehicle 2 before camera 1.

The published folders (Zheng et al. 2015) are bounding_box_train, query and bounding_box_test; a
folder of one's own has such images in itself. As in the original protocol, and as torchreid and
fast-reid read it, -1 marks junk, which is of unknown vehicle here and so takes no place in a list,
and 0000 marks distractors, which stay: no query is of vehicle 0, so they are wrong answers.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Final

from mtml_deploy.data.folder import load_folder
from mtml_deploy.data.ids import read_id
from mtml_deploy.data.records import ImageRecord, ImageSet, unknown_notes
from mtml_deploy.data.text_files import Split, chosen_part, shortened
from mtml_deploy.errors import DataError
from mtml_deploy.text import printable

FOLDERS: Final[dict[Split, str]] = {
    "train": "bounding_box_train",
    "query": "query",
    "gallery": "bounding_box_test",
}
_NAME: Final = re.compile(r"(-1|\d+)_c(\d+)", re.ASCII)


def splits_of(root: Path) -> tuple[Split, ...]:
    """The parts that have a folder of their own; none in a folder of one's own."""
    return tuple(split for split, folder in FOLDERS.items() if (root / folder).is_dir())


def load_market1501(
    root: Path, *, split: Split | None = None, default: Split | None = None
) -> ImageSet:
    """The images of one split, or of a folder of one's own.

    Args:
        root: folder with bounding_box_train and so on, or with the images.
        split: only images of this part; it must have a folder.
        default: likewise, where there are such folders.

    Returns:
        One record per image, by name; -1 for vehicle and camera of images named otherwise.

    Raises:
        DataError: no such folder, or no image in it.
    """
    splits = splits_of(root)
    part = chosen_part(f"market1501:{printable(root)}", splits, split, default)
    if part and part not in splits:
        raise DataError(
            f"{printable(root)} has no folder {FOLDERS[part]}, expected one for its {part} images; "
            "give the data set's own folder"
        )
    images = load_folder(root / FOLDERS[part] if part else root)
    records = [_record(record.path) for record in images.records]
    strange = [r.path.name for r in records if _NAME.match(r.path.name) is None]
    notes = [*images.notes]
    if strange:
        notes.append(f"{len(strange)} images are not named like 0002_c1s1_000451_03.jpg: "
                     f"{shortened(strange)}")  # fmt: skip
    return replace(
        images,
        source=f"market1501:{root}{f'#{part}' if part else ''}",
        root=root,
        records=tuple(records),
        notes=(*notes, *unknown_notes(records, "vehicle_id", "camera_id")),
    )


def _record(path: Path) -> ImageRecord:
    """What the name of an image tells."""
    found = _NAME.match(path.name)
    return ImageRecord(path, read_id(found[1]), read_id(found[2])) if found else ImageRecord(path)
