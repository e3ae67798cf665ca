"""The manifest of a collection: whose vectors it holds, the next row number, and who is writing.

It is kept in row 0, not in the properties of the collection: rows are read and written in one
order that all servers agree on, and that is what keeps row numbers from being used twice.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Final

from mtml_deploy.embed.embeddings import ModelIdentity
from mtml_deploy.gallery.values import GalleryError

SCHEMA: Final = 1

MANIFEST_ROW: Final = 0
"""Row number of the manifest; those of images begin at 1."""


@dataclass(frozen=True)
class CollectionManifest:
    """What a collection says of itself.

    Attributes:
        model: the one model whose vectors it holds.
        next_row: the number the next row gets; only grows.
        writer: random text of who opened it for writing last; empty before the first.
        schema: version of fields and manifest.
    """

    model: ModelIdentity
    next_row: int = MANIFEST_ROW + 1
    writer: str = ""
    schema: int = SCHEMA


def manifest_text(manifest: CollectionManifest) -> str:
    """The manifest as the text that is kept."""
    return json.dumps(asdict(manifest))


def parse_manifest(text: str, name: str) -> CollectionManifest:
    """The manifest in a text.

    Args:
        text: what `manifest_text` made.
        name: of the gallery, for errors.

    Raises:
        GalleryError: not a manifest, or one of another version.
    """
    try:
        values = json.loads(text)
        if values["schema"] != SCHEMA:
            raise GalleryError(
                f"{name} has schema {values['schema']}, this version reads {SCHEMA}; use the "
                "version that wrote it"
            )
        model = ModelIdentity(**values["model"])
        manifest = CollectionManifest(model, values["next_row"], values["writer"])
        if not isinstance(manifest.next_row, int) or manifest.next_row <= MANIFEST_ROW:
            raise ValueError(f"next_row is {manifest.next_row!r}")
        return manifest
    except (ValueError, TypeError, KeyError) as error:
        raise GalleryError(
            f"the card of {name} (row {MANIFEST_ROW}) is damaged: found {error!r}, expected what "
            "mtml-deploy gallery create writes; restore the collection from a backup"
        ) from error
