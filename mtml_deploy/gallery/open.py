"""Opening and making galleries by their name.

In: the name of a folder or the address of a Milvus collection. Out: a `Gallery`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from mtml_deploy.defaults import StoredType
from mtml_deploy.embed.embeddings import ModelIdentity
from mtml_deploy.gallery.checks import always_exact
from mtml_deploy.gallery.folder.gallery import FolderGallery, create_folder_gallery
from mtml_deploy.gallery.gallery import Gallery
from mtml_deploy.gallery.milvus.address import SCHEMES, parse_address
from mtml_deploy.gallery.milvus.create import create_milvus_gallery
from mtml_deploy.gallery.milvus.gallery import MilvusGallery
from mtml_deploy.gallery.values import GalleryError
from mtml_deploy.user_path import user_path

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def create_gallery(
    name: str | Path, model: ModelIdentity, *, dtype: StoredType = "float32"
) -> None:
    """Make an empty gallery, whole or not at all.

    Args:
        name: a folder, or a collection such as milvus://host:19530/cars.
        model: the model whose embeddings it will hold: `Embeddings.model`.
        dtype: how they are kept; in a collection always float32.

    Raises:
        GalleryError: a kind this version does not know, or one that cannot hold such vectors.
        MissingExtraError: the library of that kind is not installed.
        OutputExistsError: there is one already.
    """
    if is_collection(name):
        if dtype != "float32":
            raise GalleryError(
                f"vectors as {dtype} were asked for, expected float32, which is how a Milvus "
                "collection keeps them; leave out --dtype"
            )
        create_milvus_gallery(parse_address(str(name)), model)
        return
    create_folder_gallery(gallery_folder(name), model, dtype=dtype)


def open_gallery(name: str | Path, *, write: bool = False) -> Gallery:
    """The gallery of a name.

    Args:
        name: what `create_gallery` or `mtml-deploy gallery create` made: a folder, or a collection
            such as milvus://host:19530/cars.
        write: open it for adding and removing; one process at a time.

    Returns:
        The gallery; close it, or use it in a `with` statement.

    Raises:
        GalleryError: a kind this version does not know, no gallery there, a damaged one, or
            another process is writing.
        MissingExtraError: the library of that kind of gallery is not installed.
    """
    if is_collection(name):
        return MilvusGallery(parse_address(str(name)), write=write)
    return FolderGallery(gallery_folder(name), write=write)


def open_collection(name: str, *, any_index: bool = False) -> MilvusGallery:
    """The gallery of a name on a Milvus server, open for writing, for what only a server has.

    Args:
        name: such as milvus://host:19530/cars.
        any_index: see `MilvusGallery`.

    Raises:
        GalleryError: a folder, or as `open_gallery`.
        MissingExtraError: the client library is not installed.
    """
    if not is_collection(name) or parse_address(name).folder is not None:
        raise always_exact(name)
    return MilvusGallery(parse_address(name), write=True, any_index=any_index)


def gallery_folder(name: str | Path) -> Path:
    """The folder of a name.

    Raises:
        GalleryError: it is that of another kind of gallery.
    """
    if not str(name):
        raise GalleryError(
            "the name of the gallery is empty, expected a folder or the address of a collection; "
            "name one"
        )
    scheme = _scheme(name)
    if scheme is not None:
        raise GalleryError(
            f"{name!r} names a gallery of the kind {scheme!r}, expected a folder here, made "
            "with mtml-deploy gallery create GALLERY MODEL"
        )
    return user_path(name)


def is_collection(name: str | Path) -> bool:
    """Whether a name is that of a Milvus collection."""
    scheme = _scheme(name)
    return scheme is not None and scheme.lower() in SCHEMES


def _scheme(name: str | Path) -> str | None:
    """What stands before "://"; None in a `Path`, which is always a folder."""
    found = _SCHEME.match(name) if isinstance(name, str) else None
    return None if found is None else found[1]
