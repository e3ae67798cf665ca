"""One connection to a Triton server, over HTTP or gRPC: what it says of a model, and a run of it.

In: an address and uint8 images. Out: arrays, or a `ServerFailure` that says whether the same
request may succeed when it is sent again. The only file that knows `tritonclient`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from types import ModuleType
from typing import Any, Final, Literal, TypeVar, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from mtml_deploy.artifact.manifest import INPUT_NAME
from mtml_deploy.errors import MissingExtraError
from mtml_deploy.runtime.triton_address import TritonAddress

Cause = Literal["busy", "lost", "late", "refused"]
"""busy: the server takes no more just now; lost: no connection; late: no answer in time; refused:
anything that would be the same the next time."""

CONNECT_S: Final = 10
"""Seconds in which a server must take a connection."""

_BUSY: Final = frozenset({"429", "502", "503", "504"})
"""HTTP: a full queue, and what a balancer in front says while a server is away."""

_MESSAGE_BYTES: Final = 2**31 - 1

_CHANNEL: Final = (
    ("grpc.max_send_message_length", _MESSAGE_BYTES),
    ("grpc.max_receive_message_length", _MESSAGE_BYTES),
    # a channel that lost its server would answer from memory for seconds
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
)

T = TypeVar("T")


class ServerFailure(Exception):
    """A request without a result; the text is the server's, or says what became of the connection.

    Attributes:
        cause: what kind of failure.
    """

    def __init__(self, cause: Cause, text: str) -> None:
        """Keep the cause beside the text."""
        super().__init__(" ".join(text.split()).rstrip("."))
        self.cause = cause


class Parameter(msgspec.Struct, frozen=True):
    """A parameter of a configuration."""

    string_value: str = ""


class InstanceGroup(msgspec.Struct, frozen=True):
    """Where copies of a model run."""

    kind: str = "KIND_AUTO"
    gpus: tuple[int, ...] = ()


class ServedConfig(msgspec.Struct, frozen=True):
    """What is read of a configuration; a server sends much more."""

    max_batch_size: int = 0
    instance_group: tuple[InstanceGroup, ...] = ()
    parameters: Mapping[str, Parameter] = {}

    def parameter(self, key: str) -> str:
        """The text of a parameter; empty where it is not there."""
        return self.parameters.get(key, Parameter()).string_value


class TritonConnection:
    """A connection of one thread.

    The library's HTTP client belongs to the thread that made it.
    """

    def __init__(self, address: TritonAddress) -> None:
        """Prepare the connection; the server is not asked yet.

        Raises:
            MissingExtraError: tritonclient is not installed.
        """
        self._address = address
        self._library = triton_library(address)
        self._errors: type[Exception] = self._library.InferenceServerException
        self._client: Any = None

    def config(self) -> ServedConfig:
        """What the server says of the model now.

        Raises:
            ServerFailure: no answer, no such model, or no answer of a Triton server.
        """
        grpc = self._address.protocol == "grpc"
        how = {"as_json": True, "client_timeout": self._address.timeout_s} if grpc else {}
        answer = self._ask(lambda client: client.get_model_config(self._address.model, **how))
        try:
            return msgspec.convert(answer["config"] if grpc else answer, ServedConfig)
        except (KeyError, TypeError, msgspec.ValidationError) as error:
            raise ServerFailure(
                "refused", f"its configuration is not that of a Triton server ({error})"
            ) from error

    def run(
        self, images: NDArray[np.uint8], *, version: str, widths: Mapping[str, int]
    ) -> dict[str, NDArray[np.float32]]:
        """The outputs of one request.

        Args:
            images: uint8 [B, H, W, 3], no more than the server takes at once.
            version: of the model.
            widths: output name -> values per image.

        Returns:
            Output name -> float32 [B, values], memory of its own.

        Raises:
            ServerFailure: the request failed, or its answer does not hold what it must.
        """
        given = self._library.InferInput(INPUT_NAME, images.shape, "UINT8")
        given.set_data_from_numpy(images)
        wanted = [self._library.InferRequestedOutput(name) for name in widths]
        how: dict[str, Any] = {"model_version": version, "outputs": wanted}
        if self._address.protocol == "grpc":
            how["client_timeout"] = self._address.timeout_s
        answer = self._ask(lambda client: client.infer(self._address.model, [given], **how))
        found = {}
        for name, width in widths.items():
            try:
                values = answer.as_numpy(name)
            except ValueError as error:  # fewer bytes than the shape says
                raise ServerFailure("refused", f"output {name}: {error}") from error
            expected = (len(images), width)
            if values is None or values.shape != expected or values.dtype != np.float32:
                what = "nothing" if values is None else f"{values.dtype} {list(values.shape)}"
                raise ServerFailure(
                    "refused", f"output {name} is {what}, expected float32 {list(expected)}"
                )
            found[name] = np.array(values)
        return found

    def close(self) -> None:
        """Let go of the connection; the next request makes a new one."""
        client, self._client = self._client, None
        if client is not None:
            with suppress(Exception):  # one that is broken may not close either
                client.close()

    def _ask(self, request: Callable[[Any], T]) -> T:
        """What a request returns; its failure in our words."""
        try:
            if self._client is None:
                self._client = self._connected()
            return request(self._client)
        except self._errors as error:
            failure = self._answered(error)
            _forget_frames(error)
        except TimeoutError as error:
            failure = self._late()
            _forget_frames(error)
            self.close()
        except Exception as error:  # of sockets, gevent and the parser: no common base
            text = str(error) or type(error).__name__
            failure = ServerFailure("lost", f"the connection failed ({text})")
            _forget_frames(error)
            self.close()
        raise failure  # not from the library's own: its frames would keep the client

    def _late(self) -> ServerFailure:
        """There was no answer."""
        return ServerFailure("late", f"no answer within {self._address.timeout_s} seconds")

    def _answered(self, error: Any) -> ServerFailure:  # noqa: ANN401 - untyped library
        """A failure that the library made an exception of."""
        status = str(error.status() or "").removeprefix("StatusCode.")
        text = str(error.message()).replace("[request id: <id_unknown>] ", "")
        if status == "DEADLINE_EXCEEDED":
            return self._late()
        if status == "UNAVAILABLE" and _no_server(text):
            self.close()
            return ServerFailure("lost", f"the connection failed ({text})")
        if status in _BUSY or status == "UNAVAILABLE":
            return ServerFailure("busy", f"{status}: {text}")
        return ServerFailure("refused", f"{status}: {text}" if status else text)

    def _connected(self) -> Any:  # noqa: ANN401 - untyped library
        """A client of the library."""
        make = self._library.InferenceServerClient
        if self._address.protocol == "grpc":
            return make(self._address.server, channel_args=list(_CHANNEL))
        return make(
            self._address.server,
            connection_timeout=CONNECT_S,
            network_timeout=self._address.timeout_s,
        )


def triton_library(address: TritonAddress) -> ModuleType:
    """The part of tritonclient that speaks an address's protocol.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        if address.protocol == "grpc":
            import tritonclient.grpc

            return cast(ModuleType, tritonclient.grpc)
        import tritonclient.http

        return cast(ModuleType, tritonclient.http)
    except ImportError as error:
        raise MissingExtraError(
            "asking a Triton server needs tritonclient[http,grpc]", "triton"
        ) from error


def _forget_frames(error: BaseException) -> None:
    """Let go of what an exception's frames hold: a client must be freed in its own thread.

    The library keeps an exception in a variable of the frame that raises it, which is a circle that
    any thread may come to free.
    """
    inner: BaseException | None = error
    while inner is not None:
        inner.__traceback__ = None
        inner = inner.__cause__ or inner.__context__


def _no_server(text: str) -> bool:
    """Whether gRPC's own words say that nobody answered; the server's never do."""
    lower = text.lower()
    return any(
        each in lower
        for each in ("failed to connect", "connection", "socket closed", "dns resolution", "goaway")
    )
