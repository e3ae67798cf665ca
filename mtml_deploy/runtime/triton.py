"""A model on NVIDIA's Triton Inference Server: asked for embeddings, several requests at a time.

In: uint8 images. Out: what the server's copy of the same artifact says. Before the first image,
and with every answer, the server's model is compared with the local artifact by its hash.
"""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.artifact.artifact import Artifact
from mtml_deploy.errors import ArtifactError, BackendError
from mtml_deploy.runtime.in_flight import in_flight
from mtml_deploy.runtime.runtime import ModelOutputs, Runtime, check_images, closed, output_widths
from mtml_deploy.runtime.triton_address import TritonAddress
from mtml_deploy.runtime.triton_connection import (
    ServedConfig,
    ServerFailure,
    TritonConnection,
    triton_library,
)
from mtml_deploy.triton.config import ENGINE_KEY, MODEL_KEY, VERSION_KEY

WAITS: Final = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
"""Seconds before a request is sent again, one for each further try."""

_AGAIN: Final = frozenset({"busy", "lost"})
"""Causes that may be gone the next time."""

_DEVICE: Final = re.compile(r"cpu\Z|cuda(:\d+)?\Z", re.ASCII)

_DEVICES: Final = {"KIND_CPU": "cpu", "KIND_GPU": "cuda"}

Outputs = dict[str, NDArray[np.float32]]
T = TypeVar("T")


class TritonRuntime(Runtime):
    """A model on a server (see `mtml_deploy.runtime.runtime.Runtime`).

    A batch is cut where it is longer than the server takes. Requests are sent by threads that each
    have a connection, so that one is on its way while another is computed.
    """

    def __init__(
        self, artifact: Artifact, address: TritonAddress, *, device: str = "cpu", streams: int = 1
    ) -> None:
        """Ask the server what it serves, and compare.

        Args:
            artifact: what must be served there.
            address: where.
            device: what the server must run it on: "cpu", or "cuda:N".
            streams: requests at work at once; one more is on its way.

        Raises:
            MissingExtraError: tritonclient is not installed.
            BackendError: no such server or model, or it runs on another device.
            ArtifactError: the server's model was made from another artifact, or does not say from
                which.
            ValueError: `streams` below 1.
        """
        if streams < 1:
            raise ValueError(f"streams must be 1 or more, found {streams}")
        triton_library(address)
        self.manifest = artifact.manifest
        self._artifact, self._address, self._streams = artifact, address, streams
        self._widths = output_widths(artifact.manifest)
        self._mine = threading.local()
        self._closing = threading.Event()
        self._pool: ThreadPoolExecutor | None = ThreadPoolExecutor(streams + 1)
        try:
            # here a lost connection is a wrong address or a server that is not up
            config = self._submit(partial(self._tried, _config, again={"busy"})).result()
            self._require_served(config)
            _require_device(config, address, device)
        except BaseException:
            self.close()
            raise
        self._version = config.parameter(VERSION_KEY)
        self.engine_sha256 = config.parameter(ENGINE_KEY)
        self._most = config.max_batch_size

    def run_all(self, images: NDArray[np.uint8]) -> ModelOutputs:
        """Embeddings and orientation of uint8 [B, H, W, 3]; see `Runtime.run_all`."""
        return self._start(images)()

    def stream(self, batches: Iterable[NDArray[np.uint8]]) -> Iterator[ModelOutputs]:
        """Outputs of each batch, further ones under way; see `Runtime.stream`."""
        return in_flight(batches, self._start, most=self._streams + 1)

    def close(self) -> None:
        """Let go of the connections; requests that wait to be sent again are given up."""
        pool, self._pool = self._pool, None
        self._closing.set()
        if pool is not None:
            # each thread once: a connection must be closed by the one that made it
            everybody = threading.Barrier(self._streams + 1)
            for _ in range(self._streams + 1):
                pool.submit(self._part, everybody)
            pool.shutdown(wait=True)

    def _part(self, everybody: threading.Barrier) -> None:
        """Close the connection of this thread, when all others do."""
        everybody.wait()
        connection: TritonConnection | None = getattr(self._mine, "connection", None)
        if connection is not None:
            connection.close()

    def _submit(self, work: Callable[[], T]) -> Future[T]:
        """Work in a thread that has a connection."""
        if self._pool is None:
            raise closed()
        return self._pool.submit(work)

    def _start(self, images: NDArray[np.uint8]) -> Callable[[], ModelOutputs]:
        """Begin a batch; what is returned waits for its outputs."""
        images = check_images(images, self.manifest)
        most = self._most or len(images)
        parts = [
            self._submit(partial(self._answer, images[first : first + most]))
            for first in range(0, len(images), most)
        ]

        def collect() -> ModelOutputs:
            found = [part.result() for part in parts]
            return ModelOutputs.of(
                {name: np.concatenate([one[name] for one in found]) for name in self._widths}
            )

        return collect

    def _answer(self, images: NDArray[np.uint8]) -> Outputs:
        """The outputs of one request, certainly of the artifact's model."""

        def ask(connection: TritonConnection) -> Outputs:
            if self._closing.is_set():
                raise ServerFailure("refused", "the runtime was closed")
            found = connection.run(images, version=self._version, widths=self._widths)
            # asked for behind the answer: a model that was exchanged before it is seen here
            config = connection.config()
            self._require_served(config)
            if config.parameter(ENGINE_KEY) != self.engine_sha256:
                raise ArtifactError(
                    f"{self._address} was exchanged for another engine meanwhile, expected the "
                    f"one it had when it was opened; run the command again"
                )
            return found

        return self._tried(ask)

    def _tried(
        self, request: Callable[[TritonConnection], T], *, again: Iterable[str] = _AGAIN
    ) -> T:
        """What a request returns, sent again a few times where that may help.

        Raises:
            BackendError: it failed.
        """
        connection: TritonConnection | None = getattr(self._mine, "connection", None)
        if connection is None:
            connection = self._mine.connection = TritonConnection(self._address)
        tries = 0
        while True:
            tries += 1
            try:
                return request(connection)
            except ServerFailure as failure:
                last = tries > len(WAITS) or failure.cause not in again
                # spread out: many clients were refused at the same moment
                if last or self._closing.wait(WAITS[tries - 1] * random.uniform(0.5, 1)):
                    raise self._error(failure, tries) from failure

    def _error(self, failure: ServerFailure, tries: int) -> BackendError:
        """A failure in words, and what to do."""
        after = f" (tried {tries} times)" if tries > 1 else ""
        fix = {
            "busy": "try again later, with fewer --streams, or give the model a longer queue or "
            f"more copies: mtml-deploy triton {self._artifact.folder} --out REPO --queue-size N "
            "--instances N",
            "lost": "see that the server runs and that the address names its port for "
            f"{'gRPC' if self._address.protocol == 'grpc' else 'HTTP'}",
            "late": "give a smaller --batch-size, or more time at the end of the address: "
            "?timeout=SECONDS",
            "refused": "see the log of the server",
        }[failure.cause]
        return BackendError(f"{self._address}: {failure}{after}; {fix}")

    def _require_served(self, config: ServedConfig) -> None:
        """Refuse a model that was not made from the artifact.

        Raises:
            ArtifactError: it was made from another one, or does not say from which.
        """
        folder, expected = self._artifact.folder, self.manifest.model_sha256
        fix = f"write it for the server: mtml-deploy triton {folder} --out REPO"
        served, version = config.parameter(MODEL_KEY), config.parameter(VERSION_KEY)
        if not served or not version:
            raise ArtifactError(
                f"{self._address} does not say which artifact it was made from, expected the "
                f"parameters {MODEL_KEY} and {VERSION_KEY} in its configuration; {fix}"
            )
        if served != expected:
            raise ArtifactError(
                f"{self._address} was made from a model file {served[:12]}..., expected "
                f"{expected[:12]}..., that of {folder}; name the artifact it was made from, or "
                f"{fix}"
            )
        if self._address.version not in ("", version):
            raise ArtifactError(
                f"{self._address} says what its version {version} was made from, and not what "
                f"{self._address.version} was; ask for /{version}, or {fix} --model-version "
                f"{self._address.version}"
            )


def _config(connection: TritonConnection) -> ServedConfig:
    """What the server says of the model."""
    return connection.config()


def _require_device(config: ServedConfig, address: TritonAddress, device: str) -> None:
    """Refuse a model that runs elsewhere than asked for.

    Raises:
        BackendError: it does.
    """
    if not _DEVICE.match(device):
        raise BackendError(f"device is {device!r}, on a Triton server expected cpu or cuda:N")
    wanted, _, number = device.partition(":")
    groups = config.instance_group
    kinds = sorted({_DEVICES.get(group.kind, group.kind) for group in groups})
    numbers = {gpu for group in groups for gpu in group.gpus}
    if kinds == [wanted] and (not number or {int(number)} == (numbers or {int(number)})):
        return
    found = ", ".join(kinds) or "a device it does not name"
    gpus = f" {', '.join(map(str, sorted(numbers)))}" if numbers else ""
    flag = f"--device cuda:{min(numbers, default=0)}" if kinds == ["cuda"] else "--device cpu"
    raise BackendError(
        f"{address} runs on {found}{gpus} and {device} was asked for; add {flag}, or write the "
        "model for the server with another --kind"
    )
