"""Images without labels: a folder, a list of paths, or one file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mtml_deploy.data.records import ImageRecord, ImageSet
from mtml_deploy.data.text_files import numbered_lines
from mtml_deploy.errors import DataError
from mtml_deploy.text import printable

SUFFIXES: Final = {
    "JPEG": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
}
"""The formats that are read, and the suffixes (lower case) their files have."""

IMAGE_SUFFIXES: Final = tuple(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)


def load_folder(root: Path) -> ImageSet:
    """Every image file below a folder, in the order of their names relative to it.

    Nothing is guessed from the names: a folder of strangers' pictures has no ids.

    Args:
        root: the folder; links to folders are not followed, hidden files are left out.

    Returns:
        One or more records without labels.

    Raises:
        DataError: no such folder, or no image in it.
    """
    if not root.is_dir():
        raise DataError(f"no such folder: {printable(root)}; check the name")
    found: list[str] = []
    hidden = 0
    for folder, subfolders, files in os.walk(root, onerror=_raise):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for name in files:
            if not name.lower().endswith(IMAGE_SUFFIXES):
                continue
            if name.startswith("."):
                hidden += 1  # such as the "._NAME.jpg" that macOS leaves beside each file
                continue
            found.append((Path(folder) / name).relative_to(root).as_posix())
    if not found:
        raise DataError(
            f"no image below {printable(root)}, expected files named "
            f"{', '.join('*' + suffix for suffix in IMAGE_SUFFIXES)}; check the folder"
        )
    notes = (f"{hidden} hidden image files were left out",) if hidden else ()
    # by name, not by the file system's order, which differs between machines
    records = tuple(ImageRecord(root / name) for name in sorted(found))
    return ImageSet(str(root), root, records, notes)


def load_list(path: Path) -> ImageSet:
    """The images a text file names, in its order.

    Args:
        path: one path per line, relative to the list's folder or absolute.

    Returns:
        One or more records without labels.

    Raises:
        DataError: no such file, not UTF-8, an image named twice (the line is given), or no path.
    """
    first_lines: dict[Path, int] = {}
    for number, text in numbered_lines(path, what="the list of images"):
        image = path.parent / text
        if (first := first_lines.setdefault(image, number)) != number:
            raise DataError(
                f"{printable(path)} line {number}: {text} is named on line {first} too; "
                "remove one of the lines"
            )
    if not first_lines:
        raise DataError(f"{printable(path)} names no image, expected one path per line")
    images = tuple(first_lines)
    records = tuple(ImageRecord(image) for image in images)
    return ImageSet(str(path), common_root(images, path), records)


def load_single(path: Path) -> ImageSet:
    """One image file.

    Args:
        path: the file, which is not opened.

    Returns:
        One record without labels.
    """
    return ImageSet(str(path), path.parent, (ImageRecord(path),))


def common_root(images: Sequence[Path], listing: Path) -> Path:
    """The folder that names in results are relative to.

    Args:
        images: one or more paths, each below the listing's folder or absolute.
        listing: the file that names them.

    Returns:
        The listing's folder where all images are below it, else the folder that all share.

    Raises:
        DataError: they share none (different drives, or absolute paths beside relative ones whose
            listing is not named absolutely).
    """
    if all(image.is_relative_to(listing.parent) for image in images):
        return listing.parent
    try:
        shared = Path(os.path.commonpath([image.parent for image in images]))
    except ValueError as error:
        raise DataError(
            f"{printable(listing)} mixes absolute paths with relative ones ({error}); write all "
            "relative to the list's folder, or all absolute"
        ) from error
    return shared


def _raise(error: OSError) -> None:
    """Refuse a subfolder that cannot be read: leaving it out would shrink the set unseen."""
    raise DataError(f"cannot read a folder ({error}); give yourself read permission") from error
