"""The processes of one run: who this one is, as `torchrun` tells it through the environment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Final, cast

import torch
from torch import distributed

from mtml_deploy.errors import BackendError

_PATIENCE: Final = timedelta(hours=1)
"""How long a process waits for another within a step. A process that is gone is noticed at once by
other means."""

_LONGEST: Final = timedelta(days=365)
"""How long they wait for what the first one does alone: validating takes as long as it takes."""

_TOLD: Final = ("RANK", "MASTER_ADDR", "MASTER_PORT")
"""What a launcher tells each of several processes."""


@dataclass(frozen=True)
class Process:
    """One process of a run.

    Attributes:
        rank: 0..world-1; rank 0 validates, writes and reports.
        world: number of processes.
        device: where this process computes.
        pauses: in which they wait for the first one; None where it is alone.
    """

    rank: int
    world: int
    device: torch.device
    pauses: distributed.ProcessGroup | None = None

    @property
    def is_first(self) -> bool:
        """Whether this process writes and reports."""
        return self.rank == 0

    def after_first(self, *, answer: bool = False) -> bool:
        """What the first process answers, as soon as it has come here; all of them come here.

        The others wait in a group of their own, however long it takes, and leave the GPUs alone.

        Args:
            answer: counts in the first process only.
        """
        if self.pauses is None:
            return answer
        told = torch.tensor([int(answer)], dtype=torch.int32)
        distributed.broadcast(told, src=0, group=self.pauses)
        return bool(told.item())


@contextmanager
def join_processes(device: str) -> Iterator[Process]:
    """Join the processes that torchrun started; alone without it.

    Args:
        device: "auto" (cuda where there is one), "cpu", "cuda" or "cuda:N".

    Yields:
        This process.

    Raises:
        BackendError: cuda was asked for and is not usable.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    chosen = _device(device, int(os.environ.get("LOCAL_RANK", "0")), world)
    if world == 1:
        yield Process(rank=0, world=1, device=chosen)
        return
    if missing := [name for name in _TOLD if name not in os.environ]:
        raise BackendError(
            f"WORLD_SIZE is {world}, but {', '.join(missing)} are not set; start several processes "
            "with torchrun, or unset WORLD_SIZE"
        )
    cuda = chosen.type == "cuda"
    if cuda:
        torch.cuda.set_device(chosen)
    try:
        distributed.init_process_group(
            "nccl" if cuda else "gloo",
            timeout=_PATIENCE,
            # else NCCL guesses the GPU by the rank, which is wrong with several machines
            device_id=chosen if cuda else None,
        )
        # of all processes, so this one is never told that it is no member
        pauses = cast(
            "distributed.ProcessGroup", distributed.new_group(backend="gloo", timeout=_LONGEST)
        )
        yield Process(rank=rank, world=world, device=chosen, pauses=pauses)
    except Exception as error:
        # asked while the others still wait for this process: they fail as soon as it is gone
        if first_to_fail() and _is_of_a_lost_process(error):
            raise BackendError(
                f"process {rank} lost another of the {world} processes: it was killed, for example "
                "for want of memory, or its machine is gone; the launcher tells its exit status; "
                "go on from the last checkpoint with --resume"
            ) from error
        raise
    # only here: leaving in order waits for the others, and after an error they may be gone
    distributed.destroy_process_group()


@cache
def first_to_fail() -> bool:
    """Whether this process is the first of the run that fails; the answer of the first call stays.

    Returns:
        True in one process only where torchrun started them, and always without it.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return True
    try:
        store = distributed.TCPStore(  # type: ignore[attr-defined]
            os.environ["MASTER_ADDR"],
            int(os.environ["MASTER_PORT"]),
            is_master=False,
            timeout=timedelta(seconds=5),
        )
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        return store.add(f"mtml/failed/{attempt}", 1) == 1
    except RuntimeError:  # the launcher is gone
        return True


def _is_of_a_lost_process(error: Exception) -> bool:
    """Whether an error tells that another process cannot be reached; gloo has no class for it."""
    return isinstance(error, distributed.DistError) or (
        isinstance(error, RuntimeError) and "gloo/transport" in str(error)
    )


def _device(name: str, local_rank: int, world: int) -> torch.device:
    """The device of this process."""
    usable = torch.cuda.is_available()
    if name == "auto":
        name = "cuda" if usable else "cpu"
    if name.startswith("cuda") and not usable:
        raise BackendError(
            f"--device {name} was asked for but torch {torch.__version__} finds no usable CUDA "
            "GPU; use --device cpu or check the driver with nvidia-smi"
        )
    if world > 1 and name.startswith("cuda:"):
        raise BackendError(
            f"--device {name} is one GPU for {world} processes, which need one each; use --device "
            "cuda, and choose GPUs with CUDA_VISIBLE_DEVICES"
        )
    gpus = torch.cuda.device_count()
    if name == "cuda" and local_rank >= gpus:
        raise BackendError(
            f"process {local_rank} of this machine needs a GPU of its own, found {gpus}; start "
            f"torchrun with --nproc-per-node {gpus}"
        )
    try:
        return torch.device("cuda", local_rank) if name == "cuda" else torch.device(name)
    except RuntimeError as error:
        raise BackendError(f"no device {name!r}: use auto, cpu, cuda or cuda:N") from error
