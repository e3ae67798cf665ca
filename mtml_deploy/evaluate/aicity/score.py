"""Score of a track2.txt where the vehicles of both sets are known: protocol aicity-top100.

In: the ranking in the file and vehicle ids. Out: the metrics that `evaluate` gives for a ranking
with these lists.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.data.labels.xml_items import read_xml_labels
from mtml_deploy.data.records import UNKNOWN
from mtml_deploy.data.source import load_source
from mtml_deploy.defaults import EMBEDDINGS_SUFFIX
from mtml_deploy.embed.embeddings import Embeddings
from mtml_deploy.errors import EmbeddingsError, ProtocolError
from mtml_deploy.evaluate.aicity import LIST_LENGTH
from mtml_deploy.evaluate.aicity.track2_file import require_official_names
from mtml_deploy.evaluate.metrics import RetrievalMetrics, retrieval_metrics
from mtml_deploy.evaluate.protocols import PROTOCOLS, Protocol

PROTOCOL: Final[Protocol] = PROTOCOLS["aicity-top100"]
"""The rule of the challenge."""


@dataclass(frozen=True)
class VehicleIds:
    """The vehicles of a set, in its order.

    Attributes:
        ids: int32 [N], -1 unknown.
        source: where they were read.
    """

    ids: NDArray[np.int32]
    source: str


def read_vehicle_ids(text: str, *, split: Literal["query", "gallery"]) -> VehicleIds:
    """The vehicles of a set, from whatever tells them; no image is opened.

    Args:
        text: an embeddings file (.npz), a label file (.xml) whose images are named 000001.jpg and
            on without a gap, or any source of images, such as csv:FILE.
        split: the part of a data set where `text` names none.

    Returns:
        The ids.

    Raises:
        MtmlError: what reading it raises.
        DataError: a label file with other names: their order is not told.
        ProtocolError: no vehicle is known.
    """
    if text.endswith(EMBEDDINGS_SUFFIX) and not Path(text).is_dir():
        embeddings = Embeddings.load(Path(text))
        if embeddings.unit != "image":
            raise EmbeddingsError(f"{text} holds tracklets, and the lists are of images; give the "
                                  "embeddings file of the images")  # fmt: skip
        ids = embeddings.vehicle_ids
    elif text.endswith(".xml"):
        labels = read_xml_labels(Path(text)).by_name
        names = sorted(labels, key=lambda name: (len(PurePosixPath(name).stem), name))
        require_official_names(names, role="label file", source=text)
        ids = np.array([labels[name].vehicle_id for name in names], dtype=np.int32)
    else:
        records = load_source(text, split=split).records
        ids = np.array([record.vehicle_id for record in records], dtype=np.int32)
    if not (ids != UNKNOWN).any():
        raise ProtocolError(
            f"none of the {len(ids)} images of the {split} ({text}) has a vehicle id, and a score "
            "needs ids on both sides; the ids of the published test part are hidden: score a part "
            "of the training set, see mtml-deploy aicity split"
        )
    return VehicleIds(ids, text)


def score(rows: NDArray[np.int32], query: VehicleIds, gallery: VehicleIds) -> RetrievalMetrics:
    """Metrics of ranked lists under protocol aicity-top100.

    Args:
        rows: int32 [Q, 100], gallery rows, best first, different in each list.
        query: vehicles of the Q queries.
        gallery: vehicles of the G gallery images.

    Returns:
        The metrics. Average precision is divided by all images of the query's vehicle in the
        gallery, whether the list has room for them or not; a query without any counts as 0. Ties
        are not known, and counted as none.

    Raises:
        ProtocolError: no query has a match in the gallery.
        ValueError: `rows` does not fit the sets.
    """
    if rows.shape != (len(query.ids), LIST_LENGTH) or rows.min() < 0:
        raise ValueError(f"rows are [{len(query.ids)}, {LIST_LENGTH}], found {list(rows.shape)}")
    ranks = []
    for vehicle, found in zip(query.ids, gallery.ids[rows], strict=True):
        if vehicle == UNKNOWN:
            ranks.append(np.empty(0, dtype=np.int64))
            continue
        seen = np.flatnonzero(found == vehicle) + 1
        unseen = int(np.count_nonzero(gallery.ids == vehicle)) - len(seen)
        # where a match comes beyond the list plays no part
        ranks.append(np.append(seen, np.full(unseen, LIST_LENGTH + 1)))
    if not any(len(found) for found in ranks):
        raise ProtocolError(
            f"no query of {query.source} has a match in {gallery.source}: the sets share no "
            "vehicle; check that both are of one data set"
        )
    return retrieval_metrics(ranks, protocol=PROTOCOL, gallery_size=len(gallery.ids), ties=0)
