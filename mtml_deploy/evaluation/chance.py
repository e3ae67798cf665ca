"""What guessing gives: the number beside which a measured one means something."""

from __future__ import annotations

import numpy as np

from mtml_deploy.embed.embeddings import Embeddings
from mtml_deploy.evaluation.protocols import Protocol, same_vehicle_rows


def first_by_chance(query: Embeddings, gallery: Embeddings, protocol: Protocol) -> float:
    """CMC@1 of lists in a random order, on average.

    Args:
        query: Q labelled images.
        gallery: G labelled images.
        protocol: what the lists leave out; a query without a match is not counted.

    Returns:
        The mean over the counted queries of matches / images in the list, 0..1; NaN where none
        counts.
    """
    excluded = protocol.excluded(query, gallery)
    same_vehicle = same_vehicle_rows(query, gallery)
    shares = []
    for row in range(len(query)):
        left_out = excluded(row)
        matches = np.setdiff1d(same_vehicle(row), left_out)
        if len(matches):
            shares.append(len(matches) / (len(gallery) - len(left_out)))
    return float(np.mean(shares)) if shares else float("nan")
