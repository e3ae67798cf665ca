"""The one thread that owns the model: requests become batches, rows go back to their requests.

In: decoded images of requests, of any number. Out: their outputs, row i of image i. What waits
together runs together: an idle model waits a moment for company, a busy one takes what has come.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import InvalidStateError
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.model import Model
from mtml_deploy.runtime.runtime import ModelOutputs
from mtml_deploy.serve.api_error import ApiError
from mtml_deploy.serve.job import Job, Piece, gone, joined, refuse
from mtml_deploy.serve.metrics import Metrics

logger = logging.getLogger(__name__)


class EmbedWorker:
    """The queue and the thread."""

    def __init__(
        self,
        open_model: Callable[[], Model],
        *,
        batch_size: int,
        delay_s: float,
        capacity: int,
        metrics: Metrics,
        died: Callable[[BaseException], None],
    ) -> None:
        """Nothing runs before `start`.

        Args:
            open_model: called in the thread that will own it.
            batch_size: most images of a run.
            delay_s: how long an idle model waits for more.
            capacity: images that may wait.
            metrics: what is counted.
            died: called in the thread when it cannot go on; nothing is answered any more.
        """
        self._open, self._batch_size, self._delay_s = open_model, batch_size, delay_s
        self._capacity, self._metrics, self._died = capacity, metrics, died
        self._changed = threading.Condition()
        self._jobs: deque[Job] = deque()
        self._waiting = 0
        self._ending = False
        self._busy_since: float | None = None
        self._rate = 0.0  # images a second of the last runs
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self.model: Model | None = None
        self.failure: BaseException | None = None

    def start(self) -> None:
        """Load the model, then take jobs."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread is there."""
        return self._thread.is_alive() and self.failure is None

    @property
    def busy_s(self) -> float:
        """How long the present run has taken."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    @property
    def waiting_s(self) -> float:
        """About how long an image that comes now would wait."""
        return self._waiting / self._rate if self._rate else 0.0

    def submit(self, images: NDArray[np.uint8]) -> Job:
        """Hand over the images of a request.

        Args:
            images: uint8 [n, H, W, 3], n >= 1.

        Returns:
            The job; cancelling its result takes it out of the queue.

        Raises:
            ApiError: 429 where the queue is full, 503 where nobody works.
        """
        job = Job(images)
        with self._changed:
            if self.failure is not None or self._ending:
                raise gone()
            if self._waiting + len(images) > self._capacity:
                raise ApiError(
                    429,
                    f"{self._waiting} images wait for the model, expected at most "
                    f"{self._capacity} with those of this request; ask again later",
                    retry_after_s=max(1, round(self.waiting_s)),
                )
            self._jobs.append(job)
            self._count(len(images))
            self._changed.notify()
        job.result.add_done_callback(lambda _: self._forget(job))
        return job

    def close(self) -> None:
        """Finish what waits, then end the thread."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def _count(self, more: int) -> None:
        """Change the number of waiting images; the lock is held."""
        self._waiting += more
        self._metrics.queued.set(self._waiting)

    def _forget(self, job: Job) -> None:
        """Take a cancelled job out of the queue."""
        if job.result.cancelled():
            with self._changed, suppress(ValueError):  # a run has taken it
                self._jobs.remove(job)
                self._count(job.begun - len(job.images))

    def _work(self) -> None:
        """The thread."""
        try:
            with self._open() as model:
                self.model = model
                # until none waits: then what is under way is collected, and a new stream begun
                while pieces := self._next(idle=True):
                    self._run(model, pieces)
        except BaseException as error:  # whatever it is, nobody else would answer
            self._fail(error)
            self._died(error)

    def _run(self, model: Model, first: list[Piece]) -> None:
        """One stream of batches, as long as images wait."""
        handed: deque[list[Piece]] = deque()

        def batches() -> Iterator[NDArray[np.uint8]]:
            pieces = first
            while pieces:
                handed.append(pieces)
                parts = [piece.job.images[piece.start : piece.stop] for piece in pieces]
                yield parts[0] if len(parts) == 1 else np.concatenate(parts)
                pieces = self._next(idle=False)

        try:
            self._busy_since = time.monotonic()
            for outputs in model.runtime.stream(batches()):
                self._give(handed.popleft(), outputs)
            self._busy_since = None
        except BaseException as error:
            for pieces in handed:
                for piece in pieces:
                    refuse(piece.job, error)
            raise

    def _next(self, *, idle: bool) -> list[Piece]:
        """The images of the next run; none where none waits, or, if idle, at the end."""
        with self._changed:
            while True:
                if idle:
                    self._await_company()
                pieces = self._take()
                if pieces or not idle or (self._ending and not self._jobs):
                    return pieces

    def _await_company(self) -> None:
        """Wait for a first image, then a moment for more; the lock is held."""
        while not self._jobs and not self._ending:
            self._changed.wait()
        until = time.monotonic() + self._delay_s
        while self._jobs and self._waiting < self._batch_size and not self._ending:
            if (left := until - time.monotonic()) <= 0:
                break
            self._changed.wait(left)

    def _take(self) -> list[Piece]:
        """The first images that wait, in order; the lock is held."""
        pieces: list[Piece] = []
        room, now = self._batch_size, time.monotonic()
        while self._jobs and room:
            job = self._jobs[0]
            if not job.begun:
                if not job.result.set_running_or_notify_cancel():
                    self._jobs.popleft()
                    self._count(-len(job.images))
                    continue
                job.wait_s = now - job.since
                self._metrics.queue_wait.observe(job.wait_s)
            count = min(room, len(job.images) - job.begun)
            pieces.append(Piece(job, job.begun, job.begun + count))
            job.begun += count
            room -= count
            self._count(-count)
            if job.begun == len(job.images):
                self._jobs.popleft()
        return pieces

    def _give(self, pieces: list[Piece], outputs: ModelOutputs) -> None:
        """Rows to their jobs."""
        now = time.monotonic()
        count = len(outputs.embeddings)
        if self._busy_since is not None:
            took = max(now - self._busy_since, 1e-6)
            self._metrics.run.observe(took)
            self._rate = count / took if not self._rate else 0.8 * self._rate + 0.2 * count / took
        self._busy_since = now
        self._metrics.batch.observe(count)
        self._metrics.images.inc(count)
        start = 0
        for piece in pieces:
            part = slice(start, start + piece.stop - piece.start)
            start = part.stop
            orientation = None if outputs.orientation is None else outputs.orientation[part]
            piece.job.parts.append(ModelOutputs(outputs.embeddings[part], orientation))
            if piece.stop == len(piece.job.images):
                with suppress(InvalidStateError):
                    piece.job.result.set_result(joined(piece.job.parts))

    def _fail(self, error: BaseException) -> None:
        """Refuse all that waits, now and later."""
        with self._changed:
            self.failure = error
            jobs = list(self._jobs)
            self._jobs.clear()
            self._count(-self._waiting)
        for job in jobs:
            refuse(job, error)
