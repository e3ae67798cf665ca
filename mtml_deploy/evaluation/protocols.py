"""Named evaluation protocols: which gallery images a query is compared with, and how it counts.

In: the labels of a query set and a gallery. Out: the gallery rows to leave out for each query.
Published numbers differ by these rules, so every result names its protocol.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.data.records import UNKNOWN
from mtml_deploy.embed.embeddings import Embeddings
from mtml_deploy.errors import ProtocolError
from mtml_deploy.search.distance_blocks import RowsOf

_UNKNOWN_RULE: Final = (
    "A query of unknown vehicle has no match. A gallery image of unknown vehicle "
)


@dataclass(frozen=True)
class Protocol:
    """One evaluation rule.

    Attributes:
        name: what the user types.
        rule: one paragraph, printed with every result.
        source: where the rule comes from.
        excludes_same_camera: gallery images of the query's vehicle from the query's camera are left
            out, as if they were not in the gallery; needs camera ids.
        excludes_unknown: gallery images of unknown vehicle (junk) are left out.
        list_length: matches later than this rank are not seen; None sees all.
        unmatched: a query without any match in the gallery is "skipped" in every mean, or counts
            as "zero".
        draws_gallery: the gallery is one image of each vehicle, drawn from all images; see
            `mtml_deploy.evaluation.random_galleries`.
    """

    name: str
    rule: str
    source: str
    excludes_same_camera: bool
    excludes_unknown: bool
    list_length: int | None
    unmatched: Literal["skipped", "zero"]
    draws_gallery: bool = False

    @property
    def needs_cameras(self) -> bool:
        """Whether the rule cannot be applied without camera ids."""
        return self.excludes_same_camera

    def excluded(self, query: Embeddings, gallery: Embeddings) -> RowsOf:
        """Gallery rows the protocol leaves out for each query.

        Unknown labels are equal to nothing: a query or gallery image of unknown camera is never
        "from the same camera".

        Args:
            query: Q images with labels.
            gallery: G images with labels.

        Returns:
            A function from a query row to int64 [n] gallery rows, ascending.
        """
        same_vehicle = same_vehicle_rows(query, gallery)
        junk = np.flatnonzero(gallery.vehicle_ids == UNKNOWN)
        nothing = np.empty(0, dtype=np.int64)

        def rows(query_row: int) -> NDArray[np.int64]:
            camera = query.camera_ids[query_row]
            same = nothing
            if self.excludes_same_camera and camera != UNKNOWN:
                vehicle = same_vehicle(query_row)
                same = vehicle[gallery.camera_ids[vehicle] == camera]
            if not self.excludes_unknown:
                return same
            # the two sets are disjoint: junk has no vehicle
            return np.sort(np.concatenate([same, junk]))

        return rows


def same_vehicle_rows(query: Embeddings, gallery: Embeddings) -> RowsOf:
    """Gallery rows that show each query's vehicle, whichever camera took them.

    Args:
        query: Q images with labels.
        gallery: G images with labels.

    Returns:
        A function from a query row to int64 [n] gallery rows, ascending; empty for a query of
        unknown vehicle.
    """
    # a stable sort: rows of one vehicle stay ascending
    order = np.argsort(gallery.vehicle_ids, kind="stable").astype(np.int64)
    ids = gallery.vehicle_ids[order]
    starts = np.searchsorted(ids, query.vehicle_ids)
    ends = np.searchsorted(ids, query.vehicle_ids, side="right")
    ends[query.vehicle_ids == UNKNOWN] = starts[query.vehicle_ids == UNKNOWN]

    def rows(query_row: int) -> NDArray[np.int64]:
        return order[starts[query_row] : ends[query_row]]

    return rows


def require_labels(protocol: Protocol, query: Embeddings, gallery: Embeddings) -> None:
    """Refuse sets that lack the labels the protocol needs.

    Args:
        protocol: the rule.
        query: the query set.
        gallery: the gallery.

    Raises:
        ProtocolError: a set is empty, all vehicle ids of a set are unknown, the protocol needs
            cameras and an image of known vehicle has none (its own copy would then be found at
            rank 1 and counted as a match), or the protocol draws its gallery and this one was not.
    """
    for role, images in (("query set", query), ("gallery", gallery)):
        known = images.vehicle_ids != UNKNOWN
        if not known.any():
            raise ProtocolError(
                f"none of the {len(images)} images of the {role} ({images.source}) has a vehicle "
                f"id, and evaluation needs ids on both sides; embed a labelled source such as "
                f"veri:DIR or csv:FILE, or use mtml-deploy rank, which needs none"
            )
        missing = int(np.count_nonzero(known & (images.camera_ids == UNKNOWN)))
        if protocol.needs_cameras and missing:
            raise ProtocolError(
                f"protocol {protocol.name} leaves out images of the query's own camera, but "
                f"{missing} of {int(np.count_nonzero(known))} images of known vehicle in the "
                f"{role} ({images.source}) have no camera id; embed a source that tells the "
                f"camera of every image, or choose a protocol that needs none: "
                f"{', '.join(p.name for p in PROTOCOLS.values() if not p.needs_cameras)}"
            )
    vehicles = gallery.vehicle_ids[gallery.vehicle_ids != UNKNOWN]
    if protocol.draws_gallery and len(np.unique(vehicles)) < len(vehicles):
        raise ProtocolError(
            f"protocol {protocol.name} draws its gallery, one image of each vehicle, but this one "
            f"({gallery.source}) holds several of a vehicle; evaluate it with "
            f"mtml-deploy evaluate --gallery FILE --protocol {protocol.name}, or choose another "
            f"protocol"
        )


_ALL: Final = (
    Protocol(
        name="veri776",
        rule=(
            "Gallery images of the query's vehicle taken by the query's camera are "
            "left out, which also removes the query's own copy; every other gallery image takes "
            "part. " + _UNKNOWN_RULE + "stays and is a wrong match. Queries without a match are "
            "skipped in every mean and their number is reported. An image of known vehicle without "
            "a camera id is refused."
        ),
        source="Liu et al., VeRi-776, github.com/VehicleReId/VeRi: baseline_evaluation.m",
        excludes_same_camera=True,
        excludes_unknown=False,
        list_length=None,
        unmatched="skipped",
    ),
    Protocol(
        name="market",
        rule=(
            "Gallery images of the query's vehicle taken by the query's camera are "
            "left out, and so are junk images, those of unknown vehicle (-1). "
            + _UNKNOWN_RULE
            + "is junk. Queries without a match are skipped in every mean and their number is "
            "reported. An image of known vehicle without a camera id is refused."
        ),
        source="Zheng et al., Scalable Person Re-identification: A Benchmark, ICCV 2015",
        excludes_same_camera=True,
        excludes_unknown=True,
        list_length=None,
        unmatched="skipped",
    ),
    Protocol(
        name="aicity-top100",
        rule=(
            "Nothing is left out, not even images of the query's camera. Only the "
            "first 100 matches are seen, but average precision is divided by all images of the "
            "query's vehicle in the gallery; a query whose vehicle does not fit in the list has "
            "inverse negative penalty 0. "
            + _UNKNOWN_RULE
            + "stays and is a wrong match. Every mean is over all queries; one without a match "
            "counts as 0."
        ),
        source="AI City Challenge 2019, Track 2: the first 100 matches of each query are scored",
        excludes_same_camera=False,
        excludes_unknown=False,
        list_length=100,
        unmatched="zero",
    ),
    Protocol(
        name="vehicleid",
        rule=(
            "Cameras play no part. One random image of each vehicle is the gallery, all "
            "other images of these vehicles are the queries; this is drawn several times, every "
            "draw is measured by itself, and mean and spread over the draws are given. A vehicle "
            "with a single image is in every gallery and is never looked for. Images of unknown "
            "vehicle are left out, and of copies of one image (equal file name, vehicle and "
            "camera, and embeddings equal up to rounding) one is kept. Every query has exactly one "
            "match; none is skipped."
        ),
        source="Liu et al., Deep Relative Distance Learning (VehicleID), CVPR 2016",
        excludes_same_camera=False,
        excludes_unknown=True,
        list_length=None,
        unmatched="skipped",
        draws_gallery=True,
    ),
    Protocol(
        name="plain",
        rule=(
            "Nothing is left out: if the query itself is in the gallery, it is its "
            "own match at rank 1. " + _UNKNOWN_RULE + "stays and is a wrong match. Queries without "
            "a match are skipped in every mean and their number is reported."
        ),
        source="definition of average precision over one ranked list",
        excludes_same_camera=False,
        excludes_unknown=False,
        list_length=None,
        unmatched="skipped",
    ),
)

PROTOCOLS: Final[Mapping[str, Protocol]] = MappingProxyType({p.name: p for p in _ALL})
"""Every protocol by name."""


def find_protocol(name: str) -> Protocol:
    """The protocol called `name`.

    Args:
        name: one of `PROTOCOLS`.

    Returns:
        The protocol.

    Raises:
        ProtocolError: no protocol has that name.
    """
    if name not in PROTOCOLS:
        raise ProtocolError(
            f"no evaluation protocol is called {name!r}; choose one of {', '.join(PROTOCOLS)}"
        )
    return PROTOCOLS[name]
