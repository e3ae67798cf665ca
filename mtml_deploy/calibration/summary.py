"""What a calibration set holds, in words: counts by part, camera and orientation.

In: a `CalibrationSet`. Out: Markdown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from mtml_deploy.calibration.candidates import Candidates
from mtml_deploy.data.ids import in_order
from mtml_deploy.data.records import ORIENTATIONS, UNKNOWN
from mtml_deploy.precision.calibration_list import CalibrationImage, CalibrationSet, vehicles
from mtml_deploy.text import escaped, printable, table


def found_lines(candidates: Candidates) -> list[str]:
    """What there is to choose from, one line per fact.

    Args:
        candidates: the training images.

    Returns:
        Sentences.
    """
    images = candidates.images
    lines = [
        f"{candidates.source}: {candidates.found} training images, {len(images)} to choose from, "
        f"{_spread(images)}"
    ]
    cameras = sum(image.record.camera_id == UNKNOWN for image in images)
    orientations = sum(image.record.orientation == UNKNOWN for image in images)
    for number, what in (
        (candidates.unknown, "images of unknown vehicle are left out"),
        (candidates.copies, "images with the bytes of an earlier one are left out"),
        (cameras, "images of unknown camera are balanced as one more camera"),
        (orientations, "images of unknown orientation are balanced as one more orientation"),
    ):
        if number:
            lines.append(f"{number} {what}")
    return lines


def set_markdown(chosen: CalibrationSet) -> str:
    """What was chosen: both parts in a line each, then the calibration images in a table.

    Args:
        chosen: the set.

    Returns:
        Markdown: a row per camera, a column per orientation, sums at the borders.
    """
    parts = (("calibration", chosen.calibration), ("held out", chosen.heldout))
    lines = [f"- {name}: {len(part)} images, {_spread(part)}" for name, part in parts]
    pairs = Counter(
        (image.record.camera_id, image.record.orientation) for image in chosen.calibration
    )
    cameras = in_order(camera for camera, _ in pairs)
    classes = sorted({orientation for _, orientation in pairs})
    names = ["unknown" if each == UNKNOWN else ORIENTATIONS[each] for each in classes]
    rows = []
    for camera in cameras:
        row = [pairs[camera, orientation] for orientation in classes]
        name = "unknown" if camera == UNKNOWN else escaped(printable(str(camera)))
        rows.append((name, *map(str, row), str(sum(row))))
    sums = [sum(pairs[camera, orientation] for camera in cameras) for orientation in classes]
    rows.append(("all", *map(str, sums), str(sum(sums))))
    lines += ["", *table(("camera", *names, "all"), rows, align="l" + "r" * (len(classes) + 1))]
    return "\n".join(lines)


def _spread(images: Sequence[CalibrationImage]) -> str:
    """Vehicles, known cameras and known orientations of images."""
    cameras = {image.record.camera_id for image in images} - {UNKNOWN}
    orientations = {image.record.orientation for image in images} - {UNKNOWN}
    return (
        f"{len(vehicles(images))} vehicles, {len(cameras)} cameras, "
        f"{len(orientations)} orientations"
    )
