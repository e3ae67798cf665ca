"""An exported model, opened: what programs and commands embed with.

In: an artifact's folder. Out: embeddings of images, in memory or in a file.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mtml_deploy.artifact.artifact import Artifact, open_artifact
from mtml_deploy.artifact.manifest import Manifest
from mtml_deploy.artifact.verdict import parity_warning
from mtml_deploy.closing import Closing
from mtml_deploy.data.batches import BadImage
from mtml_deploy.data.given import Channels, Images, image_set
from mtml_deploy.defaults import (
    BACKEND,
    BATCH_SIZE,
    DEVICE,
    EXECUTION_PRECISION,
    STREAMS,
    ExecutionPrecision,
)
from mtml_deploy.embed.embed import embed, model_identity
from mtml_deploy.embed.embed_to import embed_to
from mtml_deploy.embed.embeddings import Embeddings, ModelIdentity
from mtml_deploy.runtime.open import open_runtime
from mtml_deploy.runtime.runtime import Runtime
from mtml_deploy.user_path import user_path

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EmbedOptions:
    """How images are embedded on the fly; see `embed` and `open_runtime`.

    Attributes:
        backend: what runs the model: a library, or the address of a Triton server.
        device: "cpu", "cuda:N" or "gpu:N".
        batch_size: images per run.
        threads: decoding threads, 0 = one per CPU.
        skip_bad: leave out images that cannot be used.
        model_threads: threads of the model on the CPU, 0 = the library's own number.
        precision: what OpenVINO computes float32 values in.
        streams: batches at work at once on OpenVINO, requests on a server.
    """

    backend: str = BACKEND
    device: str = DEVICE
    batch_size: int = BATCH_SIZE
    threads: int = 0
    skip_bad: bool = False
    model_threads: int = 0
    precision: ExecutionPrecision = EXECUTION_PRECISION
    streams: int = STREAMS

    def open(self, artifact: Artifact) -> Model:
        """The model of an artifact, loaded as these options say; errors as of `open_model`."""
        return Model.open(
            artifact,
            backend=self.backend,
            device=self.device,
            model_threads=self.model_threads,
            precision=self.precision,
            streams=self.streams,
        )


class Model(Closing):
    """An exported model that is loaded; a context manager, owned by one thread.

    Attributes:
        artifact: what it was opened from.
        runtime: what runs it.
        manifest: what the model is.
        identity: what its embeddings carry.
        warning: what a user must know of its retrieval quality before relying on it; empty where
            the model was compared with its reference on this backend and device, and passed.
    """

    def __init__(self, artifact: Artifact, runtime: Runtime, *, warning: str = "") -> None:
        """Use `open_model`, or `Model.open` for an artifact that is open already."""
        self.artifact = artifact
        self.runtime = runtime
        self.manifest: Manifest = artifact.manifest
        self.identity: ModelIdentity = model_identity(
            artifact.manifest, computes_in=runtime.computes_in, gated=not warning
        )
        self.warning = warning

    @classmethod
    def open(
        cls,
        artifact: Artifact,
        *,
        backend: str = BACKEND,
        device: str = DEVICE,
        model_threads: int = 0,
        precision: ExecutionPrecision = EXECUTION_PRECISION,
        streams: int = STREAMS,
    ) -> Self:
        """The model of an artifact; arguments and errors as of `open_model`."""
        runtime = open_runtime(
            artifact,
            backend=backend,
            device=device,
            threads=model_threads,
            precision=precision,
            streams=streams,
        )
        warning = parity_warning(
            artifact,
            backend=backend,
            device=device,
            engine_sha256=runtime.engine_sha256,
            computes_in=runtime.computes_in,
        )
        return cls(artifact, runtime, warning=warning)

    @property
    def height(self) -> int:
        """Rows of the images that `run` takes."""
        return self.manifest.height

    @property
    def width(self) -> int:
        """Columns of the images that `run` takes."""
        return self.manifest.width

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embeddings of images that have the model's own size.

        Args:
            images: uint8 [B, H, W, 3], RGB, B >= 1, H and W as in the manifest.

        Returns:
            float32 [B, D], C-contiguous, not normalised.

        Raises:
            ValueError: wrong dtype or shape, or the model is closed.
            BackendError: the library failed, for example out of memory.
        """
        return self.runtime.run(images)

    def stream(self, batches: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        """Embeddings of one batch after the other; the model never waits for the caller.

        Args:
            batches: each as `run` takes them, sizes mixed; read a few ahead.

        Returns:
            Iterator of float32 [B, D], one per batch, in order.

        Raises:
            ValueError: as `run`.
            BackendError: as `run`.
        """
        return (outputs.embeddings for outputs in self.runtime.stream(batches))

    def embed(
        self,
        images: Images,
        *,
        boxes: ArrayLike | None = None,
        channels: Channels = "RGB",
        batch_size: int = BATCH_SIZE,
        threads: int = 0,
        skip_bad: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> Embeddings:
        """Embeddings of images, in memory: files, images a program holds, or crops of one.

        All go through the same decoding and resizing: an array decoded from a PNG gives what its
        file gives, bit for bit. Nothing is written to disk. Memory is the rows and a few batches.

        Args:
            images: a source text ("veri:DIR#query", a folder, a file), an `ImageSet`, a path, a
                list of paths of image files, encoded bytes, a Pillow image, a uint8 array
                [H, W, 3] of any size, or a list of such images, sizes mixed.
            boxes: [N, 4], regions of one image to embed in its place: x1, y1, x2, y2 in pixels, of
                any kind of number. Parts outside the image are cut off; no box gives no row.
            channels: what arrays hold: "RGB", "BGR" as OpenCV reads, or "GRAY" for [H, W].
            batch_size: images per run of the model, 1 or more.
            threads: threads that decode images, 0 = one per CPU.
            skip_bad: leave out images that cannot be used, and boxes with NaN or without area,
                with a warning in the log, in place of stopping at the first; the names of the
                rows ("box 0", "box 2", ...) tell which are left.
            progress: called with (images dealt with, all images) after each batch.

        Returns:
            One row per image or box, in the order given.

        Raises:
            ValueError: an array that is not as `channels` says, or boxes that are not [N, 4].
            TypeError: something that is no image.
            DataError: the source cannot be read.
            ImageError: an image or box cannot be used and `skip_bad` is false; it is named.
            EmbeddingsError: not one of the files can be used.
            ArtifactError: the model gave a value that is not finite.
            BackendError: the library failed.
        """
        rows, skipped = embed(
            self,
            image_set(images, boxes=boxes, channels=channels),
            batch_size=batch_size,
            threads=threads,
            skip_bad=skip_bad,
            progress=progress,
        )
        _log(skipped)
        return rows

    def embed_to(
        self,
        file: str | Path,
        images: Images,
        *,
        batch_size: int = BATCH_SIZE,
        threads: int = 0,
        skip_bad: bool = False,
        resume: bool = False,
        overwrite: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> Path:
        """Embed image files into a file, whole or not at all; a killed call can be continued.

        Args:
            file: what to write, ending in .npz.
            images: a source text, a path, a list of paths, or an `ImageSet`.
            batch_size: images per run of the model, 1 or more.
            threads: threads that decode images, 0 = one per CPU.
            skip_bad: leave out images that cannot be used, with a warning in the log.
            resume: continue an interrupted call from its last finished batch.
            overwrite: replace `file`, and without `resume` drop what an interrupted call left.
            progress: called with (images dealt with, all images) after each batch.

        Returns:
            `file`.

        Raises:
            ValueError: images in memory.
            OutputExistsError: `file`, or rows of an interrupted call, exist.
            MtmlError: what `embed` raises.
        """
        summary = embed_to(
            self,
            image_set(images),
            user_path(file),
            batch_size=batch_size,
            threads=threads,
            skip_bad=skip_bad,
            resume=resume,
            overwrite=overwrite,
            progress=progress,
        )
        _log(summary.skipped)
        return user_path(file)

    def close(self) -> None:
        """Free the model; closing twice is allowed, running after it is not."""
        self.runtime.close()


def open_model(
    folder: str | Path,
    *,
    backend: str = BACKEND,
    device: str = DEVICE,
    model_threads: int = 0,
    precision: ExecutionPrecision = EXECUTION_PRECISION,
    streams: int = STREAMS,
) -> Model:
    """An exported model, loaded on exactly the backend and device asked for.

    Args:
        folder: the artifact that `mtml-export` or `mtml-deploy convert` wrote.
        backend: "ort", "ort-tensorrt", "openvino", "tensorrt" or "tensorrt-rtx"; the last two need
            an engine: `build_engine`. Or a model on a Triton server, which must have been made from
            this artifact: "triton://HOST:PORT/MODEL", for gRPC "triton+grpc://HOST:PORT/MODEL".
        device: "cpu", "cuda:N" with N the number of the GPU, or "gpu:N" for an Intel GPU on
            OpenVINO; of a server what it must run the model on.
        model_threads: threads of the model on the CPU; 0 leaves the number to the library.
        precision: what OpenVINO computes float32 values in: "f32", "bf16", "f16", or "auto" for
            the fastest that the device has. Rows in bf16 or f16 are compared with float32 ones
            only where the parity gate has passed them.
        streams: batches at work at once on OpenVINO, for long sets: faster in total, slower for
            one batch; requests at once on a server.

    Returns:
        The model; close it, or use it in a `with` statement.

    Raises:
        ArtifactError: no artifact, or one that is not what its manifest says.
        MissingExtraError: the backend's library is not installed.
        BackendError: unknown backend or device, or it is not usable on this machine.
    """
    return Model.open(
        open_artifact(user_path(folder)),
        backend=backend,
        device=device,
        model_threads=model_threads,
        precision=precision,
        streams=streams,
    )


def _log(skipped: Sequence[BadImage]) -> None:
    """Say which images were left out."""
    for image in skipped:
        logger.warning("left out %s: %s", image.path, image.reason)
