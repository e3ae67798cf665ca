"""The curves of a run as lines of JSON in its folder: losses, speed and validations by step.

In: what the loop reads. Out: `curves.jsonl`, which a kill can only shorten, and what it says.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from mtml_deploy.errors import DataError
from mtml_deploy.files import write_text
from mtml_deploy.output_kind import text_kind
from mtml_deploy.record_file import Count, Record, parse_json, record_json
from mtml_deploy.regular_file import read_regular
from mtml_deploy.write_error import writing

HISTORY: Final = "curves.jsonl"
"""In the folder of a run."""

BOARD: Final = "tensorboard"
"""Folder of TensorBoard's events beside it."""

HISTORY_KIND: Final = text_kind("the curves of a run", r'\A\{"step": \d+, "group": "')

Group = Literal["loss", "speed", "validation"]


class Point(Record, frozen=True):
    """What was read after one step.

    Attributes:
        step: optimiser steps done.
        group: "loss", "speed", or "validation" (fractions 0..1).
        values: name -> value.
    """

    step: Count
    group: Group
    values: dict[str, float]


class HistoryWriter:
    """Adds points to the file of a run; each is there whole, or not at all."""

    def __init__(self, path: Path, *, after: int) -> None:
        """Keep what an earlier part of the run wrote.

        Args:
            path: `curves.jsonl`, made where it is missing.
            after: points of later steps are left out: those steps are done again.

        Raises:
            DataError: what is there cannot be read.
        """
        self._path = path
        found = read_history(path) if path.exists() else ()
        write_text(path, "".join(_line(point) for point in found if point.step <= after))
        with writing(path):
            self._file = path.open("ab", buffering=0)

    def add(self, point: Point) -> None:
        """Write a point, at once: a kill takes nothing that was told.

        Raises:
            WriteError: the machine refuses.
        """
        rest = _line(point).encode()
        with writing(self._path):
            while rest:  # the system may take less at a time
                rest = rest[self._file.write(rest) :]

    def close(self) -> None:
        """Nothing is added any more."""
        self._file.close()


def read_history(path: Path) -> tuple[Point, ...]:
    """The curves of a run.

    Args:
        path: its `curves.jsonl`; a last line that was cut off by a kill is passed over.

    Returns:
        Points in the order they were written; of one group and step the last one.

    Raises:
        DataError: missing, or a line is damaged.
    """
    fix = "move it away to train on without these curves, or draw other runs"
    try:
        lines = read_regular(path).split(b"\n")[:-1]
    except FileNotFoundError as error:
        raise DataError(
            f"{path.parent} has no {path.name}, expected the folder of a run; of one that an "
            f"earlier version trained, tensorboard --logdir {path.parent} shows the curves"
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(f"the curves {path} cannot be read: {error}; {fix}") from error
    found: dict[tuple[int, Group], Point] = {}
    for number, line in enumerate(lines, 1):
        try:
            point = parse_json(line, Point)
        except ValueError as error:
            raise DataError(f"{path}, line {number}: {error}; {fix}") from error
        found[point.step, point.group] = point
    return tuple(found.values())


def _line(point: Point) -> str:
    return record_json(point) + "\n"
