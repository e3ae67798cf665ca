"""The manifest of a collection: whose vectors it holds, the next row number, and who is writing.

It is kept in row 0, not in the properties of the collection: rows are read and written in one
order that all servers agree on, and that is what keeps row numbers from being used twice.
"""

from __future__ import annotations

from typing import Final, Literal

from mtml_deploy.embed.embeddings import ModelIdentity
from mtml_deploy.gallery.tuning import Tuning
from mtml_deploy.gallery.values import GalleryError
from mtml_deploy.record_file import Positive, Record, SchemaError, parse_json, record_json

MANIFEST_ROW: Final = 0
"""Row number of the manifest; those of images begin at 1."""


class CollectionManifest(Record, frozen=True):
    """What a collection says of itself.

    Attributes:
        model: the one model whose vectors it holds.
        next_row: the number the next row gets; only grows.
        writer: random text of who opened it for writing last; empty before the first.
        schema: version of fields and manifest.
        tuning: of the approximate index; None where it was not measured, or there is none.
    """

    model: ModelIdentity
    next_row: Positive
    writer: str
    schema: Literal[1] = 1
    tuning: Tuning | None = None


def manifest_text(manifest: CollectionManifest) -> str:
    """The manifest as the text that is kept."""
    return record_json(manifest)


def parse_manifest(text: str, name: str) -> CollectionManifest:
    """The manifest in a text.

    Args:
        text: what `manifest_text` made.
        name: of the gallery, for errors.

    Raises:
        GalleryError: not a manifest, or one of another version.
    """
    try:
        return parse_json(text, CollectionManifest)
    except SchemaError as error:
        raise GalleryError(f"{name}: {error}; use the version that wrote it") from error
    except ValueError as error:
        raise GalleryError(
            f"the card of {name} (row {MANIFEST_ROW}) is damaged: {error}, expected what "
            "mtml-deploy gallery create writes; restore the collection from a backup"
        ) from error
