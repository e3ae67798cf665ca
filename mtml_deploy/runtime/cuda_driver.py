"""The calls of the CUDA driver that an engine needs, and libcuda, which makes them by itself.

In: handles and addresses, plain integers. Out: the same, or a `CudaError`. libcuda itself is
enough, and graphs always go through it, since pycuda (`cuda_pycuda.py`) has none.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Final, Literal, Protocol

from mtml_deploy.errors import BackendError

DriverName = Literal["pycuda", "driver"]
"""What makes the calls; the environment variable MTML_CUDA names one."""

_LIBRARIES: Final = ("libcuda.so.1", "nvcuda.dll")

NON_BLOCKING: Final = 1
"""CU_STREAMNON_BLOCKING: work that another library puts on the default stream neither waits for
these streams nor ends a capture."""

_THREAD_LOCAL_CAPTURE: Final = 1
"""CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads (a decoder, torch) go on meanwhile."""

_STICKY: Final = frozenset({700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 720})
"""Errors after which every call in the process fails: the context is lost for torch and ONNX
Runtime as well (CUDA driver API, CUresult)."""


class CudaError(BackendError):
    """The driver refused a call.

    Attributes:
        sticky: whether the process has to be started again.
    """

    def __init__(self, what: str, *, sticky: bool) -> None:
        """Say what failed.

        Args:
            what: the error's name, its text and the call.
            sticky: see the class.
        """
        super().__init__(what)
        self.sticky = sticky


class Driver(Protocol):
    """The calls; all but `retain` and `release` need a current context. Errors are `CudaError`."""

    name: DriverName

    def retain(self, index: int) -> int:
        """The primary context of a GPU, which torch and ONNX Runtime share."""
        ...

    def release(self, index: int) -> None:
        """Give it back."""
        ...

    def push(self, context: int) -> None:
        """Make a context current on this thread."""
        ...

    def pop(self) -> None:
        """Make the one before it current again."""
        ...

    def create_stream(self) -> int:
        """A queue of work that waits for no other."""
        ...

    def destroy_stream(self, stream: int) -> None:
        """Free it."""
        ...

    def synchronize(self, stream: int) -> None:
        """Return when everything queued is done."""
        ...

    def allocate(self, size: int) -> int:
        """Address of device memory, bytes."""
        ...

    def free(self, address: int) -> None:
        """Free device memory."""
        ...

    def allocate_host(self, size: int) -> int:
        """Address of page-locked memory, bytes; only it can be copied asynchronously."""
        ...

    def free_host(self, address: int) -> None:
        """Free page-locked memory."""
        ...

    def copy_in(self, target: int, source: int, size: int, stream: int) -> None:
        """Queue a copy of page-locked memory to the device."""
        ...

    def copy_out(self, target: int, source: int, size: int, stream: int) -> None:
        """Queue a copy from the device to page-locked memory."""
        ...

    def capture(self, stream: int, queue: Callable[[], None]) -> int:
        """A runnable graph of what `queue` puts into a stream, without running it."""
        ...

    def launch(self, graph: int, stream: int) -> None:
        """Queue a graph."""
        ...

    def destroy_graph(self, graph: int) -> None:
        """Free it."""
        ...

    def create_event(self) -> int:
        """A mark that the GPU sets when it gets there."""
        ...

    def destroy_event(self, event: int) -> None:
        """Free it."""
        ...

    def record(self, event: int, stream: int) -> None:
        """Queue the setting of a mark."""
        ...

    def elapsed_ms(self, start: int, end: int) -> float:
        """Milliseconds between two marks by the GPU's clock, once `end` is set."""
        ...


class LibcudaDriver:
    """The driver itself, by ctypes; nothing has to be installed or compiled for it."""

    name: DriverName = "driver"

    def __init__(self) -> None:
        """Load it.

        Raises:
            BackendError: it is not there, or does not start.
        """
        self._library = _load()
        self._call("cuInit", ctypes.c_uint(0))

    def retain(self, index: int) -> int:
        """See `Driver.retain`."""
        context = ctypes.c_void_p()
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self._device(index))
        return context.value or 0

    def release(self, index: int) -> None:
        """See `Driver.release`."""
        self._call("cuDevicePrimaryCtxRelease_v2", self._device(index))

    def push(self, context: int) -> None:
        """See `Driver.push`."""
        self._call("cuCtxPushCurrent_v2", ctypes.c_void_p(context))

    def pop(self) -> None:
        """See `Driver.pop`."""
        self._call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))

    def create_stream(self) -> int:
        """See `Driver.create_stream`."""
        stream = ctypes.c_void_p()
        self._call("cuStreamCreate", ctypes.byref(stream), ctypes.c_uint(NON_BLOCKING))
        return stream.value or 0

    def destroy_stream(self, stream: int) -> None:
        """See `Driver.destroy_stream`."""
        self._call("cuStreamDestroy_v2", ctypes.c_void_p(stream))

    def synchronize(self, stream: int) -> None:
        """See `Driver.synchronize`."""
        self._call("cuStreamSynchronize", ctypes.c_void_p(stream))

    def allocate(self, size: int) -> int:
        """See `Driver.allocate`."""
        address = ctypes.c_ulonglong()
        self._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(size))
        return address.value

    def free(self, address: int) -> None:
        """See `Driver.free`."""
        self._call("cuMemFree_v2", ctypes.c_ulonglong(address))

    def allocate_host(self, size: int) -> int:
        """See `Driver.allocate_host`."""
        address = ctypes.c_void_p()
        self._call("cuMemHostAlloc", ctypes.byref(address), ctypes.c_size_t(size), ctypes.c_uint(0))
        return address.value or 0

    def free_host(self, address: int) -> None:
        """See `Driver.free_host`."""
        self._call("cuMemFreeHost", ctypes.c_void_p(address))

    def copy_in(self, target: int, source: int, size: int, stream: int) -> None:
        """See `Driver.copy_in`."""
        self._call(
            "cuMemcpyHtoDAsync_v2",
            ctypes.c_ulonglong(target),
            ctypes.c_void_p(source),
            ctypes.c_size_t(size),
            ctypes.c_void_p(stream),
        )

    def copy_out(self, target: int, source: int, size: int, stream: int) -> None:
        """See `Driver.copy_out`."""
        self._call(
            "cuMemcpyDtoHAsync_v2",
            ctypes.c_void_p(target),
            ctypes.c_ulonglong(source),
            ctypes.c_size_t(size),
            ctypes.c_void_p(stream),
        )

    def capture(self, stream: int, queue: Callable[[], None]) -> int:
        """See `Driver.capture`; a stream is never left capturing."""
        graph, runnable = ctypes.c_void_p(), ctypes.c_void_p()
        mode = ctypes.c_int(_THREAD_LOCAL_CAPTURE)
        self._call("cuStreamBeginCapture_v2", ctypes.c_void_p(stream), mode)
        try:
            queue()
        except BaseException:
            # the capture is of no use; what ends it may fail as well
            self._library.cuStreamEndCapture(ctypes.c_void_p(stream), ctypes.byref(graph))
            if graph.value:
                self._library.cuGraphDestroy(graph)
            raise
        self._call("cuStreamEndCapture", ctypes.c_void_p(stream), ctypes.byref(graph))
        try:
            flags = ctypes.c_ulonglong(0)
            self._call("cuGraphInstantiateWithFlags", ctypes.byref(runnable), graph, flags)
        finally:
            self._call("cuGraphDestroy", graph)
        return runnable.value or 0

    def launch(self, graph: int, stream: int) -> None:
        """See `Driver.launch`."""
        self._call("cuGraphLaunch", ctypes.c_void_p(graph), ctypes.c_void_p(stream))

    def destroy_graph(self, graph: int) -> None:
        """See `Driver.destroy_graph`."""
        self._call("cuGraphExecDestroy", ctypes.c_void_p(graph))

    def create_event(self) -> int:
        """See `Driver.create_event`."""
        event = ctypes.c_void_p()
        self._call("cuEventCreate", ctypes.byref(event), ctypes.c_uint(0))
        return event.value or 0

    def destroy_event(self, event: int) -> None:
        """See `Driver.destroy_event`."""
        self._call("cuEventDestroy_v2", ctypes.c_void_p(event))

    def record(self, event: int, stream: int) -> None:
        """See `Driver.record`."""
        self._call("cuEventRecord", ctypes.c_void_p(event), ctypes.c_void_p(stream))

    def elapsed_ms(self, start: int, end: int) -> float:
        """See `Driver.elapsed_ms`; it waits for `end`."""
        self._call("cuEventSynchronize", ctypes.c_void_p(end))
        found = ctypes.c_float()
        # the plain name is in every driver, _v2 only since CUDA 12.8
        marks = ctypes.c_void_p(start), ctypes.c_void_p(end)
        self._call("cuEventElapsedTime", ctypes.byref(found), *marks)
        return found.value

    def _device(self, index: int) -> ctypes.c_int:
        """The driver's number of a GPU."""
        device = ctypes.c_int()
        self._call("cuDeviceGet", ctypes.byref(device), ctypes.c_int(index))
        return device

    def _call(self, name: str, *values: object) -> None:
        """Make one call.

        Raises:
            CudaError: it fails.
        """
        status = int(getattr(self._library, name)(*values))
        if status:
            texts = []
            for ask in ("cuGetErrorName", "cuGetErrorString"):
                text = ctypes.c_char_p()
                getattr(self._library, ask)(ctypes.c_int(status), ctypes.byref(text))
                texts.append((text.value or b"").decode(errors="replace"))
            error, told = texts
            raise CudaError(
                f"{error or 'CUDA error'} ({status}) at {name}: {told or 'no text'}",
                sticky=status in _STICKY,
            )


def _load() -> ctypes.CDLL:
    """Libcuda.

    Raises:
        BackendError: it is not there.
    """
    for name in _LIBRARIES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise BackendError(
        "the NVIDIA driver is not installed (no libcuda); install it, or ask for --backend ort "
        "--device cpu"
    )
