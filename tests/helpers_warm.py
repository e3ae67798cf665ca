"""Processes that start at once: forked from one that has loaded torch, which alone takes seconds.

What runs in them is a function: the one of a command, or one of a test. That commands start from
nothing is held by the tests of the README and of the pipeline.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path

FORKS = multiprocessing.get_context("forkserver")

# what is not installed is passed over
FORKS.set_forkserver_preload(
    [
        "mtml_train.cli.train",
        "mtml_train.train",
        "tensorboard.backend.event_processing.event_accumulator",
        "mtml_deploy.gallery.folder.gallery",
        "pytest",
    ]
)


def started(
    work: Callable[..., object],
    *arguments: object,
    log: Path | str = os.devnull,
    environment: Mapping[str, str] | None = None,
    threads: int = 1,
) -> BaseProcess:
    """A process that calls a function.

    Args:
        work: what to call; a function of a module.
        arguments: of it.
        log: where its stdout and stderr are appended.
        environment: variables to set in it.
        threads: of torch.
    """
    words = (work, arguments, str(log), dict(environment or {}), threads)
    process = FORKS.Process(target=_enter, args=words)
    process.start()
    return process


def _enter(
    work: Callable[..., object],
    arguments: tuple[object, ...],
    log: str,
    environment: Mapping[str, str],
    threads: int,
) -> None:
    """The beginning of the process."""
    os.environ.update(environment)
    opened = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(opened, 1)
    os.dup2(opened, 2)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    work(*arguments)
