"""The exported model through the project's backends, and through OpenVINO."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.runners.runner import Images, Part, Runner, Subject, run_each
from benchmarks.sizes import Arithmetic
from mtml_deploy.artifact.artifact import Artifact
from mtml_deploy.artifact.manifest import EMBEDDINGS_OUTPUT, INPUT_NAME, Precision
from mtml_deploy.defaults import EXECUTION_PRECISION, Backend, ExecutionPrecision, Rounding
from mtml_deploy.errors import BackendError
from mtml_deploy.runtime.open import open_runtime
from mtml_deploy.runtime.ort import OrtRuntime
from mtml_deploy.runtime.ort_library import prepare_session, require_active
from mtml_deploy.runtime.runtime import Runtime
from mtml_deploy.runtime.trt import TensorRtRuntime

_TITLES: Mapping[Backend, str] = {
    "ort": "ONNX Runtime",
    "openvino": "OpenVINO",
    "tensorrt": "TensorRT",
    "tensorrt-rtx": "TensorRT-RTX",
}
_ROUNDED: Mapping[Rounding, Arithmetic] = {"": "fp32", "bf16": "bf16", "f16": "fp16"}


@contextmanager
def open_deployed(
    subject: Subject,
    backend: Backend,
    precision: ExecutionPrecision = EXECUTION_PRECISION,
    *,
    nhwc: bool = False,
) -> Iterator[Runner]:
    """A backend of the project, as `mtml-deploy embed` runs it.

    Args:
        subject: the model.
        backend: which one.
        precision: what OpenVINO computes float32 values in.
        nhwc: let ONNX Runtime convolve with channels last, on a GPU.

    Yields:
        The runner.

    Raises:
        MtmlError: as `open_runtime`.
    """
    device, artifact = subject.device, subject.artifact
    threads = subject.threads if device == "cpu" else 0
    where = "CPU" if device == "cpu" else "GPU"
    runtime: Runtime
    if nhwc:
        runtime = OrtRuntime(artifact, device=device, nhwc=True)
    else:
        runtime = open_runtime(
            artifact, backend=backend, device=device, threads=threads, precision=precision
        )
    with runtime:
        parts: Callable[[Images], Mapping[Part, float]] | None = None
        if backend == "ort" and device != "cpu":
            parts = _ort_parts(artifact, device, nhwc=nhwc)
        elif isinstance(runtime, TensorRtRuntime):
            parts = _engine_parts(runtime)
        rounded = runtime.computes_in

        def stream(batches: Iterable[Images]) -> None:
            for _ in runtime.stream(batches):
                pass

        yield Runner(
            key="-".join(filter(None, (backend, rounded, "nhwc" if nhwc else ""))),
            title=_TITLES[backend]
            + (f" {where}" if backend in ("ort", "openvino") else "")
            + (f" {rounded}" if rounded else "")
            + (" NHWC" if nhwc else ""),
            what=f"The exported {artifact.manifest.precision} model through the runtime {backend}"
            + (f", float32 values in {rounded}" if rounded else "")
            + (", convolutions with channels last and with their bias." if nhwc else "."),
            precision=products_in(artifact.manifest.precision, backend, device, rounded),
            run=runtime.run,
            stream=stream,
            parts=parts,
        )


def products_in(model: Precision, backend: Backend, device: str, rounded: Rounding) -> Arithmetic:
    """What a backend computes the products of a model in, whatever the file says.

    Args:
        model: precision of the file.
        backend: what runs it.
        device: where.
        rounded: what it rounds float32 values to.

    Returns:
        On a CPU ONNX Runtime computes every file in float32, and OpenVINO int8 files in integers.
    """
    if device != "cpu":
        return model
    if backend == "openvino" and model == "int8":
        return "int8"
    return _ROUNDED[rounded]


def _engine_parts(runtime: TensorRtRuntime) -> Callable[[Images], Mapping[Part, float]]:
    """Times of copies and computation of an engine, by the GPU's own clock."""

    def parts(images: Images) -> Mapping[Part, float]:
        found = runtime.time_parts(images)
        return {
            "copy_in": found.copy_in,
            "compute": found.compute,
            "copy_out": found.copy_out,
        }

    return parts


def _ort_parts(
    artifact: Artifact, device: str, *, nhwc: bool
) -> Callable[[Images], Mapping[Part, float]]:
    """Times of copies and computation of ONNX Runtime on a GPU, in a session of their own."""
    ort, options, provider = prepare_session(device, nhwc=nhwc)
    session = ort.InferenceSession(artifact.model_path, sess_options=options, providers=[provider])
    require_active(session.get_providers(), device, provider)
    index = int(device.partition(":")[2])

    def parts(images: Images) -> Mapping[Part, float]:
        binding = session.io_binding()
        times = [time.perf_counter()]
        value = ort.OrtValue.ortvalue_from_numpy(images, "cuda", index)
        times.append(time.perf_counter())
        binding.bind_ortvalue_input(INPUT_NAME, value)
        binding.bind_output(EMBEDDINGS_OUTPUT, "cuda", index)
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        times.append(time.perf_counter())
        binding.get_outputs()[0].numpy()
        times.append(time.perf_counter())
        copied, computed, returned = np.diff(times).tolist()
        return {"copy_in": copied, "compute": computed, "copy_out": returned}

    return parts


@contextmanager
def open_openvino_alone(subject: Subject) -> Iterator[Runner]:
    """OpenVINO alone, in the plainest way: what the project's backend is compared with.

    Args:
        subject: the model.

    Yields:
        The runner.

    Raises:
        BackendError: it is not installed, or refuses the model.
    """
    try:
        import openvino
    except ImportError as error:
        raise BackendError("not installed; run: pip install openvino") from error
    core = openvino.Core()
    precision = subject.artifact.manifest.precision
    run = compiled_run(core, lambda: core.read_model(subject.artifact.model_path), subject)
    yield Runner(
        key="openvino-alone",
        title="OpenVINO alone CPU",
        what=f"The exported {precision} model through OpenVINO, floating point as float32.",
        precision=products_in(precision, "openvino", "cpu", ""),
        run=run,
        stream=partial(run_each, run),
    )


def compiled_run(
    core: Any,  # noqa: ANN401 - untyped library
    read: Callable[[], Any],
    subject: Subject,
) -> Callable[[Images], NDArray[np.float32]]:
    """A model compiled by OpenVINO for the CPU, floating point as float32.

    Args:
        core: of the library.
        read: gives its model.
        subject: whose threads are used.

    Returns:
        Runs a batch.

    Raises:
        BackendError: it refuses the model.
    """
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": subject.threads,
        # by itself it computes in bfloat16 where the processor can
        "INFERENCE_PRECISION_HINT": "f32",
    }
    try:
        request = core.compile_model(read(), "CPU", settings).create_infer_request()
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise BackendError(f"it refuses {subject.artifact.model_path}: {reason}") from error

    def run(images: Images) -> NDArray[np.float32]:
        outputs = request.infer({INPUT_NAME: images})
        # the request's own memory, which the next run overwrites
        return np.array(outputs[EMBEDDINGS_OUTPUT], dtype=np.float32)

    return run
