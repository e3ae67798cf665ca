"""ONNX Runtime's execution providers: which one a request means, with which options, what it lacks.

In: a device, and for TensorRT a model and a GPU. Out: names and options, as text for the library.
Nothing here imports it.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from mtml_deploy.artifact.manifest import INPUT_NAME, Manifest
from mtml_deploy.engine.gpu import Gpu
from mtml_deploy.engine.options import BatchProfile
from mtml_deploy.errors import BackendError

Provider = tuple[str, dict[str, str]]
"""Name and options."""

CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"
TENSORRT: Final = "TensorrtExecutionProvider"

INSTALL_FOR_GPU: Final = (
    "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'mtml-reid[gpu]'"
)
"""Both go first: they share files, and pip does not write those anew where one is there already."""

_INSTALL_FOR_CPU: Final = (
    "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'mtml-reid[cpu]'"
)

PROFILE: Final = BatchProfile(1, 64, 64)
"""Images per run on a GPU: longer batches are cut, shorter ones padded to a bucket."""

_FILES: Final[Mapping[str, str]] = {
    CUDA: "libonnxruntime_providers_cuda.so",
    TENSORRT: "libonnxruntime_providers_tensorrt.so",
}
"""A provider's own library inside the package, which links against NVIDIA's."""

_NEEDS: Final[Mapping[str, str]] = {
    CUDA: "the NVIDIA driver, cuDNN 9 and cuBLAS of the CUDA version it was built for",
    TENSORRT: "TensorRT 10 (pip install 'tensorrt<11'), besides what CUDA needs",
}


def device_provider(device: str, *, cuda_graphs: bool = False, nhwc: bool = False) -> Provider:
    """The provider of a device.

    Args:
        device: "cpu" or "cuda:N".
        cuda_graphs: record each batch size as one CUDA graph; on a GPU only.
        nhwc: convolutions with channels last, as tensor cores take them, and with their bias; on a
            GPU only.

    Returns:
        Name and options; on a GPU float32 is float32, since TF32 keeps 10 bits of every factor.

    Raises:
        BackendError: no such kind of device.
        ValueError: CUDA graphs or `nhwc` on the CPU.
    """
    asked = {"cuda_graphs": cuda_graphs, "nhwc": nhwc}
    if device == "cpu":
        for name in (name for name, given in asked.items() if given):
            raise ValueError(f"{name} needs device cuda:N, found cpu")
        return CPU, {}
    if match := re.fullmatch(r"cuda:(\d{1,3})", device, flags=re.ASCII):
        graphs = {"enable_cuda_graph": "1"} if cuda_graphs else {}
        layout = {"prefer_nhwc": "1", "fuse_conv_bias": "1"} if nhwc else {}
        return CUDA, {"device_id": match[1], "use_tf32": "0", **graphs, **layout}
    raise BackendError(f"device is {device!r}, expected cpu or cuda:N; say for example cuda:0")


def tensorrt_provider(manifest: Manifest, gpu: Gpu, *, library: str) -> Provider:
    """The TensorRT provider for a model on a GPU.

    No precision flag is set: the engine that it builds computes what the file says. Its engines are
    cached in a folder of their own for each model, GPU and version: the names it gives to its files
    do not tell all of these apart.

    Args:
        manifest: the model.
        gpu: where it will run.
        library: version of ONNX Runtime.

    Returns:
        Name and options.
    """
    size = f"{manifest.height}x{manifest.width}x3"
    folder = engine_cache(manifest, gpu, library=library)
    return TENSORRT, {
        "device_id": str(gpu.index),
        "trt_fp16_enable": "False",
        "trt_int8_enable": "False",
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": str(folder),
        "trt_profile_min_shapes": f"{INPUT_NAME}:{PROFILE.min}x{size}",
        "trt_profile_opt_shapes": f"{INPUT_NAME}:{PROFILE.opt}x{size}",
        "trt_profile_max_shapes": f"{INPUT_NAME}:{PROFILE.max}x{size}",
    }


def engine_cache(manifest: Manifest, gpu: Gpu, *, library: str) -> Path:
    """Where the engines of one model, GPU and library are cached; it is not made here.

    Args:
        manifest: the model.
        gpu: where it will run.
        library: version of ONNX Runtime.

    Returns:
        A folder inside $XDG_CACHE_HOME, by default ~/.cache.
    """
    facts = [
        manifest.model_sha256,
        library,
        _tensorrt_version(),
        gpu.name,
        gpu.compute_capability,
        gpu.driver,
        [PROFILE.min, PROFILE.opt, PROFILE.max],
    ]
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    root = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not root.is_absolute():  # unset, or one that the XDG rule says to ignore
        root = Path.home() / ".cache"
    return root / "mtml-reid" / "ort-tensorrt" / key


def _tensorrt_version() -> str:
    """Version of the TensorRT package; empty for one that came without pip."""
    for name in ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return ""


def two_libraries() -> str:
    """What is wrong where the library for CPUs and the one for GPUs are both installed.

    Returns:
        One sentence and what to do; empty where at most one is there.
    """
    found = []
    for name in ("onnxruntime", "onnxruntime-gpu"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            return ""
    return (
        f"{' and '.join(found)} are both installed, expected one: they are one Python module, "
        f"whose files are of the one that came last; for a GPU run: {INSTALL_FOR_GPU}; for the CPU "
        f"alone run: {_INSTALL_FOR_CPU}"
    )


def unavailable(device: str, provider: str, found: Sequence[str]) -> str:
    """Text of the error that the library was built without a provider.

    Args:
        device: what was asked for.
        provider: what that needs.
        found: what the library has.
    """
    offered = ", ".join(found)
    lacks = f"{device} was asked for but ONNX Runtime offers {offered} here, not {provider}"
    if twice := two_libraries():
        return f"{lacks}: {twice}"
    return (
        f"{lacks}; ask for --device cpu, or check the GPU's driver and replace the CPU library: "
        + INSTALL_FOR_GPU
    )


def inactive(device: str, provider: str, active: Sequence[str], *, package: Path) -> str:
    """Text of the error that the library has a provider but could not start it.

    Args:
        device: what was asked for.
        provider: what that needs.
        active: what runs instead.
        package: folder of the onnxruntime package.
    """
    return (
        f"{device} was asked for but ONNX Runtime could not start {provider} and took "
        f"{active[0]}: {load_error(package, provider) or 'it gave no reason'}; it needs "
        f"{_NEEDS.get(provider, 'a working installation')}; mtml-deploy doctor shows what is here"
    )


def load_error(package: Path, provider: str) -> str:
    """Which shared library the provider's own one lacks, in the linker's words; empty if none.

    Args:
        package: folder of the onnxruntime package.
        provider: its name.
    """
    file = package / "capi" / _FILES.get(provider, "")
    if not file.is_file():
        return ""
    try:
        ctypes.CDLL(str(file))
    except OSError as error:
        # anything else is about symbols that only the whole library provides
        return str(error) if "cannot open shared object" in str(error) else ""
    return ""
