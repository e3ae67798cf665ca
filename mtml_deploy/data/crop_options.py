"""What a source `crops:FILE@frames=PLACE,format=FORMAT,...` says beside its file.

In: the text behind @. Out: options by name, and the text again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

NAMES: Final = (
    "frames", "format", "camera", "start", "fps", "first", "offset", "origin", "min_score",
    "classes", "ids",
)  # fmt: skip
"""What can be said; values may hold anything but a comma before one of these and =."""

FORMATS: Final = ("mot", "aicity", "coco", "yolo", "supervision")
"""Files of detections that are read."""

_START: Final = re.compile(rf"@(?=(?:{'|'.join(NAMES)})=)")
_NEXT: Final = re.compile(rf",(?=(?:{'|'.join(NAMES)})=)")


def split_options(text: str) -> tuple[str, dict[str, str] | None]:
    """The file of a source, and its options; None for options that are said twice or unknown."""
    found = _START.search(text)
    if found is None:
        return text, {}
    options: dict[str, str] = {}
    for part in _NEXT.split(text[found.end() :]):
        name, _, value = part.partition("=")
        if name in options or not value:
            return text[: found.start()], None
        options[name] = value
    return text[: found.start()], options


def options_text(options: Mapping[str, str]) -> str:
    """A text that `split_options` reads as the same."""
    return ",".join(f"{name}={value}" for name, value in options.items())
