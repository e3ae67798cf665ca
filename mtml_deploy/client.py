"""A client of `mtml-deploy serve`, of the standard library and NumPy alone.

In: images, rows, labels. Out: vectors and lists, as the service tells them.
"""

from __future__ import annotations

import http.client
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias, cast
from urllib.parse import urlencode, urlsplit

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.client_error import ClientError, refusal
from mtml_deploy.closing import Closing

Picture: TypeAlias = "bytes | str | Path"
"""An image: its bytes, or its file."""

Value: TypeAlias = "str | int | float | bool | Sequence[str | int] | None"
"""What stands behind a word of an address; None leaves the word out, a list repeats it."""

_JSON: Final = "application/json"
_RAW: Final = "application/octet-stream"


class Client(Closing):
    """One connection to a service, kept open; a context manager, used by one thread."""

    def __init__(
        self, address: str, *, token: str = "", timeout_s: float = 60.0, patience_s: float = 0.0
    ) -> None:
        """Nothing is sent yet.

        Args:
            address: such as http://127.0.0.1:8000.
            token: what the service asks for, if it does.
            timeout_s: longest wait for an answer.
            patience_s: how long to ask again where the service is busy; 0 does not.

        Raises:
            ValueError: an address of another kind.
        """
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"address is http://HOST:PORT or https://..., found {address!r}")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else (
            http.client.HTTPConnection
        )  # fmt: skip
        self._connection = kind(parts.hostname, parts.port, timeout=timeout_s)
        self._base = parts.path.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._patience_s = patience_s

    def info(self) -> Mapping[str, Any]:
        """What the service offers."""
        return self._json("GET", "/v1/info")

    def embed(
        self,
        *images: Picture,
        boxes: Sequence[Sequence[float]] = (),
        as_one: bool = False,
    ) -> NDArray[np.float32]:
        """Embeddings of images, float32 [N, D], row i of image i.

        Args:
            images: one or more.
            boxes: [N, 4], regions of the one image in its place: x1, y1, x2, y2 in pixels.
            as_one: all images show one vehicle: their mean, [1, D].

        Raises:
            ClientError: the service refused.
        """
        kind, body = _body(images)
        words: dict[str, Value] = {"box": _boxes(boxes), "as_one": as_one}
        headers, content = self._ask(
            "POST", "/v1/embed", words, body, {"Content-Type": kind, "Accept": _RAW}
        )
        shape = int(headers["x-rows"]), int(headers["x-dim"])
        return np.frombuffer(content, "<f4").reshape(shape).astype(np.float32)

    def search(
        self, *images: Picture, boxes: Sequence[Sequence[float]] = (), **words: Value
    ) -> list[list[Mapping[str, Any]]]:
        """The nearest rows of the gallery to each image or box, nearest first.

        Args:
            images: one or more.
            boxes: as of `embed`.
            words: what the route /v1/search takes: top_k=5, camera=[3, 4], as_one=True, ...

        Returns:
            One list per query; each place has `rank`, `row`, `distance`, `path`, `vehicle_id`, ...

        Raises:
            ClientError: the service refused.
        """
        kind, body = _body(images)
        found = self._json(
            "POST", "/v1/search", {"box": _boxes(boxes), **words}, body, {"Content-Type": kind}
        )
        return [query["ranks"] for query in found["queries"]]

    def search_rows(self, rows: Sequence[int], **words: Value) -> list[list[Mapping[str, Any]]]:
        """As `search`, for rows of the gallery: more like these."""
        found = self._send("POST", "/v1/search", {"rows": list(rows)}, words)
        return [query["ranks"] for query in found["queries"]]

    def search_vectors(
        self, vectors: NDArray[np.float32], **words: Value
    ) -> list[list[Mapping[str, Any]]]:
        """As `search`, for vectors [N, D] of the model of the service."""
        given = {"embeddings": np.asarray(vectors, np.float32).tolist()}
        found = self._send("POST", "/v1/search", given, words)
        return [query["ranks"] for query in found["queries"]]

    def add(self, *images: Picture, **words: Value) -> list[Mapping[str, Any]]:
        """Add images to the gallery; on its disk when this returns.

        Args:
            images: one or more.
            words: what is known of all of them: vehicle, camera, tracklet, orientation, time.

        Returns:
            `row` of each, and whether it is `new`.

        Raises:
            ClientError: the service refused.
        """
        kind, body = _body(images)
        found = self._json("POST", "/v1/gallery", words, body, {"Content-Type": kind})
        return cast(list[Mapping[str, Any]], found["rows"])

    def relabel(self, rows: Sequence[int], **labels: str | int | None) -> int:
        """Change what is known of rows; None makes a label unknown. How many were there."""
        found = self._send("PATCH", "/v1/gallery", {"rows": list(rows), "labels": labels}, {})
        return int(found["changed"])

    def remove(self, **words: Value) -> int:
        """Remove rows by row and vehicle, or by a filter as of `search`. How many there were."""
        return int(self._json("DELETE", "/v1/gallery", words)["removed"])

    def close(self) -> None:
        """Close the connection; it opens again where it is used again."""
        self._connection.close()

    def _send(
        self, method: str, path: str, value: object, words: Mapping[str, Value]
    ) -> Mapping[str, Any]:
        """What the service tells on a value."""
        return self._json(method, path, words, json.dumps(value).encode(), {"Content-Type": _JSON})

    def _json(
        self,
        method: str,
        path: str,
        words: Mapping[str, Value] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Mapping[str, Any]:
        """What the service tells."""
        _, content = self._ask(method, path, words or {}, body, headers or {})
        return cast(Mapping[str, Any], json.loads(content))

    def _ask(
        self,
        method: str,
        path: str,
        words: Mapping[str, Value],
        body: bytes | None,
        headers: Mapping[str, str],
    ) -> tuple[Mapping[str, str], bytes]:
        """Headers and content of an answer; asked again while the service is busy."""
        address = f"{self._base}{path}"
        if query := urlencode([*_pairs(words)]):
            address = f"{address}?{query}"
        until = time.monotonic() + self._patience_s
        while True:
            status, told, content = self._once(method, address, body, {**self._headers, **headers})
            if status < 400:
                return told, content
            error = refusal(status, told, content)
            wait_s = error.retry_after_s or 0.0
            if status != 429 or time.monotonic() + wait_s > until:
                raise error
            time.sleep(wait_s)

    def _once(
        self, method: str, address: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, Mapping[str, str], bytes]:
        """One answer; sent again where the service had closed the connection meanwhile."""
        for fresh in (self._connection.sock is None, True):
            try:
                self._connection.request(method, address, body, dict(headers))
                answer = self._connection.getresponse()
                told = {name.lower(): value for name, value in answer.getheaders()}
                return answer.status, told, answer.read()
            except (http.client.HTTPException, OSError) as error:
                self._connection.close()
                if fresh or isinstance(error, TimeoutError):
                    host = f"{self._connection.host}:{self._connection.port}"
                    raise ClientError(
                        f"no answer of {host} ({type(error).__name__}: {error}), expected a "
                        "running mtml-deploy serve; see whether it is ready: GET /ready"
                    ) from error
        raise AssertionError("unreachable")


def _body(images: Sequence[Picture]) -> tuple[str, bytes]:
    """Content type and body of images: one as it is, several as a form.

    Raises:
        ValueError: no image.
    """
    if not images:
        raise ValueError("expected at least one image")
    contents = [each if isinstance(each, bytes) else Path(each).read_bytes() for each in images]
    if len(contents) == 1:
        return _RAW, contents[0]
    mark = secrets.token_hex(16)
    parts = [
        f'--{mark}\r\nContent-Disposition: form-data; name="image"; filename="image {place}"\r\n'
        f"Content-Type: {_RAW}\r\n\r\n".encode()
        + content
        + b"\r\n"
        for place, content in enumerate(contents)
    ]
    return f"multipart/form-data; boundary={mark}", b"".join([*parts, f"--{mark}--\r\n".encode()])


def _boxes(boxes: Sequence[Sequence[float]]) -> list[str]:
    """Boxes as words of an address."""
    return [",".join(f"{float(number):.6f}".rstrip("0").rstrip(".") for number in box)
            for box in boxes]  # fmt: skip


def _pairs(words: Mapping[str, Value]) -> list[tuple[str, str]]:
    """Words of an address."""
    pairs = []
    for name, value in words.items():
        each = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        pairs += [
            (name, str(one).lower() if isinstance(one, bool) else str(one))
            for one in each
            if one is not None
        ]
    return pairs
