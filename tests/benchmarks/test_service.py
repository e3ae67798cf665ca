"""The benchmark of the service: what it counts, with real processes, never how fast it is."""

import numpy as np
import pytest
from helpers_artifact import tiny_manifest, write_artifact, write_images

from benchmarks.speed.service import ServiceBench, measure_service
from benchmarks.speed.service_client import Report, Task, joined, run_client
from mtml_deploy.artifact.artifact import open_artifact
from mtml_deploy.client_error import ClientError
from mtml_deploy.data.source import load_source

pytest.importorskip("fastapi", reason="the extra serve is not installed")


def test_the_record_has_every_answer_and_what_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    artifact = write_artifact(tmp_path / "model", tiny_manifest())
    write_images(tmp_path / "images", 3)
    bench = ServiceBench(
        clients=(1, 2), rounds=1, seconds=0.3, duration_s=0.3, processes=2, threads=1
    )
    record = measure_service(
        open_artifact(artifact.folder), load_source(str(tmp_path / "images")), tmp_path,
        bench=bench,
    )  # fmt: skip
    series = {each.key: each for each in record.series}
    assert set(series) == {
        "embed", "clients_1", "clients_1_p99", "clients_2", "clients_2_p99", "memory",
        "overload", "overload_p99",
    }  # fmt: skip
    ratios = {each.key: each for each in record.ratios}
    assert ratios["saturated/embed"].at_least == 0.85
    assert (ratios["right/answers"].value, ratios["answered/asked"].value) == (1, 1)
    assert record.settings["answers"] >= 3
    assert (record.settings["different"], record.settings["lost"]) == (0, 0)


class Fake:
    """A client whose answers are told."""

    answers: list = []  # noqa: RUF012

    def __init__(self, *_, **__):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def embed(self, image):
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return np.array([answer], np.float32)


def test_answers_that_differ_and_requests_that_are_lost_are_counted(monkeypatch):
    rows = np.array([[3, 4], [0, 1]], np.float32)
    Fake.answers = [
        [3, 4],
        ClientError("full", status=429, code="busy"),
        [0, 1.25],  # a quarter of its length away
        ClientError("gone"),
        [3, 4],
        [0, float("nan")],
    ]
    monkeypatch.setattr("benchmarks.speed.service_client.Client", Fake)
    ticks = iter(range(10**6))
    monkeypatch.setattr(
        "benchmarks.speed.service_client.time.monotonic",
        lambda: next(ticks) if Fake.answers else 10**9,
    )
    task = Task("", [], "", 0, 1, 10**8, 0.2)
    report = run_client(task, 0, [b"a", b"b"], rows)
    assert (len(report.latencies_s), report.different) == (4, 2)
    assert (report.refused, report.lost) == (1, 1)
    other = Report([0.5], 9e9, 1, 2, 3)
    both = joined([report, other])
    assert (len(both.latencies_s), both.span_s) == (5, 9e9)
    assert (both.different, both.refused, both.lost) == (3, 3, 4)
