"""Embeddings of the query and the test images to the 100 best test images of each query."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.embed.embeddings import Embeddings, require_comparable
from mtml_deploy.errors import EmbeddingsError
from mtml_deploy.evaluate.aicity import LIST_LENGTH
from mtml_deploy.evaluate.aicity.track2_file import require_official_names
from mtml_deploy.search.rank import rank
from mtml_deploy.search.reranked_order import Reranked


def require_answerable(query: Embeddings, gallery: Embeddings, *, local: bool) -> None:
    """Refuse sets for which no valid file can be written.

    Args:
        query: Q images.
        gallery: G images.
        local: the sets are the user's own, and their images are numbered by their order.

    Raises:
        EmbeddingsError: made by different models, tracklets, no query, or fewer than 100 gallery
            images.
        DataError: not `local`, and the names are not the published ones, in order and complete.
    """
    require_comparable(query, gallery)
    for role, images in (("query set", query), ("gallery", gallery)):
        if images.unit != "image":
            raise EmbeddingsError(
                f"the {role} ({images.source}) holds tracklets, and the lists are of images; give "
                "the embeddings file of the images"
            )
        if not local:
            require_official_names(images.names, role=role, source=images.source)
    if len(query) == 0 or len(gallery) < LIST_LENGTH:
        raise EmbeddingsError(
            f"{len(query)} queries and {len(gallery)} gallery images, expected at least one query "
            f"and {LIST_LENGTH} gallery images, the length of each list; embed more images"
        )


def best_rows(
    query: Embeddings, gallery: Embeddings, *, reranked: Reranked | None = None
) -> NDArray[np.int32]:
    """The 100 best gallery rows of every query; nothing is left out, as the challenge ranks.

    Args:
        query: Q images.
        gallery: G images, 100 or more, of the same model.
        reranked: `rerank` of the same two sets, whose order is taken; None takes the order of the
            L2 distances.

    Returns:
        int32 [Q, 100], best first, ties by lower row.
    """
    if reranked is not None:
        return reranked.rank(top_k=LIST_LENGTH).rows
    return rank(query.features, gallery.features, top_k=LIST_LENGTH).rows
