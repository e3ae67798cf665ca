"""One GPU: its context, streams, pinned and device memory, CUDA graphs, freed in order.

In: sizes and addresses. Out: resources that belong to the device and are freed with it, whatever
happened: after an error, without `close`, at the end of the process.
"""

from __future__ import annotations

import ctypes
import math
import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, get_args

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mtml_deploy.closing import Closing
from mtml_deploy.errors import BackendError, MissingExtraError
from mtml_deploy.runtime.cuda_driver import CudaError, Driver, DriverName, LibcudaDriver
from mtml_deploy.runtime.cuda_pycuda import PyCudaDriver


def open_driver() -> Driver:
    """What makes CUDA calls here: pycuda where it is installed, else libcuda itself.

    Returns:
        The driver; MTML_CUDA=pycuda or MTML_CUDA=driver chooses.

    Raises:
        MissingExtraError: MTML_CUDA asks for pycuda, which is not installed.
        BackendError: no NVIDIA driver, or MTML_CUDA names something else.
    """
    asked = os.environ.get("MTML_CUDA", "")
    if asked not in ("", *get_args(DriverName)):
        raise BackendError(
            f"MTML_CUDA is {asked!r}, expected {' or '.join(get_args(DriverName))}, or nothing"
        )
    if asked != "driver":
        try:
            import pycuda.driver

            return PyCudaDriver(pycuda.driver)
        except ModuleNotFoundError as error:
            if asked:
                raise MissingExtraError("MTML_CUDA=pycuda needs pycuda", "pycuda") from error
        except ImportError as error:  # it was built for another driver, or there is none
            if asked:
                raise BackendError(
                    f"pycuda cannot be loaded ({error}); install the NVIDIA driver, or unset "
                    "MTML_CUDA"
                ) from error
    return LibcudaDriver()


class CudaDevice(Closing):
    """One GPU through its primary context, which torch and ONNX Runtime share; a context manager.

    What it gives belongs to it and is freed with it, last made first. It is used in one thread.
    """

    def __init__(self, index: int, driver: Driver | None = None) -> None:
        """Open the GPU.

        Args:
            index: N of "cuda:N".
            driver: what makes the calls; None for `open_driver`.

        Raises:
            MissingExtraError: pycuda was asked for and is not installed.
            BackendError: no driver, or no such GPU.
        """
        self.driver = driver or open_driver()
        self._context = self.driver.retain(index)
        self._streams: list[Stream] = []
        self._owned: list[Callable[[], None]] = []
        held = self._streams, self._owned
        self._close = weakref.finalize(self, _release, self.driver, index, self._context, *held)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the GPU's context current for a block; nests with other libraries' contexts."""
        self.driver.push(self._context)
        try:
            yield
        finally:
            self.driver.pop()

    def own(self, free: Callable[[], None]) -> None:
        """Call `free` before what was made earlier is freed, with the context current.

        Args:
            free: may raise a `CudaError`; must not refer to this device.
        """
        self._owned.append(free)

    def stream(self) -> Stream:
        """A new stream; needs `current`."""
        stream = Stream(self.driver)
        self._streams.append(stream)
        self.own(stream.free)
        return stream

    def mark(self) -> Mark:
        """A new mark for a stream; needs `current`."""
        mark = Mark(self.driver)
        self.own(mark.free)
        return mark

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Page-locked host memory, which alone can be copied asynchronously; needs `current`."""
        kind = np.dtype(dtype)
        size = math.prod(shape) * kind.itemsize
        driver, address = self.driver, self.driver.allocate_host(size)
        self.own(lambda: driver.free_host(address))
        memory = memoryview((ctypes.c_ubyte * size).from_address(address))
        return np.ndarray(shape, dtype=kind, buffer=memory)

    def memory(self, size: int) -> int:
        """Address of new device memory of `size` bytes, 1 or more; needs `current`."""
        driver, address = self.driver, self.driver.allocate(size)
        self.own(lambda: driver.free(address))
        return address

    def close(self) -> None:
        """Free everything and leave the GPU; closing twice is allowed."""
        self._close()


class Stream:
    """A queue of GPU work, in order.

    Attributes:
        handle: the CUstream, for other libraries.
    """

    def __init__(self, driver: Driver) -> None:
        """A new stream of the current context."""
        self._driver = driver
        self.handle = driver.create_stream()

    def to_device(self, target: int, source: NDArray[Any]) -> None:
        """Queue a copy of pinned memory, C-contiguous, to the device."""
        self._driver.copy_in(target, source.ctypes.data, source.nbytes, self.handle)

    def to_host(self, target: NDArray[Any], source: int) -> None:
        """Queue a copy from the device to pinned memory, C-contiguous."""
        self._driver.copy_out(target.ctypes.data, source, target.nbytes, self.handle)

    def set(self, mark: Mark) -> None:
        """Queue the setting of a mark."""
        self._driver.record(mark.handle, self.handle)

    def wait(self) -> None:
        """Return when everything queued is done."""
        self._driver.synchronize(self.handle)

    def free(self) -> None:
        """Free it."""
        self._driver.destroy_stream(self.handle)

    def capture(self, queue: Callable[[], None]) -> CudaGraph:
        """Record what `queue` puts into this stream, without running it.

        Args:
            queue: queues copies and kernels, and allocates nothing.

        Returns:
            The graph, ready to launch.

        Raises:
            CudaError: something in it cannot be captured.
        """
        return CudaGraph(self._driver, self._driver.capture(self.handle, queue), self.handle)


class Mark:
    """A point in a stream whose time the GPU notes.

    Attributes:
        handle: the driver's.
    """

    def __init__(self, driver: Driver) -> None:
        """A new mark of the current context, not set yet."""
        self._driver = driver
        self.handle = driver.create_event()

    def since(self, earlier: Mark) -> float:
        """Seconds from an earlier mark to this one, by the GPU's clock; waits for this one."""
        return self._driver.elapsed_ms(earlier.handle, self.handle) / 1e3

    def free(self) -> None:
        """Free it."""
        self._driver.destroy_event(self.handle)


class CudaGraph:
    """Recorded work that is launched with one call."""

    def __init__(self, driver: Driver, graph: int, stream: int) -> None:
        """From `Stream.capture`."""
        self._driver = driver
        self._graph = graph
        self._stream = stream

    def launch(self) -> None:
        """Queue the recorded work into the stream it was recorded from.

        Raises:
            CudaError: the driver refuses.
        """
        self._driver.launch(self._graph, self._stream)

    def free(self) -> None:
        """Free it."""
        self._driver.destroy_graph(self._graph)


def _release(
    driver: Driver,
    index: int,
    context: int,
    streams: list[Stream],
    owned: list[Callable[[], None]],
) -> None:
    """Wait for what is at work, free what a device gave, last first, and leave it.

    After a CUDA error every call fails, and what it would free goes with the process: none of them
    keeps the others from being tried.
    """
    with suppress(CudaError):
        driver.push(context)
        try:
            for stream in streams:  # an interrupted run may still use what is freed now
                with suppress(CudaError):
                    stream.wait()
            while owned:
                with suppress(CudaError):
                    owned.pop()()
        finally:
            driver.pop()
    with suppress(CudaError):
        driver.release(index)
