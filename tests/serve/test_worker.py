"""Batches that are made of requests, without a network."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from mtml_deploy.runtime.runtime import ModelOutputs
from mtml_deploy.serve.api_error import ApiError
from mtml_deploy.serve.metrics import Metrics
from mtml_deploy.serve.worker import EmbedWorker

WAIT_S = 20


class Model:
    """Gives the first byte of each image; each run waits until it may go on."""

    def __init__(self, fail=None):
        self.runtime = SimpleNamespace(stream=lambda batches: map(self.run, batches))
        self.sizes, self.fail = [], fail
        self.go, self.begun = threading.Semaphore(0), threading.Semaphore(0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def run(self, images):
        self.begun.release()
        assert self.go.acquire(timeout=WAIT_S)
        self.sizes.append(len(images))
        if self.fail:
            raise self.fail
        rows = images[:, 0, 0, :1].astype(np.float32)
        return ModelOutputs(rows, np.repeat(rows, 8, axis=1))


@pytest.fixture
def made():
    """Makes workers and ends them."""
    workers = []

    def make(model, *, batch_size=4, delay_s=0.0, capacity=8):
        deaths = []
        worker = EmbedWorker(
            lambda: model, batch_size=batch_size, delay_s=delay_s, capacity=capacity,
            metrics=Metrics(), died=deaths.append,
        )  # fmt: skip
        worker.start()
        workers.append((model, worker))
        return worker, deaths

    yield make
    for model, worker in workers:
        for _ in range(50):
            model.go.release()
        worker.close()


def images(*values):
    return np.array(values, np.uint8)[:, None, None, None].repeat(3, axis=3)


def firsts(job):
    outputs = job.result.result(WAIT_S)
    np.testing.assert_array_equal(outputs.orientation[:, 7], outputs.embeddings[:, 0])
    return outputs.embeddings[:, 0].tolist()


def test_what_waits_together_runs_together_and_comes_back_apart(made):
    model = Model()
    worker, _ = made(model)
    first = worker.submit(images(1))
    assert model.begun.acquire(timeout=WAIT_S)  # alone: nobody else was there
    jobs = [worker.submit(images(2, 3)), worker.submit(images(4, 5, 6)), worker.submit(images(7))]
    for _ in range(3):
        model.go.release()
    assert firsts(first) == [1]
    assert [firsts(job) for job in jobs] == [[2, 3], [4, 5, 6], [7]]
    # 6 images waited: 4 of them in one run, the second job in two
    assert model.sizes == [1, 4, 2]


def test_an_idle_model_waits_for_company(made):
    model = Model()
    worker, _ = made(model, batch_size=3, delay_s=WAIT_S)
    jobs = [worker.submit(images(n)) for n in (1, 2, 3)]  # a full batch does not wait any longer
    model.go.release()
    assert [firsts(job) for job in jobs] == [[1], [2], [3]]
    assert model.sizes == [3]


def test_a_full_queue_refuses_and_a_cancelled_request_makes_room(made):
    model = Model()
    worker, _ = made(model, capacity=4)
    busy = worker.submit(images(1))
    assert model.begun.acquire(timeout=WAIT_S)
    waiting, gone = worker.submit(images(2, 3)), worker.submit(images(4, 5))
    with pytest.raises(ApiError, match="4 images wait") as refused:
        worker.submit(images(6))
    assert (refused.value.status, refused.value.retry_after_s) == (429, 1)
    assert gone.result.cancel()
    late = worker.submit(images(6, 7))
    for _ in range(2):
        model.go.release()
    assert [firsts(job) for job in (busy, waiting, late)] == [[1], [2, 3], [6, 7]]
    assert model.sizes == [1, 4]


def test_the_last_request_that_is_cancelled_leaves_the_worker_waiting(made):
    model = Model()
    worker, _ = made(model)
    busy = worker.submit(images(1))
    assert model.begun.acquire(timeout=WAIT_S)
    assert worker.submit(images(2)).result.cancel()
    model.go.release()
    assert firsts(busy) == [1]
    after = worker.submit(images(3))
    model.go.release()
    assert firsts(after) == [3]
    assert model.sizes == [1, 1]


def test_a_failure_refuses_all_that_wait_and_all_that_come(made):
    model = Model(fail=RuntimeError("out of memory"))
    worker, deaths = made(model)
    running = worker.submit(images(1))
    assert model.begun.acquire(timeout=WAIT_S)
    waiting = worker.submit(images(2))
    model.go.release()
    for job in (running, waiting):
        with pytest.raises(ApiError, match="does not run any more") as refused:
            job.result.result(WAIT_S)
        assert refused.value.status == 503
    until = time.monotonic() + WAIT_S
    while not deaths and time.monotonic() < until:
        time.sleep(0.01)
    assert [str(error) for error in deaths] == ["out of memory"]
    assert not worker.alive
    with pytest.raises(ApiError, match="does not run any more"):
        worker.submit(images(3))


def test_the_end_finishes_what_waits(made):
    model = Model()
    worker, deaths = made(model)
    first = worker.submit(images(1))
    assert model.begun.acquire(timeout=WAIT_S)
    second = worker.submit(images(2, 3, 4, 5, 6))
    for _ in range(3):
        model.go.release()
    worker.close()
    assert (firsts(first), firsts(second)) == ([1], [2, 3, 4, 5, 6])
    assert deaths == []
    with pytest.raises(ApiError):
        worker.submit(images(7))
