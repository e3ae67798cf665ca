"""OpenVINO: what uses the matrix units of a CPU, and Intel GPUs, or an error.

The library changes a precision that a device lacks on its own; here what it computes in is compared
with the request. `openvino` is imported when a model is loaded, not before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final, Self, get_args

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.artifact.artifact import Artifact
from mtml_deploy.artifact.manifest import (
    INPUT_NAME,
    METADATA_KEY,
)
from mtml_deploy.defaults import ExecutionPrecision, Rounding
from mtml_deploy.errors import ArtifactError, BackendError, MissingExtraError
from mtml_deploy.runtime.graph_input import graph_input
from mtml_deploy.runtime.graph_record import check_graph, check_record
from mtml_deploy.runtime.in_flight import in_flight
from mtml_deploy.runtime.runtime import ModelOutputs, Runtime, check_images, closed, output_widths

_TENSOR_TYPES: Final = {"u8": "uint8", "f32": "float"}
"""OpenVINO's short name of a type -> ONNX Runtime's."""

_CAPABILITIES: Final = {"f32": "FP32", "f16": "FP16", "bf16": "BF16"}
"""A precision -> what a device that computes in it says of itself, slowest first."""

_ROUNDED: Final[Mapping[str, Rounding]] = {"f32": "", "bf16": "bf16", "f16": "f16"}
"""A precision -> what it rounds float32 values to."""


class OpenVinoRuntime(Runtime):
    """A compiled model on one device (see `mtml_deploy.runtime.runtime.Runtime`).

    A batch is run as it comes. With several streams as many batches of a `stream` run at once, each
    on its share of the threads, which is faster in total and slower for one batch.
    """

    def __init__(
        self,
        artifact: Artifact,
        *,
        device: str = "cpu",
        threads: int = 0,
        precision: ExecutionPrecision = "f32",
        streams: int = 1,
    ) -> None:
        """Load the model and check that it is what its manifest says.

        Args:
            artifact: the exported model.
            device: "cpu", or "gpu:N" for Intel's.
            threads: threads of all streams together on the CPU; 0 leaves the number to the
                library.
            precision: what float32 values of the file are computed in; "auto" takes the fastest
                that the device has. The integer parts of an int8 model stay integers.
            streams: batches at work at once in `stream`, 1 or more.

        Raises:
            MissingExtraError: openvino is not installed.
            BackendError: unknown device, or one that does not compute in `precision`.
            ArtifactError: not a loadable model, or one that differs from its manifest.
            ValueError: negative `threads`, `streams` below 1, or an unknown precision.
        """
        if threads < 0 or streams < 1:
            raise ValueError(
                f"threads must be 0 or more and streams 1 or more, found {threads} and {streams}"
            )
        if precision not in get_args(ExecutionPrecision):
            raise ValueError(
                f"precision must be one of {', '.join(get_args(ExecutionPrecision))}, "
                f"found {precision!r}"
            )
        core = _library().Core()
        name = _device_name(core, device)
        _require_capability(core, name, device, precision)
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY" if streams == 1 else "THROUGHPUT",
            "NUM_STREAMS": streams,
        }
        if precision != "auto":
            settings["INFERENCE_PRECISION_HINT"] = precision
        if threads and name == "CPU":
            settings["INFERENCE_NUM_THREADS"] = threads
        try:
            model = core.read_model(artifact.model_path)
            check_record(_metadata(model), artifact)
            check_graph(
                [_Port.of(port) for port in model.inputs],
                [_Port.of(port) for port in model.outputs],
                artifact,
            )
            self._compiled: Any = core.compile_model(model, name, settings)
        except RuntimeError as error:  # the library's only kind
            raise ArtifactError(
                f"OpenVINO cannot load {artifact.model_path}: {_reason(error)}; export it again: "
                "mtml-export RUN --out NEW"
            ) from error
        found: str = self._compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        if precision not in ("auto", found) or found not in _CAPABILITIES:
            raise BackendError(
                f"{precision} was asked for and OpenVINO computes in {found} on {device}, expected "
                f"one of {', '.join(_CAPABILITIES)}; ask for another --execution-precision"
            )
        self.manifest = artifact.manifest
        self.computes_in = _ROUNDED[found]
        self._streams = streams
        self._idle = [self._compiled.create_infer_request() for _ in range(streams)]

    def run_all(self, images: NDArray[np.uint8]) -> ModelOutputs:
        """Embeddings and orientation of uint8 [B, H, W, 3]; see `Runtime.run_all`."""
        return self._start(images)()

    def stream(self, batches: Iterable[NDArray[np.uint8]]) -> Iterator[ModelOutputs]:
        """Outputs of each batch, one batch per request at work at once; see `Runtime.stream`."""
        return in_flight(batches, self._start, most=self._streams)

    def close(self) -> None:
        """Free the model."""
        self._idle = []
        self._compiled = None

    def _start(self, images: NDArray[np.uint8]) -> Callable[[], ModelOutputs]:
        """Begin a batch; what is returned waits for its outputs."""
        if self._compiled is None:
            raise closed()
        images = check_images(images, self.manifest)
        if not self._idle:
            raise ValueError("every request of this runtime is in a stream; end that first")
        request = self._idle.pop()
        fed = graph_input(images, self.manifest)
        request.start_async({INPUT_NAME: fed}, share_inputs=True)

        def collect() -> ModelOutputs:
            try:
                request.wait()
                found = {  # copies: the next batch is written to the same memory
                    name: np.array(request.get_tensor(name).data, np.float32)
                    for name in output_widths(self.manifest)
                }
            except RuntimeError as error:
                raise BackendError(
                    f"OpenVINO failed on a batch of {len(images)} images: {_reason(error)}; try "
                    "smaller batches"
                ) from error
            finally:
                if all(idle is not request for idle in self._idle):  # asked for twice
                    self._idle.append(request)
            return ModelOutputs.of(found)

        return collect


@dataclass(frozen=True)
class _Port:
    """An input or output in ONNX Runtime's words, see `graph_record.Tensor`."""

    name: str
    type: str
    shape: tuple[int | None, ...]

    @classmethod
    def of(cls, port: Any) -> Self:  # noqa: ANN401 - untyped library
        """What OpenVINO tells of one."""
        kind = port.get_element_type().to_string()
        sizes = port.get_partial_shape()
        return cls(
            name=port.get_any_name(),
            type=f"tensor({_TENSOR_TYPES.get(kind, kind)})",
            shape=tuple(size.get_length() if size.is_static else None for size in sizes),
        )


def offered_precisions() -> Mapping[str, tuple[str, ...]] | None:
    """What each device here computes in: "cpu" -> ("f32", "bf16"); None without OpenVINO."""
    try:
        core = _library().Core()
    except MissingExtraError:
        return None
    return {
        name.lower().replace(".", ":"): _computed(core, name)
        for name in core.available_devices
        if name.partition(".")[0] in ("CPU", "GPU")
    }


def _library() -> ModuleType:
    """The openvino module."""
    try:
        import openvino
    except ImportError as error:
        raise MissingExtraError("running a model on OpenVINO needs openvino", "openvino") from error
    library: ModuleType = openvino
    return library


def _device_name(core: Any, device: str) -> str:  # noqa: ANN401 - untyped library
    """OpenVINO's name of a device that is here.

    Raises:
        BackendError: another device than OpenVINO runs on, or it is not here.
    """
    kind, _, number = device.partition(":")
    name = {"cpu": "CPU", "gpu": "GPU"}.get(kind, "")
    if not name or (name == "CPU" and number) or (number and not number.isdecimal()):
        raise BackendError(
            f"device is {device!r}, on OpenVINO expected cpu, or gpu:N for an Intel GPU; NVIDIA's "
            "run with --backend ort or tensorrt"
        )
    here = core.available_devices
    wanted = f"{name}.{number}" if number else name
    if not any(found == wanted or found.partition(".")[0] == wanted for found in here):
        raise BackendError(
            f"{device} was asked for and OpenVINO finds {', '.join(here)} here; ask for --device "
            "cpu, or install the driver of the Intel GPU"
        )
    return wanted


def _require_capability(
    core: Any,  # noqa: ANN401 - untyped library
    name: str,
    device: str,
    precision: ExecutionPrecision,
) -> None:
    """Refuse a precision that the device would emulate, slower than float32."""
    if precision == "auto":
        return
    here = _computed(core, name)
    if precision not in here:
        raise BackendError(
            f"{precision} was asked for and {device} ({core.get_property(name, 'FULL_DEVICE_NAME')}"
            f") computes in {', '.join(here)}; ask for --execution-precision {here[-1]}, or auto"
        )


def _computed(core: Any, name: str) -> tuple[str, ...]:  # noqa: ANN401 - untyped library
    """The precisions that a device computes in, slowest first."""
    offered = core.get_property(name, "OPTIMIZATION_CAPABILITIES")
    return tuple(ours for ours, theirs in _CAPABILITIES.items() if theirs in offered)


def _metadata(model: Any) -> dict[str, str]:  # noqa: ANN401 - untyped library
    """The metadata of the ONNX file, as far as it is ours."""
    path = ["framework", METADATA_KEY]
    return (
        {METADATA_KEY: str(model.get_rt_info(path).astype(str))} if model.has_rt_info(path) else {}
    )


def _reason(error: Exception) -> str:
    """What went wrong: the last line of the library's message that is not a place in its source."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith(("Exception from", "Check "))]
    return (told or lines or [type(error).__name__])[-1].rstrip(".")
