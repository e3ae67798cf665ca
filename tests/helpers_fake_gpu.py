"""A GPU's order of work without a GPU: streams that do nothing until waited for, counted memory.

What pycuda, the driver and TensorRT are asked for is recorded and done late, on host memory, so
that a result that is read too early, put in the wrong row or freed too soon shows. It says nothing
about the real libraries, and computes no model: an "embedding" is the first bytes of an image.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from enum import Enum
from types import ModuleType, SimpleNamespace

import numpy as np

from mtml_deploy.artifact.manifest import EMBEDDINGS_OUTPUT, INPUT_NAME, Manifest
from mtml_deploy.engine.library import Library

Work = Callable[[], None]


class FakeError(Exception):
    """pycuda.driver.Error."""


class Pinned(bytearray):
    """Host memory that counts its release."""

    machine: FakeMachine

    def free(self) -> None:
        self.machine.pinned -= 1


class FakeStream:
    """Work is done when the stream is waited for."""

    def __init__(self, machine: FakeMachine, flags: int) -> None:
        assert flags == 1  # another library's default stream must not wait for it
        self.machine = machine
        self.waiting: list[Work] = []
        self.captured: list[Work] | None = None
        self.handle = len(machine.streams) + 1
        machine.streams.append(self)

    def add(self, work: Work) -> None:
        (self.waiting if self.captured is None else self.captured).append(work)

    def synchronize(self) -> None:
        assert self.captured is None
        if self.machine.broken:
            raise FakeError("an illegal memory access was encountered")
        while self.waiting:
            self.waiting.pop(0)()


class FakeMachine:
    """State of one fake GPU."""

    def __init__(self) -> None:
        self.streams: list[FakeStream] = []
        self.memory: dict[int, bytearray] = {}
        self.room = 1 << 40
        self.pinned = 0
        self.depth = 0
        self.retained = 0
        self.broken = False
        self.graphs: dict[int, list[Work]] = {}
        self.launches = 0
        self.contexts: list[FakeContext] = []

    def install(self, monkeypatch) -> None:
        """Stand in for pycuda.driver and libcuda."""
        package = ModuleType("pycuda")
        driver = ModuleType("pycuda.driver")
        for name, value in {
            "Error": FakeError,
            "init": lambda: None,
            "Device": self._device_class(),
            "Context": SimpleNamespace(pop=self._pop),
            "Stream": lambda flags: FakeStream(self, flags),
            "pagelocked_empty": self._pagelocked,
            "mem_alloc": self._mem_alloc,
            "memcpy_htod_async": self._to_device,
            "memcpy_dtoh_async": self._to_host,
        }.items():
            setattr(driver, name, value)
        package.driver = driver
        monkeypatch.setitem(sys.modules, "pycuda", package)
        monkeypatch.setitem(sys.modules, "pycuda.driver", driver)
        monkeypatch.setattr(ctypes, "CDLL", lambda name: self._libcuda())

    def _device_class(self) -> type:
        machine = self

        class Device:
            def __init__(self, index: int) -> None:
                self.index = index

            @staticmethod
            def count() -> int:
                return 1

            def retain_primary_context(self) -> SimpleNamespace:
                machine.retained += 1
                return SimpleNamespace(push=machine._push, detach=machine._detach)

        return Device

    def _push(self) -> None:
        self.depth += 1

    def _pop(self) -> None:
        assert self.depth > 0
        self.depth -= 1

    def _detach(self) -> None:
        self.retained -= 1
        self.depth += 1  # as pycuda does: pushed for the release, never popped

    def _pagelocked(self, shape, dtype) -> np.ndarray:
        assert self.depth
        self.pinned += 1
        store = Pinned(int(np.prod(shape)) * np.dtype(dtype).itemsize)
        store.machine = self
        array = np.ndarray(shape, dtype, buffer=store)
        array[...] = 7  # never zero by chance
        return array

    def _mem_alloc(self, size: int):
        assert self.depth and size > 0
        if size + sum(map(len, self.memory.values())) > self.room:
            raise FakeError("out of memory")
        address = (len(self.memory) + 1) << 32
        self.memory[address] = bytearray(size)
        machine = self

        class Allocation:
            def __int__(self) -> int:
                return address

            def free(self) -> None:
                del machine.memory[address]

        return Allocation()

    def array(self, address: int, shape, dtype) -> np.ndarray:
        """Device memory as an array."""
        count = int(np.prod(shape))
        return np.frombuffer(self.memory[address], dtype, count).reshape(shape)

    def _to_device(self, target: int, source: np.ndarray, stream: FakeStream) -> None:
        # pinned memory is read when the copy happens, not when it is queued
        stream.add(lambda: self._copy(self.array(target, source.shape, source.dtype), source))

    def _to_host(self, target: np.ndarray, source: int, stream: FakeStream) -> None:
        stream.add(lambda: self._copy(target, self.array(source, target.shape, target.dtype)))

    @staticmethod
    def _copy(target: np.ndarray, source: np.ndarray) -> None:
        target[...] = source

    def _libcuda(self) -> SimpleNamespace:
        def begin(handle, mode):
            self.streams[handle.value - 1].captured = []
            return 0

        def end(handle, graph):
            stream = self.streams[handle.value - 1]
            graph._obj.value = len(self.graphs) + 1
            self.graphs[len(self.graphs) + 1], stream.captured = stream.captured, None
            return 0

        def instantiate(runnable, graph, flags):
            runnable._obj.value = graph.value
            return 0

        def launch(runnable, handle):
            self.launches += 1
            for work in self.graphs[runnable.value]:
                self.streams[handle.value - 1].add(work)
            return 0

        def pop(previous):
            self._pop()
            return 0

        return SimpleNamespace(
            cuStreamBeginCapture_v2=begin,
            cuStreamEndCapture=end,
            cuGraphInstantiateWithFlags=instantiate,
            cuGraphDestroy=lambda graph: 0,
            cuGraphLaunch=launch,
            cuGraphExecDestroy=lambda runnable: self.graphs.pop(runnable.value) and 0,
            cuCtxPopCurrent_v2=pop,
        )


class FakeContext:
    """An execution context: allowed to change until it is captured."""

    def __init__(self, machine: FakeMachine, dim: int) -> None:
        self.machine = machine
        self.dim = dim
        self.shape: tuple[int, ...] = ()
        self.addresses: dict[str, int] = {}
        self.scratch = 0
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

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        self.runs += 1
        self.machine.streams[stream - 1].add(self._compute)
        return not self.machine.broken

    def _compute(self) -> None:
        images = self.machine.array(self.addresses[INPUT_NAME], self.shape, np.uint8)
        self.images = images.copy()
        out = (self.shape[0], self.dim)
        target = self.machine.array(self.addresses[EMBEDDINGS_OUTPUT], out, np.float32)
        target[...] = images.reshape(len(images), -1)[:, : self.dim]


def fake_library(machine: FakeMachine, manifest: Manifest, *, dim: int | None = None) -> Library:
    """TensorRT of the names that the runtime uses, with an engine of `dim` values per image."""
    modes = Enum("TensorIOMode", "INPUT OUTPUT")
    types = Enum("DataType", "UINT8 FLOAT")
    width = manifest.dim if dim is None else dim
    tensors = {
        INPUT_NAME: (modes.INPUT, types.UINT8, (-1, manifest.height, manifest.width, 3)),
        EMBEDDINGS_OUTPUT: (modes.OUTPUT, types.FLOAT, (-1, width)),
    }
    engine = SimpleNamespace(
        device_memory_size_v2=64,
        num_io_tensors=len(tensors),
        get_tensor_name=lambda index: list(tensors)[index],
        get_tensor_mode=lambda name: tensors[name][0],
        get_tensor_dtype=lambda name: tensors[name][1],
        get_tensor_shape=lambda name: tensors[name][2],
        create_execution_context=lambda strategy: FakeContext(machine, width),
    )
    module = ModuleType("tensorrt")

    class ILogger:
        Severity = Enum("Severity", "INTERNAL_ERROR ERROR WARNING")

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
