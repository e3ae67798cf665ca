"""A loaded model: what every backend keeps, and what backends share.

In: uint8 images [B, H, W, 3]. Out: their embeddings. No inference library is imported here.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.artifact.manifest import EMBEDDINGS_OUTPUT, ORIENTATION_OUTPUT, Manifest
from mtml_deploy.closing import Closing
from mtml_deploy.data.records import ORIENTATIONS
from mtml_deploy.defaults import Rounding


@dataclass(frozen=True)
class ModelOutputs:
    """Everything a model says of B images.

    Attributes:
        embeddings: float32 [B, D], not normalised.
        orientation: float32 [B, 8], probability of each orientation class, rows sum to 1;
            None for a model that was exported without it.
    """

    embeddings: NDArray[np.float32]
    orientation: NDArray[np.float32] | None

    @classmethod
    def of(cls, outputs: Mapping[str, NDArray[np.float32]]) -> Self:
        """The outputs by their names in the graph."""
        return cls(outputs[EMBEDDINGS_OUTPUT], outputs.get(ORIENTATION_OUTPUT))


def output_widths(manifest: Manifest) -> dict[str, int]:
    """Name of each output of a model -> values per image."""
    orientation = {ORIENTATION_OUTPUT: len(ORIENTATIONS)} if manifest.with_orientation else {}
    return {EMBEDDINGS_OUTPUT: manifest.dim, **orientation}


def closed() -> ValueError:
    """The error that a runtime is closed."""
    return ValueError("this runtime is closed; open it again with open_runtime")


class Runtime(Closing):
    """A loaded model; a context manager, owned by one thread.

    Row i of every result belongs to image i of the input.

    Attributes:
        manifest: what the loaded model is.
        engine_sha256: hash of the engine that runs; empty where the ONNX file itself does.
        computes_in: what float32 values are rounded to, "bf16" or "f16"; empty where the precision
            is in the file.
    """

    manifest: Manifest
    engine_sha256: str = ""
    computes_in: Rounding = ""

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embeddings of images.

        Args:
            images: uint8 [B, H, W, 3], RGB, B >= 1, H and W as in the manifest. A view that is not
                C-contiguous is accepted and copied.

        Returns:
            float32 [B, D], C-contiguous, not normalised.

        Raises:
            ValueError: wrong dtype or shape, or the runtime is closed.
            BackendError: the library failed, for example out of memory.
        """
        return self.run_all(images).embeddings

    @abstractmethod
    def run_all(self, images: NDArray[np.uint8]) -> ModelOutputs:
        """Embeddings and, where the model has it, orientation; arguments and errors as `run`."""

    @abstractmethod
    def stream(self, batches: Iterable[NDArray[np.uint8]]) -> Iterator[ModelOutputs]:
        """Outputs of one batch after the other, the next ones begun before one is asked for.

        Whoever computes never waits for the caller: copies, computation and what the caller does
        with a result overlap. An error of `batches` comes after the outputs of those before it.

        Args:
            batches: each as `run` takes them, sizes mixed; read a few ahead, and not to be
                changed before their outputs are there.

        Returns:
            Iterator of `run_all` of each batch, in order.

        Raises:
            ValueError: as `run`.
            BackendError: as `run`.
        """

    @abstractmethod
    def close(self) -> None:
        """Free the model; closing twice is allowed, running after it is not."""


def check_images(images: NDArray[np.uint8], manifest: Manifest) -> NDArray[np.uint8]:
    """`images` fit for a run, C-contiguous; what every backend accepts is said once, here.

    Args:
        images: uint8 [B, H, W, 3].
        manifest: the model that will run.

    Returns:
        `images` itself, or a copy where its rows are not C-contiguous.

    Raises:
        ValueError: wrong dtype, shape or size, or no image at all.
    """
    expected = (manifest.height, manifest.width, 3)
    if not isinstance(images, np.ndarray):
        raise ValueError(
            f"images must be one array uint8 [B, {', '.join(map(str, expected))}], found a "
            f"{type(images).__name__}; pass numpy.stack(images) if all have that size, or embed "
            "images of any size: model.embed(images)"
        )
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != expected:
        raise ValueError(
            f"images must be uint8 [B, {', '.join(map(str, expected))}], "
            f"found {images.dtype} {list(images.shape)}"
        )
    if not len(images):
        raise ValueError("images must hold at least one image, found none")
    return np.ascontiguousarray(images)
