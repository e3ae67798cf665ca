"""Sets of which no query can be found: refused with the cause, from labels alone.

In: the labels of a query set and a gallery, and a protocol. Out: nothing, or an error. No feature
is looked at, so a training can ask before its first step.
"""

from __future__ import annotations

from collections.abc import Collection

from mtml_deploy.data.records import UNKNOWN
from mtml_deploy.embed.embeddings import Embeddings
from mtml_deploy.errors import ProtocolError
from mtml_deploy.evaluation.ground_truth import GroundTruth
from mtml_deploy.evaluation.own_copies import OwnCopies
from mtml_deploy.evaluation.protocols import PROTOCOLS, Protocol, same_vehicle_rows


def require_match(
    query: Embeddings,
    gallery: Embeddings,
    protocol: Protocol,
    *,
    truth: GroundTruth | None = None,
    copies: OwnCopies | None = None,
) -> None:
    """Refuse sets of which no query has a match that takes part.

    Args:
        query: the query set; its features play no part.
        gallery: the gallery, likewise.
        protocol: the rule.
        truth: matches of the data set's own files in place of labels.
        copies: of the queries, which take no part where they say so.

    Raises:
        ProtocolError: it is so; the text names the cause.
    """
    if truth is not None:
        pairs = zip(truth.matches, truth.junk, strict=True)
        if not any(set(matches.tolist()) - set(junk.tolist()) for matches, junk in pairs):
            raise ProtocolError(
                f"{_nothing(query.source, gallery.source, protocol)}: the ground truth names none; "
                "give the ground truth of these images"
            )
        return
    same_vehicle, junk = same_vehicle_rows(query, gallery), protocol.excluded(query, gallery)
    shared = own_camera = 0
    for row in range(len(query)):
        matches, same_camera = set(same_vehicle(row).tolist()), set(junk(row).tolist())
        own = set() if copies is None or not copies.left_out else set(copies.rows[row].tolist())
        if matches - same_camera - own:
            return
        shared += len(matches)
        own_camera += len(matches & same_camera)
    if shared == 0:
        require_shared_vehicle(
            query.vehicle_ids.tolist(), gallery.vehicle_ids.tolist(),
            sources=(query.source, gallery.source), protocol=protocol,
        )  # fmt: skip
    if own_camera == 0:
        raise ProtocolError(
            f"{_nothing(query.source, gallery.source, protocol)}: all {shared:,} matches are "
            "copies of the query itself, which are left out; give a gallery with other images of "
            "these vehicles"
        )
    cameras = {int(camera) for images in (query, gallery)
               for camera in images.camera_ids[images.vehicle_ids != UNKNOWN]}  # fmt: skip
    only = f" (every image is of camera {min(cameras)})" if len(cameras) == 1 else ""
    others = ", ".join(each.name for each in PROTOCOLS.values() if not each.needs_cameras)
    raise ProtocolError(
        f"{_nothing(query.source, gallery.source, protocol)}: all {shared:,} matches are from the "
        f"query's own camera{only}, and the protocol leaves those out; give images of these "
        f"vehicles from other cameras, or choose a protocol that looks at no camera: {others}"
    )


def require_shared_vehicle(
    query: Collection[int],
    gallery: Collection[int],
    *,
    sources: tuple[str, str],
    protocol: Protocol,
) -> None:
    """Refuse two sets without a vehicle in common.

    Args:
        query: vehicle ids of the queries, -1 where unknown.
        gallery: those of the gallery.
        sources: what the user called the two.
        protocol: the rule, for the text.

    Raises:
        ProtocolError: they share none.
    """
    wanted, there = set(query) - {UNKNOWN}, set(gallery) - {UNKNOWN}
    if not wanted & there:
        raise ProtocolError(
            f"{_nothing(*sources, protocol)}: the two share no vehicle ({len(wanted):,} vehicles "
            f"are looked for, {len(there):,} others are in the gallery); check that both are of "
            "one data set and that an id means the same vehicle in both"
        )


def _nothing(query: str, gallery: str, protocol: Protocol) -> str:
    """The beginning of every such error."""
    return f"no query of {query} has a match in {gallery} under protocol {protocol.name}"
