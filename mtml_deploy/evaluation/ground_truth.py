"""Ground-truth files of a data set: which gallery images match each query and which are junk.

In: the two files that come with VeRi-776 (`gt_image.txt` or `gt_index.txt`, `jk_image.txt` or
`jk_index.txt`): one line per query, entries between white space, either numbers of gallery images
from 1 or file names. Out: `GroundTruth`, gallery rows for each query, in place of vehicle ids.

Lines and numbers count along `name_query.txt` and `name_test.txt` where these stand beside the
file; without them along the rows of the embeddings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.artifact.artifact import file_sha256
from mtml_deploy.data.records import UNKNOWN
from mtml_deploy.data.text_files import read_names, read_text, repeated, require_distinct, shortened
from mtml_deploy.embed.embeddings import Embeddings
from mtml_deploy.errors import DataError
from mtml_deploy.text import printable

_QUERY_ORDER: Final = "name_query.txt"
_GALLERY_ORDER: Final = "name_test.txt"


@dataclass(frozen=True)
class TruthFile:
    """One file a ground truth was read from.

    Attributes:
        role: what it tells.
        path: as the user gave it, or beside that file.
        sha256: of its bytes.
    """

    role: Literal["matches", "junk", "query order", "gallery order"]
    path: str
    sha256: str


@dataclass(frozen=True)
class GroundTruth:
    """Gallery rows that match, and that are left out, for each of Q queries.

    Attributes:
        matches: Q times int64 [n], ascending; empty for a query without a match.
        junk: Q times int64 [n], ascending, none of them a match of that query.
        files: what was read.
        contradictions: listed matches whose own vehicle id is known and is not the query's; a few
            are errors of labels, many say that file and embeddings are of different images.
    """

    matches: tuple[NDArray[np.int64], ...]
    junk: tuple[NDArray[np.int64], ...]
    files: tuple[TruthFile, ...]
    contradictions: int


def read_ground_truth(
    matches: Path, junk: Path | None, query: Embeddings, gallery: Embeddings
) -> GroundTruth:
    """The ground truth of two embedded sets.

    Args:
        matches: the file of matches, for example `gt_image.txt`.
        junk: the file of images to leave out; None leaves out nothing.
        query: Q queries.
        gallery: G gallery images.

    Returns:
        Gallery rows for each query.

    Raises:
        DataError: a missing file or one that is not UTF-8, another number of lines than queries,
            numbers and names in one file, a number or name that is no gallery image, an entry
            twice in a line or in both files, or a name list of other images than embedded.
    """
    order_files = matches.parent / _QUERY_ORDER, matches.parent / _GALLERY_ORDER
    query_rows = _rows_in_order(query, "query set", order_files[0])
    gallery_rows = _rows_in_order(gallery, "gallery", order_files[1])
    entries = _Entries(query_rows, gallery, gallery_rows)
    good = entries.read(matches, what="the ground truth")
    excluded = [np.empty(0, dtype=np.int64)] * len(query)
    if junk is not None:
        excluded = entries.read(junk, what="the list of junk images")
        for row in range(len(query)):
            both = np.intersect1d(good[row], excluded[row])
            if len(both):
                raise DataError(
                    f"{printable(junk)} leaves out {gallery.names[both[0]]} for the query "
                    f"{query.names[row]}, which {printable(matches)} calls its match; an image is "
                    "one or the other: check that both files are of one data set"
                )
    roles: tuple[tuple[Literal["matches", "junk", "query order", "gallery order"], Path], ...] = (
        ("matches", matches),
        *((("junk", junk),) if junk is not None else ()),
        *((("query order", order_files[0]),) if order_files[0].exists() else ()),
        *((("gallery order", order_files[1]),) if order_files[1].exists() else ()),
    )
    return GroundTruth(
        matches=tuple(good),
        junk=tuple(excluded),
        files=tuple(TruthFile(role, str(path), file_sha256(path)) for role, path in roles),
        contradictions=sum(
            int(np.count_nonzero((ids != UNKNOWN) & (ids != query.vehicle_ids[row])))
            for row, ids in enumerate(gallery.vehicle_ids[rows] for rows in good)
            if query.vehicle_ids[row] != UNKNOWN
        ),
    )


class _Entries:
    """Reads the lines of one file after the other against the same two sets."""

    def __init__(
        self, query_rows: NDArray[np.int64], gallery: Embeddings, gallery_rows: NDArray[np.int64]
    ) -> None:
        self._query_rows = query_rows
        self._gallery = gallery
        self._gallery_rows = gallery_rows

    def read(self, path: Path, *, what: str) -> list[NDArray[np.int64]]:
        """Q times int64 [n] gallery rows, ascending."""
        lines = [line.split() for line in read_text(path, what=what).split("\n")]
        if not lines[-1]:
            lines.pop()  # behind the last line end; an empty line before it is a query's
        if len(lines) != len(self._query_rows):
            raise DataError(
                f"{printable(path)} has {len(lines)} lines, and the query set has "
                f"{len(self._query_rows)} images: expected one line per query, empty where a query "
                "has no entry; check that the queries are all of the data set's"
            )
        rows_of = self._rows_by_text(path, lines)
        found = [np.empty(0, dtype=np.int64)] * len(lines)
        for number, (line, query_row) in enumerate(
            zip(lines, self._query_rows, strict=True), start=1
        ):
            unknown = [text for text in line if text not in rows_of]
            if unknown:
                raise DataError(
                    f"{printable(path)} line {number}: {unknown[0]!r} is no image of the gallery "
                    f"({self._gallery.source}, {len(self._gallery)} images); expected numbers "
                    f"1..{len(self._gallery)} or file names: embed the whole gallery this file is "
                    "for"
                )
            rows = np.unique(np.array([rows_of[text] for text in line], dtype=np.int64))
            if len(rows) < len(line):
                raise DataError(
                    f"{printable(path)} line {number} lists {repeated(line)[0]} more than "
                    "once, and each would count; remove the repeats"
                )
            found[query_row] = rows
        return found

    def _rows_by_text(self, path: Path, lines: list[list[str]]) -> Mapping[str, int]:
        """Gallery row of every text that may be an entry of this file."""
        are_numbers = {text.isascii() and text.isdigit() for line in lines for text in line}
        if len(are_numbers) == 2:
            raise DataError(
                f"{printable(path)} holds numbers and names; expected one kind, numbers of gallery "
                "images from 1 or their file names"
            )
        if are_numbers == {False}:
            return _rows_by_name(self._gallery, "gallery")
        return {str(number): int(row) for number, row in enumerate(self._gallery_rows, start=1)}


def _rows_in_order(images: Embeddings, role: str, order: Path) -> NDArray[np.int64]:
    """Rows of a set in the order of its name list; as they are where there is none."""
    if not order.exists():
        return np.arange(len(images))
    names = read_names(order, what=f"the order of the {role}")
    require_distinct(names, order)
    rows = _rows_by_name(images, role)
    missing = [name for name in names if name not in rows]
    foreign = sorted(rows.keys() - set(names))
    if missing or foreign:
        raise DataError(
            f"{printable(order)} lists {len(names)} images, but of these the {role} "
            f"({images.source}) lacks {len(missing)}, and it has {len(foreign)} others "
            f"({shortened(missing or foreign)}); embed exactly the images of the list"
        )
    return np.array([rows[name] for name in names], dtype=np.int64)


def _rows_by_name(images: Embeddings, role: str) -> Mapping[str, int]:
    """Row of every file name, without its folder."""
    names = [name.rpartition("/")[2] for name in images.names]
    if twice := repeated(names):
        raise DataError(
            f"{len(twice)} file names of the {role} ({images.source}) occur more than once, the "
            f"first is {twice[0]}, so a ground truth cannot tell which is meant; use a gallery of "
            "distinct file names"
        )
    return {name: row for row, name in enumerate(names)}
