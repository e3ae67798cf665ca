"""The body of a request: images as multipart, one image as it is, or JSON.

In: a request. Out: the images with their names, or the values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from mtml_deploy.serve.api_error import ApiError

FIELDS: Final = ("image", "images", "file", "files")
"""Names that a part of a form with an image may have."""

_MOST_HEAD: Final = 1 << 16
"""Bytes of a field of a form that is no file: there is none to be read."""


class _Parser(MultiPartParser):
    """One that writes nothing to the disk: a request is bounded."""

    spool_max_size = 1 << 40
    whole = False

    def on_end(self) -> None:
        """The last line was read: without it the form may lack images."""
        self.whole = True


@dataclass(frozen=True)
class Upload:
    """An image of a client.

    Attributes:
        name: that of its file, or "image N".
        content: its bytes.
    """

    name: str
    content: bytes


Values = TypeVar("Values", bound=msgspec.Struct)


def media_type(request: Request) -> str:
    """What the body is, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_uploads(request: Request, *, most: int) -> list[Upload]:
    """The images of a request, in their order.

    Args:
        request: multipart/form-data, or one image as the whole body.
        most: images that it may have.

    Raises:
        ApiError: another kind of body, a malformed one, no image, or too many.
    """
    kind = media_type(request)
    if kind == "multipart/form-data":
        return await _of_form(request, most)
    if kind.startswith("image/") or kind == "application/octet-stream":
        content = await request.body()
        if not content:
            raise ApiError(400, "the body is empty, expected an image; send its file")
        return [Upload("image 0", content)]
    raise ApiError(
        415,
        f"the body is {kind[:100] or 'of no type'!r}, expected multipart/form-data with parts "
        "named image, or one image as image/jpeg, image/png, ...; set the Content-Type",
    )


async def read_json(request: Request, kind: type[Values]) -> Values:
    """The values of a body in JSON.

    Raises:
        ApiError: 415 another type, 400 not JSON, 422 other values.
    """
    if media_type(request) != "application/json":
        raise ApiError(
            415,
            f"the body is {media_type(request)[:100] or 'of no type'!r}, expected "
            "application/json; set the Content-Type",
        )
    content = await request.body()
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.ValidationError as error:
        raise ApiError(422, f"{error}; correct it") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ApiError(400, f"the body is not JSON ({error}); correct it") from error


async def _of_form(request: Request, most: int) -> list[Upload]:
    """The images of a form."""
    parser = _Parser(request.headers, request.stream(), max_files=most, max_fields=16,
                     max_part_size=_MOST_HEAD)  # fmt: skip
    try:
        form = await parser.parse()
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            raise ApiError(
                413, f"the form has more images than the {most} expected; send them in parts"
            ) from error
        raise ApiError(
            400, f"the form is malformed ({error.message}), expected multipart/form-data"
        ) from error
    except (KeyError, ValueError, UnicodeError) as error:  # no boundary, bad names
        raise ApiError(400, f"the form is malformed ({type(error).__name__})") from error
    try:
        if not parser.whole:
            raise ApiError(
                400, "the form ends in the middle, expected its closing boundary; send it again"
            )
        uploads: list[Upload] = []
        for name, value in form.multi_items():
            if name not in FIELDS or isinstance(value, str):
                raise ApiError(
                    422,
                    f"the form has a part {name[:60]!r}"
                    f"{' that is no file' if isinstance(value, str) else ''}, expected files named "
                    "image; what else is asked for stands behind the ? of the address",
                )
            content = await value.read()
            uploads.append(Upload((value.filename or "")[:200] or f"image {len(uploads)}", content))
    finally:
        await form.close()
    if not uploads:
        raise ApiError(422, "the form has no image, expected one or more parts named image")
    return uploads
