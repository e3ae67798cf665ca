"""Clients of a service in a process of their own: they ask, compare every answer, and report.

In: a task in JSON on stdin, then a line that starts it. Out: a report in JSON on stdout.
"""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from mtml_deploy.client import Client
from mtml_deploy.client_error import ClientError

PAUSE_S: Final = 0.02
"""Wait of a client after a refusal: it asks again long before `Retry-After`, to overload."""


class Task(msgspec.Struct, frozen=True):
    """What the clients of a process do.

    Attributes:
        address: of the service.
        images: image files, asked for in turn.
        expected: a .npy file, float32 [N, D], the rows of these images.
        first: number of the first client, so that not all ask for the same image at once.
        clients: at once, each waits for its answer before it asks again.
        seconds: how long they ask.
        tolerance: largest difference of a row over its length that counts as right.
    """

    address: str
    images: list[str]
    expected: str
    first: int
    clients: int
    seconds: float
    tolerance: float


@dataclass
class Report:
    """What the clients of a process saw.

    Attributes:
        latencies_s: of every answer.
        span_s: from the start to the last answer.
        different: answers that are not the expected row.
        refused: requests that were refused because the service was busy.
        lost: requests without an answer, or with another error.
    """

    latencies_s: list[float] = field(default_factory=list)
    span_s: float = 0.0
    different: int = 0
    refused: int = 0
    lost: int = 0


def joined(reports: list[Report]) -> Report:
    """What all clients saw, at the same time."""
    return Report(
        [latency for report in reports for latency in report.latencies_s],
        max(report.span_s for report in reports),
        sum(report.different for report in reports),
        sum(report.refused for report in reports),
        sum(report.lost for report in reports),
    )


def run_client(task: Task, number: int, images: list[bytes], rows: NDArray[np.float32]) -> Report:
    """One client, until the time is over."""
    report = Report()
    begun = time.monotonic()
    with Client(task.address, timeout_s=120) as client:
        turn = number
        while time.monotonic() - begun < task.seconds:
            at = turn % len(images)
            asked = time.monotonic()
            try:
                row = client.embed(images[at])[0]
            except ClientError as error:
                if error.status == 429:
                    report.refused += 1
                    time.sleep(PAUSE_S)
                else:
                    report.lost += 1
                continue
            now = time.monotonic()
            report.latencies_s.append(now - asked)
            report.span_s = now - begun
            difference = float(np.linalg.norm(row.astype(np.float64) - rows[at]))
            length = float(np.linalg.norm(rows[at].astype(np.float64)))
            # false for NaN, too
            report.different += not difference <= task.tolerance * length
            turn += 1
    return report


def main() -> None:
    """Read the task, wait for the start, report."""
    task = msgspec.json.decode(sys.stdin.buffer.readline(), type=Task)
    images = [Path(name).read_bytes() for name in task.images]
    rows: NDArray[np.float32] = np.load(task.expected)
    reports: list[Report] = []

    def ask(number: int) -> None:
        reports.append(run_client(task, number, images, rows))

    threads = [
        threading.Thread(target=ask, args=(task.first + number,)) for number in range(task.clients)
    ]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.buffer.readline()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.stdout.buffer.write(msgspec.json.encode(joined(reports)) + b"\n")


if __name__ == "__main__":
    main()
