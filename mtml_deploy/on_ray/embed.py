"""A set of images embedded on a Ray cluster: its workers write the parts of `embed/shards.py`.

In: an artifact, a source and a folder that all machines see. Out: the parts, as workers that were
started by hand write them. Ray decides where a worker runs and tells when one is lost; what is done
is told by the part files alone, so that nothing is embedded twice or left out, whatever is killed.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Final, Protocol

from mtml_deploy.data.batches import BadImage
from mtml_deploy.data.records import ImageSet
from mtml_deploy.data.source import absolute_source
from mtml_deploy.embed.shards import Shard
from mtml_deploy.errors import EmbeddingsError, MissingExtraError
from mtml_deploy.model import EmbedOptions
from mtml_deploy.on_ray.cluster import cluster, first_line, needs_of
from mtml_deploy.on_ray.worker import RayJob, Told, Worker

logger = logging.getLogger(__name__)

SHARDS: Final = 100
"""Parts where nobody says how many, or as many as there are batches."""

_TRIES: Final = 4
"""Workers that one part may cost: an image can end a process, and would end every one."""


@dataclass(frozen=True)
class RaySummary:
    """What one call of `embed_on_ray` did.

    Attributes:
        images: rows of the parts that it wrote.
        skipped: images left out of them.
        parts: that it wrote.
        present: parts that were there already.
        workers: that it asked for.
        lost: workers that were lost and replaced.
        seconds: wall time.
        warnings: what a user must know of the model, see `Model.warning`.
    """

    images: int
    skipped: tuple[BadImage, ...]
    parts: int
    present: int
    workers: int
    lost: int
    seconds: float
    warnings: tuple[str, ...]


def embed_on_ray(
    artifact: Path,
    source: str,
    images: ImageSet,
    folder: Path,
    how: EmbedOptions,
    *,
    workers: int = 0,
    shards: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> RaySummary:
    """Embed a set into the parts of a folder, by actors of a Ray cluster.

    The cluster is the one that RAY_ADDRESS names, else one that lives on this machine as long as
    this call. A worker has as many CPUs as the model has threads, or one GPU. The same call goes on
    after a kill, with any number of workers.

    Args:
        artifact: folder of the model.
        source: what to embed, see `load_source`.
        images: of that source.
        folder: of the parts; all machines see it by the same path, as they see the source.
        how: images are embedded; threads that are 0 become 1, as workers share their machine.
        workers: at once; 0 means as many as there is room for, and parts.
        shards: parts; 0 means `SHARDS`, or as many as there are batches.
        progress: called with (images of finished parts, all images).

    Returns:
        What was done.

    Raises:
        MissingExtraError: Ray is not installed.
        EmbeddingsError: a part cost too many workers, or see `embed_shard`.
        BackendError: no cluster, or one that has no room.
    """
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("--engine ray needs ray", "ray") from error
    started = time.monotonic()
    count = len(images.records)
    shards = shards or max(1, min(SHARDS, -(-count // how.batch_size)))
    Shard(1, shards).rows(count, how.batch_size)  # enough batches
    how = replace(how, threads=how.threads or 1, model_threads=how.model_threads or 1)
    job = RayJob(
        artifact=str(artifact.absolute()),
        images=absolute_source(source),
        source=images.source,
        out=str(folder.absolute()),
        shards=shards,
        how=how,
    )
    needs = needs_of(how)
    with cluster(ray, needs, workers) as room:
        run = _Run(ray, job, needs, count)
        run.finish(min(workers or room, shards), progress)
    missing = [n for n in range(1, shards + 1) if not Shard(n, shards).path(folder).is_file()]
    if missing:
        raise EmbeddingsError(
            f"workers wrote part {missing[0]}/{shards} into {folder} on {run.node_of[missing[0]]}, "
            "and it is not there on this machine; name a folder that all machines share"
        )
    return RaySummary(
        images=run.images,
        skipped=tuple(run.skipped),
        parts=run.written,
        present=shards - run.written,
        workers=min(workers or room, shards),
        lost=run.lost,
        seconds=time.monotonic() - started,
        warnings=tuple(sorted(run.warnings)),
    )


class _Call(Protocol):
    """A method of a worker in another process."""

    def remote(self, *words: object) -> object:
        """What the answer is waited for by."""
        ...


class _Handle(Protocol):
    """A `Worker` in another process."""

    open: _Call
    embed: _Call


class _Run:
    """The parts on their way: which worker is at which, and what came of it."""

    def __init__(
        self, ray: ModuleType, job: RayJob, needs: Mapping[str, float], images: int
    ) -> None:
        self._ray, self._job, self._total = ray, job, images
        # its own restarts are off: a worker that is lost must first load its model again
        self._actor = ray.remote(max_restarts=0, max_task_retries=0, **needs)(Worker)
        self._left = deque(range(1, job.shards + 1))
        self._at_work: dict[object, tuple[_Handle, int]] = {}
        """Awaited answer -> its worker and part; part 0 is loading."""
        self._tries: Counter[int] = Counter()
        self.images = self.written = self.lost = 0
        self.skipped: list[BadImage] = []
        self.warnings: set[str] = set()
        self.node_of: dict[int, str] = {}

    def finish(self, workers: int, progress: Callable[[int, int], None] | None) -> None:
        """Embed every part."""
        for _ in range(workers):
            self._begin()
        done = 0
        if progress:
            progress(0, self._total)
        while len(self.node_of) < self._job.shards:
            (answer,), _ = self._ray.wait(list(self._at_work), num_returns=1)
            worker, number = self._at_work.pop(answer)
            told = self._answer(answer, worker, number)
            if told is None:
                continue
            if number and not told.busy:
                self._keep(number, told)
                rows = Shard(number, self._job.shards).rows(self._total, self._job.how.batch_size)
                done += len(rows)
                if progress:
                    progress(done, self._total)
            elif not number:
                self._tries[0] = 0
                self.warnings |= {told.warning} - {""}
            if self._left:
                part = self._left.popleft()
                self._at_work[worker.embed.remote(part)] = worker, part

    def _begin(self) -> None:
        """Ask for one more worker."""
        worker: _Handle = self._actor.remote(self._job)
        self._at_work[worker.open.remote()] = worker, 0

    def _answer(self, answer: object, worker: _Handle, number: int) -> Told | None:
        """What a worker says; None where it is lost and another one begins in its place.

        Raises:
            EmbeddingsError: what it was asked cannot be done.
        """
        errors = self._ray.exceptions
        try:
            told: Told = self._ray.get(answer)
        except errors.RayTaskError:  # a fault of the program: no other worker would do better
            raise
        except errors.RayError as error:
            self.lost += 1
            self._tries[number] += 1
            what = f"part {number}/{self._job.shards}" if number else "loading the model"
            if self._tries[number] >= _TRIES:
                raise EmbeddingsError(
                    f"{what} ended {_TRIES} workers ({first_line(error)}), expected at most "
                    f"{_TRIES - 1}; what is finished is kept: look for too little memory, or run "
                    "that part alone with --shard"
                ) from error
            logger.warning("a worker was lost at %s (%s): another one begins", what,
                           first_line(error))  # fmt: skip
            with suppress(errors.RayError):
                self._ray.kill(worker)  # where only the way to it was lost
            if number:
                self._left.appendleft(number)
            self._begin()
            return None
        if told.busy and self._tries[number] < _TRIES:
            self._tries[number] += 1
            self._left.append(number)
        elif told.error:
            raise EmbeddingsError(f"a worker on {told.node} says: {told.error}")
        return told

    def _keep(self, number: int, told: Told) -> None:
        """Count a part that is there."""
        self.node_of[number] = told.node
        self.images += told.images
        self.written += told.written
        self.skipped += told.skipped
