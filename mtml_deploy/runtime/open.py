"""The one door to the backends, which are loaded when one is opened.

In: an `Artifact`. Out: a `Runtime`. Importing this needs no inference library; opening needs one.
"""

from __future__ import annotations

from mtml_deploy.artifact.artifact import Artifact
from mtml_deploy.defaults import (
    BACKEND,
    DEVICE,
    EXECUTION_PRECISION,
    STREAMS,
    ExecutionPrecision,
)
from mtml_deploy.errors import BackendError
from mtml_deploy.runtime.runtime import Runtime
from mtml_deploy.runtime.triton_address import TritonAddress, check_backend, on_server


def open_runtime(
    artifact: Artifact,
    *,
    backend: str = BACKEND,
    device: str = DEVICE,
    threads: int = 0,
    precision: ExecutionPrecision = EXECUTION_PRECISION,
    streams: int = STREAMS,
) -> Runtime:
    """A runtime for `artifact` on exactly the backend and device asked for.

    Args:
        artifact: what `open_artifact` returned.
        backend: what runs it; for "tensorrt" and "tensorrt-rtx" an engine must have been built:
            mtml-deploy build; "triton://HOST:PORT/MODEL" or "triton+grpc://..." is a server.
        device: "cpu", "cuda:N" with N the number of the GPU, or "gpu:N" for an Intel GPU on
            OpenVINO; of a server what it must run the model on.
        threads: threads of the model on the CPU; 0 leaves the number to the library.
        precision: what OpenVINO computes float32 values in; the others compute what the file says.
        streams: batches at work at once in `Runtime.stream` on OpenVINO, requests on a server.

    Returns:
        The loaded model; close it, or use it in a `with` statement.

    Raises:
        MissingExtraError: the backend's library is not installed.
        BackendError: unknown backend or device, or it is not usable on this machine.
        ArtifactError: the model cannot be loaded or is not what its manifest says, or a server has
            another one.
    """
    check_backend(backend)
    if on_server(backend):
        if (precision, threads) != (EXECUTION_PRECISION, 0):
            raise BackendError(
                f"--execution-precision and --model-threads are settled on the server, found "
                f"{precision} and {threads}; leave them out"
            )
        from mtml_deploy.runtime.triton import TritonRuntime

        return TritonRuntime(artifact, TritonAddress.parse(backend), device=device, streams=streams)
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
        case _:  # "ort" and "ort-tensorrt": others are refused above
            from mtml_deploy.runtime.ort import OrtRuntime

            inside = backend == "ort-tensorrt"
            return OrtRuntime(artifact, device=device, threads=threads, tensorrt=inside)
