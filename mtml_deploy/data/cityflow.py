"""CityFlow as AI City Challenge 2019 Track 2 published it: image_train, image_query, image_test.

File names tell nothing (000001.jpg); ids and cameras come from XML, tracklets from track files. The
ids of the test part are hidden by the organisers: -1 unless a label file gives them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from mtml_deploy.data.labels.tracks import homeless_notes, read_tracks, stranger_notes
from mtml_deploy.data.labels.xml_items import ItemLabel, XmlLabels, read_xml_labels
from mtml_deploy.data.records import UNKNOWN, ImageRecord, ImageSet, unknown_notes
from mtml_deploy.data.text_files import Split, SplitFiles, listed_names

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
        notes += stranger_notes(files.tracks, tracks, names)
        notes += homeless_notes(files.tracks, tracks, names)
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
    notes += unknown_notes(records, "vehicle_id", "camera_id")
    return ImageSet(f"cityflow:{root}#{split}", root, records, tuple(notes))
