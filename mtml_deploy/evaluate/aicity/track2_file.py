"""The file track2.txt: on each line the 100 best gallery images of one query, best first.

In: a ranking of the gallery, or a file. Out: the file, its faults by line, or the ranking in it.
Lines are in the order of the queries. Images are numbered from 1 in the order of the gallery, which
in the published set is the number in the name: 000001.jpg is 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.data.text_files import LARGEST_ID, read_bytes
from mtml_deploy.errors import DataError
from mtml_deploy.evaluate.aicity import LIST_LENGTH
from mtml_deploy.text import printable


def submission_text(rows: NDArray[np.int32]) -> str:
    """The file's text.

    Args:
        rows: int32 [Q, 100], gallery rows from 0, best first.

    Returns:
        Q lines of 100 numbers from 1, separated by single spaces.

    Raises:
        ValueError: another shape, or a row below 0 (a list with fewer places).
    """
    if rows.ndim != 2 or rows.shape[1] != LIST_LENGTH:
        raise ValueError(f"rows are [Q, {LIST_LENGTH}], found {list(rows.shape)}")
    if rows.size and rows.min() < 0:
        raise ValueError("a list has fewer places than it must")
    return "".join(" ".join(str(row + 1) for row in places) + "\n" for places in rows.tolist())


def require_official_names(names: Sequence[str], *, role: str, source: str) -> None:
    """Refuse a set whose order does not give the published numbers of its images.

    Args:
        names: of the images, in the order of the set.
        role: "query set" or "gallery".
        source: what was embedded, for the error.

    Raises:
        DataError: image n is not named n, for example because images were left out.
    """
    for number, name in enumerate(names, start=1):
        stem = PurePosixPath(name).stem
        if not (stem.isascii() and stem.isdigit() and int(stem) == number):
            raise DataError(
                f"image {number} of the {role} ({source}) is {printable(name)}, expected "
                f"{number:06d}.jpg, whose name is its number; embed all images of cityflow:DIR in "
                "their own order, or number the images of a set of your own by their order with "
                "--local"
            )


def find_faults(path: Path, *, queries: int, gallery: int) -> tuple[str, ...]:
    """What is wrong with a file.

    Args:
        path: the file.
        queries: lines it must have.
        gallery: largest number it may hold.

    Returns:
        One sentence for each fault, with its line where it has one; those of the whole file first.

    Raises:
        DataError: no such file, or it cannot be read.
    """
    lines = _lines(path)
    faults = []
    if len(lines) != queries:
        faults.append(
            f"the file has {len(lines)} lines, expected {queries}: one for each query, in the "
            "order of the queries"
        )
    numbers = [int(word) for line in lines for word in line.split() if _is_number(word)]
    from_zero = 0 in numbers and max(numbers) < gallery
    if from_zero:
        faults.append(
            f"the numbers are {min(numbers)} to {max(numbers)}, expected 1 to {gallery}: they seem "
            "to count from 0; add 1 to each"
        )
    for number, line in enumerate(lines, start=1):
        found = _line_faults(line, smallest=0 if from_zero else 1, gallery=gallery)
        faults += [f"line {number}: {fault}" for fault in found]
    return tuple(faults)


def read_submission(path: Path, *, queries: int, gallery: int) -> NDArray[np.int32]:
    """The ranking in a file.

    Args:
        path: the file.
        queries: Q, lines it must have.
        gallery: G, images it ranks.

    Returns:
        int32 [Q, 100], gallery rows from 0, best first; all different in each line.

    Raises:
        DataError: no such file, or it has faults, of which the first is named.
    """
    faults = find_faults(path, queries=queries, gallery=gallery)
    if faults:
        more = f" (and {len(faults) - 1} more faults)" if len(faults) > 1 else ""
        raise DataError(
            f"{printable(path)}: {faults[0]}{more}; see all with mtml-deploy aicity check "
            f"{printable(path)} --queries {queries} --gallery {gallery}"
        )
    numbers = [[int(word) for word in line.split(" ")] for line in _lines(path)]
    return np.array(numbers, dtype=np.int32).reshape(queries, LIST_LENGTH) - np.int32(1)


def _lines(path: Path) -> list[str]:
    """The lines of a file; bytes that are not UTF-8 as escapes, which are then no numbers."""
    text = read_bytes(path, what="the submission").decode("utf-8", "backslashreplace")
    lines = text.split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def _line_faults(line: str, *, smallest: int, gallery: int) -> Iterator[str]:
    """What is wrong with one line."""
    words = line.split()
    if not words:
        yield f"empty, expected {LIST_LENGTH} numbers"
        return
    if line != " ".join(words):
        yield "white space other than single spaces between the numbers; use those alone"
    strange = [word for word in words if not _is_number(word)]
    if strange:
        yield f"{printable(strange[0])!r} is not a number from 1 to {gallery}"
    if len(words) != LIST_LENGTH:
        yield f"{len(words)} numbers, expected {LIST_LENGTH}"
    numbers = [int(word) for word in words if _is_number(word)]
    outside = [number for number in numbers if not smallest <= number <= gallery]
    if outside:
        yield f"{outside[0]} is not an image, expected numbers from 1 to {gallery}"
    twice = [number for number, count in Counter(numbers).items() if count > 1]
    if twice:
        places = [place for place, number in enumerate(numbers, start=1) if number == twice[0]]
        yield (
            f"{twice[0]} is there {len(places)} times (places {places[0]} and {places[1]}), "
            "expected each image at most once"
        )


def _is_number(word: str) -> bool:
    """Whether a word is decimal digits that fit int32 (`int` would take "1_0" and more)."""
    return word.isascii() and word.isdigit() and len(word) <= 10 and int(word) <= LARGEST_ID
