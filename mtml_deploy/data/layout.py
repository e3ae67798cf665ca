"""Where a published data set keeps the files of its splits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from mtml_deploy.data.decode import printable
from mtml_deploy.data.text_files import read_names, require_distinct
from mtml_deploy.errors import DataError

Split = Literal["train", "query", "gallery"]
SPLITS: Final[tuple[Split, ...]] = ("train", "query", "gallery")


@dataclass(frozen=True)
class SplitFiles:
    """Names of one split's files below the data set's root; "" where the format has none.

    Attributes:
        folder: the images.
        names: the list that gives their order.
        labels: ids and cameras (XML).
        orientations: orientation labels.
        tracks: tracklets.
    """

    folder: str
    names: str
    labels: str
    orientations: str = ""
    tracks: str = ""


def listed_names(root: Path, files: SplitFiles) -> tuple[str, ...]:
    """Image names of a split, in the list's order.

    Args:
        root: the data set's folder.
        files: the split's files.

    Returns:
        One or more distinct names.

    Raises:
        DataError: the root or the image folder is missing; see `read_names`; a repeated name.
    """
    if not root.is_dir():
        raise DataError(f"no such folder: {printable(root)}; give the data set's own folder")
    path = root / files.names
    names = read_names(path, what=f"the list of the images in {files.folder}")
    require_distinct(names, path)
    if not (root / files.folder).is_dir():
        raise DataError(
            f"no image folder {printable(root / files.folder)}; copy the data set again"
        )
    return names


def unknown_notes(counts: dict[str, int], total: int) -> tuple[str, ...]:
    """One sentence for each kind of label that some images lack.

    Args:
        counts: images without it, by kind of label.
        total: images in the split.
    """
    return tuple(
        f"{count} of {total} images have no {kind}" for kind, count in counts.items() if count
    )
