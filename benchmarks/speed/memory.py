"""How much memory a runner takes: alone in a process of its own, one run of the largest batch."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.measure.process import Arrays, Entrant, Work, measure_entrants
from benchmarks.measure.rounds import Series
from benchmarks.runners.open import offers
from benchmarks.runners.runner import Runner, Subject


def memory_series(
    subject: Subject,
    runners: tuple[Runner, ...],
    *,
    batch: int,
    scratch: Path,
    say: Callable[[str], None] = lambda _: None,
) -> list[Series]:
    """Most memory that each runner takes.

    Args:
        subject: the model.
        runners: those that work here.
        batch: images of the run.
        scratch: existing folder.
        say: receives progress.

    Returns:
        Bytes of each process, and on a GPU of the device: what its free memory shrank by.

    Raises:
        BackendError: a process failed, for example for lack of memory.
    """
    entrants = [
        Entrant(r.key, r.title, r.what, partial(_prepare, subject, r.key, batch)) for r in runners
    ]
    say(f"measuring memory, each runner alone, batch {batch}")
    outcomes, _ = measure_entrants(
        entrants, rounds=1, threads=subject.threads, scratch=scratch, settle_s=0
    )
    found = []
    for key, outcome in outcomes.items():
        title = outcome.seconds.title
        found.append(
            Series(
                f"memory/{key}",
                f"memory, {title}",
                f"Most memory of a process that runs {title} at batch {batch}, with its libraries.",
                "B",
                outcome.peak.values,
            )
        )
        if device := int(outcome.result["device_bytes"][0]):
            found.append(
                Series(
                    f"device_memory/{key}",
                    f"GPU memory, {title}",
                    f"What loading {title} and running batch {batch} took of the GPU's free "
                    "memory, without the CUDA context.",
                    "B",
                    (float(device),),
                )
            )
    return found


def _prepare(subject: Subject, key: str, batch: int) -> Work:
    """In the new process: load one runner, ready to run."""
    if key.startswith("torch"):
        import torch

        torch.set_num_threads(subject.threads)
    before = _free_bytes(subject.device)
    stack = ExitStack()
    (offer,) = (offer for offer in offers(subject) if offer.key == key)
    runner = stack.enter_context(offer.open())
    manifest = subject.artifact.manifest
    images = np.zeros((batch, manifest.height, manifest.width, 3), dtype=np.uint8)

    def act() -> Arrays:
        runner.run(images)
        taken = before - _free_bytes(subject.device)
        stack.close()
        return {"device_bytes": np.array([max(0, taken)])}

    return Work(warm_up=lambda: None, timed=(act,))


def _free_bytes(device: str) -> int:
    """Free memory of a GPU; 0 for the CPU."""
    if device == "cpu":
        return 0
    import torch

    return int(torch.cuda.mem_get_info(torch.device(device))[0])
