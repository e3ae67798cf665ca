"""Routes that embed images."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from mtml_deploy.serve.answers import (
    json_answer,
    model_values,
    raw_answer,
    vector_values,
    wants_bytes,
)
from mtml_deploy.serve.body import read_json, read_uploads
from mtml_deploy.serve.openai_shape import EmbeddingsRequest, embeddings_values
from mtml_deploy.serve.openapi import DATA_IMAGES, IMAGES, answer, errors
from mtml_deploy.serve.patience import facts_of, service_of, while_there
from mtml_deploy.serve.questions import EmbedQuestion

router = APIRouter(tags=["embed"])

_EXAMPLE = {
    "model": {"model_sha256": "1f...", "precision": "fp32", "embedding": "consensus", "dim": 1024},
    "dtype": "float32",
    "rows": [{"name": "car.jpg", "embedding": "AACAPwAAAEA="}],
}


_OPENAI_EXAMPLE = {
    "object": "list",
    "model": "model",
    "data": [{"object": "embedding", "index": 0, "embedding": [1.0, 2.0]}],
    "usage": {"prompt_tokens": 0, "total_tokens": 0},
}


@router.post(
    "/v1/embed",
    openapi_extra=IMAGES,
    responses={**answer(_EXAMPLE, raw=True), **errors(415)},
)
async def embed(request: Request, asked: Annotated[EmbedQuestion, Query()]) -> Response:
    """Embed images, or boxes of one image; row i belongs to image i.

    With the header `Accept: application/octet-stream` the answer is the vectors alone: N x D
    float32, little-endian, with N in X-Rows and D in X-Dim.
    """
    service = service_of(request)
    uploads = await read_uploads(request, most=service.options.images)
    embedded = await while_there(request, service.embed(uploads, asked.boxes()))
    facts_of(request).update(embedded.facts())
    rows = service.rows_of(embedded)
    if asked.as_one:
        rows = rows.pool("one")
    if wants_bytes(request):
        return raw_answer(rows.features)
    return json_answer(
        {
            "model": model_values(rows.model),
            "dtype": "float32",
            "rows": [
                {"name": name, "embedding": vector_values(row, asked.format)}
                for name, row in zip(rows.names, rows.features, strict=True)
            ],
        }
    )


@router.post(
    "/v1/embeddings",
    openapi_extra=DATA_IMAGES,
    responses={**answer(_OPENAI_EXAMPLE), **errors(404, 415)},
)
async def embeddings(request: Request) -> Response:
    """Embed images as OpenAI's clients ask for it: `data:` addresses in `input`."""
    service = service_of(request)
    wanted = await read_json(request, EmbeddingsRequest)
    name = service.artifact.folder.name
    uploads = wanted.uploads(
        model=name, dim=service.artifact.manifest.dim, most=service.options.images
    )
    embedded = await while_there(request, service.embed(uploads))
    facts_of(request).update(embedded.facts())
    return json_answer(
        embeddings_values(embedded.outputs.embeddings, wanted.encoding_format, model=name)
    )
