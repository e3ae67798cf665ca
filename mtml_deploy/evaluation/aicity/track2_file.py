"""The file track2.txt: on each line the 100 best gallery images of one query, best first.

In: a ranking of the gallery, or a file. Out: the file, its faults by line, or the ranking in it.
Lines are in the order of the queries. Images are numbered from 1 in the order of the gallery, which
in the published set is the number in the name: 000001.jpg is 1. The ids of the test part are
hidden, so a score of one's own needs labelled images: a part of the training set that is kept from
training.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np

from mtml_deploy.data.text_files import LARGEST_ID, read_bytes
from mtml_deploy.defaults import TRACK2_LENGTH
from mtml_deploy.embed.embeddings import Embeddings, require_comparable
from mtml_deploy.errors import DataError, EmbeddingsError
from mtml_deploy.output_kind import FileKind
from mtml_deploy.search.rank import Ranking
from mtml_deploy.text import printable


def submission_text(ranking: Ranking) -> str:
    """The file's text.

    Args:
        ranking: K = 100.

    Returns:
        Q lines of 100 numbers from 1, separated by single spaces.

    Raises:
        ValueError: another shape, or a row below 0 (a list with fewer places).
    """
    rows = ranking.rows
    if rows.ndim != 2 or rows.shape[1] != TRACK2_LENGTH:
        raise ValueError(f"rows are [Q, {TRACK2_LENGTH}], found {list(rows.shape)}")
    if rows.size and rows.min() < 0:
        raise ValueError("a list has fewer places than it must")
    return "".join(" ".join(str(row + 1) for row in places) + "\n" for places in rows.tolist())


def require_answerable(query: Embeddings, gallery: Embeddings, *, local: bool) -> None:
    """Refuse sets for which no valid file can be written.

    Args:
        query: Q images.
        gallery: G images.
        local: the sets are the user's own, and their images are numbered by their order.

    Raises:
        EmbeddingsError: made by different models, tracklets, no query, or fewer than 100 gallery
            images.
        DataError: not `local`, and the names are not the published ones, in order and complete.
    """
    require_comparable(query, gallery)
    for role, images in (("query set", query), ("gallery", gallery)):
        if images.unit != "image":
            raise EmbeddingsError(
                f"the {role} ({images.source}) holds tracklets, and the lists are of images; give "
                "the embeddings file of the images"
            )
        if not local:
            require_official_names(images.names, role=role, source=images.source)
    if len(query) == 0 or len(gallery) < TRACK2_LENGTH:
        raise EmbeddingsError(
            f"{len(query)} queries and {len(gallery)} gallery images, expected at least one query "
            f"and {TRACK2_LENGTH} gallery images, the length of each list; embed more images"
        )


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


def read_submission(path: Path, *, queries: int, gallery: int) -> Ranking:
    """The ranking in a file.

    Args:
        path: the file.
        queries: Q, lines it must have.
        gallery: G, images it ranks.

    Returns:
        K = 100; rows all different in each line. The file tells no distances: those of the
        ranking are the places, 1 to 100.

    Raises:
        DataError: no such file, or it has faults, of which the first is named.
    """
    faults = find_faults(path, queries=queries, gallery=gallery)
    if faults:
        more = f" (and {len(faults) - 1} more faults)" if len(faults) > 1 else ""
        raise DataError(
            f"{printable(path)}: {faults[0]}{more}; see all with mtml-deploy aicity check "
            f"{printable(path)} --query-count {queries} --gallery-count {gallery}"
        )
    numbers = [[int(word) for word in line.split(" ")] for line in _lines(path)]
    rows = np.array(numbers, dtype=np.int32).reshape(queries, TRACK2_LENGTH) - np.int32(1)
    places = np.arange(1, TRACK2_LENGTH + 1, dtype=np.float32)
    return Ranking(rows=rows, distances=np.tile(places, (queries, 1)))


def _is_submission(path: Path) -> bool:
    """Whether every line holds 100 different numbers from 1."""
    return all(not any(_line_faults(line, smallest=1, gallery=LARGEST_ID)) for line in _lines(path))


SUBMISSION: Final = FileKind("a file of 100 numbers a line", _is_submission)


def _lines(path: Path) -> list[str]:
    """The lines of a file; bytes that are not UTF-8 as escapes, which are then no numbers."""
    text = read_bytes(path, what="the submission").decode("utf-8", "backslashreplace")
    lines = text.split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def _line_faults(line: str, *, smallest: int, gallery: int) -> Iterator[str]:
    """What is wrong with one line."""
    words = line.split()
    if not words:
        yield f"empty, expected {TRACK2_LENGTH} numbers"
        return
    if line != " ".join(words):
        yield "white space other than single spaces between the numbers; use those alone"
    strange = [word for word in words if not _is_number(word)]
    if strange:
        yield f"{printable(strange[0])!r} is not a number from 1 to {gallery}"
    if len(words) != TRACK2_LENGTH:
        yield f"{len(words)} numbers, expected {TRACK2_LENGTH}"
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
