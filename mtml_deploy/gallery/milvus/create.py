"""Making a collection that is a gallery."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from mtml_deploy.embed.embeddings import ModelIdentity
from mtml_deploy.errors import OutputExistsError
from mtml_deploy.gallery.milvus.address import MilvusAddress
from mtml_deploy.gallery.milvus.client import Collection
from mtml_deploy.gallery.milvus.entities import manifest_entity
from mtml_deploy.gallery.milvus.manifest import MANIFEST_ROW, CollectionManifest
from mtml_deploy.gallery.milvus.schema import drop, exists, make
from mtml_deploy.gallery.values import GalleryError

_DIMS: Final = range(2, 32769)
"""Lengths of vectors that Milvus keeps."""


def create_milvus_gallery(address: MilvusAddress, model: ModelIdentity) -> None:
    """Make an empty gallery, whole or not at all.

    Args:
        address: where; no collection of that name may be there.
        model: the model whose embeddings it will hold.

    Raises:
        GalleryError: no server there, or vectors of a length that Milvus does not keep.
        MissingExtraError: the client library is not installed.
        OutputExistsError: the collection exists.
    """
    if model.dim not in _DIMS:
        raise GalleryError(
            f"the model gives vectors of {model.dim} values, expected {_DIMS[0]} to {_DIMS[-1]} "
            "for Milvus; choose an embedding of that length, or a gallery in a folder"
        )
    if address.folder is not None:
        address.folder.parent.mkdir(parents=True, exist_ok=True)
    collection = Collection(address)
    try:
        if exists(collection):
            raise OutputExistsError(
                f"{address.text} exists already and was left as it is; choose another name"
            )
        try:
            make(
                collection, model.dim, f"mtml-reid gallery, {model.embedding} {model.precision} "
                f"{model.model_sha256}",
            )  # fmt: skip
            collection.put([manifest_entity(CollectionManifest(model, MANIFEST_ROW + 1, ""))])
        except BaseException:
            with suppress(GalleryError):  # the first error is the one to show
                drop(collection)
            raise
    finally:
        collection.close()
