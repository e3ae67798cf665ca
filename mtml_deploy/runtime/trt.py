"""Running a TensorRT or TensorRT-RTX engine.

In: an artifact with an engine for this GPU. Out: a `Runtime`. A ring of slots, each with its own
execution context, stream and buffers, lets the copies of one piece of a batch overlap the
computation of another; each batch size is a CUDA graph, launched with one call.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.artifact import Artifact
from mtml_deploy.engine.store import find_engine, read_plan
from mtml_deploy.engine.target import Library, Target, load_library
from mtml_deploy.errors import ArtifactError, BackendError
from mtml_deploy.gpu import find_gpus, gpu_of
from mtml_deploy.manifest import EMBEDDINGS_OUTPUT, INPUT_NAME, ORIENTATION_OUTPUT, Manifest
from mtml_deploy.records import ORIENTATIONS
from mtml_deploy.runtime import ModelOutputs, check_images
from mtml_deploy.runtime.cuda import CudaDevice, CudaGraph
from mtml_deploy.runtime.pieces import Piece, cut

SLOTS: Final = 2
"""Pieces in flight: while one computes, another is copied."""


class TensorRtRuntime:
    """An engine on one GPU (see `mtml_deploy.runtime.Runtime`).

    A batch of any length is cut and padded (`pieces.cut`). After a CUDA error the runtime closes
    itself: what is left of a context after one is not to be trusted.
    """

    def __init__(self, artifact: Artifact, *, target: Target, device: str) -> None:
        """Load the engine that was built for this GPU, if its sidecar and hash agree.

        Args:
            artifact: the exported model.
            target: "tensorrt" or "tensorrt-rtx".
            device: "cuda:N".

        Raises:
            MissingExtraError: the library or pycuda is not installed.
            BackendError: no such GPU, or the library refuses the engine.
            ArtifactError: no engine fits, or its file was changed.
        """
        library = load_library(target)
        gpu = gpu_of(device)
        if gpu is None:
            raise BackendError(
                f"{target} runs on a GPU, and device {device!r} names none that is here "
                f"({find_gpus().reason or 'there are other numbers'}); say for example cuda:0, or "
                "ask for --backend ort --device cpu"
            )
        engine = find_engine(artifact, library, gpu)
        plan = read_plan(engine)
        self._manifest = artifact.manifest
        self._profile = engine.sidecar.profile
        self._engine_sha256 = engine.sidecar.plan_sha256
        self._device: CudaDevice | None = CudaDevice(gpu.index)
        self._slots: list[_Slot] = []
        try:
            with self._device.current():
                # the library's runtime and logger must live as long as the engine
                self._loaded: tuple[Any, ...] = _deserialize(plan, library, str(engine.path))
                self._slots = [
                    _Slot(self._loaded[0], library, self._device, self._manifest, self._profile.max)
                    for _ in range(SLOTS)
                ]
        except BaseException:
            self.close()
            raise

    @property
    def manifest(self) -> Manifest:
        """What the loaded model is."""
        return self._manifest

    @property
    def engine_sha256(self) -> str:
        """Hash of the engine file."""
        return self._engine_sha256

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embeddings float32 [B, D] of uint8 [B, H, W, 3]; see `Runtime.run`."""
        return self.run_all(images).embeddings

    def run_all(self, images: NDArray[np.uint8]) -> ModelOutputs:
        """Embeddings and orientation of uint8 [B, H, W, 3]; see `Runtime.run_all`."""
        if self._device is None:
            raise ValueError("this runtime is closed; open it again with open_runtime")
        images = check_images(images, self._manifest)
        results = {
            name: np.empty((len(images), width), dtype=np.float32)
            for name, width in _outputs(self._manifest).items()
        }
        waiting: list[tuple[_Slot, Piece]] = []
        try:
            with self._device.current():
                for number, piece in enumerate(cut(len(images), self._profile)):
                    slot = self._slots[number % SLOTS]
                    if len(waiting) == SLOTS:
                        _collect(*waiting.pop(0), results)
                    slot.start(images, piece)
                    waiting.append((slot, piece))
                for slot, piece in waiting:
                    _collect(slot, piece, results)
        except (self._device.error, BackendError) as error:
            self.close()
            raise BackendError(
                f"the engine failed on a batch of {len(images)} images ({error}) and was closed; "
                "open it again, with a smaller --batch-size if memory ran out"
            ) from error
        return ModelOutputs(
            embeddings=results[EMBEDDINGS_OUTPUT], orientation=results.get(ORIENTATION_OUTPUT)
        )

    def close(self) -> None:
        """Free contexts, graphs and memory; closing twice is allowed."""
        device, self._device = self._device, None
        if device is None:
            return
        try:
            with device.current():
                for slot in self._slots:
                    slot.close()
                self._slots.clear()
                self._loaded = ()
        finally:
            device.close()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Free the engine."""
        self.close()


class _Slot:
    """One execution context with its stream, buffers and graphs."""

    def __init__(
        self,
        engine: Any,  # noqa: ANN401 - the two libraries have no common type
        library: Library,
        device: CudaDevice,
        manifest: Manifest,
        largest: int,
    ) -> None:
        """Allocate everything for batches of up to `largest` images."""
        self._context: Any = _context(engine, library)
        self._by_library = library.is_rtx  # it captures graphs itself
        self._size = (manifest.height, manifest.width, 3)
        self._stream = device.stream()
        self._input = device.pinned((largest, *self._size), np.uint8)
        self._device_input = device.memory(self._input.nbytes)
        self.outputs: dict[str, NDArray[np.float32]] = {}
        self._device_outputs: dict[str, int] = {}
        for name, width in _outputs(manifest).items():
            self.outputs[name] = device.pinned((largest, width), np.float32)
            self._device_outputs[name] = device.memory(self.outputs[name].nbytes)
        addresses = {INPUT_NAME: self._device_input, **self._device_outputs}
        for name, address in addresses.items():
            if not self._context.set_tensor_address(name, address):
                raise ArtifactError(f"the engine has no tensor {name!r}; build it again")
        self._graphs: dict[int, CudaGraph] = {}
        self._bucket = 0

    def start(self, images: NDArray[np.uint8], piece: Piece) -> None:
        """Queue one piece: copy in, compute, copy out."""
        self._input[: piece.count] = images[piece.start : piece.start + piece.count]
        self._input[piece.count : piece.bucket] = 0
        graph = self._graphs.get(piece.bucket)
        if graph is not None:
            graph.launch()
            return
        self._queue(piece.bucket)
        if not self._by_library:
            # the run above was needed: the first one after a new shape may allocate
            self._stream.wait()
            self._graphs[piece.bucket] = self._stream.capture(lambda: self._queue(piece.bucket))

    def wait(self) -> None:
        """Return when the queued piece is done and its results are in `outputs`."""
        self._stream.wait()

    def close(self) -> None:
        """Free graphs and context."""
        self._stream.wait()
        for graph in self._graphs.values():
            graph.free()
        self._graphs.clear()
        self._context = None

    def _queue(self, bucket: int) -> None:
        """Put copies and computation of one batch size into the stream."""
        if bucket != self._bucket:
            if not self._context.set_input_shape(INPUT_NAME, (bucket, *self._size)):
                raise BackendError(f"the engine refuses a batch of {bucket}")
            self._bucket = bucket
        self._stream.to_device(self._device_input, self._input[:bucket])
        if not self._context.execute_async_v3(self._stream.handle):
            raise BackendError(f"the engine could not be started on a batch of {bucket}")
        for name, target in self.outputs.items():
            self._stream.to_host(target[:bucket], self._device_outputs[name])


def _collect(slot: _Slot, piece: Piece, results: dict[str, NDArray[np.float32]]) -> None:
    """Wait for a piece and put its rows where they belong."""
    slot.wait()
    for name, target in results.items():
        target[piece.start : piece.start + piece.count] = slot.outputs[name][: piece.count]


def _outputs(manifest: Manifest) -> dict[str, int]:
    """Output name -> values per image."""
    orientation = {ORIENTATION_OUTPUT: len(ORIENTATIONS)} if manifest.with_orientation else {}
    return {EMBEDDINGS_OUTPUT: manifest.dim, **orientation}


def _deserialize(plan: bytes, library: Library, name: str) -> tuple[Any, ...]:
    """The engine in a plan, and what it needs to live; code inside a plan stays forbidden."""
    trt: Any = library.module
    log: Any = library.logger()
    runtime = trt.Runtime(log)
    runtime.engine_host_code_allowed = False
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:  # it does not raise
        raise BackendError(
            f"{library.target} {library.version} cannot load {name}: "
            f"{'; '.join(log.errors[:3]) or 'it gave no reason'}; build it again: mtml-deploy build"
        )
    return engine, runtime, log


def _context(engine: Any, library: Library) -> Any:  # noqa: ANN401
    """A new execution context."""
    trt: Any = library.module
    if not hasattr(engine, "create_runtime_config"):  # TensorRT before 10.12
        context = engine.create_execution_context()
    else:
        config = engine.create_runtime_config()
        if library.is_rtx:
            config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        context = engine.create_execution_context(config)
    if context is None:
        raise BackendError(
            "the engine has no room on the GPU for its working memory; free some, or build with a "
            "smaller --max-batch"
        )
    return context
