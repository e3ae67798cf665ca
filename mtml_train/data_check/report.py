"""What a check of a data set found, and its text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

from mtml_deploy.data.data_sets import Counts
from mtml_deploy.text import table_row

SHOWN: Final = 20
"""Entries of each list that the text shows; the rest is counted."""


@dataclass(frozen=True)
class SplitCheck:
    """One split (or the only part of a data set without splits).

    Attributes:
        split: "train", "query", "gallery"; "images" for a format without splits.
        found: what is there.
        published: what the data set's authors published; None for a data set of one's own.
        faults: why the split cannot be loaded, each an error's text.
        missing: listed images without a file.
        repeated: images that the list names more than once.
        unreadable: files that cannot be used, each with the reason.
        unlisted: files in the image folder that no list names.
        wrong_suffix: images whose content is not of the format their name says.
        without_id: images without a vehicle id.
        without_camera: images without a camera.
        without_orientation: images without an orientation label.
        notes: what the loader tolerated, counted.
    """

    split: str
    found: Counts
    published: Counts | None = None
    faults: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    repeated: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()
    wrong_suffix: tuple[str, ...] = ()
    without_id: tuple[str, ...] = ()
    without_camera: tuple[str, ...] = ()
    without_orientation: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether the split loads and each listed image is there, once, and usable."""
        return not (self.faults or self.missing or self.repeated or self.unreadable)

    @property
    def as_published(self) -> bool:
        """Whether every published number was found; true where none is published."""
        return self.published is None or all(
            getattr(self.published, field.name) in (None, getattr(self.found, field.name))
            for field in fields(Counts)
        )


@dataclass(frozen=True)
class DataCheck:
    """A data set.

    Attributes:
        source: what was checked, for example "veri:DIR".
        splits: its parts.
        identical: groups of files with equal bytes; a query and its copy in the gallery under the
            same name count as one.
        decoded: whether every image was decoded; if not, only first bytes were looked at.
    """

    source: str
    splits: tuple[SplitCheck, ...]
    identical: tuple[tuple[str, ...], ...]
    decoded: bool

    @property
    def complete(self) -> bool:
        """Whether every split is complete; a subset of a published data set can be."""
        return all(split.complete for split in self.splits)

    @property
    def as_published(self) -> bool:
        """Whether all counts are the published ones; true for a data set of one's own."""
        return all(split.as_published for split in self.splits)


_LISTS: Final = {
    "faults": "cannot be loaded",
    "missing": "listed images have no file",
    "repeated": "images are listed more than once",
    "unreadable": "files cannot be used",
    "unlisted": "files are in no list",
    "wrong_suffix": "images are of another format than their name says",
    "without_id": "images have no vehicle id",
    "without_camera": "images have no camera",
    "without_orientation": "images have no orientation label",
    "notes": "remarks on lists and labels",
}
"""Heading of each list of a `SplitCheck`, worst first."""


def render(check: DataCheck) -> str:
    """The check as Markdown that reads well as plain text.

    Args:
        check: what was found.

    Returns:
        Verdict, table of counts, and the first 20 of each list that is not empty.
    """
    lines = [f"# {check.source}", "", *_verdict(check), ""]
    columns = [field.name for field in fields(Counts)]
    lines += [table_row(["split", *columns]), "|---" * (1 + len(columns)) + "|"]
    for split in check.splits:
        lines.append(table_row([split.split, *(_cell(split, column) for column in columns)]))
    for split in check.splits:
        for name, heading in _LISTS.items():
            entries: tuple[str, ...] = getattr(split, name)
            lines += _section(f"{split.split}: {len(entries)} {heading}", entries)
    groups = [" = ".join(group) for group in check.identical]
    lines += _section(f"{len(groups)} groups of files with equal bytes", groups)
    return "\n".join(lines) + "\n"


def _verdict(check: DataCheck) -> list[str]:
    """Two sentences: is it usable, and is it all of what was published."""
    how = "decoded" if check.decoded else "not decoded (only first bytes were looked at)"
    usable = (
        f"Complete: every list loads and every listed image is there; images were {how}."
        if check.complete
        else f"NOT complete: see the lists below; images were {how}."
    )
    if all(split.published is None for split in check.splits):
        return [usable]
    return [
        usable,
        "The counts are the published ones."
        if check.as_published
        else "The counts differ from the published ones: this is a part of the data set, another "
        "release, or a data set of the same layout.",
    ]


def _cell(split: SplitCheck, column: str) -> str:
    """Found and, where another number was published, that number."""
    found: int | None = getattr(split.found, column)
    published: int | None = getattr(split.published, column, None)
    text = "?" if found is None else f"{found}"
    return text if published in (None, found) else f"{text} (published: {published})"


def _section(heading: str, entries: Sequence[str]) -> list[str]:
    """A heading and the first entries; nothing where there are none."""
    if not entries:
        return []
    more = [f"- and {len(entries) - SHOWN} more"] if len(entries) > SHOWN else []
    return ["", f"## {heading}", *(f"- {entry}" for entry in entries[:SHOWN]), *more]
