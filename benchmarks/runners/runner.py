"""A model that is loaded and can be timed, whatever library runs it.

In: an artifact, and for torch the run it was exported from. Out: a `Runner` per library and device,
which all take the same uint8 batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.sizes import Arithmetic
from mtml_deploy.artifact.artifact import Artifact
from mtml_deploy.data.records import ImageSet

Images = NDArray[np.uint8]
"""uint8 [B, H, W, 3]."""

TorchKey = Literal["torch", "torch-compile", "torch-bf16", "torch-fp16", "torch-fp16-graph"]

Part = Literal["copy_in", "compute", "copy_out"]

PARTS: Final[Mapping[Part, str]] = {
    "copy_in": "host copy",
    "compute": "compute",
    "copy_out": "copy back",
}
"""Parts of a run on a GPU and their names in tables."""


@dataclass(frozen=True)
class Runner:
    """A loaded model.

    Attributes:
        key: its name in the record.
        title: its name in tables.
        what: how it runs the model, for the record.
        precision: what its products are computed in, which is what the device's limit is of.
        run: uint8 [B, H, W, 3] in host memory -> float32 [B, D] in host memory.
        stream: runs many batches as fast as they go through, results in host memory at the end.
        parts: seconds of each part of one run, measured apart; None where it cannot tell.
    """

    key: str
    title: str
    what: str
    precision: Arithmetic
    run: Callable[[Images], NDArray[np.float32]]
    stream: Callable[[Iterable[Images]], None]
    parts: Callable[[Images], Mapping[Part, float]] | None = None


@dataclass(frozen=True)
class Offer:
    """A runner that could be opened.

    Attributes:
        key: its name in the record.
        title: its name in tables.
        open: loads the model.
        reason: why it is not offered on this device; empty where it is.
    """

    key: str
    title: str
    open: Callable[[], AbstractContextManager[Runner]]
    reason: str = ""


@dataclass(frozen=True)
class Subject:
    """The model that runners load.

    Attributes:
        artifact: the exported model.
        run: run folder or checkpoint it was exported from; None leaves torch out.
        device: "cpu" or "cuda:N".
        threads: on the CPU, 1 or more.
        images: for a peer that calibrates; None leaves it out.
    """

    artifact: Artifact
    run: Path | None
    device: str
    threads: int
    images: ImageSet | None = None


def run_each(run: Callable[[Images], object], batches: Iterable[Images]) -> None:
    """Run batches one after the other, for a library that cannot overlap them."""
    for batch in batches:
        run(batch)
