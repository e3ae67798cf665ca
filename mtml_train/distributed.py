"""The processes of one run: who this one is, as `torchrun` tells it through the environment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed

from mtml_deploy.errors import BackendError


@dataclass(frozen=True)
class Process:
    """One process of a run.

    Attributes:
        rank: 0..world-1; rank 0 validates, writes and reports.
        world: number of processes.
        device: where this process computes.
    """

    rank: int
    world: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this process writes and reports."""
        return self.rank == 0

    def wait_for_all(self) -> None:
        """Return when every process has come here."""
        if self.world > 1:
            distributed.barrier()


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
    if world > 1:
        if chosen.type == "cuda":
            torch.cuda.set_device(chosen)
        distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Process(rank=rank, world=world, device=chosen)
    finally:
        if world > 1:
            distributed.destroy_process_group()


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
    try:
        return torch.device("cuda", local_rank) if name == "cuda" else torch.device(name)
    except RuntimeError as error:
        raise BackendError(f"no device {name!r}: use auto, cpu, cuda or cuda:N") from error
