"""The process that one contender of a ranking benchmark runs in; started by `ranking_process`.

    python -m benchmarks.measure.child < JOB

Reads a pickled `Job`, which only its parent makes, and writes the times, the memory and the results
to the file that the job names.
"""

from __future__ import annotations

import pickle
import statistics
import sys
import time
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.measure.process import Job
from mtml_deploy.errors import BackendError

_STATUS: Final = Path("/proc/self/status")


def memory_bytes(field: str) -> int:
    """Memory of this process as the system counts it.

    Args:
        field: "VmRSS", held now; "VmHWM", most ever held. (The peak that `getrusage` tells would
            be inherited from the process that started this one.)

    Returns:
        Bytes.

    Raises:
        BackendError: not on Linux.
    """
    if not _STATUS.is_file():
        raise BackendError(
            f"memory is read from {_STATUS}, which this system lacks; measure on Linux"
        )
    for line in _STATUS.read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise ValueError(f"{_STATUS} has no field {field}")


def run(job: Job) -> None:
    """Do the work of `job` and write what it took."""
    work = job.prepare()
    work.warm_up()
    before = memory_bytes("VmRSS")
    seconds, found = [], []
    for act in work.timed:
        started = time.perf_counter()
        result = act()
        seconds.append(time.perf_counter() - started)
        found.append(result)
    peak = memory_bytes("VmHWM")
    arrays = {name: np.concatenate([result[name] for result in found]) for name in found[0]}
    arrays["seconds"] = np.array(statistics.median(seconds))
    arrays["before_bytes"], arrays["peak_bytes"] = np.array(before), np.array(peak)
    np.savez(job.out, allow_pickle=False, **arrays)


if __name__ == "__main__":
    run(pickle.loads(sys.stdin.buffer.read()))
