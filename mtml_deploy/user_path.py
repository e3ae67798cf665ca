"""The file or folder that a caller of the Python functions names.

In: text or a `Path`. Out: a `Path`. A shell has put the home folder in place of ~ before a command
sees it; a program has not.
"""

from __future__ import annotations

import os
from pathlib import Path


def user_path(name: str | Path) -> Path:
    """The path, with the caller's home folder in place of a "~" at its start.

    Args:
        name: absolute, or relative to where the program runs.

    Raises:
        TypeError: it is neither text nor a path.
        ValueError: it is empty.
    """
    if not isinstance(name, str | os.PathLike):
        raise TypeError(f"a path is a str or a Path, found a {type(name).__name__}")
    if name == "":
        raise ValueError("a path is expected, found empty text")
    path = Path(name)
    # "~someone" stays as it is: it may be the name of a file
    return path.expanduser() if path.parts[:1] == ("~",) else path
