"""Which optional libraries a command needs: looked for before it starts, never imported here."""

from __future__ import annotations

import importlib.util

from mtml_deploy.errors import MissingExtraError


def require_libraries(purpose: str, names: tuple[str, ...]) -> None:
    """Refuse to start where a library of the extra `train` is missing.

    Args:
        purpose: what needs them, for the error text.
        names: modules to look for; none is imported.

    Raises:
        MissingExtraError: names the first missing one.
    """
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise MissingExtraError(f"{purpose} needs {name}", "train")
