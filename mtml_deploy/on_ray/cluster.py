"""The Ray cluster that workers run on: one that is there, or this machine for as long as it takes.

In: what a worker needs. Out: a connection, and how many workers there is room for.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any, Final

from mtml_deploy.errors import BackendError
from mtml_deploy.model import EmbedOptions
from mtml_deploy.runtime.triton_address import on_server

_CLUSTER: Final = "RAY_ADDRESS"
"""Environment variable that names a cluster; without it this machine is the cluster."""

_STORE_BYTES: Final = 100 << 20
"""For what workers tell: nothing large travels through Ray."""

_NAMES: Final = {"num_cpus": "CPU", "num_gpus": "GPU"}
"""What a worker asks for -> what a cluster tells that it has."""


def needs_of(how: EmbedOptions) -> dict[str, float]:
    """What Ray sets aside for one worker.

    Raises:
        BackendError: a GPU that no worker would see by this number.
    """
    needs: dict[str, float] = {"num_cpus": how.model_threads}
    if how.device.startswith("cuda") and not on_server(how.backend):
        if how.device != "cuda:0":
            raise BackendError(
                f"--device {how.device}: Ray gives every worker a GPU of its own, which it sees as "
                "cuda:0 whichever it is; say cuda:0"
            )
        needs["num_gpus"] = 1
    return needs


@contextmanager
def cluster(ray: ModuleType, needs: Mapping[str, float], workers: int) -> Iterator[int]:
    """Be connected to the cluster.

    Args:
        ray: the library.
        needs: of one worker.
        workers: that were asked for, 0 for any number.

    Yields:
        How many workers there is room for.

    Raises:
        BackendError: no cluster there, or too small a one.
    """
    address = os.environ.get(_CLUSTER)
    here: dict[str, Any] = {}
    if not address:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # this machine tells nobody
        cpus = max(len(os.sched_getaffinity(0)), int(max(1, workers) * needs["num_cpus"]))
        here = {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": _STORE_BYTES}
    with _own_signals():
        try:
            ray.init(address or "local", log_to_driver=False, logging_level="ERROR", **here)
        except ConnectionError as error:
            raise BackendError(
                f"no Ray cluster can be used at {address}: {first_line(error)}; start one, "
                f"correct {_CLUSTER}, or leave it out to use this machine"
            ) from error
    try:
        yield room_of(ray.cluster_resources(), needs, workers)
    finally:
        ray.shutdown()


def room_of(has: Mapping[str, float], needs: Mapping[str, float], workers: int) -> int:
    """How many workers a cluster has room for.

    Raises:
        BackendError: none, or fewer than were asked for: the others would wait for ever.
    """
    room = min(int(has.get(_NAMES[name], 0) // need) for name, need in needs.items())
    if room < max(1, workers):
        each = " and ".join(f"{need:g} {_NAMES[name]}" for name, need in needs.items())
        total = " and ".join(f"{has.get(_NAMES[name], 0):g} {_NAMES[name]}" for name in needs)
        raise BackendError(
            f"the cluster has room for {room} workers ({total}, and each takes {each}), expected "
            f"{max(1, workers)}; ask for fewer --workers or --model-threads, or add machines"
        )
    return room


@contextmanager
def _own_signals() -> Iterator[None]:
    """Leave signals to who handled them before: Ray takes SIGTERM for itself."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        with suppress(ValueError):  # not in the main thread, where nothing was changed either
            for number, handler in before.items():
                signal.signal(number, handler)


def first_line(error: BaseException) -> str:
    """An error of Ray without its report."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
