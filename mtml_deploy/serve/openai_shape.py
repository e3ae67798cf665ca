"""Embeddings in the shape of OpenAI's interface, with images as `data:` addresses.

In: values in JSON. Out: images, and values for JSON.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from mtml_deploy.serve.answers import VectorFormat, vector_values
from mtml_deploy.serve.api_error import ApiError
from mtml_deploy.serve.body import Upload

_DATA: Final = re.compile(r"data:(image/[\w.+-]{1,60}|application/octet-stream)?;base64,", re.ASCII)


class EmbeddingsRequest(msgspec.Struct, frozen=True):
    """What is asked for; further fields, such as `user`, mean nothing here.

    Attributes:
        input: one image or several.
        model: its name; empty for the one that there is.
        encoding_format: numbers, or base64 of little-endian float32.
        dimensions: of an embedding; only the model's own.
    """

    input: str | list[str]
    model: str = ""
    encoding_format: VectorFormat = "float"
    dimensions: int | None = None

    def uploads(self, *, model: str, dim: int, most: int) -> list[Upload]:
        """The images.

        Args:
            model: name of the one that there is.
            dim: of its embeddings.
            most: images of a request.

        Raises:
            ApiError: another model, another size, too many, or an input that is no such address.
        """
        if self.model not in ("", model):
            raise ApiError(
                404,
                f"there is no model {self.model[:100]!r}, expected {model!r}; name it or leave it "
                "out",
                code="no_model",
            )
        if self.dimensions not in (None, dim):
            raise ApiError(
                422, f"dimensions is {self.dimensions}, expected {dim}, as the model gives"
            )
        given = [self.input] if isinstance(self.input, str) else self.input
        if not given:
            raise ApiError(422, "input is empty, expected one or more images")
        if len(given) > most:
            raise ApiError(413, f"{len(given)} images, expected at most {most}; send them in parts")
        return [Upload(f"input {place}", _content(place, text)) for place, text in enumerate(given)]


def embeddings_values(
    features: NDArray[np.float32], how: VectorFormat, *, model: str
) -> dict[str, object]:
    """The answer: embeddings [N, D] in the order of the inputs."""
    return {
        "object": "list",
        "model": model,
        "data": [
            {"object": "embedding", "index": place, "embedding": vector_values(row, how)}
            for place, row in enumerate(features)
        ],
        "usage": {"prompt_tokens": 0, "total_tokens": 0},
    }


def _content(place: int, text: str) -> bytes:
    """The image in an address."""
    start = _DATA.match(text)
    if start is None:
        raise ApiError(
            422,
            f"input {place} is {text[:40]!r}, expected data:image/jpeg;base64,... : nothing is "
            "fetched for a client; send the image itself",
        )
    try:
        return base64.b64decode(text[start.end() :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise ApiError(422, f"input {place} is not base64 ({error}); encode it again") from error
