"""A real Milvus server for tests, of the wheel `milvus`, which is no part of the environment.

The wheel is unpacked once per user, below the cache folder. One server runs for all worker
processes of a test run, in a process of its own (`__main__`), which starts it again when a test
kills it and ends it when the last worker has gone, however that ends.
"""

from __future__ import annotations

import ctypes
import fcntl
import lzma
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest

VERSION = "2.3.5"
"""The newest that is a wheel."""

START_S = 60
"""A busy machine; 3 s otherwise."""

QUICK = {
    "COMMON_SESSION_TTL": "8",  # seconds until a killed server's lease is free; 30 by default,
    # and one that a busy machine keeps from renewing it ends itself
    "PROXY_TIMETICKINTERVAL": "20",  # ms; a read at consistency Strong waits for the next
    "QUERYCOORD_CHECKINTERVAL": "50",
    "QUERYCOORD_DISTPULLINTERVAL": "50",
    "ROOTCOORD_DMLCHANNELNUM": "2",
}
"""Settings by which a test waits less; the server does the same."""

_ETCD = """name: default
data-dir: {folder}/etcd
listen-client-urls: http://127.0.0.1:{client}
advertise-client-urls: http://127.0.0.1:{client}
listen-peer-urls: http://127.0.0.1:{peer}
initial-advertise-peer-urls: http://127.0.0.1:{peer}
initial-cluster: default=http://127.0.0.1:{peer}
"""


def binaries() -> Path:
    """The unpacked wheel; skips the test, with the reason, where it cannot be had."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        pytest.skip("the wheel of the Milvus server is for Linux on x86-64")
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    cache = Path(home) / "mtml-reid-tests"
    target = cache / f"milvus-{VERSION}"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with locked(cache / "lock"):
            if not target.exists():
                _install(target)
    except (OSError, subprocess.SubprocessError) as error:
        found = getattr(error, "stderr", None) or str(error)
        pytest.skip(f"milvus=={VERSION} cannot be installed: {found.strip().splitlines()[-1]}")
    return target


def _install(target: Path) -> None:
    """Download the wheel and unpack its programs, whole or not at all."""
    partial = target.with_name(f"{target.name}-partial")
    shutil.rmtree(partial, ignore_errors=True)
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
         "--no-deps", "--target", str(partial / "wheel"), f"milvus=={VERSION}"],
        check=True, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    data = partial / "wheel" / "milvus" / "data"
    for packed in (data / "bin").iterdir():
        program = partial / packed.stem
        with lzma.open(packed) as source, program.open("wb") as file:
            shutil.copyfileobj(source, file)
        program.chmod(0o755)
    for name in ("config.yaml.template", "glog.conf"):
        (data / name).rename(partial / name)
    shutil.rmtree(partial / "wheel")
    partial.rename(target)


@contextmanager
def locked(path: Path, *, alone: bool = True) -> Iterator[IO[str]]:
    """Hold a file lock, alone or together with others; any process that ends gives its own back."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield file


@dataclass(frozen=True)
class MilvusServer:
    """The server of this test run."""

    folder: Path

    @property
    def uri(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{(self.folder / 'port').read_text()}"

    def kill(self) -> None:
        """End it as a power cut would; it is started again at once."""
        os.kill(int((self.folder / "pid").read_text()), signal.SIGKILL)

    @contextmanager
    def away(self) -> Iterator[None]:
        """End it as a power cut would; it is started again behind the block."""
        number = int((self.folder / "pid").read_text())
        parent = int(Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(parent, signal.SIGSTOP)  # it would start it again at once
        try:
            os.kill(number, signal.SIGKILL)
            yield
        finally:
            os.kill(parent, signal.SIGCONT)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Take its time away: connections stay, and nothing is answered."""
        number = int((self.folder / "pid").read_text())
        os.kill(number, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(number, signal.SIGCONT)

    def drop(self, beginning: str) -> None:
        """Drop the collections whose names begin so."""
        from pymilvus import MilvusClient

        client = MilvusClient(f"http://{self.uri}")
        for name in client.list_collections():
            if name.startswith(beginning):
                client.drop_collection(name)
        client.close()

    @contextmanager
    def turn(self, *, alone: bool) -> Iterator[None]:
        """Use it beside other worker processes, or alone, as who kills it must."""
        with locked(self.folder.with_suffix(".turn"), alone=alone):
            yield

    def wait(self) -> None:
        """Until it answers."""
        from pymilvus import MilvusClient
        from pymilvus.exceptions import MilvusException

        end = time.monotonic() + START_S
        while True:
            try:
                client = MilvusClient(f"http://{self.uri}", timeout=1)
                client.list_collections(timeout=5)
                client.close()
                return
            except MilvusException as error:
                if time.monotonic() > end:
                    log = (self.folder / "log").read_text(errors="replace")[-3000:]
                    raise RuntimeError(f"the Milvus server does not answer: {log}") from error
                time.sleep(0.1)


@contextmanager
def running_server(folder: Path) -> Iterator[MilvusServer]:
    """The server of a test run, which uses a folder; started by the first who asks."""
    programs = binaries()
    with (
        locked(folder.with_suffix(".start")) as starting,
        locked(folder.with_suffix(".users"), alone=False),  # waits for one that is ending
    ):
        server = MilvusServer(folder)
        if not folder.exists():
            folder.mkdir()
            _configure(folder, programs)
            command = [sys.executable, __file__, str(folder), str(programs)]
            # of no terminal, so that Ctrl-C ends the tests first
            subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
        server.wait()
        fcntl.flock(starting, fcntl.LOCK_UN)
        yield server


def _configure(folder: Path, programs: Path) -> None:
    """The template with paths below the folder and ports that are free."""
    ports = _free_ports()
    paths = {
        "etcd_log_path": folder / "etcd.log",
        "etcd_data_dir": folder / "etcd",
        "local_storage_dir": folder / "data",
        "rocksmq_data_dir": folder / "rocksmq",
        "system_log_path": folder / "logs",
    }

    def value(match: re.Match[str]) -> str:
        name, default = match[1], match[2] or ""
        if name == "proxy_port":
            (folder / "port").write_text(str(port := next(ports)))
            return str(port)
        return str(next(ports)) if name.endswith("_port") else str(paths.get(name, default))

    template = (programs / "config.yaml.template").read_text()
    configs = folder / "configs"
    configs.mkdir()
    pattern = r"\{\{ *(\w+)(?:\(\w+\))?(?:: *([^ }]*))? *\}\}"
    (configs / "milvus.yaml").write_text(re.sub(pattern, value, template))
    shutil.copy(programs / "glog.conf", configs)
    etcd = _ETCD.format(folder=folder, client=next(ports), peer=next(ports))
    (folder / "etcd.yaml").write_text(etcd)
    (folder / "metrics").write_text(str(next(ports)))


def _free_ports() -> Iterator[int]:
    """Ports below those that systems give to outgoing connections, so that they stay free."""
    held = []  # until all are chosen
    for port in range(20000 + os.getpid() % 10000, 32000):
        taken = socket.socket()
        try:
            taken.bind(("", port))
        except OSError:
            continue
        held.append(taken)
        yield port


def supervise(folder: Path, programs: Path) -> None:
    """Keep the server running until nobody holds the lock of its users."""
    library = ctypes.CDLL(None)
    environment = os.environ | QUICK | {
        "DEPLOY_MODE": "STANDALONE",
        "METRICS_PORT": (folder / "metrics").read_text(),
        "ETCD_CONFIG_PATH": str(folder / "etcd.yaml"),
        "MILVUS_RUN_DIR": str(folder / "run"),
        "LD_LIBRARY_PATH": str(programs),
    }  # fmt: skip
    unused = threading.Event()

    def wait_for_users() -> None:
        users = folder.with_suffix(".users").open("w")
        fcntl.flock(users, fcntl.LOCK_EX)
        unused.set()
        # never asked to end: with loaded collections that can take it half an hour
        server.kill()
        lock.append(users)  # held until this process has cleaned up

    lock: list[IO[str]] = []
    waiting = threading.Thread(target=wait_for_users, daemon=True)
    for _ in range(20):
        with (folder / "log").open("a") as log:
            server = subprocess.Popen(
                [programs / "milvus", "run", "standalone"],
                env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=lambda: library.prctl(1, signal.SIGKILL),  # it ends with this process
            )  # fmt: skip
        partial = folder / "pid-partial"
        partial.write_text(str(server.pid))
        partial.rename(folder / "pid")
        if not waiting.ident:
            waiting.start()
        if unused.is_set():  # while it was being started again
            server.kill()
        server.wait()
        if unused.is_set():
            break
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    supervise(Path(sys.argv[1]), Path(sys.argv[2]))
