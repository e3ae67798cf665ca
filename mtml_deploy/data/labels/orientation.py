"""Orientation labels of VeRi-776 (keypoint_train.txt, keypoint_test.txt; Wang et al. 2017).

In: lines `FOLDERS/NAME x1 y1 ... x20 y20 orientation`. Out: orientation 0..7 by image name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mtml_deploy.data.records import ORIENTATIONS, UNKNOWN
from mtml_deploy.data.text_files import numbered_lines, shortened
from mtml_deploy.errors import DataError
from mtml_deploy.text import printable

FIELDS: Final = 42
"""Path, 20 keypoints of two coordinates, orientation."""

_CLASSES: Final = {str(label): label for label in range(len(ORIENTATIONS))}
_CAMERA: Final = re.compile(r"^(\d+)_c\d+_")


@dataclass(frozen=True)
class OrientationLabels:
    """A label file.

    Attributes:
        file: its name, for notes.
        by_name: 0..7 by image name.
        repeats: lines that say again what an earlier one said.
        unknown: lines that say that the orientation is not known (-1).
    """

    file: str
    by_name: Mapping[str, int] = field(default_factory=dict)
    repeats: int = 0
    unknown: int = 0

    def strangers(self, names: Collection[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Labels of images that are not in the data set.

        Args:
            names: all images the labels could be for.

        Returns:
            The labelled names that are not among `names`; and those of them for which `names` has
            an image of the same vehicle and time before another camera: most likely the same
            image with a slip in its name, but not ours to decide.
        """
        known = frozenset(names)
        times = {_CAMERA.sub(r"\1_", name) for name in known}
        missing = tuple(name for name in self.by_name if name not in known)
        return missing, tuple(name for name in missing if _CAMERA.sub(r"\1_", name) in times)

    def notes(self, names: Collection[str]) -> tuple[str, ...]:
        """What was tolerated, one sentence each.

        Args:
            names: all images the labels could be for.
        """
        notes = []
        if self.unknown:
            notes.append(f"{self.file}: {self.unknown} lines say that the orientation is unknown")
        if self.repeats:
            notes.append(f"{self.file}: {self.repeats} lines repeat an earlier one")
        missing, slips = self.strangers(names)
        if missing:
            notes.append(
                f"{self.file}: {len(missing)} labels are for images that no list names: "
                f"{shortened(missing)}"
            )
        if slips:
            notes.append(
                f"{self.file}: {len(slips)} of them have the vehicle and time of a listed image "
                f"of another camera, and were not used for it: {shortened(slips)}"
            )
        return tuple(notes)


def read_orientations(path: Path) -> OrientationLabels:
    """The orientation labels of a keypoint file.

    Args:
        path: the file; any folders before an image's name are dropped.

    Returns:
        The labels, without those that are -1 (unknown).

    Raises:
        DataError: missing, not UTF-8, a line without 42 fields or with an orientation outside
            -1..7, or two lines that contradict each other; the line is named.
    """
    by_name: dict[str, int] = {}
    repeats = unknown = 0
    for number, text in numbered_lines(path, what="the orientation label file"):
        where = f"{printable(path)} line {number}"
        fields = text.split()
        if len(fields) != FIELDS:
            raise DataError(
                f"{where}: {len(fields)} fields, expected {FIELDS} (path, 40 coordinates, "
                "orientation); copy the file again"
            )
        if fields[-1] == str(UNKNOWN):
            unknown += 1
            continue
        if (label := _CLASSES.get(fields[-1])) is None:
            raise DataError(
                f"{where}: orientation {fields[-1]!r}, expected 0..{len(ORIENTATIONS) - 1}, or -1 "
                "where it is unknown; correct or remove the line"
            )
        name = fields[0].replace("\\", "/").rpartition("/")[2]
        if name in by_name:
            if by_name[name] != label:
                raise DataError(
                    f"{where}: {name} has orientation {label} here but {by_name[name]} above; "
                    "keep one of the two lines"
                )
            repeats += 1
        by_name[name] = label
    return OrientationLabels(path.name, by_name, repeats, unknown)
