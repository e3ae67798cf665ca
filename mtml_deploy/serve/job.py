"""The images of one request on their way through the model.

In: decoded images. Out: one result, joined of the runs that took them.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.runtime.runtime import ModelOutputs
from mtml_deploy.serve.api_error import ApiError


@dataclass(eq=False)
class Job:
    """The images of one request.

    Attributes:
        images: uint8 [n, H, W, 3].
        result: outputs of all n, set once.
        since: when it was handed over, monotonic seconds.
        begun: images that runs have taken.
        wait_s: until the first run took one.
        parts: outputs so far.
    """

    images: NDArray[np.uint8]
    result: Future[ModelOutputs] = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)
    begun: int = 0
    wait_s: float = 0.0
    parts: list[ModelOutputs] = field(default_factory=list)


@dataclass(frozen=True)
class Piece:
    """Images `start` to `stop` of a job, in one run."""

    job: Job
    start: int
    stop: int


def joined(parts: list[ModelOutputs]) -> ModelOutputs:
    """The outputs of all images of a job."""
    if len(parts) == 1:
        return parts[0]
    orientations = [part.orientation for part in parts if part.orientation is not None]
    return ModelOutputs(
        np.concatenate([part.embeddings for part in parts]),
        np.concatenate(orientations) if orientations else None,
    )


def refuse(job: Job, error: BaseException) -> None:
    """Answer a job that will not be run."""
    refusal = gone()
    refusal.__cause__ = error
    with suppress(InvalidStateError):
        job.result.set_exception(refusal)


def gone() -> ApiError:
    """The answer where nobody works."""
    return ApiError(503, "the model does not run any more; the service ends: ask again later")
