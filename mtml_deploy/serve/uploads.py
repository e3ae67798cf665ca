"""Images that clients add to the gallery: their rows, and their files where these are kept.

In: images with their outputs, and what is told of them. Out: a batch of rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mtml_deploy.data.formats import HEAD_BYTES, content_format
from mtml_deploy.data.records import UNKNOWN
from mtml_deploy.embed.embeddings import ModelIdentity
from mtml_deploy.files import atomic_file
from mtml_deploy.gallery.gallery import Gallery
from mtml_deploy.gallery.values import Added, NewLabels, NewRows, RowRecord
from mtml_deploy.runtime.runtime import ModelOutputs
from mtml_deploy.serve.body import Upload
from mtml_deploy.text import printable


def add_uploads(
    gallery: Gallery,
    model: ModelIdentity,
    uploads: Sequence[Upload],
    outputs: ModelOutputs,
    labels: NewLabels,
    *,
    tells_orientation: bool,
    folder: Path | None,
) -> Added:
    """Add images; on disk when this returns. Those that are there already are left as they are.

    Args:
        gallery: open for writing.
        model: which model embedded them.
        uploads: [N] the images.
        outputs: of all of them.
        labels: what the client tells of all of them.
        tells_orientation: whether what the model says of it is kept where the client tells none.
        folder: keeps their files, under the hash of their content; None keeps none.

    Returns:
        The row of each image, and whether it is new.
    """
    records = []
    for place, upload in enumerate(uploads):
        digest = hashlib.sha256(upload.content).hexdigest()
        # never a path that a client chose: pictures of rows are read from there
        path = f"upload:{printable(upload.name)}"
        if folder is not None:
            path = str(_keep(folder, digest, upload.content))
        record = labels.of(RowRecord(path=path, content=f"file:{digest}"))
        if record.orientation == UNKNOWN and tells_orientation and outputs.orientation is not None:
            told = NewLabels(orientation=int(np.argmax(outputs.orientation[place])))
            record = told.of(record)
        records.append(record)
    return gallery.add_rows(NewRows(model, outputs.embeddings, tuple(records)))


def _keep(folder: Path, digest: str, content: bytes) -> Path:
    """The file of an image, on disk before a row tells of it."""
    name = content_format(content[:HEAD_BYTES]) or "image"
    path = folder.absolute() / digest[:2] / f"{digest}.{name.lower()}"
    if not path.exists():
        with atomic_file(path) as temporary:
            temporary.write_bytes(content)
    return path
