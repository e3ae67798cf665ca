"""Running a TensorRT or TensorRT-RTX engine.

In: an artifact with an engine for this GPU. Out: a `Runtime`. A ring of slots, each with its own
stream and buffers, lets the copies of one piece of a batch overlap the computation of another; each
batch size is a CUDA graph, launched with one call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.artifact.artifact import Artifact
from mtml_deploy.engine.folder import Engine, find_engine, read_plan
from mtml_deploy.engine.gpu import require_gpu
from mtml_deploy.engine.library import Library, Target, load_library
from mtml_deploy.errors import BackendError
from mtml_deploy.runtime.batching import Piece, cut
from mtml_deploy.runtime.cuda import CudaDevice
from mtml_deploy.runtime.cuda_driver import CudaError
from mtml_deploy.runtime.in_flight import in_flight
from mtml_deploy.runtime.runtime import (
    ModelOutputs,
    Runtime,
    check_images,
    closed,
    output_widths,
)
from mtml_deploy.runtime.trt_cache import RuntimeCache
from mtml_deploy.runtime.trt_engine import LoadedEngine
from mtml_deploy.runtime.trt_slot import Slot

SLOTS: Final = 3
"""Pieces in flight: while one computes and a second waits behind it, a third is filled or emptied.

One thread copies images into pinned memory and results out of it, which on a fast GPU takes nearly
as long as a piece computes. With two slots each pause of that thread, for a decoder or the caller,
is one of the GPU; with three it may last as long as a piece. Decoding into pinned memory would save
a copy, but who reads images would have to know slots and wait for them; a slot more costs its
buffers and scratch memory alone.
"""


class TensorRtRuntime(Runtime):
    """An engine on one GPU (see `mtml_deploy.runtime.runtime.Runtime`).

    A batch of any length is cut and padded (`pieces.cut`). After a CUDA error the runtime closes
    itself: what is left of a context after one is not to be trusted.
    """

    def __init__(self, artifact: Artifact, *, target: Target, device: str) -> None:
        """Load the engine that was built for this GPU, if its manifest and hash agree.

        Args:
            artifact: the exported model.
            target: "tensorrt" or "tensorrt-rtx".
            device: "cuda:N".

        Raises:
            MissingExtraError: the library is not installed.
            BackendError: no such GPU, or the library refuses the engine.
            ArtifactError: no engine fits, or its file was changed.
        """
        library = load_library(target)
        gpu = require_gpu(device, backend=target)
        engine = find_engine(artifact, library, gpu)
        plan = read_plan(engine)
        self.manifest = artifact.manifest
        self._profile = engine.manifest.profile
        self.engine_sha256 = engine.manifest.plan_sha256
        self._streaming = False
        self._slots: list[Slot] = []
        self._device: CudaDevice | None = CudaDevice(gpu.index)
        try:
            with self._device.current():
                self._slots += self._load(plan, library, engine, self._device)
        except CudaError as error:
            self.close()
            raise BackendError(
                f"{gpu.name} has no room for {engine.path.name}: {error}; free memory on it, or "
                "build it for smaller batches: mtml-deploy build MODEL --opt-batch N --overwrite"
            ) from error
        except BaseException:
            self.close()
            raise

    def run_all(self, images: NDArray[np.uint8]) -> ModelOutputs:
        """Embeddings and orientation of uint8 [B, H, W, 3]; see `Runtime.run_all`."""
        (outputs,) = self.stream([images])
        return outputs

    def stream(self, batches: Iterable[NDArray[np.uint8]]) -> Iterator[ModelOutputs]:
        """Outputs of each batch; every slot has work while there is any. See `Runtime.stream`."""
        self._require_idle()
        self._streaming = True
        slots = cycle(self._slots)

        def start(part: _Part) -> Callable[[], _Part]:
            # results are collected in order: the slot that is next is idle
            slot = next(slots)
            with self._guarded(part) as device, device.current():
                slot.start(part.images, part.piece)

            def collect() -> _Part:
                with self._guarded(part) as device, device.current():
                    slot.wait()
                    for name, target in part.results.items():
                        rows = slice(part.piece.start, part.piece.start + part.piece.count)
                        target[rows] = slot.outputs[name][: part.piece.count]
                return part

            return collect

        try:
            for part in in_flight(self._parts(batches), start, most=len(self._slots)):
                if part.piece.start + part.piece.count == len(part.images):
                    yield ModelOutputs.of(part.results)
        finally:
            self._streaming = False

    def time_parts(self, images: NDArray[np.uint8]) -> PartSeconds:
        """What a batch costs, part by part, by the GPU's clock.

        Args:
            images: as `run` takes them.

        Returns:
            Sums over the pieces of the batch, which run one after the other, not as graphs.

        Raises:
            ValueError: as `run`.
            BackendError: as `run`.
        """
        self._require_idle()
        slot = self._slots[0]
        parts = []
        for part in self._parts([images]):
            with self._guarded(part) as device, device.current():
                parts.append(slot.time(part.images, part.piece))
        copy_in, compute, copy_out = (sum(times) for times in zip(*parts, strict=True))
        return PartSeconds(copy_in=copy_in, compute=compute, copy_out=copy_out)

    def close(self) -> None:
        """Free contexts, graphs and memory; closing twice is allowed."""
        device, self._device = self._device, None
        self._slots.clear()
        if device is not None:
            device.close()

    def _load(
        self, plan: bytes, library: Library, engine: Engine, device: CudaDevice
    ) -> list[Slot]:
        """The engine and its slots, all of it the device's; its context is current."""
        loaded = LoadedEngine(plan, library, self.manifest, self._profile, name=str(engine.path))
        device.own(loaded.close)
        cache = RuntimeCache(engine.path, loaded)
        cache.load()
        device.own(cache.save)  # before the engine is closed
        return [
            Slot(loaded, device, self.manifest, largest=self._profile.opt) for _ in range(SLOTS)
        ]

    def _require_idle(self) -> None:
        """Refuse a closed runtime, and a second stream that would take the slots of the first."""
        if self._device is None:
            raise closed()
        if self._streaming:
            raise ValueError("this runtime is in a stream already; end it, or open another runtime")

    def _parts(self, batches: Iterable[NDArray[np.uint8]]) -> Iterator[_Part]:
        """The pieces of every batch, in order."""
        widths = output_widths(self.manifest)
        for batch in batches:
            images = check_images(batch, self.manifest)
            results = {
                name: np.empty((len(images), width), dtype=np.float32)
                for name, width in widths.items()
            }
            for piece in cut(len(images), self._profile):
                yield _Part(images, piece, results)

    @contextmanager
    def _guarded(self, part: _Part) -> Iterator[CudaDevice]:
        """The device; after a CUDA error the runtime is closed and the error says so."""
        device = self._device
        if device is None:
            raise BackendError("the engine was closed after an error; open it again")
        try:
            yield device
        except BackendError as error:
            self.close()
            sticky = isinstance(error, CudaError) and error.sticky
            raise BackendError(
                f"the engine failed on a batch of {len(part.images)} images ({error}) and was "
                + (
                    "closed; no CUDA call of this process works any more: start it again"
                    if sticky
                    else "closed; open it again, with smaller batches if memory ran out"
                )
            ) from error


@dataclass(frozen=True)
class PartSeconds:
    """Seconds of the parts of a run.

    Attributes:
        copy_in: images to the GPU.
        compute: the engine.
        copy_out: results back.
    """

    copy_in: float
    compute: float
    copy_out: float


@dataclass(frozen=True)
class _Part:
    """A piece of a batch on its way.

    Attributes:
        images: uint8 [B, H, W, 3], the whole batch.
        piece: which of them.
        results: output name -> float32 [B, width] of the whole batch.
    """

    images: NDArray[np.uint8]
    piece: Piece
    results: dict[str, NDArray[np.float32]]
