"""A service in a process of its own, and requests to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from helpers_artifact import write_artifact, write_images
from helpers_gallery import new_name

import mtml_deploy as md

ROWS = 12
ROOT = Path(__file__).parents[1]
START_S = 60


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of an error, which has its one shape."""
        error = self.json["error"]
        assert set(error) == {"code", "message", "request_id"}
        assert error["request_id"] == self.headers["x-request-id"]
        assert error["message"] and "Traceback" not in error["message"]
        return error["code"]


class Served:
    """A running `mtml-deploy serve`; a context manager that kills what is left."""

    def __init__(self, *words: str | Path, code: str = "", cwd: Path) -> None:
        """`code` runs in the process before the command."""
        run = f"{code}\nfrom mtml_deploy.cli.main import main\nmain({[*map(str, words)]!r})"
        self.log = cwd / f"serve-{time.monotonic_ns()}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", run],
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=cwd,
                env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
                text=True,
            )
        self.address = self.process.stdout.readline().strip()
        assert self.address.startswith("http://"), self.log.read_text()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(20)
        self.process.stdout.close()

    def connection(self, timeout: float = 60) -> HTTPConnection:
        return HTTPConnection(urlsplit(self.address).netloc, timeout=timeout)

    def ask(self, method: str, path: str, body=None, headers=None) -> Answer:
        connection = self.connection()
        try:
            connection.request(method, path, body, headers or {})
            got = connection.getresponse()
            named = {name.lower(): value for name, value in got.getheaders()}
            return Answer(got.status, named, got.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, headers=headers)

    def send(self, path: str, *images: bytes, **headers: str) -> Answer:
        """POST one image as it is, several as a form."""
        if len(images) == 1:
            return self.ask("POST", path, images[0], {"Content-Type": "image/png", **headers})
        kind, body = form(*images)
        return self.ask("POST", path, body, {"Content-Type": kind, **headers})

    def until_ready(self):
        until = time.monotonic() + START_S
        while self.get("/ready").status != 200:
            assert time.monotonic() < until and self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)
        return self

    def stop(self, number: int = signal.SIGTERM, timeout: float = 30) -> int:
        """Ask it to end; its exit status."""
        self.process.send_signal(number)
        return self.process.wait(timeout)

    def lines(self):
        """The log so far."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]


def form(*images: bytes, name: str = "image") -> tuple[str, bytes]:
    """Content type and body of a form with images."""
    mark = "----mark-of-the-tests"
    parts = [
        f'--{mark}\r\nContent-Disposition: form-data; name="{name}"; filename="{n}.png"\r\n'
        f"Content-Type: image/png\r\n\r\n".encode()
        + image
        + b"\r\n"
        for n, image in enumerate(images)
    ]
    return f"multipart/form-data; boundary={mark}", b"".join(parts) + f"--{mark}--\r\n".encode()


def fill(folder: Path) -> None:
    """An artifact, images, and a gallery with labels, in `folder`."""
    write_artifact(folder / "model")
    paths = write_images(folder / "images", ROWS)
    with md.open_model(folder / "model") as model:
        rows = model.embed(paths)
    md.create_gallery(folder / "cars", rows.model)
    with md.open_gallery(folder / "cars", write=True) as gallery:
        half = np.arange(len(rows)) < ROWS // 2
        gallery.add(rows[half], camera_id=1)
        gallery.add(rows[~half], camera_id=2)


def fill_server(server: str, folder: Path) -> str:
    """What `fill` makes, and the address of a collection on a server with the same gallery."""
    fill(folder)
    name = new_name(server)
    with md.open_gallery(folder / "cars") as cars:
        md.create_gallery(name, cars.model)
        with md.open_gallery(name, write=True) as gallery:
            gallery.add(cars.embeddings())
    return name
