"""Which optional libraries a command needs: looked for before it starts, never imported here."""

from __future__ import annotations

import importlib.util
from typing import Final

from mtml_deploy.errors import MissingExtraError

_OTHER_EXTRA: Final = {"onnxruntime": "cpu"}
"""Not of the extra `train`: cpu brings one library and gpu another, as one and the same module."""


def require_libraries(purpose: str, names: tuple[str, ...]) -> None:
    """Refuse to start where a library is missing.

    Args:
        purpose: what needs them, for the error text.
        names: modules to look for; none is imported.

    Raises:
        MissingExtraError: names the first missing one, and the extra that brings it.
    """
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise MissingExtraError(f"{purpose} needs {name}", _OTHER_EXTRA.get(name, "train"))
