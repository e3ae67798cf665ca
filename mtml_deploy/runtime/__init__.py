"""Running an exported model: `Runtime` and the one door to its backends, opened lazily.

In: an `Artifact`. Out: embeddings of uint8 images. No inference library is imported until
`open_runtime` is called.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Protocol, Self, get_args

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.artifact.artifact import Artifact, Manifest
from mtml_deploy.errors import BackendError

Backend = Literal["ort", "ort-tensorrt", "tensorrt", "tensorrt-rtx"]
"""What runs a model: ONNX Runtime runs the ONNX file, by itself or through the TensorRT inside it;
the others run engines built from it."""


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


class Runtime(Protocol):
    """A loaded model; a context manager, owned by one thread.

    Row i of every result belongs to image i of the input.
    """

    @property
    def manifest(self) -> Manifest:
        """What the loaded model is."""
        ...

    @property
    def engine_sha256(self) -> str:
        """Hash of the engine that runs; empty where the ONNX file itself does."""
        ...

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
        ...

    def run_all(self, images: NDArray[np.uint8]) -> ModelOutputs:
        """Embeddings and, where the model has it, orientation; arguments and errors as `run`."""
        ...

    def close(self) -> None:
        """Free the model; closing twice is allowed, running after it is not."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def open_runtime(
    artifact: Artifact, *, backend: Backend = "ort", device: str = "cpu", threads: int = 0
) -> Runtime:
    """A runtime for `artifact` on exactly the backend and device asked for.

    Args:
        artifact: what `open_artifact` returned.
        backend: what runs it; for "tensorrt" and "tensorrt-rtx" an engine must have been built:
            mtml-deploy build.
        device: "cpu" or "cuda:N" with N the number of the GPU.
        threads: threads of one run on the CPU; 0 leaves the number to the library.

    Returns:
        The loaded model; close it, or use it in a `with` statement.

    Raises:
        MissingExtraError: the backend's library is not installed.
        BackendError: unknown backend or device, or it is not usable on this machine.
        ArtifactError: the model cannot be loaded or is not what its manifest says.
    """
    if backend not in get_args(Backend):
        raise BackendError(
            f"backend is {backend!r}, expected one of {', '.join(get_args(Backend))}; "
            "name one of these"
        )
    # the only place that reaches a backend: importing this package must not need its library
    match backend:
        case "tensorrt" | "tensorrt-rtx":
            from mtml_deploy.runtime.trt import TensorRtRuntime

            return TensorRtRuntime(artifact, target=backend, device=device)
        case "ort" | "ort-tensorrt":
            from mtml_deploy.runtime.ort import OrtRuntime

            inside = backend == "ort-tensorrt"
            return OrtRuntime(artifact, device=device, threads=threads, tensorrt=inside)


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
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != expected:
        raise ValueError(
            f"images must be uint8 [B, {', '.join(map(str, expected))}], "
            f"found {images.dtype} {list(images.shape)}"
        )
    if not len(images):
        raise ValueError("images must hold at least one image, found none")
    return np.ascontiguousarray(images)
