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

IMAGES: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {
                        "image": {
                            "type": "array",
                            "minItems": 1,
                            "items": {"type": "string", "format": "binary"},
                        }
                    },
                    "additionalProperties": False,
                }
            },
            "image/jpeg": {"schema": {"type": "string", "format": "binary"}},
            "image/png": {"schema": {"type": "string", "format": "binary"}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
"""A body of images."""


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
