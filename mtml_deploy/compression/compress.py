"""An artifact with projected embeddings: what training images taught, in its graph.

In: an artifact and its embeddings of training images. Out: a new artifact that is used like any
other, whose manifest says what was done to it and what that did to the metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Final

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from mtml_deploy.artifact.artifact import Artifact, open_artifact, write_artifact
from mtml_deploy.artifact.artifact_folder import ARTIFACT
from mtml_deploy.compression.append import append_projection
from mtml_deploy.compression.learn import CompressOptions, learn_projection
from mtml_deploy.compression.projection import Projection
from mtml_deploy.embed.embed import model_identity
from mtml_deploy.embed.embeddings import Embeddings
from mtml_deploy.errors import ArtifactError, EmbeddingsError
from mtml_deploy.outputs import output_folder, require_output
from mtml_deploy.parity.agreement import Agreement, agreement, require
from mtml_deploy.runtime.open import open_runtime

MAX_RELATIVE_PROJECTED: Final = 1e-4
"""Relative distance of an image's compressed embedding and the float64 projection of its old one.
Only float32 rounding of constants, product and length differs (measured: 2e-6); a wrong
mean, direction or scale gives 1e-2 and more."""


def learn(artifact: Artifact, train: Embeddings, options: CompressOptions) -> Projection:
    """The projection for an artifact, learnt from its own embeddings of training images.

    Args:
        artifact: the model to compress.
        train: its embeddings of training images.
        options: method and what to keep.

    Returns:
        The projection.

    Raises:
        ArtifactError: see `require_compressible`.
        EmbeddingsError: another model's embeddings, or too few of them.
    """
    require_compressible(artifact, options)
    require_made_by(artifact, train)
    return learn_projection(train.features, train.vehicle_ids, options)


def require_compressible(artifact: Artifact, options: CompressOptions) -> None:
    """Refuse an artifact that cannot be projected as asked.

    Raises:
        ArtifactError: the model was compressed already, or its embedding is not longer than asked.
    """
    manifest = artifact.manifest
    if manifest.compression is not None:
        raise ArtifactError(
            f"{artifact.folder} was compressed already, to {manifest.dim} dimensions; compress "
            f"the artifact it was made from"
        )
    if options.dim is not None and options.dim > manifest.dim:
        raise ArtifactError(
            f"{artifact.folder} has embeddings of {manifest.dim} dimensions, and {options.dim} "
            f"were asked for; choose --dim {manifest.dim} or less"
        )


def compress(
    artifact: Artifact,
    projection: Projection,
    out: Path,
    *,
    train: Embeddings,
    check: NDArray[np.uint8],
    measured: Mapping[str, object] | None = None,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Artifact:
    """Write the artifact with a projection behind its embeddings, once its output is checked.

    Args:
        artifact: the model to compress, of any precision; the added nodes are float32.
        projection: what `learn` gave for it.
        out: folder to make.
        train: the embeddings it was learnt from, for the record.
        check: uint8 [N, H, W, 3], images to compare both models on, see `parity_images`.
        measured: what else the record holds: "metrics" of `CompressionMetrics.record` and
            "cross_validation" of `cross_validation_record`, where they were measured.
        overwrite: replace an artifact that is there, once the new one is complete.
        say: told what was made from the replaced artifact and is gone with it.

    Returns:
        The artifact in `out`.

    Raises:
        ParityError: the new model does not give the projected embeddings; nothing is written.
        OutputExistsError: `out` exists and `overwrite` is off, or it may not be replaced: it is
            no artifact, holds other files, or is `artifact`.
        MissingExtraError: onnx, or the inference library, is not installed.
    """
    inputs = (artifact.folder,)
    require_output(out, ARTIFACT, overwrite=overwrite, inputs=inputs)
    with open_runtime(artifact) as runtime:
        expected = projection.apply(runtime.run(check))
    old = artifact.manifest
    record: dict[str, object] = {
        "parent": {"model_sha256": old.model_sha256, "dim": old.dim},
        **projection.learnt,
        "normalised": projection.normalise,
        "training": {"source": train.source, "images": len(train)},
        **(measured or {}),
    }
    manifest = replace(old, dim=projection.dim, compression=record)
    model = append_projection(artifact.model_path, projection)
    with output_folder(out, ARTIFACT, overwrite=overwrite, inputs=inputs, say=say) as folder:
        candidate = write_artifact(folder, model, manifest)
        with open_runtime(candidate) as runtime:
            found = agreement(expected.astype(np.float32), runtime.run(check))
        require(
            "the relative distance of a compressed embedding and the projected one",
            found.max_relative,
            at_most=MAX_RELATIVE_PROJECTED,
        )
        record = record | {"check": _check_record(found, len(check))}
        write_artifact(folder, model, replace(manifest, compression=record))
    return open_artifact(out)


def require_made_by(artifact: Artifact, images: Embeddings) -> None:
    """Refuse embeddings that another model made.

    Raises:
        EmbeddingsError: hash, precision, kind of embedding or dimension differ.
    """
    expected = model_identity(artifact.manifest)
    if images.model.difference(expected):
        raise EmbeddingsError(
            f"the embeddings of {images.source} were made by the model "
            f"{images.model.model_sha256[:12]} ({images.model.precision}, "
            f"{images.model.embedding}, {images.model.dim} dimensions), not by {artifact.folder} "
            f"({expected.model_sha256[:12]}, {expected.precision}, {expected.embedding}, "
            f"{expected.dim} dimensions); embed the images with it: mtml-deploy embed "
            f"{artifact.folder} --images ... --out FILE.npz"
        )


def _check_record(found: Agreement, images: int) -> dict[str, object]:
    """What the check measured, for the manifest."""
    return {"images": images, **asdict(found)}
