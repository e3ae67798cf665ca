"""The GPU: primary context, streams, pinned and device memory, CUDA graphs. Only here is pycuda.

In: sizes and addresses. Out: resources that are freed when told to. pycuda is imported when a
device is opened; CUDA graphs, which it does not offer, are called in the driver itself.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Final, Self

from numpy.typing import DTypeLike, NDArray

from mtml_deploy.errors import BackendError, MissingExtraError

_NON_BLOCKING: Final = 1
"""CU_STREAM_NON_BLOCKING: work that another library puts on the default stream neither waits for
these streams nor ends a capture."""

_THREAD_LOCAL_CAPTURE: Final = 1
"""CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads (a decoder, torch) go on meanwhile."""


class CudaDevice:
    """One GPU through its primary context, which torch and ONNX Runtime share; a context manager.

    Memory that it gives belongs to it and is freed with it, last made first. It is opened, used and
    closed in one thread.
    """

    def __init__(self, index: int) -> None:
        """Open the GPU.

        Args:
            index: N of "cuda:N".

        Raises:
            MissingExtraError: pycuda is not installed.
            BackendError: no driver, or no such GPU.
        """
        try:
            import pycuda.driver as driver
        except ModuleNotFoundError as error:
            raise MissingExtraError("running engines needs pycuda", "tensorrt") from error
        except ImportError as error:  # libcuda is not there
            raise BackendError(
                f"pycuda cannot reach the NVIDIA driver ({error}); install the driver, or ask for "
                "--backend ort --device cpu"
            ) from error
        self._driver: Any = driver  # a compiled module without types
        try:
            driver.init()
            if index >= driver.Device.count():
                raise BackendError(
                    f"there is no GPU {index}, only 0..{driver.Device.count() - 1}; choose one"
                )
            self._context: Any = driver.Device(index).retain_primary_context()
        except driver.Error as error:
            raise BackendError(f"the GPU {index} cannot be opened: {error}") from error
        self._library = ctypes.CDLL("libcuda.so.1")
        self._thread = threading.get_ident()
        self._free: list[Callable[[], None]] = []
        self._closed = False

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the GPU's context current for a block; nests with other libraries' contexts."""
        self._context.push()
        try:
            yield
        finally:
            self._driver.Context.pop()

    @property
    def error(self) -> type[Exception]:
        """What pycuda raises where a CUDA call fails."""
        kind: type[Exception] = self._driver.Error
        return kind

    def stream(self) -> Stream:
        """A new stream; needs `current`."""
        return Stream(self._driver, self._library)

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Page-locked host memory, which alone can be copied asynchronously; needs `current`."""
        array: NDArray[Any] = self._driver.pagelocked_empty(shape, dtype)
        self._free.append(array.base.free)  # type: ignore[union-attr]
        return array

    def memory(self, size: int) -> int:
        """Address of new device memory of `size` bytes, 1 or more; needs `current`."""
        allocation = self._driver.mem_alloc(size)
        self._free.append(allocation.free)
        return int(allocation)

    def close(self) -> None:
        """Free the memory and leave the GPU; closing twice is allowed."""
        if self._closed:
            return
        self._closed = True
        # after a CUDA error further calls fail too, and what they would free goes with the process
        with suppress(self.error), self.current():
            while self._free:
                self._free.pop()()
        self._context.detach()
        if threading.get_ident() == self._thread:
            # pycuda makes the context current to release it, and leaves it on the thread's stack
            self._library.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Free everything."""
        self.close()


class Stream:
    """A queue of GPU work, in order."""

    def __init__(self, driver: Any, library: ctypes.CDLL) -> None:  # noqa: ANN401 - untyped module
        """A new stream of the current context."""
        self._driver = driver
        self._library = library
        self._stream: Any = driver.Stream(_NON_BLOCKING)

    @property
    def handle(self) -> int:
        """The CUstream, for other libraries."""
        return int(self._stream.handle)

    def to_device(self, target: int, source: NDArray[Any]) -> None:
        """Queue a copy of pinned memory to the device."""
        self._driver.memcpy_htod_async(target, source, self._stream)

    def to_host(self, target: NDArray[Any], source: int) -> None:
        """Queue a copy from the device to pinned memory."""
        self._driver.memcpy_dtoh_async(target, source, self._stream)

    def wait(self) -> None:
        """Return when everything queued is done."""
        self._stream.synchronize()

    def free(self) -> None:
        """Free it; needs the context, so it is not left to the garbage collector."""
        self._stream = None

    def capture(self, queue: Callable[[], None]) -> CudaGraph:
        """Record what `queue` puts into this stream, without running it.

        Args:
            queue: queues copies and kernels, and allocates nothing.

        Returns:
            The graph, ready to launch.

        Raises:
            BackendError: something in it cannot be captured.
        """
        library, graph, runnable = self._library, ctypes.c_void_p(), ctypes.c_void_p()
        handle = ctypes.c_void_p(self.handle)
        _check(library.cuStreamBeginCapture_v2(handle, _THREAD_LOCAL_CAPTURE), "begin of a capture")
        try:
            queue()
        finally:
            # also after an error: a stream that is left capturing is of no use
            status = library.cuStreamEndCapture(handle, ctypes.byref(graph))
        _check(status, "end of a capture")
        try:
            _check(
                library.cuGraphInstantiateWithFlags(
                    ctypes.byref(runnable), graph, ctypes.c_ulonglong(0)
                ),
                "instantiation of a graph",
            )
        finally:
            library.cuGraphDestroy(graph)
        return CudaGraph(library, runnable, handle)


class CudaGraph:
    """Recorded work that is launched with one call."""

    def __init__(
        self, library: ctypes.CDLL, runnable: ctypes.c_void_p, stream: ctypes.c_void_p
    ) -> None:
        """From `Stream.capture`."""
        self._library = library
        self._runnable = runnable
        self._stream = stream

    def launch(self) -> None:
        """Queue the recorded work into the stream it was recorded from.

        Raises:
            BackendError: the driver refuses.
        """
        _check(self._library.cuGraphLaunch(self._runnable, self._stream), "launch of a graph")

    def free(self) -> None:
        """Free it."""
        self._library.cuGraphExecDestroy(self._runnable)


def _check(status: int, what: str) -> None:
    """Raise unless the driver reports success."""
    if status:
        raise BackendError(f"CUDA error {status} at the {what}")
