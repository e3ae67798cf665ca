"""The trained torch model as it is, compiled, in bf16 on a CPU, in fp16 on a GPU, as a graph."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.runners.layout_modules import BranchLayout
from benchmarks.runners.runner import Images, Part, Runner, Subject, TorchKey, run_each
from benchmarks.runners.torch_peer import torch_peer
from benchmarks.sizes import Arithmetic
from mtml_deploy.errors import BackendError, CheckpointError
from mtml_train.checkpoint import load_checkpoint

Module = Callable[[Tensor], Tensor]
"""uint8 [B, H, W, 3] -> float32 [B, D], on one device."""

_WHAT: Final[Mapping[TorchKey, str]] = {
    "torch": "The trained torch model, fp32 (on a GPU convolutions in TF32, as torch does by "
    "itself), eager, inference mode, BatchNorm not folded.",
    "torch-compile": "The trained torch model through torch.compile; fp32 on a CPU, on a GPU fp16 "
    "and channels last with BatchNorm folded, for each batch size anew.",
    "torch-bf16": "The trained torch model, bf16, channels last, BatchNorm folded, eager, one "
    "branch after the other.",
    "torch-fp16": "The trained torch model, fp16, channels last, BatchNorm folded, eager, one "
    "branch after the other.",
    "torch-fp16-graph": "The same, recorded as one CUDA graph per batch size.",
}
_TITLES: Final[Mapping[TorchKey, str]] = {
    "torch": "torch eager",
    "torch-compile": "torch.compile",
    "torch-bf16": "torch eager bf16, channels last",
    "torch-fp16": "torch eager fp16, channels last",
    "torch-fp16-graph": "torch fp16, channels last, CUDA graph",
}
_WARM_UPS: Final = 3
_SLOTS: Final = 3
"""Batches on their way at once, as in an engine."""


@contextmanager
def open_torch(subject: Subject, key: TorchKey) -> Iterator[Runner]:
    """The torch model in one of its forms.

    Args:
        subject: the model; its `run` is not None.
        key: which form.

    Yields:
        The runner.

    Raises:
        BackendError: the device is not there for torch.
        CheckpointError: the artifact was not exported from `subject.run`.
    """
    if subject.run is None:
        raise CheckpointError("torch needs the trained weights; name them with --run RUN")
    device = torch.device(subject.device)
    require_torch_device(device)
    extractor = torch_peer(load_checkpoint(subject.run), subject.artifact.manifest)
    half = device.type == "cuda" and key != "torch"
    module: Module
    precision: Arithmetic = "fp16" if half else "bf16" if key == "torch-bf16" else "fp32"
    if precision != "fp32":
        dtype = torch.float16 if half else torch.bfloat16
        module = BranchLayout(extractor, layout="serial", dtype=dtype).to(device)
    else:
        module = extractor.to(device)
    if key == "torch-compile":
        # on a GPU each size gets kernels of its own; on a CPU two compilations serve all sizes
        module = torch.compile(module, dynamic=False if half else None)
    title, what = _TITLES[key], _WHAT[key]
    if device.type == "cpu":
        run = partial(run_on_cpu, module)
        yield Runner(key, title, what, precision, run, partial(run_each, run))
    else:
        loaded = GpuModule(module, device, graphs=key == "torch-fp16-graph")
        yield Runner(key, title, what, precision, loaded.run, loaded.stream, loaded.parts)


def require_torch_device(device: torch.device) -> None:
    """Refuse a GPU that torch cannot use.

    Raises:
        BackendError: it is not there.
    """
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise BackendError(
            f"{device} was asked for but torch {torch.__version__} sees "
            f"{torch.cuda.device_count()} GPUs; install a torch for CUDA, or say --device cpu"
        )


@torch.inference_mode()
def run_on_cpu(module: Module, images: Images) -> NDArray[np.float32]:
    """Embeddings float32 [B, D] of uint8 [B, H, W, 3]."""
    found: NDArray[np.float32] = module(torch.from_numpy(images)).numpy()
    return found


class GpuModule:
    """A torch module on a GPU, fed from page-locked memory, optionally through CUDA graphs."""

    def __init__(self, module: Module, device: torch.device, *, graphs: bool) -> None:
        """Nothing runs yet.

        Args:
            module: on `device`.
            device: a GPU.
            graphs: record each batch size once and replay it.
        """
        self._module = module
        self._device = device
        self._graphs = graphs
        self._recorded: dict[int, tuple[torch.cuda.CUDAGraph, Tensor, Tensor]] = {}
        self._pinned: dict[tuple[object, ...], list[Tensor]] = {}

    @torch.inference_mode()
    def run(self, images: Images) -> NDArray[np.float32]:
        """Embeddings float32 [B, D] of uint8 [B, H, W, 3], both in host memory."""
        found: NDArray[np.float32] = self._compute(self._copied(images, 0)).cpu().numpy()
        return found

    @torch.inference_mode()
    def stream(self, batches: Iterable[Images]) -> None:
        """Run batches; while one computes, others are copied, in and out of page-locked memory.

        A copy to other memory lets the host wait for it. As in an engine, results go on
        from there to memory of their own.
        """
        stream = torch.cuda.current_stream(self._device)
        free = [torch.cuda.Event() for _ in range(_SLOTS)]  # type: ignore[no-untyped-call]
        waiting: deque[Tensor] = deque()
        results = []
        for number, batch in enumerate(batches):
            slot = number % _SLOTS
            free[slot].synchronize()  # its batch is back
            if len(waiting) == _SLOTS:
                results.append(waiting.popleft().clone())
            found = self._compute(self._copied(batch, slot))
            waiting.append(self._page_locked(found.shape, found.dtype)[slot])
            waiting[-1].copy_(found, non_blocking=True)
            free[slot].record(stream)
        torch.cuda.synchronize(self._device)
        results += [result.clone() for result in waiting]

    @torch.inference_mode()
    def parts(self, images: Images) -> Mapping[Part, float]:
        """Seconds of each part of one run, by the GPU's own clock."""
        marks = [
            torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            for _ in range(4)
        ]
        torch.cuda.synchronize(self._device)
        stream = torch.cuda.current_stream(self._device)
        marks[0].record(stream)
        on_device = self._copied(images, 0)
        marks[1].record(stream)
        result = self._compute(on_device)
        marks[2].record(stream)
        result.cpu()
        marks[3].record(stream)
        torch.cuda.synchronize(self._device)
        copied, computed, returned = (
            marks[i].elapsed_time(marks[i + 1]) / 1e3 for i in range(3)
        )  # elapsed_time is in ms
        return {"copy_in": copied, "compute": computed, "copy_out": returned}

    def _copied(self, images: Images, slot: int) -> Tensor:
        """`images` on their way to the GPU, through page-locked memory."""
        pinned = self._page_locked(images.shape, torch.uint8)[slot]
        pinned.copy_(torch.from_numpy(images))
        return pinned.to(self._device, non_blocking=True)

    def _page_locked(self, shape: tuple[int, ...], dtype: torch.dtype) -> list[Tensor]:
        """Page-locked memory, one tensor per slot."""
        key = (*shape, dtype)
        if key not in self._pinned:
            self._pinned[key] = [
                torch.empty(shape, dtype=dtype, pin_memory=True) for _ in range(_SLOTS)
            ]
        return self._pinned[key]

    def _compute(self, images: Tensor) -> Tensor:
        """Embeddings on the GPU; with graphs the next call overwrites them."""
        if not self._graphs:
            return self._module(images)
        if len(images) not in self._recorded:
            self._recorded[len(images)] = record_graph(self._module, images)
        graph, source, result = self._recorded[len(images)]
        source.copy_(images)
        graph.replay()
        return result


def record_graph(module: Module, images: Tensor) -> tuple[torch.cuda.CUDAGraph, Tensor, Tensor]:
    """One run of a module as a CUDA graph.

    Args:
        module: on the GPU of `images`.
        images: uint8 [B, H, W, 3].

    Returns:
        The graph, the input it reads and the output it writes.
    """
    source = images.clone()
    side = torch.cuda.Stream(images.device)  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream(images.device))
    with torch.cuda.stream(side):  # what runs first chooses kernels and allocates
        for _ in range(_WARM_UPS):
            module(source)
    torch.cuda.current_stream(images.device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    # the stream of a capture is one of the current device
    with torch.cuda.device(images.device), torch.cuda.graph(graph):
        result = module(source)
    return graph, source, result
