"""VeRi-776 to the published layout, its orientation labels included.

Ids and cameras come from the XML label files; where those say nothing, from the file name
`IIII_cCCC_TIME_N.jpg`. Where both speak and differ, the XML file is followed (it is the label file;
a name is only a name) and the images are counted in a note.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from mtml_deploy.data.labels.orientation import OrientationLabels, read_orientations
from mtml_deploy.data.labels.tracks import homeless_notes, read_tracks, stranger_notes
from mtml_deploy.data.labels.xml_items import ItemLabel, XmlLabels, read_xml_labels
from mtml_deploy.data.records import UNKNOWN, ImageRecord, ImageSet, unknown_notes
from mtml_deploy.data.text_files import Split, SplitFiles, listed_names, shortened
from mtml_deploy.errors import DataError

FILES: Final[dict[Split, SplitFiles]] = {
    "train": SplitFiles("image_train", "name_train.txt", "train_label.xml", "keypoint_train.txt"),
    # queries are copies of test images and share their label files
    "query": SplitFiles(
        "image_query", "name_query.txt", "test_label.xml", "keypoint_test.txt", "test_track.txt"
    ),
    "gallery": SplitFiles(
        "image_test", "name_test.txt", "test_label.xml", "keypoint_test.txt", "test_track.txt"
    ),
}
_NAME: Final = re.compile(r"(\d{1,9})_c(\d{1,9})_", re.ASCII)


def load_veri(root: Path, split: Split) -> ImageSet:
    """One split of VeRi-776, in the order of its name list.

    Args:
        root: folder with image_train, name_train.txt and so on.
        split: "train" (I_1 of the paper), "query" or "gallery" (image_test).

    Returns:
        One record per listed name; orientation -1 where the keypoint file has none or is absent,
        which the notes count. The tracklet is -1 where test_track.txt has none or is absent, and
        for the training images, which no file groups.

    Raises:
        DataError: a missing folder or name list, or a list or label file that breaks its format.
    """
    files = FILES[split]
    names = listed_names(root, files)
    notes: list[str] = []
    labels = XmlLabels()
    if (root / files.labels).exists():
        labels = read_xml_labels(root / files.labels)
    else:
        notes.append(f"{files.labels}: absent, ids and cameras come from the file names")
    orientations = OrientationLabels(files.orientations)
    if (root / files.orientations).exists():
        orientations = read_orientations(root / files.orientations)
        # the test labels are for the whole gallery; queries are a part of it
        notes += orientations.notes(names if split != "query" else tuple(orientations.by_name))
    else:
        notes.append(f"{files.orientations}: absent, no orientation is known")
    tracks: dict[str, int] = {}
    if files.tracks and (root / files.tracks).exists():
        try:
            tracks = read_tracks(root / files.tracks)
        except DataError as error:  # most uses need no tracklet
            notes.append(f"{files.tracks}: not used, no tracklet is known ({error})")
        else:
            if split == "gallery":
                notes += stranger_notes(files.tracks, tracks, names)
            notes += homeless_notes(files.tracks, tracks, names)
    records = tuple(
        _record(
            root / files.folder / name,
            labels,
            orientation=orientations.by_name.get(name, UNKNOWN),
            tracklet_id=tracks.get(name, UNKNOWN),
        )
        for name in names
    )
    notes += _label_notes(files.labels, labels, names)
    notes += unknown_notes(records, "vehicle_id", "camera_id", "orientation")
    return ImageSet(f"veri:{root}#{split}", root, records, tuple(notes))


def ids_of_name(name: str) -> ItemLabel:
    """Vehicle and camera that a VeRi file name tells.

    Args:
        name: for example "0002_c002_00030600_0.jpg".

    Returns:
        Numbers as written (here 2 and 2); -1 and -1 for a name of another form.
    """
    found = _NAME.match(name)
    return ItemLabel(int(found[1]), int(found[2])) if found else ItemLabel(UNKNOWN, UNKNOWN)


def _record(path: Path, labels: XmlLabels, *, orientation: int, tracklet_id: int) -> ImageRecord:
    """What is known of one image: the label file first, then the name, number by number."""
    told = ids_of_name(path.name)
    said = labels.by_name.get(path.name, told)
    return ImageRecord(
        path,
        told.vehicle_id if said.vehicle_id == UNKNOWN else said.vehicle_id,
        told.camera_id if said.camera_id == UNKNOWN else said.camera_id,
        orientation,
        tracklet_id,
    )


def _label_notes(file: str, labels: XmlLabels, names: tuple[str, ...]) -> list[str]:
    """How the label file and the file names agree."""
    notes = []
    if labels.repeats:
        notes.append(f"{file}: {labels.repeats} items repeat an earlier one")
    absent = [name for name in names if name not in labels.by_name] if labels.by_name else []
    if absent:
        notes.append(
            f"{file}: {len(absent)} listed images have no item, their ids and cameras come from "
            f"their names: {shortened(absent)}"
        )
    differing = [
        name for name in names if name in labels.by_name and _differ(labels.by_name[name], name)
    ]
    if differing:
        notes.append(
            f"{file}: {len(differing)} images have another vehicle or camera than their names "
            f"say, and the file was followed: {shortened(differing)}"
        )
    return notes


def _differ(label: ItemLabel, name: str) -> bool:
    """Whether label file and file name both speak and do not agree."""
    told = ids_of_name(name)
    pairs = ((label.vehicle_id, told.vehicle_id), (label.camera_id, told.camera_id))
    return any(UNKNOWN not in pair and pair[0] != pair[1] for pair in pairs)
