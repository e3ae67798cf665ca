"""The vehicles of a query set or gallery, from whatever tells them; no image is opened.

In: what a user names. Out: the images in the order that a track2.txt numbers them, with vehicle
ids, to score that file with.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Literal

from mtml_deploy.data.labels.xml_items import read_xml_labels
from mtml_deploy.data.records import UNKNOWN, ImageRecord, ImageSet
from mtml_deploy.data.source import load_source
from mtml_deploy.defaults import EMBEDDINGS_SUFFIX
from mtml_deploy.embed.embeddings import Embeddings
from mtml_deploy.errors import EmbeddingsError, ProtocolError
from mtml_deploy.evaluation.aicity.track2_file import require_official_names


def read_vehicles(text: str, *, split: Literal["query", "gallery"]) -> ImageSet:
    """The images of a set, in its order, with their vehicles.

    Args:
        text: an embeddings file (.npz), a label file (.xml) whose images are named 000001.jpg and
            on without a gap, or any source of images, such as csv:FILE.
        split: the part of a data set where `text` names none.

    Returns:
        The images; those of an embeddings or label file with their vehicle alone.

    Raises:
        MtmlError: what reading it raises.
        DataError: a label file with other names: their order is not told.
        ProtocolError: no vehicle is known.
    """
    if text.endswith(EMBEDDINGS_SUFFIX) and not Path(text).is_dir():
        images = _embedded(text)
    elif text.endswith(".xml"):
        images = _labelled(text)
    else:
        images = load_source(text, split=split)
    if all(record.vehicle_id == UNKNOWN for record in images.records):
        raise ProtocolError(
            f"none of the {len(images.records)} images of the {split} ({text}) has a vehicle id, "
            "and a score needs ids on both sides; the ids of the published test part are hidden: "
            "score a part of the training set, see mtml-deploy aicity split"
        )
    return images


def _embedded(text: str) -> ImageSet:
    """The images of an embeddings file."""
    embeddings = Embeddings.load(Path(text))
    if embeddings.unit != "image":
        raise EmbeddingsError(
            f"{text} holds tracklets, and the lists are of images; give the embeddings file of the "
            "images"
        )
    root = Path(embeddings.root)
    ids = embeddings.vehicle_ids.tolist()
    records = [ImageRecord(root / n, id_) for n, id_ in zip(embeddings.names, ids, strict=True)]
    return ImageSet(text, root, tuple(records))


def _labelled(text: str) -> ImageSet:
    """The images of a label file, in the order of their numbers."""
    labels = read_xml_labels(Path(text)).by_name
    names = sorted(labels, key=lambda name: (len(PurePosixPath(name).stem), name))
    require_official_names(names, role="label file", source=text)
    root = Path(text).parent
    records = [ImageRecord(root / name, labels[name].vehicle_id) for name in names]
    return ImageSet(text, root, tuple(records))
