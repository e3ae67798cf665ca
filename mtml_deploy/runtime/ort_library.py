"""The installed ONNX Runtime: what it offers, what it lacks, a session on exactly one device.

In: a device or a provider. Out: the library and options for one provider, or an
error. `onnxruntime` is imported when it is asked for, not before.
"""

from __future__ import annotations

import io
import logging
import re
from contextlib import redirect_stdout, suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final

from mtml_deploy.engine.library import load_library
from mtml_deploy.errors import BackendError, MissingExtraError
from mtml_deploy.runtime.ort_provider import (
    TENSORRT,
    Provider,
    device_provider,
    inactive,
    load_error,
    unavailable,
)

if TYPE_CHECKING:
    from onnxruntime import SessionOptions

logger = logging.getLogger(__name__)

NO_FALLBACK: Final = "session.disable_cpu_ep_fallback"
"""ONNX Runtime's option to refuse a model of which a part would run on the CPU."""

_ERRORS_ONLY: Final = 3
"""ONNX Runtime log severity: its warnings are about graph constants, of no use to a user."""


def prepare_session(
    device: str, *, threads: int = 0, cuda_graphs: bool = False, nhwc: bool = False
) -> tuple[ModuleType, SessionOptions, Provider]:
    """What opening a session on exactly one device needs.

    Args:
        device: "cpu" or "cuda:N".
        threads: threads of one run on the CPU; 0 = one per physical core.
        cuda_graphs: record each batch size as one CUDA graph; on a GPU only.
        nhwc: convolutions with channels last and with their bias; on a GPU only.

    Returns:
        The onnxruntime module, session options, and the one provider to name.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        BackendError: unknown device, or its provider is not in this library.
        ValueError: negative `threads`, or CUDA graphs or `nhwc` on the CPU.
    """
    if threads < 0:
        raise ValueError(f"threads must be 0 or more, found {threads}")
    provider = device_provider(device, cuda_graphs=cuda_graphs, nhwc=nhwc)
    library = ort_library(device)
    require_offered(library, device, provider[0])
    options = library.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _ERRORS_ONLY
    # idle workers that spin take the cores from the threads that decode the next batch
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if device != "cpu":
        # a node without a kernel there would run on the CPU without a word
        options.add_session_config_entry(NO_FALLBACK, "1")
        _load_cuda(library)
    return library, options, provider


def require_active(active: list[str], device: str, provider: Provider) -> None:
    """Refuse a session that runs on another provider than the one asked for.

    Args:
        active: providers of the session, the first is the one in use.
        device: what was asked for.
        provider: what `prepare_session` named.

    Raises:
        BackendError: another provider is active.
    """
    if active[0] != provider[0]:
        package = Path(str(ort_library(device).__file__)).parent
        raise BackendError(inactive(device, provider[0], active, package=package))


def offered_providers() -> tuple[str, ...] | None:
    """Providers that the installed ONNX Runtime was built with; None where it is not installed."""
    try:
        return tuple(ort_library("cpu").get_available_providers())
    except MissingExtraError:
        return None


def missing_library(provider: str) -> str:
    """The shared library that a provider of the installed ONNX Runtime lacks here.

    Args:
        provider: CUDA or TensorRT.

    Returns:
        The linker's words; empty where it finds all of them.

    Raises:
        MissingExtraError: onnxruntime is not installed.
    """
    library = ort_library("cuda:0")
    _load_cuda(library)
    if provider == TENSORRT:
        with suppress(MissingExtraError, BackendError):
            load_library("tensorrt")  # brings its libraries into the process
    return load_error(Path(str(library.__file__)).parent, provider)


def built_for_cuda() -> int | None:
    """Major version of the CUDA that ONNX Runtime was built for; None where it does not tell.

    Raises:
        MissingExtraError: onnxruntime is not installed.
    """
    found = re.match(r"\d+", str(getattr(ort_library("cuda:0"), "cuda_version", "") or ""))
    return int(found[0]) if found else None


def ort_library(device: str) -> ModuleType:
    """The onnxruntime module."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError(
            "running a model on ONNX Runtime needs onnxruntime",
            "cpu" if device == "cpu" else "gpu",
        ) from error
    library: ModuleType = onnxruntime
    return library


def require_offered(library: ModuleType, device: str, provider: str) -> None:
    """Refuse a library that was built without a provider."""
    if provider not in (offered := library.get_available_providers()):
        raise BackendError(unavailable(device, provider, offered))


def _load_cuda(library: ModuleType) -> None:
    """Load the CUDA and cuDNN that pip installed, which the linker does not find by itself."""
    if not hasattr(library, "preload_dlls"):  # before 1.21
        return
    # it reports to stdout, which is for data; what is missing shows when the session is opened
    with redirect_stdout(io.StringIO()) as report:
        library.preload_dlls()
    for line in report.getvalue().splitlines():
        logger.info("onnxruntime: %s", line)


def first_line(error: Exception) -> str:
    """First line of a library's message: the rest is its own call stack."""
    return (str(error) or type(error).__name__).splitlines()[0]
