"""What a build of TensorRT-RTX says of its engine: kernels, types, bytes moved, scratch memory."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

_KERNEL = re.compile(
    r"^Name: (?P<name>.+?), LayerType: (?P<kind>\w+), Inputs: \[(?P<inputs>.*?)\], "
    r"Constants: \[(?P<constants>.*?)\], Outputs: \[(?P<outputs>.*?)\], TacticName: .*?, "
    r"StreamId: (?P<stream>\d+),",
    re.MULTILINE,
)
_TENSOR = re.compile(r"\{ Name: \S+, Dimensions: \[(?P<sizes>[-\d,]*)\].*?Datatype: (?P<type>\w+),")
_SCRATCH = re.compile(r"Max Scratch Memory: (\d+) bytes")

_BYTES = {"Float": 4, "Half": 2, "Int8": 1, "UInt8": 1, "Int32": 4, "Int64": 8, "Bool": 1}
_ORDER_ONLY = ("signal", "wait", "shape_call")
"""What computes nothing: streams that wait for each other."""


@dataclass(frozen=True)
class Kernel:
    """One kernel of an engine; types are the library's words.

    Attributes:
        kind: "correlation" for a convolution, "gemm", "maxpool", "kgen" for all that is generated.
        inputs: type of each input; weights are not among them.
        weights: type of each constant.
        outputs: type of each output.
        moved: bytes of feature maps [B, C, H, W] that it reads and writes, per image.
        stream: 0 is the main one.
    """

    kind: str
    inputs: tuple[str, ...]
    weights: tuple[str, ...]
    outputs: tuple[str, ...]
    moved: int
    stream: int


@dataclass(frozen=True)
class EngineLog:
    """An engine, as its build listed it."""

    kernels: tuple[Kernel, ...]
    scratch: int

    @property
    def convolutions(self) -> tuple[Kernel, ...]:
        return tuple(kernel for kernel in self.kernels if kernel.kind == "correlation")

    @property
    def int8_convolutions(self) -> int:
        """Those that multiply int8 by int8."""
        return sum(kernel.inputs[0] == kernel.weights[0] == "Int8" for kernel in self.convolutions)

    @property
    def outputs(self) -> set[str]:
        """Types that convolutions write."""
        return {name for kernel in self.convolutions for name in kernel.outputs}

    @property
    def moved(self) -> int:
        """Bytes of feature maps read and written per image."""
        return sum(kernel.moved for kernel in self.kernels)

    @property
    def streams(self) -> int:
        return len({kernel.stream for kernel in self.kernels})


def read_engine_log(messages: Sequence[str]) -> EngineLog:
    """The engine that a build describes; profiling verbosity DETAILED.

    Args:
        messages: all messages of the build, with one listing of kernels.
    """
    text = "\n".join(messages)
    kernels = []
    for found in _KERNEL.finditer(text):
        if found["kind"] in _ORDER_ONLY:
            continue
        groups = {part: _TENSOR.findall(found[part]) for part in ("inputs", "constants", "outputs")}
        moved = sum(
            math.prod(map(int, sizes.split(",")[1:])) * _BYTES[name]
            for sizes, name in groups["inputs"] + groups["outputs"]
            if sizes.count(",") == 3
        )
        types = {part: tuple(name for _, name in tensors) for part, tensors in groups.items()}
        kernels.append(
            Kernel(
                kind=found["kind"],
                inputs=types["inputs"],
                weights=types["constants"],
                outputs=types["outputs"],
                moved=moved,
                stream=int(found["stream"]),
            )
        )
    return EngineLog(tuple(kernels), max(map(int, _SCRATCH.findall(text))))
