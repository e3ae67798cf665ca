"""A GPU's order of work without a GPU: streams that do nothing until waited for, counted memory.

What the driver and TensorRT are asked for is recorded and done late, on host memory, so that a
result that is read too early, put in the wrong row or freed too soon shows. It says nothing about
the real libraries, and computes no model: an "embedding" is the first bytes of an image.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from enum import Enum
from types import ModuleType, SimpleNamespace

import numpy as np

from mtml_deploy.artifact.manifest import EMBEDDINGS_OUTPUT, INPUT_NAME, Manifest
from mtml_deploy.engine.library import Library
from mtml_deploy.runtime import cuda
from mtml_deploy.runtime.cuda_driver import CudaError

Work = Callable[[], None]


class FakeStream:
    """Work is done when the stream is waited for."""

    def __init__(self) -> None:
        self.waiting: list[Work] = []
        self.captured: list[Work] | None = None

    def add(self, work: Work) -> None:
        (self.waiting if self.captured is None else self.captured).append(work)


class FakeMachine:
    """State of one fake GPU; a `cuda_driver.Driver`."""

    name = "driver"

    def __init__(self) -> None:
        self.streams: list[FakeStream] = []
        self.freed_streams = 0
        self.memory: dict[int, bytearray] = {}
        self.allocated = 0
        self.room = 1 << 40
        self.pinned: dict[int, ctypes.Array] = {}
        self.depth = 0
        self.retained = 0
        self.broken = False
        self.graphs: dict[int, list[Work]] = {}
        self.recorded = 0
        self.launches = 0
        self.contexts: list[FakeContext] = []
        self.events: list[float | None] = []
        self.freed_events = 0
        self.clock_ms = 0.0

    def install(self, monkeypatch) -> None:
        """Be what CUDA calls go to."""
        monkeypatch.setattr(cuda, "open_driver", lambda: self)

    def retain(self, index: int) -> int:
        self.retained += 1
        return 77

    def release(self, index: int) -> None:
        assert not self.depth
        self.retained -= 1

    def push(self, context: int) -> None:
        assert context == 77 and self.retained
        self.depth += 1

    def pop(self) -> None:
        assert self.depth > 0
        self.depth -= 1

    def create_stream(self) -> int:
        assert self.depth
        self.streams.append(FakeStream())
        return len(self.streams)

    def destroy_stream(self, stream: int) -> None:
        self._work()
        assert not self.streams[stream - 1].waiting
        self.freed_streams += 1

    def synchronize(self, stream: int) -> None:
        self._work()
        found = self.streams[stream - 1]
        assert found.captured is None
        while found.waiting:
            found.waiting.pop(0)()

    def allocate(self, size: int) -> int:
        assert self.depth and size > 0
        if size + sum(map(len, self.memory.values())) > self.room:
            raise CudaError("CUDA_ERROR_OUT_OF_MEMORY (2): out of memory", sticky=False)
        self.allocated += 1
        address = self.allocated << 32
        self.memory[address] = bytearray(size)
        return address

    def free(self, address: int) -> None:
        self._work()
        del self.memory[address]

    def allocate_host(self, size: int) -> int:
        assert self.depth
        block = (ctypes.c_ubyte * size)(*(7 for _ in range(size)))  # never zero by chance
        self.pinned[ctypes.addressof(block)] = block
        return ctypes.addressof(block)

    def free_host(self, address: int) -> None:
        self._work()
        # kept: the arrays over it must not crash a test that reads them too late
        self.kept = getattr(self, "kept", [])
        self.kept.append(self.pinned.pop(address))

    def copy_in(self, target: int, source: int, size: int, stream: int) -> None:
        self._work()

        # pinned memory is read when the copy happens, not when it is queued
        def copy() -> None:
            self.clock_ms += 1 * size
            self.memory[target][:size] = ctypes.string_at(source, size)

        self.streams[stream - 1].add(copy)

    def copy_out(self, target: int, source: int, size: int, stream: int) -> None:
        self._work()

        def copy() -> None:
            self.clock_ms += 2 * size
            ctypes.memmove(target, bytes(self.memory[source][:size]), size)

        self.streams[stream - 1].add(copy)

    def capture(self, stream: int, queue: Work) -> int:
        self._work()
        found = self.streams[stream - 1]
        assert not found.waiting
        found.captured = []
        queue()
        self.recorded += 1
        self.graphs[self.recorded], found.captured = found.captured, None
        return self.recorded

    def launch(self, graph: int, stream: int) -> None:
        self._work()
        self.launches += 1
        for work in self.graphs[graph]:
            self.streams[stream - 1].add(work)

    def destroy_graph(self, graph: int) -> None:
        self._work()
        del self.graphs[graph]

    def create_event(self) -> int:
        self._work()
        self.events.append(None)
        return len(self.events)

    def destroy_event(self, event: int) -> None:
        self._work()
        self.freed_events += 1

    def record(self, event: int, stream: int) -> None:
        self._work()
        assert self.streams[stream - 1].captured is None

        def set_it() -> None:
            self.events[event - 1] = self.clock_ms

        self.streams[stream - 1].add(set_it)

    def elapsed_ms(self, start: int, end: int) -> float:
        self._work()
        first, last = self.events[start - 1], self.events[end - 1]
        assert first is not None and last is not None  # only once both are set
        return last - first

    def array(self, address: int, shape, dtype) -> np.ndarray:
        """Device memory as an array."""
        count = int(np.prod(shape))
        return np.frombuffer(self.memory[address], dtype, count).reshape(shape)

    def _work(self) -> None:
        """Every call but those of contexts needs one, and fails after a sticky error."""
        assert self.depth
        if self.broken:
            raise CudaError(
                "CUDA_ERROR_ILLEGAL_ADDRESS (700): an illegal memory access was encountered",
                sticky=True,
            )


class FakeContext:
    """An execution context: allowed to change until it is captured."""

    def __init__(self, machine: FakeMachine, dim: int) -> None:
        self.machine = machine
        self.dim = dim
        self.shape: tuple[int, ...] = ()
        self.addresses: dict[str, int] = {}
        self.scratch = 0
        self.profile = 0
        self.runs = 0
        self.images = np.empty(0, np.uint8)
        machine.contexts.append(self)

    def set_device_memory(self, address: int, size: int) -> None:
        assert len(self.machine.memory[address]) >= size
        self.scratch = address

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert name == INPUT_NAME and not self.shape  # a captured graph forbids another
        self.shape = shape
        return True

    def set_optimization_profile_async(self, index: int, stream: int) -> bool:
        assert not self.shape
        self.profile = index
        return True

    def update_device_memory_size_for_shapes(self) -> int:
        return 8 * self.shape[0]

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        self.runs += 1
        self.machine.streams[stream - 1].add(self._compute)
        return not self.machine.broken

    def _compute(self) -> None:
        self.machine.clock_ms += 1000 * self.shape[0]
        images = self.machine.array(self.addresses[INPUT_NAME], self.shape, np.uint8)
        self.images = images.copy()
        out = (self.shape[0], self.dim)
        target = self.machine.array(self.addresses[EMBEDDINGS_OUTPUT], out, np.float32)
        target[...] = images.reshape(len(images), -1)[:, : self.dim]


def fake_library(
    machine: FakeMachine, manifest: Manifest, *, dim: int | None = None, profiles: int = 2
) -> Library:
    """TensorRT of the names that the runtime uses, with an engine of `dim` values per image."""
    modes = Enum("TensorIOMode", "INPUT OUTPUT")
    types = Enum("DataType", "UINT8 FLOAT")
    width = manifest.dim if dim is None else dim
    tensors = {
        INPUT_NAME: (modes.INPUT, types.UINT8, (-1, manifest.height, manifest.width, 3)),
        EMBEDDINGS_OUTPUT: (modes.OUTPUT, types.FLOAT, (-1, width)),
    }
    engine = SimpleNamespace(
        num_optimization_profiles=profiles,
        num_io_tensors=len(tensors),
        get_tensor_name=lambda index: list(tensors)[index],
        get_tensor_mode=lambda name: tensors[name][0],
        get_tensor_dtype=lambda name: tensors[name][1],
        get_tensor_shape=lambda name: tensors[name][2],
        create_execution_context=lambda strategy: FakeContext(machine, width),
    )
    module = ModuleType("tensorrt")

    class ILogger:
        Severity = Enum("Severity", "INTERNAL_ERROR ERROR WARNING INFO")

        def __init__(self) -> None:
            pass

    class Runtime:
        engine_host_code_allowed = True

        def __init__(self, log: object) -> None:
            self.log = log

        def deserialize_cuda_engine(self, plan: bytes) -> object:
            assert self.engine_host_code_allowed is False
            if plan == b"refused":
                self.log.log(ILogger.Severity.ERROR, "magic tag does not match")
                return None
            return engine

    for name, value in {
        "ILogger": ILogger,
        "Runtime": Runtime,
        "TensorIOMode": modes,
        "DataType": types,
        "ExecutionContextAllocationStrategy": SimpleNamespace(USER_MANAGED=2),
    }.items():
        setattr(module, name, value)
    return Library(target="tensorrt", module=module, version="10.3.0")
