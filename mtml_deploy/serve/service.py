"""What answers requests: a model with its thread, a gallery, threads that decode.

In: an artifact, the name of a gallery, and how to run. Out: embeddings, and the gallery's answers.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from mtml_deploy.artifact.artifact import Artifact
from mtml_deploy.artifact.threshold import calibrated_distance
from mtml_deploy.data.records import ImageRecord
from mtml_deploy.embed.embeddings import Embeddings, ModelIdentity
from mtml_deploy.gallery.add import tells_orientation
from mtml_deploy.model import EmbedOptions, Model
from mtml_deploy.runtime.runtime import ModelOutputs
from mtml_deploy.serve.api_error import ApiError
from mtml_deploy.serve.body import Upload
from mtml_deploy.serve.decoding import Box, Decoded, decode
from mtml_deploy.serve.gallery_access import GalleryAccess
from mtml_deploy.serve.metrics import Metrics
from mtml_deploy.serve.options import ServeOptions
from mtml_deploy.serve.worker import EmbedWorker

Result = TypeVar("Result")


@dataclass(frozen=True)
class Embedded:
    """The images of a request, embedded.

    Attributes:
        decoded: the images.
        outputs: what the model says of them.
        wait_s: until a run took the first.
    """

    decoded: Decoded
    outputs: ModelOutputs
    wait_s: float

    def facts(self) -> dict[str, float]:
        """What the log line of the request tells of it."""
        return {
            "images": len(self.decoded.names),
            "queue_ms": round(self.wait_s * 1000, 2),
        }


class Service:
    """Everything that routes need; its coroutines belong to one event loop."""

    def __init__(
        self,
        artifact: Artifact,
        gallery: str | None,
        how: EmbedOptions,
        options: ServeOptions,
        *,
        died: Callable[[BaseException], None],
    ) -> None:
        """Nothing is loaded before `start`.

        Args:
            artifact: the model.
            gallery: where to search; None offers embeddings alone.
            how: the model is run.
            options: limits.
            died: called, in another thread, when the model does not run any more.
        """
        self.artifact, self.options = artifact, options
        self.metrics = Metrics()
        self.threshold = calibrated_distance(artifact)
        self._tells_orientation: bool | None = None
        self._decoders = ThreadPoolExecutor(
            options.decode_threads or len(os.sched_getaffinity(0)), thread_name_prefix="decode"
        )
        self._gallery = (
            None
            if gallery is None
            else GalleryAccess(gallery, threads=options.search_threads, metrics=self.metrics)
        )
        self.worker = EmbedWorker(
            lambda: _warmed(how.open(artifact)),
            batch_size=options.batch_size,
            delay_s=options.delay_ms / 1000,
            capacity=options.queue,
            metrics=self.metrics,
            died=died,
        )

    def start(self) -> None:
        """Load the model."""
        self.worker.start()

    def close(self) -> None:
        """Finish what was accepted, and end the threads."""
        self.worker.close()
        self._decoders.shutdown(cancel_futures=True)
        if self._gallery is not None:
            self._gallery.close()

    @property
    def alive(self) -> bool:
        """Whether it can ever answer again without being started anew."""
        return self.worker.alive and self.worker.busy_s < self.options.stall_s

    @property
    def model(self) -> Model:
        """The loaded model, for what it is; it belongs to its thread.

        Raises:
            ApiError: 503 while it is loaded.
        """
        model = self.worker.model
        if model is None:
            raise ApiError(503, "the model is being loaded; ask again", retry_after_s=1)
        return model

    @property
    def identity(self) -> ModelIdentity:
        """What its embeddings carry; errors as of `model`."""
        return self.model.identity

    @property
    def gallery(self) -> GalleryAccess:
        """Where it searches.

        Raises:
            ApiError: 404 where it was started without a gallery.
        """
        if self._gallery is None:
            raise ApiError(
                404, "this service has no gallery; start it with --gallery", code="no_gallery"
            )
        return self._gallery

    @property
    def tells_orientation(self) -> bool:
        """Whether what the model says of orientations is kept; says in the log where it is not."""
        if self._tells_orientation is None:
            self._tells_orientation = tells_orientation(self.artifact.manifest)
        return self._tells_orientation

    @property
    def max_distance(self) -> float | None:
        """Up to where hits are shown if a client names no distance; None shows all."""
        return None if self.threshold is None else self.threshold.distance

    @property
    def has_gallery(self) -> bool:
        """Whether it was started with a gallery."""
        return self._gallery is not None

    async def embed(self, uploads: Sequence[Upload], boxes: Sequence[Box] = ()) -> Embedded:
        """The images of a request, or boxes of its one image, embedded.

        Raises:
            RefusedImageError: an image cannot be used.
            ApiError: too many boxes, a full queue, or the model does not run.
        """
        most = self.options.images
        if len(boxes) > most or len(uploads) > most:
            raise ApiError(
                413,
                f"{max(len(boxes), len(uploads))} images, expected at most {most}; send several "
                "requests",
            )
        model = self.model
        decoded = await decode(
            uploads, boxes, self._decoders, height=model.height, width=model.width
        )
        job = self.worker.submit(decoded.images)
        outputs = await asyncio.wrap_future(job.result)
        if not np.isfinite(outputs.embeddings).all():
            raise ApiError(
                503,
                "the model gave a value that is not finite, expected finite embeddings; its "
                f"precision is {model.identity.precision}: export it in fp32",
            )
        return Embedded(decoded, outputs, job.wait_s)

    async def in_decoder(self, work: Callable[[], Result]) -> Result:
        """What `work` on an image gives, done by a decoding thread."""
        return await asyncio.get_running_loop().run_in_executor(self._decoders, work)

    def rows_of(self, embedded: Embedded) -> Embeddings:
        """The rows of a request as a set of embeddings, without labels."""
        names = embedded.decoded.names
        return Embeddings.of(
            embedded.outputs.embeddings,
            [ImageRecord(Path(name)) for name in names],
            names=names,
            model=self.identity,
            source="images of a request",
            pixels=embedded.decoded.pixels,
        )


def _warmed(model: Model) -> Model:
    """The model after a first run, which is slower than all others."""
    model.run(np.zeros((1, model.height, model.width, 3), dtype=np.uint8))
    return model
