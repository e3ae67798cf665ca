"""Answers with vectors: raw little-endian float32, base64 of it, or numbers, as the client asks.

In: rows and what is known of them. Out: responses; vectors never pass a response model.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import orjson
from msgspec import to_builtins
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response

from mtml_deploy.embed.embeddings import ModelIdentity

VectorFormat = Literal["base64", "float"]
"""How JSON holds vectors."""


def json_answer(value: Mapping[str, object] | Sequence[object], *, status: int = 200) -> Response:
    """A value as JSON; arrays of float32 become the shortest numbers that read back the same."""
    content = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(content, status, media_type="application/json")


def wants_bytes(request: Request) -> bool:
    """Whether a client asks for raw vectors."""
    return "application/octet-stream" in request.headers.get("accept", "").lower()


def raw_answer(features: NDArray[np.float32]) -> Response:
    """Vectors [N, D] as bytes: N x D float32, little-endian, row after row."""
    rows, dim = features.shape
    return Response(
        features.astype("<f4").tobytes(),
        media_type="application/octet-stream",
        headers={"x-rows": str(rows), "x-dim": str(dim)},
    )


def vector_values(row: NDArray[np.float32], how: VectorFormat) -> object:
    """One vector [D] as JSON holds it."""
    if how == "float":
        return np.ascontiguousarray(row)
    return base64.b64encode(row.astype("<f4").tobytes()).decode("ascii")


def model_values(model: ModelIdentity) -> object:
    """Which model made vectors."""
    return to_builtins(model)
