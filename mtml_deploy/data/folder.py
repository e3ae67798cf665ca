"""Images without labels: a folder, a list of paths, or one file."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mtml_deploy.data.formats import FORMATS, image_suffixes
from mtml_deploy.data.listed_path import ListedPaths
from mtml_deploy.data.records import ImageRecord, ImageSet
from mtml_deploy.data.text_files import numbered_lines
from mtml_deploy.errors import DataError
from mtml_deploy.path_kind import data_set_form, is_there, what_it_is
from mtml_deploy.text import printable

_MORE: Final = re.compile(r"\s*[;,\t ]\s*")
"""What may stand between a path and a label."""

_SHOWN_KINDS: Final = 5
"""Kinds of files left out that are told one by one."""


def load_folder(root: Path) -> ImageSet:
    """Every image file below a folder, in the order of their names relative to it.

    Nothing is guessed from the names: a folder of strangers' pictures has no ids.

    Args:
        root: the folder. Links to folders are followed, and a folder that several ways lead to is
            read once: by its own name, else by the first link. Hidden files and folders are left
            out.

    Returns:
        One or more records without labels; a note counts what was left out.

    Raises:
        DataError: no such folder, or no image in it.
    """
    if not root.is_dir():
        raise DataError(f"no such folder: {printable(root)}; check the name")
    known = image_suffixes()
    found: list[Path] = []
    left_out = _LeftOut()
    for path in _files_below(root, left_out):
        if path.suffix.lower() not in known:
            left_out.kinds[path.suffix.lower() or "without suffix"] += 1
        else:
            found.append(path)
    note = left_out.note()
    notes: tuple[str, ...] = (note,) if note else ()
    if not found:
        raise DataError(
            f"no image below {printable(root)}{f', {note}' if note else ''}, expected {FORMATS}"
            f"{what_it_is(root) or '; check the folder'}"
        )
    # by name, not by the file system's order, which differs between machines
    found.sort(key=lambda path: path.relative_to(root).as_posix())
    records = tuple(ImageRecord(path) for path in found)
    return ImageSet(str(root), root, records, notes)


@dataclass
class _LeftOut:
    """What a folder holds beside the images that are read.

    Attributes:
        kinds: files by their suffix, which is not one of an image that is read.
        hidden: files and folders whose name begins with a dot, such as the "._NAME.jpg" that
            macOS leaves beside each file.
        broken_links: links that lead nowhere.
        again: links to a folder that was read already, or is being read (a loop).
    """

    kinds: Counter[str] = field(default_factory=Counter)
    hidden: int = 0
    broken_links: int = 0
    again: int = 0

    def note(self) -> str:
        """One sentence; "" where nothing was left out."""
        parts = []
        if self.kinds:
            # by number, then by name
            kinds = sorted(self.kinds.items(), key=lambda item: (-item[1], item[0]))
            told = [f"{printable(kind)} {count}" for kind, count in kinds[:_SHOWN_KINDS]]
            if others := kinds[_SHOWN_KINDS:]:
                told.append(f"others {sum(count for _, count in others)}")
            parts.append(f"{_counted(self.kinds.total(), 'file')} ({', '.join(told)})")
        if self.hidden:
            parts.append(f"{self.hidden} hidden")
        if self.broken_links:
            parts.append(_counted(self.broken_links, "broken link"))
        if self.again:
            parts.append(f"{_counted(self.again, 'link')} to a folder that was read already")
        return f"left out: {', '.join(parts)}" if parts else ""


def _files_below(root: Path, left_out: _LeftOut) -> Iterator[Path]:
    """Every file that is not hidden; what is not walked is counted in `left_out`."""
    seen: set[tuple[int, int]] = set()
    starts = [root]
    while starts:
        # all folders below one start come before any link is followed, so a folder that is there
        # itself is never known by the name of a link to it
        folders = [starts.pop(0)]
        links: list[Path] = []
        while folders:
            folder = folders.pop()
            try:
                state, entries = folder.stat(), list(os.scandir(folder))
            except OSError as error:  # leaving it out would shrink the set unseen
                raise DataError(
                    f"cannot read a folder ({error}); give yourself read permission"
                ) from error
            if (state.st_dev, state.st_ino) in seen:
                left_out.again += 1
                continue
            seen.add((state.st_dev, state.st_ino))
            for entry in entries:
                path, is_link = folder / entry.name, entry.is_symlink()
                if entry.name.startswith("."):
                    left_out.hidden += 1
                elif (is_there(path) and path.is_dir()) if is_link else entry.is_dir():
                    (links if is_link else folders).append(path)
                elif is_link and not is_there(path):
                    left_out.broken_links += 1
                else:
                    yield path
        starts += sorted(links)


def _counted(number: int, what: str) -> str:
    """Number and noun."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def load_list(path: Path) -> ImageSet:
    """The images a text file names, in its order.

    Args:
        path: one path per line, relative to the list's folder or absolute; lines that begin with
            "#" are comments, unless a file has that name.

    Returns:
        One or more records without labels; notes count the comments and what `ListedPaths` read.

    Raises:
        DataError: no such file, not UTF-8, an image named twice, a line that holds more than a
            path (the line is given), the name list of a data set, or no path.
    """
    first_lines: dict[Path, int] = {}
    paths, comments = ListedPaths(path.parent), 0
    for number, text in numbered_lines(path, what="the list of images"):
        where = f"{printable(path)} line {number}"
        if text.startswith("#") and not is_there(path.parent / text):
            comments += 1
            continue
        image = paths.read(text, where=where)
        _require_path_alone(image, text, where)
        if (first := first_lines.setdefault(image, number)) != number:
            raise DataError(
                f"{where}: {printable(text)} is named on line {first} too; remove one of the lines"
            )
    if not first_lines:
        raise DataError(f"{printable(path)} names no image, expected one path per line")
    images = tuple(first_lines)
    form = data_set_form(path.parent)
    if form is not None and not is_there(images[0]):
        raise DataError(
            f"{printable(path)} lists images by their names alone, as lists of data sets do; write "
            f"{form}"
        )
    notes = paths.notes()
    if comments:
        notes = (f"comment lines left out: {comments}", *notes)
    records = tuple(ImageRecord(image) for image in images)
    return ImageSet(str(path), common_root(images, path), records, notes)


def _require_path_alone(image: Path, text: str, where: str) -> None:
    """Refuse a line of a path and a label, told by a suffix that is none and a file that is none.

    Raises:
        DataError: it is so.
    """
    if image.suffix.lower() in image_suffixes() or is_there(image):
        return
    for found in _MORE.finditer(text):
        head, more = text[: found.start()], text[found.end() :]
        if Path(head).suffix.lower() in image_suffixes():
            raise DataError(
                f"{where}: {printable(more)} follows the path {printable(head)}, expected the path "
                "alone; labels belong in a table: header path,vehicle_id, named csv:FILE"
            )


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
