"""Opening and ending the connection to a Milvus server, or to a local milvus-lite folder."""

from __future__ import annotations

import logging
import os
import threading
from collections import Counter
from typing import TYPE_CHECKING, Final

from mtml_deploy.errors import MissingExtraError
from mtml_deploy.gallery.milvus.address import TOKEN_VARIABLE, MilvusAddress
from mtml_deploy.gallery.values import GalleryAwayError, GalleryError

if TYPE_CHECKING:
    from pymilvus import MilvusClient

_CONNECT_S: Final = 5.0

_uses: Counter[str] = Counter()
"""Open clients of each local folder in this process; the last one stops its server."""

_uses_lock: Final = threading.Lock()


def connect(address: MilvusAddress) -> MilvusClient:
    """A client of a server, or of a local folder with a server of its own in this process.

    Raises:
        GalleryError: no server there, one that refuses this user, or a local folder that is in use.
        MissingExtraError: pymilvus or milvus-lite is not installed.
    """
    try:
        import grpc
        from pymilvus import MilvusClient
        from pymilvus.exceptions import MilvusException
    except ImportError as error:
        raise MissingExtraError(
            f"the gallery {address.text} needs pymilvus",
            "milvus" if address.folder is None else "milvus-lite",
        ) from error
    # the library prints every error with its traceback; here they become one line
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
    if address.folder is not None:
        return _connect_local(address)
    try:
        return MilvusClient(
            address.uri,
            token=os.environ.get(TOKEN_VARIABLE, ""),
            db_name=address.database,
            timeout=_CONNECT_S,
        )
    except (MilvusException, grpc.RpcError) as error:
        raise failure_of(error)(
            f"{address.text}: no Milvus server can be used at {address.uri}: found "
            f"{reason(error)}; check the address and that the server runs, and set "
            f"{TOKEN_VARIABLE} (now {'set' if os.environ.get(TOKEN_VARIABLE) else 'not set'}) to "
            "user:password or an API key if it asks for one"
        ) from error


def _connect_local(address: MilvusAddress) -> MilvusClient:
    """A client of a local folder; the library starts the server."""
    from pymilvus import MilvusClient
    from pymilvus.exceptions import MilvusException

    try:
        import milvus_lite  # noqa: F401 - without it pymilvus names another package to install
    except ImportError as error:
        raise MissingExtraError(
            f"the local gallery {address.text} needs milvus-lite", "milvus-lite"
        ) from error
    logging.getLogger("milvus_lite").setLevel(logging.CRITICAL)
    with _uses_lock:
        try:
            client = MilvusClient(address.uri, timeout=_CONNECT_S)
        except MilvusException as error:
            raise GalleryError(
                f"{address.text}: {address.uri} cannot be opened: found {reason(error)}, expected "
                "a folder that milvus-lite made and that no other process has open; close the "
                "other one, or use a Milvus server for several"
            ) from error
        _uses[str(address.folder)] += 1
    return client


def release(address: MilvusAddress) -> None:
    """Stop the server of a local folder behind its last client."""
    if address.folder is None:
        return
    from milvus_lite.server_manager import server_manager_instance

    with _uses_lock:
        _uses[str(address.folder)] -= 1
        if not _uses[str(address.folder)]:
            server_manager_instance.release_server(address.uri)


def failure_of(error: Exception) -> type[GalleryError]:
    """The kind of error that one of the library's is: whether the server answers at all."""
    import grpc
    from pymilvus.client.types import Status

    code = error.code() if isinstance(error, grpc.RpcError) else getattr(error, "code", None)
    silent = (
        Status.CONNECT_FAILED,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    )
    return GalleryAwayError if code in silent else GalleryError


def reason(error: Exception) -> str:
    """What the library says, on one line."""
    return " ".join(str(getattr(error, "message", "") or error).split()) or type(error).__name__
