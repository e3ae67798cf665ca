"""How a service runs: addresses, limits and what it may change."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mtml_deploy.errors import MtmlError
from mtml_deploy.regular_file import read_regular

LEAST_TOKEN: Final = 16
"""Characters of a token: fewer can be guessed."""


class ServeError(MtmlError):
    """A service cannot be started as asked."""


@dataclass(frozen=True)
class ServeOptions:
    """How a service runs.

    Attributes:
        host: address to listen on; others than loopback need a token.
        port: to listen on; 0 takes a free one.
        token: what clients must show; empty asks for none.
        batch_size: most images of one run of the model.
        delay_ms: how long an idle model waits for more images after the first.
        queue: images that may wait for the model; more are refused with 429.
        requests: requests that are worked on at once; more are refused with 429.
        images: most images of one request.
        body_bytes: most bytes of one request.
        body_s: longest wait for the next bytes of a request.
        search_threads: searches at work at once, each with its own handle of the gallery.
        decode_threads: threads that decode images, 0 = one per CPU.
        writable: whether clients may add, relabel and remove rows.
        uploads: folder that keeps the images that clients add; None keeps their rows alone.
        drain_s: longest wait for accepted requests when it is told to end.
        stall_s: a run of the model that lasts longer makes the service count as dead.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str = ""
    batch_size: int = 32
    delay_ms: float = 2.0
    queue: int = 256
    requests: int = 128
    images: int = 64
    body_bytes: int = 32 << 20
    body_s: float = 30.0
    search_threads: int = 2
    decode_threads: int = 0
    writable: bool = False
    uploads: Path | None = None
    drain_s: float = 30.0
    stall_s: float = 300.0

    def __post_init__(self) -> None:
        """Refuse what is not safe, or can never be answered.

        Raises:
            ServeError: another address than loopback without a token, or a queue that is shorter
                than one request may be.
        """
        if not self.token and not is_loopback(self.host):
            raise ServeError(
                f"{self.host} can be reached from other machines, expected a token there; give "
                "--token-file FILE, or leave out --host"
            )
        if self.queue < self.images:
            raise ServeError(
                f"the queue holds {self.queue} images, and one request may have {self.images}; "
                "raise --queue-size or lower --max-images"
            )


def is_loopback(host: str) -> bool:
    """Whether an address is that of this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_token(file: Path) -> str:
    """The token in a file, without white space around it.

    Raises:
        ServeError: no such file, others may read it, or no token in it.
    """
    try:
        mode = file.stat().st_mode
        text = read_regular(file, most_bytes=4096).decode("ascii").strip()
    except (OSError, ValueError) as error:
        raise ServeError(
            f"{file} cannot be read ({error}), expected a token of {LEAST_TOKEN} or more ASCII "
            f"characters; make one: openssl rand -hex 32 > {file}"
        ) from error
    if mode & 0o077:
        raise ServeError(
            f"{file} may be read by others (mode {mode & 0o777:o}), expected its owner alone; run: "
            f"chmod 600 {file}"
        )
    if len(text) < LEAST_TOKEN or not text.isprintable() or " " in text:
        raise ServeError(
            f"{file} holds {len(text)} characters, expected one token of {LEAST_TOKEN} or more "
            f"without spaces; make one: openssl rand -hex 32 > {file}"
        )
    return text
