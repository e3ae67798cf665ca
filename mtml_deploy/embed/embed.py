"""Images of a set to rows: the one loop behind every embedding, decoding beside inference.

In: what embeds and an `ImageSet`. Out: `Embeddings` in memory, or the rows batch by batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.artifact.manifest import Manifest
from mtml_deploy.data.batches import BadImage, ImageBatch, iterate_batches
from mtml_deploy.data.records import ImageSet
from mtml_deploy.defaults import BATCH_SIZE, Rounding
from mtml_deploy.embed.embeddings import Embeddings, ModelIdentity
from mtml_deploy.errors import ArtifactError, EmbeddingsError


class Embedder(Protocol):
    """What embeds: an exported model that is open, or one in training."""

    @property
    def identity(self) -> ModelIdentity:
        """Which model makes the rows; asked for after the first run."""
        ...

    @property
    def height(self) -> int:
        """Rows of its images."""
        ...

    @property
    def width(self) -> int:
        """Columns of its images."""
        ...

    def stream(self, batches: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        """Embeddings float32 [B, D] of each batch uint8 [B, H, W, 3], in order."""
        ...


Output = TypeVar("Output")


@dataclass(frozen=True)
class RowBatch:
    """Rows of one batch of images.

    Attributes:
        features: float32 [B, D], finite; [0, 0] where only bad images are reported.
        pixels: int32 [B], of each image before resizing.
        position: images of the set before this position are dealt with.
        bad: (position, reason) of images left out since the batch before, ascending.
    """

    features: NDArray[np.float32]
    pixels: NDArray[np.int32]
    position: int
    bad: tuple[tuple[int, str], ...]


def embed(
    model: Embedder,
    images: ImageSet,
    *,
    batch_size: int = BATCH_SIZE,
    threads: int = 0,
    skip_bad: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Embeddings, tuple[BadImage, ...]]:
    """Embed every image of a set, in memory.

    Memory is the rows, which are written into one array made for all of them, and a few batches of
    images, whatever the length of the set.

    Args:
        model: what embeds.
        images: what to embed; rows keep its order.
        batch_size: images per run, 1 or more.
        threads: decoding threads; 0 means one per CPU this process may use.
        skip_bad: leave out images that cannot be used instead of stopping at the first.
        progress: called with (images dealt with, all images) after each batch.

    Returns:
        The rows, and the images left out, ascending. Of images in memory there may be no row.

    Raises:
        EmbeddingsError: not one of the files can be used.
        ImageError: an image cannot be used and `skip_bad` is false.
        ArtifactError: the model gave a value that is not finite.
    """
    total = len(images.records)
    features: NDArray[np.float32] | None = None
    pixels = np.empty(total, dtype=np.int32)
    count = 0
    bad: list[tuple[int, str]] = []
    for batch in row_batches(
        model,
        images,
        batch_size=batch_size,
        threads=threads,
        skip_bad=skip_bad,
        progress=progress,
    ):
        bad += batch.bad
        if not len(batch.features):
            continue
        if features is None:
            features = np.empty((total, batch.features.shape[1]), dtype=np.float32)
        part = slice(count, count + len(batch.features))
        features[part], pixels[part] = batch.features, batch.pixels
        count = part.stop
    if features is None:
        features = np.empty((0, model.identity.dim), dtype=np.float32)
    rows = labelled_rows(images, features[:count], pixels[:count], bad=bad, model=model.identity)
    return rows, tuple(BadImage(i, images.records[i].path, reason) for i, reason in bad)


def model_identity(
    manifest: Manifest, *, computes_in: Rounding = "", gated: bool = False
) -> ModelIdentity:
    """What embeddings of this model carry, so that no other model's are compared with them.

    Args:
        manifest: the model.
        computes_in: what its backend rounds to, see `ModelIdentity`.
        gated: whether the parity gate passed that.
    """
    return ModelIdentity(
        model_sha256=manifest.model_sha256,
        precision=manifest.precision,
        embedding=manifest.embedding,
        dim=manifest.dim,
        computes_in=computes_in,
        gated=bool(computes_in) and gated,
    )


def row_batches(
    model: Embedder,
    images: ImageSet,
    *,
    first: int = 0,
    batch_size: int,
    threads: int,
    skip_bad: bool,
    progress: Callable[[int, int], None] | None,
) -> Iterator[RowBatch]:
    """Rows of the images from position `first` on, in their order; arguments as of `embed`."""
    total = len(images.records)
    if progress:
        progress(first, total)
    batches = iterate_batches(
        images.pictures[first:],
        height=model.height,
        width=model.width,
        batch_size=batch_size,
        threads=threads,
        skip_bad=skip_bad,
    )
    for batch, features in with_outputs(batches, model.stream):
        # a bad image may be reported before the rows around it, so rows alone tell how far we are
        position = total
        if features is not None:
            _require_finite(features, model, images, batch, first)
            position = first + int(batch.indices[-1]) + 1
        bad = tuple((first + image.index, image.reason) for image in batch.bad)
        rows = np.empty((0, 0), dtype=np.float32) if features is None else features
        yield RowBatch(rows, batch.pixels, position, bad)
        if progress:
            progress(position, total)
    if progress:
        progress(total, total)


def with_outputs(
    batches: Iterable[ImageBatch],
    stream: Callable[[Iterable[NDArray[np.uint8]]], Iterator[Output]],
) -> Iterator[tuple[ImageBatch, Output | None]]:
    """Each batch with what a model gives for it, while the model reads ahead.

    Args:
        batches: of images; the last may hold nothing but bad ones.
        stream: of a model or a runtime.

    Yields:
        The batch and its output; None for a batch without images.
    """
    waiting: deque[ImageBatch] = deque()  # handed to the model

    def handed() -> Iterator[NDArray[np.uint8]]:
        for batch in batches:
            waiting.append(batch)
            if len(batch.indices):
                yield batch.images

    for output in stream(handed()):
        yield waiting.popleft(), output
    for batch in waiting:
        yield batch, None


def labelled_rows(
    images: ImageSet,
    features: NDArray[np.float32],
    pixels: NDArray[np.int32],
    *,
    bad: Collection[tuple[int, str]],
    model: ModelIdentity,
) -> Embeddings:
    """Rows with the labels of their images.

    Args:
        images: all images.
        features: float32 [N, D] of those that are not bad.
        pixels: int32 [N] of the same.
        bad: (position, reason) of the others.
        model: which model made the rows.

    Returns:
        The embeddings.

    Raises:
        EmbeddingsError: files of which not one can be used.
    """
    left_out = dict(bad)
    kept = [i for i in range(len(images.records)) if i not in left_out]
    if not kept and images.memory is None:
        reason = next(iter(left_out.values()), "the set is empty")
        raise EmbeddingsError(
            f"not one of the {len(left_out)} images of {images.source} can be used; "
            f"the first: {reason}"
        )
    names = images.names()
    return Embeddings.of(
        features,
        [images.records[i] for i in kept],
        names=[names[i] for i in kept],
        model=model,
        root=str(images.root.absolute()) if images.memory is None else "",
        source=images.source,
        pixels=pixels,
    )


def _require_finite(
    features: NDArray[np.float32], model: Embedder, images: ImageSet, batch: ImageBatch, first: int
) -> None:
    """Refuse rows that are not finite, by the name of the first image."""
    finite = np.isfinite(features).all(axis=1)
    if not finite.all():
        name = images.records[first + int(batch.indices[np.argmin(finite)])].path
        raise ArtifactError(
            f"the model gave a value that is not finite for {name}, expected finite embeddings; "
            f"its precision is {model.identity.precision}: export it in fp32, or train again if "
            "it is"
        )
