"""Where a model is on a Triton server, as `--backend` names it.

In: a text such as "triton://HOST:8000/mtml". Out: its parts. No library is imported here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, Self, get_args

from mtml_deploy.defaults import Backend
from mtml_deploy.errors import BackendError

FORMS: Final = "triton://HOST:PORT/MODEL or triton+grpc://HOST:PORT/MODEL"

TIMEOUT_S: Final = 120
"""Seconds that one request may take, unless the address says otherwise."""

_SCHEME: Final = "triton"
_ADDRESS: Final = re.compile(
    r"triton(?P<grpc>\+grpc)?://(?P<host>[\w.-]+|\[[0-9A-Fa-f:]+\]):(?P<port>\d{1,5})"
    r"/(?P<model>[\w.-]+)(/(?P<version>[1-9]\d*))?/?(\?timeout=(?P<timeout>[1-9]\d{0,4}))?\Z",
    re.ASCII,
)
_MOST_PORT: Final = 65535

Protocol = Literal["http", "grpc"]


@dataclass(frozen=True)
class TritonAddress:
    """A model on a server.

    Attributes:
        protocol: how the server is spoken to.
        server: HOST:PORT.
        model: its name there.
        version: the version that is asked for; empty for the one that the server tells of.
        timeout_s: seconds that one request may take.
    """

    protocol: Protocol
    server: str
    model: str
    version: str = ""
    timeout_s: int = TIMEOUT_S

    @classmethod
    def parse(cls, text: str) -> Self:
        """The parts of an address.

        Args:
            text: "triton://HOST:PORT/MODEL", "triton+grpc://..." for gRPC, "/VERSION" behind it for
                one version, "?timeout=SECONDS" at its end.

        Raises:
            BackendError: it has another form.
        """
        found = _ADDRESS.match(text)
        if found is None or not 0 < int(found["port"]) <= _MOST_PORT:
            raise BackendError(
                f"backend is {text!r}, expected {FORMS}, where MODEL may be followed by /VERSION "
                "and ?timeout=SECONDS; mend the address"
            )
        return cls(
            protocol="grpc" if found["grpc"] else "http",
            server=f"{found['host']}:{int(found['port'])}",
            model=found["model"],
            version=found["version"] or "",
            timeout_s=int(found["timeout"] or TIMEOUT_S),
        )

    def __str__(self) -> str:
        """Model and server, for errors."""
        return f"model {self.model!r} at {self.server}"


def on_server(backend: str) -> bool:
    """Whether a backend is a server's address, right or wrong."""
    return backend.partition(":")[0].partition("+")[0] == _SCHEME


def check_backend(backend: str) -> None:
    """Refuse what is no name of a backend and no address.

    Raises:
        BackendError: neither.
    """
    if on_server(backend):
        TritonAddress.parse(backend)
    elif backend not in get_args(Backend):
        raise BackendError(
            f"backend is {backend!r}, expected one of {', '.join(get_args(Backend))}, or {FORMS}; "
            "name one of these"
        )
