"""A slot of the engine runtime: what one piece of a batch needs to be copied, computed, copied.

In: images and a `Piece`. Out: results in pinned memory. Slots share nothing but the engine, so that
the copies of one overlap the computation of another.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.artifact.manifest import INPUT_NAME, Manifest
from mtml_deploy.runtime.batching import Piece
from mtml_deploy.runtime.cuda import CudaDevice, CudaGraph, Mark
from mtml_deploy.runtime.trt_engine import (
    ExecutionContext,
    LoadedEngine,
    input_kind,
    output_kinds,
)


class Slot:
    """A stream with pinned and device buffers, and a context and CUDA graph per batch size.

    All of it is the device's, which frees it.

    Attributes:
        outputs: output name -> float32 [largest, width], pinned; valid between `wait` and the next
            `start`.
    """

    def __init__(
        self, engine: LoadedEngine, device: CudaDevice, manifest: Manifest, *, largest: int
    ) -> None:
        """Allocate buffers for batches of up to `largest` images."""
        self._engine = engine
        self._device = device
        self._stream = device.stream()
        self._input = device.pinned((largest, *input_kind(manifest).sizes), np.uint8)
        self._addresses = {INPUT_NAME: device.memory(self._input.nbytes)}
        self.outputs: dict[str, NDArray[np.float32]] = {}
        for name, kind in output_kinds(manifest).items():
            self.outputs[name] = device.pinned((largest, *kind.sizes), np.float32)
            self._addresses[name] = device.memory(self.outputs[name].nbytes)
        self._scratch = self._scratch_bytes = 0
        self._contexts: dict[int, ExecutionContext] = {}
        self._graphs: dict[int, CudaGraph] = {}
        self._marks: list[Mark] = []
        self._prepare(largest)  # the scratch memory of the largest batch serves all

    def start(self, images: NDArray[np.uint8], piece: Piece) -> None:
        """Queue one piece: copy in, compute, copy out.

        Args:
            images: uint8 [B, H, W, 3], C-contiguous.
            piece: which of them; the slot must be idle.
        """
        self._stage(images, piece)
        if graph := self._graphs.get(piece.bucket):
            graph.launch()
            return
        self._queue(piece.bucket)
        if not self._engine.captures_itself:
            # only after a first run, in which a context may still allocate
            self._stream.wait()
            graph = self._stream.capture(lambda: self._queue(piece.bucket))
            self._device.own(graph.free)
            self._graphs[piece.bucket] = graph

    def time(self, images: NDArray[np.uint8], piece: Piece) -> tuple[float, float, float]:
        """Seconds of copying one piece in, computing it and copying it back, by the GPU's clock.

        Not as a graph, in which no mark can be set.

        Args:
            images: uint8 [B, H, W, 3], C-contiguous.
            piece: which of them; the slot must be idle.
        """
        if not self._marks:
            self._marks += [self._device.mark() for _ in range(4)]
        self._stage(images, piece)
        begun, copied, computed, done = self._marks
        self._stream.set(begun)
        self._queue(piece.bucket, copied, computed)
        self._stream.set(done)
        self._stream.wait()
        return copied.since(begun), computed.since(copied), done.since(computed)

    def wait(self) -> None:
        """Return when the queued piece is done and its results are in `outputs`."""
        self._stream.wait()

    def _stage(self, images: NDArray[np.uint8], piece: Piece) -> None:
        """Put one piece into pinned memory, padded, and have a context for its size."""
        self._input[: piece.count] = images[piece.start : piece.start + piece.count]
        self._input[piece.count : piece.bucket] = 0
        if piece.bucket not in self._contexts:
            self._prepare(piece.bucket)

    def _prepare(self, bucket: int) -> None:
        """Make the context of a batch size; those of one slot share the scratch memory."""
        context = self._engine.context(
            bucket, addresses=self._addresses, stream=self._stream.handle
        )
        self._device.own(context.close)
        if context.scratch_bytes > self._scratch_bytes or not self._scratch:
            self._scratch_bytes = max(1, context.scratch_bytes)
            self._scratch = self._device.memory(self._scratch_bytes)
        context.use(self._scratch)
        self._stream.wait()  # what setting its profile has queued
        self._contexts[bucket] = context

    def _queue(self, bucket: int, copied: Mark | None = None, computed: Mark | None = None) -> None:
        """Put copies and computation of one batch size into the stream, and marks between them."""
        self._stream.to_device(self._addresses[INPUT_NAME], self._input[:bucket])
        if copied:
            self._stream.set(copied)
        self._contexts[bucket].enqueue(self._stream.handle)
        if computed:
            self._stream.set(computed)
        for name, target in self.outputs.items():
            self._stream.to_host(target[:bucket], self._addresses[name])
