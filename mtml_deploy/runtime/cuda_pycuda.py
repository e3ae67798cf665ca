"""The calls of the CUDA driver through pycuda, where it is installed.

In: the module `pycuda.driver`, which `cuda.open_driver` imports. Out: a `Driver`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from mtml_deploy.runtime.cuda_driver import NON_BLOCKING, CudaError, DriverName, LibcudaDriver


class PyCudaDriver(LibcudaDriver):
    """pycuda for contexts, streams, memory and copies: it takes only what its own context made."""

    name: DriverName = "pycuda"

    def __init__(self, driver: Any) -> None:  # noqa: ANN401 - a compiled module without types
        """Use the module `pycuda.driver`.

        Raises:
            BackendError: the NVIDIA driver does not start.
        """
        super().__init__()
        self._pycuda = driver
        self._told(driver.init)
        self._thread = threading.get_ident()
        self._held: dict[int, Any] = {}

    def retain(self, index: int) -> int:
        """See `Driver.retain`."""
        self._device(index)  # whose error has a name
        context = self._told(lambda: self._pycuda.Device(index).retain_primary_context())
        self._held[index] = context
        return index

    def release(self, index: int) -> None:
        """See `Driver.release`."""
        self._told(self._held.pop(index).detach)
        if threading.get_ident() == self._thread:
            # pycuda makes the context current to release it, and leaves it on the thread's stack
            super().pop()

    def push(self, context: int) -> None:
        """See `Driver.push`."""
        self._told(self._held[context].push)

    def pop(self) -> None:
        """See `Driver.pop`."""
        self._told(self._pycuda.Context.pop)

    def create_stream(self) -> int:
        """See `Driver.create_stream`."""
        stream = self._told(self._pycuda.Stream, NON_BLOCKING)
        self._held[int(stream.handle)] = stream
        return int(stream.handle)

    def destroy_stream(self, stream: int) -> None:
        """See `Driver.destroy_stream`."""
        self._held.pop(stream)  # its destructor

    def synchronize(self, stream: int) -> None:
        """See `Driver.synchronize`."""
        self._told(self._held[stream].synchronize)

    def allocate(self, size: int) -> int:
        """See `Driver.allocate`."""
        memory = self._told(self._pycuda.mem_alloc, size)
        self._held[int(memory)] = memory
        return int(memory)

    def free(self, address: int) -> None:
        """See `Driver.free`."""
        self._told(self._held.pop(address).free)

    def allocate_host(self, size: int) -> int:
        """See `Driver.allocate_host`."""
        array = self._told(self._pycuda.pagelocked_empty, size, "uint8")
        address = int(array.ctypes.data)
        self._held[address] = array
        return address

    def free_host(self, address: int) -> None:
        """See `Driver.free_host`."""
        self._told(self._held.pop(address).base.free)

    def copy_in(self, target: int, source: int, size: int, stream: int) -> None:
        """See `Driver.copy_in`."""
        held = self._held[source][:size]
        self._told(self._pycuda.memcpy_htod_async, target, held, self._held[stream])

    def copy_out(self, target: int, source: int, size: int, stream: int) -> None:
        """See `Driver.copy_out`."""
        held = self._held[target][:size]
        self._told(self._pycuda.memcpy_dtoh_async, held, source, self._held[stream])

    def create_event(self) -> int:
        """See `Driver.create_event`."""
        event = self._told(self._pycuda.Event)
        self._held[id(event)] = event  # it does not show its handle; held, its id is its own
        return id(event)

    def destroy_event(self, event: int) -> None:
        """See `Driver.destroy_event`."""
        self._held.pop(event)  # its destructor

    def record(self, event: int, stream: int) -> None:
        """See `Driver.record`."""
        self._told(self._held[event].record, self._held[stream])

    def elapsed_ms(self, start: int, end: int) -> float:
        """See `Driver.elapsed_ms`."""
        self._told(self._held[end].synchronize)
        return float(self._told(self._held[end].time_since, self._held[start]))

    def _told(self, call: Callable[..., Any], *values: object) -> Any:  # noqa: ANN401
        """A call of pycuda, its error as ours."""
        try:
            return call(*values)
        except self._pycuda.Error as error:
            # its text is "cuX failed: the driver's text"
            sticky = any(word in str(error) for word in ("illegal", "misaligned", "launch failure"))
            raise CudaError(str(error), sticky=sticky) from error
