"""The same question with embeddings of length 1, as trackers ask it, who compare by cosine.

In: a stage as embedded. Out: the stage of the same images with rows of length 1, where it has
something to say.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from mtml_deploy.embed.embeddings import Embeddings
from mtml_deploy.embed.unit_length import unit_length
from mtml_deploy.evaluation.stages import Stage
from mtml_deploy.search.distances import squared_norms
from mtml_deploy.search.prepared import prepare

CHEAP: Final = 10**12
"""Products of two values that a second order costs unasked, at most: queries x gallery images x
dimensions. VeRi-776 with 8,192 dimensions takes a sixth."""

_UNIT: Final = 1e-5
"""Largest difference of a squared length from 1 by float32 rounding (measured: 1e-6)."""


def is_cheap(query: Embeddings, gallery: Embeddings) -> bool:
    """Whether a second order of the gallery is measured unasked."""
    return len(query) * len(gallery) * query.model.dim <= CHEAP


def normalised(stage: Stage) -> Stage | None:
    """The stage with rows of length 1.

    Args:
        stage: as embedded, neither expanded nor re-ranked.

    Returns:
        The stage; None where all rows have that length as they are, so that nothing would change.
    """
    if _has_unit_length(stage.query) and _has_unit_length(stage.gallery):
        return None
    gallery = unit_length(stage.gallery)
    return replace(
        stage,
        query=unit_length(stage.query),
        gallery=gallery,
        prepared=prepare(gallery.features),
        unit=True,
    )


def _has_unit_length(images: Embeddings) -> bool:
    """Whether every row has length 1 already."""
    lengths = squared_norms(images.features)
    return bool((np.abs(lengths - 1) <= _UNIT).all())
