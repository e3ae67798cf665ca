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


QUERIES: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            **IMAGES["requestBody"]["content"],
            "application/json": {
                "schema": {
                    "type": "object",
                    "additionalProperties": False,
                    "minProperties": 1,
                    "properties": {
                        "rows": {
                            "type": "array",
                            "minItems": 1,
                            "items": {"type": "integer", "minimum": 1},
                        },
                        "embeddings": {
                            "type": "array",
                            "minItems": 1,
                            "items": {
                                "anyOf": [
                                    {"type": "string", "format": "byte"},
                                    {"type": "array", "items": {"type": "number"}},
                                ]
                            },
                        },
                    },
                },
                "example": {"rows": [12, 15]},
            },
        },
    }
}
"""A body of images, or of what stands for them."""

DATA_IMAGES: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["input"],
                    "properties": {
                        "input": {
                            "anyOf": [
                                {"type": "string"},
                                {"type": "array", "minItems": 1, "items": {"type": "string"}},
                            ]
                        },
                        "model": {"type": "string"},
                        "encoding_format": {"enum": ["float", "base64"]},
                        "dimensions": {"type": "integer"},
                    },
                },
                "example": {"input": ["data:image/jpeg;base64,/9j/4AAQ..."]},
            }
        },
    }
}
"""A body of images as addresses."""

_ID: Final = {"type": ["integer", "string", "null"], "minLength": 1, "maxLength": 200}

RELABELLING: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["rows", "labels"],
                    "additionalProperties": False,
                    "properties": {
                        "rows": {
                            "type": "array",
                            "minItems": 1,
                            "items": {"type": "integer", "minimum": 1},
                        },
                        "labels": {
                            "type": "object",
                            "minProperties": 1,
                            "additionalProperties": False,
                            "properties": {
                                "vehicle_id": _ID,
                                "camera_id": _ID,
                                "tracklet_id": _ID,
                                "orientation": {
                                    "type": ["integer", "null"],
                                    "minimum": 0,
                                    "maximum": 7,
                                },
                                "time": {"type": ["string", "null"]},
                            },
                        },
                    },
                },
                "example": {"rows": [12, 13], "labels": {"vehicle_id": 41, "time": None}},
            }
        },
    }
}
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
