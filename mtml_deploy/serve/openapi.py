"""What OpenAPI tells beyond the types of the routes: bodies, answers and examples."""

from __future__ import annotations

from typing import Any, Final

_ERROR: Final = {
    "description": "What was found, what was expected, what to do.",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["error"],
                "properties": {
                    "error": {
                        "type": "object",
                        "required": ["code", "message", "request_id"],
                        "properties": {
                            "code": {"type": "string"},
                            "message": {"type": "string"},
                            "request_id": {"type": "string"},
                        },
                    }
                },
            },
            "example": {
                "error": {
                    "code": "image",
                    "message": "car.jpg: 0 bytes, expected an image; copy it again or leave it out",
                    "request_id": "6d1f4c1f0a7e4b0f9a54c1f4b8f1b3ad",
                }
            },
        }
    },
}

_FILE: Final = {"type": "string", "format": "binary"}


def _list(items: object) -> dict[str, Any]:
    """A list with one item or more."""
    return {"type": "array", "minItems": 1, "items": items}


def _object(properties: dict[str, Any], **more: object) -> dict[str, Any]:
    """An object with these properties and no others."""
    return {"type": "object", "properties": properties, "additionalProperties": False} | more


def _body(content: dict[str, Any]) -> dict[str, Any]:
    """A body that a route needs."""
    return {"requestBody": {"required": True, "content": content}}


def _json(schema: object, example: object) -> dict[str, Any]:
    """Content that is JSON."""
    return {"application/json": {"schema": schema, "example": example}}


_OF_IMAGES: Final = {
    "multipart/form-data": {"schema": _object({"image": _list(_FILE)}, required=["image"])},
    "image/jpeg": {"schema": _FILE},
    "image/png": {"schema": _FILE},
    "application/octet-stream": {"schema": _FILE},
}
IMAGES: Final = _body(_OF_IMAGES)
"""A body of images."""

_ROWS: Final = _list({"type": "integer", "minimum": 1})
_VECTOR: Final = [
    {"type": "string", "format": "byte"},
    {"type": "array", "items": {"type": "number"}},
]
_STANDING_FOR: Final = {"rows": _ROWS, "embeddings": _list({"anyOf": _VECTOR})}

QUERIES: Final = _body(
    _OF_IMAGES | _json(_object(_STANDING_FOR, minProperties=1), {"rows": [12, 15]})
)
"""A body of images, or of what stands for them."""

_DATA_IMAGES: Final = {
    "type": "object",
    "required": ["input"],
    "properties": {
        "input": {"anyOf": [{"type": "string"}, _list({"type": "string"})]},
        "model": {"type": "string"},
        "encoding_format": {"enum": ["float", "base64"]},
        "dimensions": {"type": "integer"},
    },
}
DATA_IMAGES: Final = _body(_json(_DATA_IMAGES, {"input": ["data:image/jpeg;base64,/9j/4AAQ..."]}))
"""A body of images as addresses."""

_ID: Final = {"type": ["integer", "string", "null"], "minLength": 1, "maxLength": 200}
_LABELS: Final = {
    "vehicle_id": _ID,
    "camera_id": _ID,
    "tracklet_id": _ID,
    "orientation": {"type": ["integer", "null"], "minimum": 0, "maximum": 7},
    "time": {"type": ["string", "null"]},
}
RELABELLING: Final = _body(
    _json(
        _object(
            {"rows": _ROWS, "labels": _object(_LABELS, minProperties=1)},
            required=["rows", "labels"],
        ),
        {"rows": [12, 13], "labels": {"vehicle_id": 41, "time": None}},
    )
)
"""A body that changes labels."""


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Answers that are errors, for a route."""
    always = (400, 401, 403, 408, 413, 422, 429, 500, 503)
    return dict.fromkeys(sorted({*always, *statuses}), _ERROR)


def answer(example: object, *, status: int = 200, raw: bool = False) -> dict[int | str, Any]:
    """The answer of a route, by an example."""
    content: dict[str, Any] = {
        "application/json": {"schema": {"type": "object"}, "example": example}
    }
    if raw:
        content["application/octet-stream"] = {"schema": {"type": "string", "format": "binary"}}
    return {status: {"description": "The answer.", "content": content}}
