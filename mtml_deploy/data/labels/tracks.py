"""Track files (train_track.txt, test_track.txt): which images show one pass before one camera."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from mtml_deploy.data.text_files import numbered_lines, shortened
from mtml_deploy.errors import DataError
from mtml_deploy.text import printable


def read_tracks(path: Path) -> dict[str, int]:
    """The tracklets of a track file.

    Args:
        path: one tracklet per line, image names between white space.

    Returns:
        Tracklet by image name; that of line n is n - 1.

    Raises:
        DataError: missing, not UTF-8, or an image in two tracklets (the line is named).
    """
    tracklets: dict[str, int] = {}
    for number, text in numbered_lines(path, what="the track file"):
        for name in text.split():
            if (earlier := tracklets.setdefault(name, number - 1)) != number - 1:
                raise DataError(
                    f"{printable(path)} line {number}: {name} is in the tracklet of line "
                    f"{earlier + 1} too, expected one tracklet per image; correct one of the lines"
                )
    return tracklets


def stranger_notes(file: str, tracks: Mapping[str, int], names: Collection[str]) -> tuple[str, ...]:
    """A sentence on the images of a track file that are not in the data set.

    Args:
        file: its name.
        tracks: tracklet by image name.
        names: all images the file could be for.
    """
    known = frozenset(names)
    strangers = [name for name in tracks if name not in known]
    if not strangers:
        return ()
    return (f"{file}: {len(strangers)} images are in no list: {shortened(strangers)}",)


def homeless_notes(file: str, tracks: Mapping[str, int], names: Collection[str]) -> tuple[str, ...]:
    """A sentence on the listed images that are in no tracklet.

    Args:
        file: its name.
        tracks: tracklet by image name.
        names: the listed images.
    """
    homeless = [name for name in names if name not in tracks]
    if not homeless:
        return ()
    return (f"{file}: {len(homeless)} listed images are in no tracklet: {shortened(homeless)}",)
