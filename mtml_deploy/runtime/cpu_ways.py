"""The ways to run a model on this CPU, fastest first, and which of them the parity gate has passed.

In: an artifact, what is installed and what the processor has. Out: `JudgedWay`s, the one that may
be relied on, and a sentence for a user who runs a slower one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final

from mtml_deploy.artifact.artifact import Artifact
from mtml_deploy.artifact.manifest import Precision
from mtml_deploy.artifact.verdict import Gate, gate_command, parity_gate
from mtml_deploy.defaults import EXECUTION_PRECISION, Backend, ExecutionPrecision, Rounding
from mtml_deploy.runtime.processor import Processor, this_processor
from mtml_deploy.runtime.triton_address import on_server

_FASTEST_FIRST: Final[tuple[ExecutionPrecision, ...]] = ("bf16", "f16", "f32")
"""Of one library: products of 8 bits take half the time of those of 11, and these of 24."""

_COMPUTED_WITH: Final[dict[ExecutionPrecision, frozenset[str]]] = {
    "bf16": frozenset({"avx512_bf16", "amx_bf16"}),
    "f16": frozenset({"avx512_fp16", "asimdhp"}),
}
"""A precision -> instruction sets of which OpenVINO needs one to compute in it."""


@dataclass(frozen=True)
class CpuWay:
    """One way to run a model on the CPU.

    Attributes:
        backend: the library.
        precision: what it computes float32 values in.
    """

    backend: Backend
    precision: ExecutionPrecision = EXECUTION_PRECISION

    @property
    def flags(self) -> str:
        """What asks for it on the command line."""
        flags = f"--backend {self.backend}"
        if self.precision != EXECUTION_PRECISION:
            flags += f" --execution-precision {self.precision}"
        return flags

    @property
    def computes_in(self) -> Rounding:
        """What it rounds float32 values to."""
        return self.precision if self.precision in ("bf16", "f16") else ""


@dataclass(frozen=True)
class JudgedWay:
    """A way for one artifact.

    Attributes:
        flags: what asks for it.
        gate: whether it may be relied on: "passed", "open" where nobody has compared, "failed".
        what: the reason, or the command that compares.
    """

    flags: str
    gate: Gate
    what: str


def cpu_ways(
    precisions: Sequence[str], *, ort: bool, model: Precision = "fp32"
) -> tuple[CpuWay, ...]:
    """What is installed, fastest first.

    Args:
        precisions: what OpenVINO computes in on this CPU; none where it is not installed.
        ort: ONNX Runtime is installed.
        model: precision of the artifact. Nearly all products of an int8 one are of integers, so
            rounding the rest gains nothing, and exact comes first.

    Returns:
        The ways.
    """
    order = reversed(_FASTEST_FIRST) if model == "int8" else _FASTEST_FIRST
    ways = [CpuWay("openvino", name) for name in order if name in precisions]
    return (*ways, *([CpuWay("ort")] if ort else []))


def computed_by_instructions(processor: Processor) -> tuple[ExecutionPrecision, ...]:
    """What OpenVINO computes in on a processor, told without loading it, slowest first."""
    flags = frozenset(processor.instructions or ())
    return tuple(
        name
        for name in reversed(_FASTEST_FIRST)
        if name not in _COMPUTED_WITH or flags & _COMPUTED_WITH[name]
    )


def judged_ways(artifact: Artifact, ways: Sequence[CpuWay]) -> tuple[JudgedWay, ...]:
    """What the verdicts beside an artifact say of each way.

    Args:
        artifact: the model.
        ways: from `cpu_ways`.

    Returns:
        In the same order.
    """
    found = []
    for way in ways:
        state, why = _gate(artifact, way)
        found.append(JudgedWay(way.flags, state, why or "the parity gate has passed it"))
    return tuple(found)


def faster_way(
    artifact: Artifact,
    *,
    backend: str,
    device: str,
    precision: ExecutionPrecision,
) -> str:
    """What a user must know who runs a slower way than is installed.

    OpenVINO is not loaded for this: it takes a second.

    Args:
        artifact: the model.
        backend: what runs it.
        device: where.
        precision: what OpenVINO was asked to compute in.

    Returns:
        One sentence; empty on a GPU or a server, where nothing faster is here, or where it failed
        the gate.
    """
    if (
        device != "cpu"
        or on_server(backend)
        or precision == "auto"
        or find_spec("openvino") is None
    ):
        return ""
    computed = computed_by_instructions(this_processor())
    for way in cpu_ways(computed, ort=True, model=artifact.manifest.precision):
        if (way.backend, way.precision) == (backend, precision):
            return ""
        state, _ = _gate(artifact, way)
        if state == "passed":
            return f"{way.flags} is likely faster on this CPU and has passed the parity gate"
        if state == "open":
            command = gate_command(artifact, backend=way.backend, computes_in=way.computes_in)
            return (
                f"{way.flags} is likely faster on this CPU; before it is used, let the parity "
                f"gate pass it: {command}"
            )
    return ""


def _gate(artifact: Artifact, way: CpuWay) -> tuple[Gate, str]:
    """What the verdict of a way says."""
    return parity_gate(artifact, backend=way.backend, device="cpu", computes_in=way.computes_in)
