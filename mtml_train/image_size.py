"""Height and width of images as one setting: a number for a square, or two numbers. Needs no torch.

In: what a user writes, or a record holds. Out: an `ImageSize`.
"""

from __future__ import annotations

from typing import Final

ImageSize = int | tuple[int, int]
"""Side of a square, or height and width; pixels."""

_FORM: Final = "expected one number for a square, or HEIGHT,WIDTH such as 256,128"
_DIGITS: Final = 9


def sides(size: ImageSize) -> tuple[int, int]:
    """Height and width of a size, pixels."""
    return (size, size) if isinstance(size, int) else size


def size_of(value: object) -> ImageSize:
    """The size that a value of JSON, of TOML or of the command line means.

    Args:
        value: 224, [256, 128] or the text "256,128".

    Returns:
        One number where both sides are equal, so that equal sizes are equal values.

    Raises:
        ValueError: it is none.
    """
    parts = value.split(",") if isinstance(value, str) else value
    found = [_number(part) for part in (parts if isinstance(parts, list | tuple) else [parts])]
    if len(found) not in (1, 2):
        raise ValueError(_FORM)
    height, width = found[0], found[-1]
    return height if height == width else (height, width)


def _number(value: object) -> int:
    """A side, from a number or its digits."""
    if isinstance(value, str) and value.strip().isdecimal() and len(value) < _DIGITS:
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 10**_DIGITS:
        raise ValueError(_FORM)
    return value


def size_text(size: ImageSize) -> str:
    """The size as --image-size takes it."""
    return ",".join(map(str, size)) if isinstance(size, tuple) else str(size)
