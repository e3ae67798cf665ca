"""The NVIDIA GPUs of this machine, asked of the driver itself.

In: nothing. Out: name, compute capability and driver, without any CUDA package installed; no GPU
and no driver are answers, not errors.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mtml_deploy.errors import BackendError

_DRIVER: Final = ("libcuda.so.1", "nvcuda.dll")
_DRIVER_FACTS: Final = Path("/proc/driver/nvidia/version")
_MAJOR, _MINOR = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR."""


@dataclass(frozen=True)
class Gpu:
    """One GPU.

    Attributes:
        index: N of "cuda:N".
        name: for example "NVIDIA H100 80GB HBM3".
        compute_capability: for example "9.0".
        memory_bytes: of the device.
        driver: version of the kernel driver; empty where the system does not tell.
        cuda: newest CUDA version that the driver runs, for example "13.0".
        pci_bus_id: for example "0000:3B:00.0"; `index` counts only the GPUs that this process may
            see, so this is what other programs know it by.
    """

    index: int
    name: str
    compute_capability: str
    memory_bytes: int
    driver: str
    cuda: str
    pci_bus_id: str = ""


@dataclass(frozen=True)
class GpuSearch:
    """What looking for GPUs found.

    Attributes:
        gpus: all of them, by index.
        reason: why there is none; empty where there is one.
    """

    gpus: tuple[Gpu, ...]
    reason: str


def find_gpus() -> GpuSearch:
    """The GPUs that CUDA programs of this process can use.

    Returns:
        The GPUs, or the reason why there is none.
    """
    driver = _load_driver()
    if driver is None:
        return GpuSearch((), "the NVIDIA driver is not installed (no libcuda)")
    return _ask(driver)


def gpu_of(device: str) -> Gpu | None:
    """The GPU that "cuda:N" names, or None."""
    match = re.fullmatch(r"cuda:(\d{1,3})", device)
    if match is None:
        return None
    return next((gpu for gpu in find_gpus().gpus if gpu.index == int(match[1])), None)


def require_gpu(device: str, *, backend: str) -> Gpu:
    """The GPU that "cuda:N" names.

    Args:
        device: what the user asked for.
        backend: what needs it, for the error.

    Returns:
        The GPU.

    Raises:
        BackendError: it is not here, or no GPU was named.
    """
    gpu = gpu_of(device)
    if gpu is None:
        raise BackendError(
            f"{backend} runs on a GPU, and device {device!r} names none that is here "
            f"({find_gpus().reason or 'there are other numbers'}); say for example cuda:0, or ask "
            "for --backend ort --device cpu"
        )
    return gpu


@contextmanager
def on_gpu(gpu: Gpu | None) -> Iterator[None]:
    """Make a GPU the current one of this thread, through the context that other libraries share.

    Args:
        gpu: the GPU; None leaves things as they are.

    Raises:
        BackendError: the driver refuses.
    """
    if gpu is None:
        yield
        return
    driver = _load_driver()
    device, context = ctypes.c_int(), ctypes.c_void_p()
    if driver is None:
        raise BackendError(f"{gpu.name} was found, but the NVIDIA driver is gone; install it again")
    for status in (
        driver.cuDeviceGet(ctypes.byref(device), gpu.index),
        driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device),
        driver.cuCtxPushCurrent_v2(context),
    ):
        if status:
            raise BackendError(
                f"the NVIDIA driver answers with error {status} for cuda:{gpu.index}; is it in use "
                "by another process alone? See nvidia-smi"
            )
    try:
        yield
    finally:
        driver.cuCtxPopCurrent_v2(ctypes.byref(context))
        driver.cuDevicePrimaryCtxRelease_v2(device)


def _load_driver() -> ctypes.CDLL | None:
    """libcuda; None where it is not installed."""
    for name in _DRIVER:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def _ask(driver: ctypes.CDLL) -> GpuSearch:
    """Every device of a loaded driver (CUDA driver API, section Device Management)."""
    status = int(driver.cuInit(0))
    if status:
        return GpuSearch((), f"the NVIDIA driver answers with error {status} (cuInit)")
    number, version = ctypes.c_int(), ctypes.c_int()
    driver.cuDriverGetVersion(ctypes.byref(version))
    driver.cuDeviceGetCount(ctypes.byref(number))
    cuda = f"{version.value // 1000}.{version.value % 1000 // 10}"
    found = []
    for index in range(number.value):
        device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
        name, memory = ctypes.create_string_buffer(256), ctypes.c_size_t()
        bus = ctypes.create_string_buffer(32)
        for status in (
            driver.cuDeviceGet(ctypes.byref(device), index),
            driver.cuDeviceGetName(name, len(name), device),
            driver.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device),
            driver.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device),
            driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device),
            driver.cuDeviceGetPCIBusId(bus, len(bus), device),
        ):
            if status:
                return GpuSearch((), f"the NVIDIA driver answers with error {status}, GPU {index}")
        found.append(
            Gpu(
                index=index,
                name=name.value.decode(errors="replace"),
                compute_capability=f"{major.value}.{minor.value}",
                memory_bytes=memory.value,
                driver=_driver_version(),
                cuda=cuda,
                pci_bus_id=bus.value.decode(errors="replace"),
            )
        )
    return GpuSearch(tuple(found), "" if found else "the NVIDIA driver finds no GPU")


def _driver_version() -> str:
    """Version of the kernel driver; empty where Linux does not tell."""
    try:
        text = _DRIVER_FACTS.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    match = re.search(r"\b(\d{3,}\.\d+(?:\.\d+)?)\b", text)
    return match[1] if match else ""
