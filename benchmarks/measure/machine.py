"""Where and with what a benchmark ran: machine, GPUs, library versions, commit, date."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from mtml_deploy import record_file
from mtml_deploy.engine.gpu import find_gpus
from mtml_deploy.runtime.processor import this_processor

_LIBRARIES: Final = (
    "mtml-reid",
    "numpy",
    "pillow",
    "onnxruntime",
    "onnxruntime-gpu",
    "torch",
    "torchvision",
    "onnx",
    "openvino",
    "nncf",
    "tensorrt",
    "tensorrt-rtx-cu13",
    "pycuda",
    "faiss-cpu",
    "lancedb",
)
_ASKED: Final = {
    "clocks.sm": "sm_clock_mhz",
    "clocks.max.sm": "max_sm_clock_mhz",
    "clocks.mem": "memory_clock_mhz",
    "power.limit": "power_limit_w",
    "temperature.gpu": "temperature_c",
}
"""What nvidia-smi is asked for -> its name in the record."""

_ROOT: Final = Path(__file__).parents[2]


class Machine(record_file.Record, frozen=True):
    """The computer.

    Attributes:
        cpu: the processor's name.
        instructions: instruction sets for vectors and matrices it has; empty where the system
            does not tell.
        logical_cpus: of the machine.
        usable_cpus: that this process may run on.
        memory_bytes: installed memory.
        system: operating system and its version.
        load: mean number of runnable processes in the minute before; above 0 others compute too.
    """

    cpu: str
    instructions: tuple[str, ...]
    logical_cpus: int
    usable_cpus: int
    memory_bytes: int
    system: str
    load: float


class GpuState(record_file.Record, frozen=True):
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


@dataclass(frozen=True)
class Environment:
    """What a number means nothing without.

    Attributes:
        date: start, ISO 8601, UTC.
        git_commit: commit of this checkout; None outside of one.
        git_changed: whether tracked files differ from the commit; None outside of a checkout.
        machine: the computer.
        versions: of Python and the libraries that are installed.
        gpus: the GPUs of the computer.
    """

    date: str
    git_commit: str | None
    git_changed: bool | None
    machine: Machine
    versions: Mapping[str, str]
    gpus: tuple[GpuState, ...] = ()


def describe_environment() -> Environment:
    """Machine, versions, commit and date as they are now."""
    commit = _git("rev-parse", "HEAD")
    status = _git("status", "--porcelain", "--untracked-files=no")
    return Environment(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        git_commit=commit,
        git_changed=None if status is None else bool(status),
        machine=_machine(),
        versions={"python": platform.python_version(), **_versions()},
        gpus=gpu_states(),
    )


def gpu_states() -> tuple[GpuState, ...]:
    """Every GPU as it is now; empty without one."""
    return tuple(
        GpuState(
            gpu.name,
            gpu.compute_capability,
            gpu.memory_bytes,
            gpu.driver,
            gpu.cuda,
            parse_state(_ask(gpu.pci_bus_id)),
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


def _machine() -> Machine:
    """This computer."""
    processor = this_processor()
    logical = os.cpu_count() or 1
    # a container or a cpuset may allow fewer than the machine has
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else logical
    return Machine(
        cpu=processor.name,
        instructions=processor.instructions or (),
        logical_cpus=logical,
        usable_cpus=usable,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        system=f"{platform.system()} {platform.release()}",
        load=round(os.getloadavg()[0], 2),
    )


def _ask(pci_bus_id: str) -> str:
    """The answer of nvidia-smi for one GPU; empty where it is not installed or fails.

    Its own numbers count every GPU in the order of the buses; those of CUDA follow
    CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER.
    """
    query = f"--query-gpu={','.join(_ASKED)}"
    try:
        done = subprocess.run(
            ["nvidia-smi", f"--id={pci_bus_id}", query, "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _versions() -> dict[str, str]:
    """Versions of the libraries that are installed."""
    found: dict[str, str] = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # optional: what is absent was not measured either
            continue
    return found


def _git(*words: str) -> str | None:
    """Output of a git command that changes nothing; None without git or outside of a checkout."""
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(_ROOT), *words],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
