"""A slot of the engine runtime: what one piece of a batch needs to be copied, computed, copied.

In: images and a `Piece`. Out: results in pinned memory. Slots share nothing but the engine, so that
the copies of one overlap the computation of another.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.artifact.manifest import INPUT_NAME, Manifest
from mtml_deploy.runtime.batching import Piece
from mtml_deploy.runtime.cuda import CudaDevice, CudaGraph
from mtml_deploy.runtime.trt_engine import (
    ExecutionContext,
    LoadedEngine,
    input_kind,
    output_kinds,
)


class Slot:
    """A stream with pinned and device buffers, and a context and CUDA graph per batch size.

    Attributes:
        outputs: output name -> float32 [largest, width], pinned; valid between `wait` and the next
            `start`.
    """

    def __init__(
        self, engine: LoadedEngine, device: CudaDevice, manifest: Manifest, *, largest: int
    ) -> None:
        """Allocate buffers for batches of up to `largest` images."""
        self._engine = engine
        self._stream = device.stream()
        self._input = device.pinned((largest, *input_kind(manifest).sizes), np.uint8)
        self._addresses = {INPUT_NAME: device.memory(self._input.nbytes)}
        self.outputs: dict[str, NDArray[np.float32]] = {}
        for name, kind in output_kinds(manifest).items():
            self.outputs[name] = device.pinned((largest, *kind.sizes), np.float32)
            self._addresses[name] = device.memory(self.outputs[name].nbytes)
        self._scratch = device.memory(max(1, engine.scratch_bytes))
        self._contexts: dict[int, ExecutionContext] = {}
        self._graphs: dict[int, CudaGraph] = {}

    def start(self, images: NDArray[np.uint8], piece: Piece) -> None:
        """Queue one piece: copy in, compute, copy out.

        Args:
            images: uint8 [B, H, W, 3], C-contiguous.
            piece: which of them; the slot must be idle.
        """
        self._input[: piece.count] = images[piece.start : piece.start + piece.count]
        self._input[piece.count : piece.bucket] = 0
        if graph := self._graphs.get(piece.bucket):
            graph.launch()
            return
        is_new = piece.bucket not in self._contexts
        if is_new:
            self._contexts[piece.bucket] = self._engine.context(
                piece.bucket, addresses=self._addresses, scratch=self._scratch
            )
        self._queue(piece.bucket)
        if is_new and not self._engine.captures_itself:
            # only after a first run, in which a context may still allocate
            self._stream.wait()
            self._graphs[piece.bucket] = self._stream.capture(lambda: self._queue(piece.bucket))

    def wait(self) -> None:
        """Return when the queued piece is done and its results are in `outputs`."""
        self._stream.wait()

    def close(self) -> None:
        """Free graphs, contexts and the stream; the device frees the memory."""
        self._stream.wait()  # an interrupted run may still be at work
        for graph in self._graphs.values():
            graph.free()
        self._graphs.clear()
        for context in self._contexts.values():
            context.close()
        self._contexts.clear()
        self.outputs.clear()
        self._stream.free()

    def _queue(self, bucket: int) -> None:
        """Put copies and computation of one batch size into the stream."""
        self._stream.to_device(self._addresses[INPUT_NAME], self._input[:bucket])
        self._contexts[bucket].enqueue(self._stream.handle)
        for name, target in self.outputs.items():
            self._stream.to_host(target[:bucket], self._addresses[name])
