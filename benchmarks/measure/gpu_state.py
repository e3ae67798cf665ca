"""The GPUs of this machine and how fast they may run: clocks, power limit, temperature."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mtml_deploy.engine.gpu import find_gpus

_ASKED: Final = {
    "clocks.sm": "sm_clock_mhz",
    "clocks.max.sm": "max_sm_clock_mhz",
    "clocks.mem": "memory_clock_mhz",
    "power.limit": "power_limit_w",
    "temperature.gpu": "temperature_c",
}
"""What nvidia-smi is asked for -> its name in the record."""


@dataclass(frozen=True)
class GpuState:
    """One GPU.

    Attributes:
        name: for example "NVIDIA H100 80GB HBM3".
        compute_capability: for example "9.0".
        memory_bytes: of the device.
        driver: version of the kernel driver.
        cuda: newest CUDA version that the driver runs.
        state: clocks, power limit and temperature before the start, by `_ASKED`; what nvidia-smi
            does not tell is missing. A clock below its maximum shows an idle or a limited GPU.
    """

    name: str
    compute_capability: str
    memory_bytes: int
    driver: str
    cuda: str
    state: Mapping[str, float]


def gpu_states() -> tuple[GpuState, ...]:
    """Every GPU as it is now; empty without one."""
    return tuple(
        GpuState(
            gpu.name,
            gpu.compute_capability,
            gpu.memory_bytes,
            gpu.driver,
            gpu.cuda,
            parse_state(_ask(gpu.index)),
        )
        for gpu in find_gpus().gpus
    )


def parse_state(line: str) -> dict[str, float]:
    """What nvidia-smi answered, by name.

    Args:
        line: values separated by commas, in the order of `_ASKED`; "" if it did not answer.

    Returns:
        The numbers; "[N/A]" and the like are left out.
    """
    found: dict[str, float] = {}
    for name, text in zip(_ASKED.values(), line.split(","), strict=False):
        try:
            found[name] = float(text)
        except ValueError:  # a value that this GPU does not have
            continue
    return found


def _ask(index: int) -> str:
    """The answer of nvidia-smi for one GPU; empty where it is not installed or fails."""
    query = f"--query-gpu={','.join(_ASKED)}"
    try:
        done = subprocess.run(
            ["nvidia-smi", f"--id={index}", query, "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
