"""The process: listens, serves until it is told to end, finishes what it accepted.

In: an artifact, a gallery and options. Out: the exit status.
"""

from __future__ import annotations

import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType
from typing import Final

import uvicorn

from mtml_deploy.artifact.artifact import Artifact
from mtml_deploy.errors import MtmlError
from mtml_deploy.model import EmbedOptions
from mtml_deploy.serve.app import make_app
from mtml_deploy.serve.gate import Gate
from mtml_deploy.serve.options import ServeError, ServeOptions
from mtml_deploy.serve.service import Service

logger = logging.getLogger(__name__)

FAILED: Final = 70
"""Exit status where the model does not run any more: whoever watches starts the service anew."""


class _Server(uvicorn.Server):
    """A server that ends on a signal without raising it again."""

    gate: Gate

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle SIGINT and SIGTERM while it serves; a second one ends the process."""

        def receive(number: int, frame: FrameType | None) -> None:
            signal.signal(number, signal.SIG_DFL)
            logger.info("ending", extra={"facts": {"signal": signal.Signals(number).name}})
            self.gate.ending = self.should_exit = True

        handled = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, receive) for number in handled}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def serve(
    artifact: Artifact,
    gallery: str | None,
    how: EmbedOptions,
    options: ServeOptions,
    *,
    listening: Callable[[str], None],
    compared: tuple[Artifact, str] | None = None,
) -> int:
    """Serve until a signal, or until the model does not run any more.

    Args:
        artifact: the model.
        gallery: where to search; None offers embeddings alone.
        how: the model is run.
        options: addresses and limits.
        listening: called with the address, before the model is loaded.
        compared: another model and its gallery, which the page shows beside this one.

    Returns:
        The exit status: 0 after a signal, `FAILED` where the model failed.

    Raises:
        ServeError: the address cannot be had.
        MtmlError: the model cannot be loaded.
    """
    deaths: list[BaseException] = []

    def died(error: BaseException) -> None:
        deaths.append(error)
        logger.error("the model failed", exc_info=error)
        server.gate.ending = server.should_exit = True

    service = Service(artifact, gallery, how, options, died=died)
    services = [service]
    if compared is not None:
        services.append(
            Service(*compared, how, replace(options, writable=False, uploads=None), died=died)
        )
    gate = make_app(*services)
    config = uvicorn.Config(
        gate,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        timeout_keep_alive=30,
        timeout_graceful_shutdown=int(options.drain_s),
    )
    server = _Server(config)
    server.gate = gate
    with _bound(options.host, options.port) as listener:
        host, port = listener.getsockname()[:2]
        listening(f"http://{f'[{host}]' if ':' in host else host}:{port}")
        for each in services:
            each.start()
        server.run(sockets=[listener])
    for each in services:
        each.close()
    if not deaths:
        return 0
    if isinstance(deaths[0], MtmlError) and any(each.worker.model is None for each in services):
        raise deaths[0]
    return FAILED


def _bound(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        ServeError: the address cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(2048)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise ServeError(
            f"{host} port {port} cannot be listened on ({error}), expected a free one; give "
            "another --port, or --port 0 for any"
        ) from error
    return listener
