"""The processor, as the system tells: which instructions for vectors and matrices it has.

In: nothing. Out: a `Processor`. Which instructions are there decides what a CPU computes fast: the
matrix units of bf16 and int8, which float32 does not use.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

INSTRUCTIONS: Final[Mapping[str, str]] = {
    # x86
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx_vnni": "AVX VNNI",
    "avx512_vnni": "AVX-512 VNNI",
    "avx512_fp16": "AVX-512 FP16",
    "avx512_bf16": "AVX-512 BF16",
    "amx_tile": "AMX",
    "amx_int8": "AMX INT8",
    "amx_bf16": "AMX BF16",
    # ARM
    "asimd": "ASIMD",
    "asimdhp": "ASIMD half precision",
    "asimddp": "dot products",
    "i8mm": "I8MM",
    "bf16": "BF16",
    "sve": "SVE",
}
"""Linux's name of an instruction set that decides how fast a model is -> what people call it."""

_FACTS: Final = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Processor:
    """One processor.

    Attributes:
        name: as it calls itself.
        instructions: those of `INSTRUCTIONS` that it has; None where the system does not tell.
    """

    name: str
    instructions: tuple[str, ...] | None

    @property
    def told(self) -> str:
        """The instruction sets for people."""
        if self.instructions is None:
            return "instruction sets: not told by this system"
        return ", ".join(INSTRUCTIONS[flag] for flag in self.instructions) or "no vector units"


def this_processor(facts: Path = _FACTS) -> Processor:
    """The first processor of this computer.

    Args:
        facts: what Linux tells of its processors; absent on other systems.

    Returns:
        The processor.
    """
    told: dict[str, str] = {}
    if facts.is_file():
        first = facts.read_text(encoding="utf-8", errors="replace").split("\n\n", 1)[0]
        pairs = (line.partition(":") for line in first.splitlines())
        told = {name.strip(): value.strip() for name, _, value in pairs}
    flags = told.get("flags", told.get("Features"))  # x86, ARM
    return Processor(
        name=told.get("model name") or platform.processor() or platform.machine(),
        instructions=None
        if flags is None
        else tuple(name for name in INSTRUCTIONS if name in flags.split()),
    )
