"""The one door to the backends, which are loaded when one is opened.

In: an `Artifact`. Out: a `Runtime`. Importing this needs no inference library; opening needs one.
"""

from __future__ import annotations

from typing import get_args

from mtml_deploy.artifact.artifact import Artifact
from mtml_deploy.defaults import (
    BACKEND,
    DEVICE,
    EXECUTION_PRECISION,
    STREAMS,
    Backend,
    ExecutionPrecision,
)
from mtml_deploy.errors import BackendError
from mtml_deploy.runtime.runtime import Runtime


def open_runtime(
    artifact: Artifact,
    *,
    backend: Backend = BACKEND,
    device: str = DEVICE,
    threads: int = 0,
    precision: ExecutionPrecision = EXECUTION_PRECISION,
    streams: int = STREAMS,
) -> Runtime:
    """A runtime for `artifact` on exactly the backend and device asked for.

    Args:
        artifact: what `open_artifact` returned.
        backend: what runs it; for "tensorrt" and "tensorrt-rtx" an engine must have been built:
            mtml-deploy build.
        device: "cpu", "cuda:N" with N the number of the GPU, or "gpu:N" for an Intel GPU on
            OpenVINO.
        threads: threads of the model on the CPU; 0 leaves the number to the library.
        precision: what OpenVINO computes float32 values in; the others compute what the file says.
        streams: batches at work at once in `Runtime.stream` on OpenVINO.

    Returns:
        The loaded model; close it, or use it in a `with` statement.

    Raises:
        MissingExtraError: the backend's library is not installed.
        BackendError: unknown backend or device, or it is not usable on this machine.
        ArtifactError: the model cannot be loaded or is not what its manifest says.
    """
    if backend not in get_args(Backend):
        raise BackendError(
            f"backend is {backend!r}, expected one of {', '.join(get_args(Backend))}; "
            "name one of these"
        )
    if backend != "openvino" and (precision, streams) != (EXECUTION_PRECISION, STREAMS):
        raise BackendError(
            f"--execution-precision and --streams are OpenVINO's, found {precision} and {streams} "
            f"with {backend}; leave them out, or add --backend openvino"
        )
    # the only place that reaches a backend: importing this package must not need its library
    match backend:
        case "tensorrt" | "tensorrt-rtx":
            from mtml_deploy.runtime.trt import TensorRtRuntime

            return TensorRtRuntime(artifact, target=backend, device=device)
        case "openvino":
            from mtml_deploy.runtime.openvino import OpenVinoRuntime

            return OpenVinoRuntime(
                artifact, device=device, threads=threads, precision=precision, streams=streams
            )
        case "ort" | "ort-tensorrt":
            from mtml_deploy.runtime.ort import OrtRuntime

            inside = backend == "ort-tensorrt"
            return OrtRuntime(artifact, device=device, threads=threads, tensorrt=inside)
