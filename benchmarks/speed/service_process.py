"""A service in a process of its own, and processes of clients that ask it.

In: an artifact and options. Out: an address; reports of clients; the memory of the service.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.speed.service_client import Report, Task, joined
from mtml_deploy.client import Client
from mtml_deploy.client_error import ClientError
from mtml_deploy.errors import BackendError

_ROOT: Final = Path(__file__).parents[2]
_START_S: Final = 300.0
_END_S: Final = 60.0
_RUN: Final = "import sys; from mtml_deploy.cli.main import main; main(sys.argv[1:])"


@dataclass
class Service:
    """A running service.

    Attributes:
        address: of it.
        process: its process.
        log: where it writes its log.
    """

    address: str
    process: subprocess.Popen[str]
    log: Path

    def memory_bytes(self) -> int:
        """What it holds in memory now."""
        text = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        line = next(line for line in text.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024


@dataclass
class Watch:
    """The memory of a service over time.

    Attributes:
        every_s: time between two looks.
        found: bytes, one per look.
    """

    every_s: float
    found: list[int] = field(default_factory=list)


@contextmanager
def running(artifact: Path, words: Sequence[str], scratch: Path) -> Iterator[Service]:
    """A service that is ready; it is told to end at the end, and must.

    Args:
        artifact: the model.
        words: options of `mtml-deploy serve`.
        scratch: takes its log.

    Raises:
        BackendError: it does not become ready, or does not end by itself.
    """
    log = scratch / f"service-{time.monotonic_ns()}.log"
    with log.open("wb") as written:
        process = subprocess.Popen(
            [sys.executable, "-c", _RUN, "serve", str(artifact), "--port", "0", *words],
            stdout=subprocess.PIPE,
            stderr=written,
            text=True,
            cwd=_ROOT,
        )
    try:
        assert process.stdout is not None
        service = Service(process.stdout.readline().strip(), process, log)
        _await_ready(service)
        yield service
        process.terminate()
        if status := process.wait(_END_S):
            raise BackendError(f"the service ended with status {status}; see {log}")
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def ask(task: Task, *, clients: int, processes: int) -> Report:
    """What clients see that ask at the same time.

    Args:
        task: of each process; its `first` and `clients` are set here.
        clients: all together.
        processes: most processes they are divided among.

    Raises:
        BackendError: a process of clients failed.
    """
    count = min(clients, processes)
    shares = [clients // count + (place < clients % count) for place in range(count)]
    started: list[subprocess.Popen[bytes]] = []
    try:
        for place, share in enumerate(shares):
            started.append(
                subprocess.Popen(
                    [sys.executable, "-m", "benchmarks.speed.service_client"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    cwd=_ROOT,
                )
            )
            one = msgspec.structs.replace(task, first=sum(shares[:place]), clients=share)
            _write(started[-1], msgspec.json.encode(one))
        for process in started:
            _line(process)
        for process in started:
            _write(process, b"go")
        return joined([msgspec.json.decode(_line(each), type=Report) for each in started])
    except BaseException:
        for process in started:
            process.kill()
        raise
    finally:
        for process in started:
            process.communicate()


@contextmanager
def watched(service: Service, *, every_s: float) -> Iterator[Watch]:
    """The memory of a service while the block runs."""
    watch, over = Watch(every_s), threading.Event()

    def look() -> None:
        while not over.is_set():
            watch.found.append(service.memory_bytes())
            over.wait(every_s)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield watch
    finally:
        over.set()
        thread.join()


def _await_ready(service: Service) -> None:
    """Wait until it is ready."""
    until = time.monotonic() + _START_S
    while service.process.poll() is None and time.monotonic() < until and service.address:
        try:
            with Client(service.address) as client:
                client.info()
                return
        except ClientError:
            time.sleep(0.1)
    raise BackendError(f"the service did not become ready; its log says why: {service.log}")


def _write(process: subprocess.Popen[bytes], line: bytes) -> None:
    """A line to a process."""
    if process.stdin is None:
        raise ValueError("the process has no stdin")
    process.stdin.write(line + b"\n")
    process.stdin.flush()


def _line(process: subprocess.Popen[bytes]) -> bytes:
    """A line of a process."""
    line = b"" if process.stdout is None else process.stdout.readline()
    if not line:
        raise BackendError("a process of clients ended early; its error is above")
    return line
