"""CityFlow as AI City Challenge 2019 Track 2 published it: image_train, image_query, image_test.

File names tell nothing (000001.jpg); ids and cameras come from XML, tracklets from track files. The
ids of the test part are hidden by the organisers: -1 unless a label file gives them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mtml_deploy.datasets.layout import Split, SplitFiles, listed_names, unknown_notes
from mtml_deploy.datasets.lines import numbered_lines, shortened
from mtml_deploy.datasets.xml_labels import ItemLabel, XmlLabels, read_xml_labels
from mtml_deploy.decode import printable
from mtml_deploy.errors import DataError
from mtml_deploy.records import UNKNOWN, ImageRecord, ImageSet

FILES: Final[dict[Split, SplitFiles]] = {
    "train": SplitFiles(
        "image_train", "name_train.txt", "train_label.xml", tracks="train_track.txt"
    ),
    "query": SplitFiles("image_query", "name_query.txt", "query_label.xml"),
    "gallery": SplitFiles("image_test", "name_test.txt", "test_label.xml", tracks="test_track.txt"),
}


def load_cityflow(root: Path, split: Split) -> ImageSet:
    """One split of CityFlow, in the order of its name list.

    Args:
        root: folder with image_train, name_train.txt and so on.
        split: "train" (I_2 of the paper), "query" or "gallery" (image_test).

    Returns:
        One record per listed name; orientation is always -1; the notes count what is unknown.

    Raises:
        DataError: a missing folder, name list or train_label.xml, or a file that breaks its
            format.
    """
    files = FILES[split]
    names = listed_names(root, files)
    notes: list[str] = []
    labels = XmlLabels()
    # without the training labels there is nothing to train on; the others are optional
    if split == "train" or (root / files.labels).exists():
        labels = read_xml_labels(root / files.labels)
        if labels.repeats:
            notes.append(f"{files.labels}: {labels.repeats} items repeat an earlier one")
    else:
        notes.append(f"{files.labels}: absent, no vehicle id and no camera is known")
    tracks: dict[str, int] = {}
    if files.tracks and (root / files.tracks).exists():
        tracks = read_tracks(root / files.tracks)
        notes += _track_notes(files.tracks, tracks, names)
    elif files.tracks:
        notes.append(f"{files.tracks}: absent, no tracklet is known")
    nothing = ItemLabel(UNKNOWN, UNKNOWN)
    records = tuple(
        ImageRecord(
            root / files.folder / name,
            label.vehicle_id,
            label.camera_id,
            tracklet_id=tracks.get(name, UNKNOWN),
        )
        for name, label in ((name, labels.by_name.get(name, nothing)) for name in names)
    )
    notes += unknown_notes(
        {
            "vehicle id": sum(record.vehicle_id == UNKNOWN for record in records),
            "camera id": sum(record.camera_id == UNKNOWN for record in records),
        },
        len(records),
    )
    return ImageSet(f"cityflow:{root}#{split}", root, records, tuple(notes))


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


def _track_notes(file: str, tracks: Mapping[str, int], names: tuple[str, ...]) -> list[str]:
    """How the track file and the name list agree."""
    known = frozenset(names)
    strangers = [name for name in tracks if name not in known]
    homeless = [name for name in names if name not in tracks]
    notes = []
    if strangers:
        notes.append(f"{file}: {len(strangers)} images are in no list: {shortened(strangers)}")
    if homeless:
        notes.append(
            f"{file}: {len(homeless)} listed images are in no tracklet: {shortened(homeless)}"
        )
    return notes
