"""Which images a set of embeddings is of, as one hash: to tell later whether two were the same."""

from __future__ import annotations

import hashlib
import json

from mtml_deploy.embed.embeddings import Embeddings


def rows_sha256(rows: Embeddings) -> str:
    """Hash of names and labels, in order; the features play no part.

    Args:
        rows: the embeddings.

    Returns:
        64 lower-case hexadecimal digits.
    """
    digest = hashlib.sha256()
    labels = (rows.vehicle_ids, rows.camera_ids, rows.orientations, rows.tracklet_ids)
    for name, *numbers in zip(rows.names, *(each.tolist() for each in labels), strict=True):
        digest.update(json.dumps([name, *numbers]).encode() + b"\n")
    return digest.hexdigest()
