"""What a set of images holds, in a few bytes: a resumed run tells by it that its data are the same.

In: an `ImageSet`. Out: its number of images, and a hash each of their names and their labels. Names
are relative to the set, so a set that was moved has the same ones. Files are not opened: what an
image shows, its size and its time play no part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from mtml_deploy.data.records import UNKNOWN, ImageSet
from mtml_deploy.record_file import Count, Record, Sha256


class SetFingerprint(Record, frozen=True):
    """One data set as a run was trained on it.

    Attributes:
        source: what the user named, with an absolute path.
        images: number of images.
        with_orientation: those whose orientation is known.
        names_sha256: of their names, in the order of the set.
        labels_sha256: of vehicle, camera and orientation of each, in the same order.
    """

    source: str
    images: Count
    with_orientation: Count
    names_sha256: Sha256
    labels_sha256: Sha256


def fingerprint(images: ImageSet) -> SetFingerprint:
    """What `images` holds; the order counts, because it decides which images make a step."""
    labels = ((each.vehicle_id, each.camera_id, each.orientation) for each in images.records)
    return SetFingerprint(
        source=images.source,
        images=len(images.records),
        with_orientation=sum(each.orientation != UNKNOWN for each in images.records),
        names_sha256=_sha256(images.names()),
        labels_sha256=_sha256(f"{vehicle} {camera} {view}" for vehicle, camera, view in labels),
    )


def _sha256(texts: Iterable[str]) -> str:
    """Hash of texts, none of which can run into the next: a name holds no NUL."""
    total = hashlib.sha256()
    for text in texts:
        total.update(text.encode("utf-8", "surrogateescape") + b"\0")
    return total.hexdigest()
