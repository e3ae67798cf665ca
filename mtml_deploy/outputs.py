"""What a command may write over: only what it knows, by its content, as its own kind of output.

In: the path that a user names for a result, and what kind of result. Out: nothing, or an error that
says what is there. A link is never followed, an input never replaced.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

from mtml_deploy.errors import MtmlError, OutputExistsError
from mtml_deploy.files import atomic_folder, restore_folder
from mtml_deploy.output_kind import FileKind, FolderKind
from mtml_deploy.path_kind import name_of_kind
from mtml_deploy.text import printable

_SHOWN: Final = 3
"""Foreign files that an error names."""


def require_outputs(
    outputs: Iterable[tuple[Path | None, FileKind]],
    *,
    overwrite: bool,
    inputs: Iterable[Path] = (),
) -> None:
    """Refuse files that must not be written, before any work is done.

    Args:
        outputs: each file and its kind; None where the user asked for none.
        overwrite: the user's `--overwrite`.
        inputs: files and folders that the command reads.

    Raises:
        OutputExistsError: one is there and not of its kind, is an input, or is named twice; or it
            is there and `overwrite` is false.
    """
    inputs, before = tuple(inputs), list[Path]()
    for path, kind in outputs:
        if path is None:
            continue
        if any(_same_place(path, other) for other in before):
            raise OutputExistsError(f"{path} is named for two results; give each a name of its own")
        before.append(path)
        require_output(path, kind, overwrite=overwrite, inputs=inputs)


def require_output(
    path: Path,
    kind: FileKind | FolderKind,
    *,
    overwrite: bool,
    inputs: Iterable[Path] = (),
) -> None:
    """Refuse a file or folder that must not be written.

    Args:
        path: what will be written.
        kind: what it will be.
        overwrite: the user's `--overwrite`: what is there and of the same kind is replaced.
        inputs: files and folders that the command reads.

    Raises:
        OutputExistsError: something is there that is no such output, is or holds an input, or
            lies inside an input of the same kind; or it is there and `overwrite` is false.
    """
    if not os.path.lexists(path):
        # writing makes the folders above: NEW/../FILE is FILE then
        path = Path(os.path.realpath(path))
    if isinstance(kind, FolderKind):
        restore_folder(path)
    _refuse_inputs(path, kind, tuple(inputs))
    if not os.path.lexists(path):
        return
    if path.is_symlink():
        raise OutputExistsError(
            f"{path} is a link to {printable(path.readlink())} and was left as it is; name the "
            "place itself, or choose another name"
        )
    if not _is_empty(path, kind):
        _require_kind(path, kind)
    if not overwrite:
        raise OutputExistsError(
            f"{path} exists already and was left as it is; choose another name or add --overwrite"
        )


def require_apart(first: Path, second: Path) -> None:
    """Refuse two folders to be written of which one is the other, or lies in it.

    Raises:
        OutputExistsError: they are not apart.
    """
    places = [Path(os.path.realpath(path)) for path in (first, second)]
    if places[0].is_relative_to(places[1]) or places[1].is_relative_to(places[0]):
        raise OutputExistsError(
            f"{first} and {second} lie in one another, and both are to be written; name two folders"
        )


@contextmanager
def output_folder(
    path: Path,
    kind: FolderKind,
    *,
    overwrite: bool,
    inputs: Iterable[Path] = (),
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[Path]:
    """Yield a folder that becomes `path` on success; see `atomic_folder` and `require_output`.

    Args:
        path: the folder to make.
        kind: what it will be.
        overwrite: replace one of this kind.
        inputs: files and folders that the command reads.
        say: told what was made from the replaced folder and is gone with it.

    Yields:
        Path of an empty folder.

    Raises:
        OutputExistsError: see `require_output`.
    """
    allow = partial(require_output, kind=kind, overwrite=overwrite, inputs=tuple(inputs))
    with atomic_folder(path, allow=allow) as temporary:
        yield temporary
        products = kind.products(path) if path.is_dir() else ""
    if products:
        say(f"note: {path} held {products}, which went with it; make them again")


def _refuse_inputs(path: Path, kind: FileKind | FolderKind, inputs: Sequence[Path]) -> None:
    """Refuse an output that is one of the inputs, holds one, or would become a part of one."""
    for given in inputs:
        what = None
        if _same_place(path, given):
            what = "is what this command reads"
        elif _holds(path, given):
            what = f"holds {given}, which this command reads"
        elif isinstance(kind, FolderKind) and _holds(given, path) and _is_kind(given, kind):
            what = f"lies inside {given}, which this command reads"
        if what is not None:
            raise OutputExistsError(f"{path} {what}; nothing was written, choose another name")


def _require_kind(path: Path, kind: FileKind | FolderKind) -> None:
    """Refuse what is no output of a kind, or holds what did not come with it."""
    reason = ""
    if isinstance(kind, FileKind):
        with suppress(OSError, ValueError, MtmlError):
            if kind.known(path):
                return
    elif path.is_dir():
        try:
            kind.require(path)
        except (OSError, ValueError) as error:
            reason = f" ({error})"
        else:
            _refuse_foreign(path, kind)
            return
    found = name_of_kind(path)
    if found in (None, kind.name):
        found = "a folder" if path.is_dir() else "a file" if path.is_file() else "no regular file"
    raise OutputExistsError(
        f"{path} is {found}, not {kind.name}{reason}, and was left as it is; choose another name"
    )


def _refuse_foreign(path: Path, kind: FolderKind) -> None:
    """Refuse a folder that holds what did not come with it."""
    foreign = kind.foreign(path)
    if not foreign:
        return
    more = f" and {len(foreign) - _SHOWN} more" if len(foreign) > _SHOWN else ""
    raise OutputExistsError(
        f"{path} holds what is not part of {kind.name}: "
        f"{', '.join(map(printable, foreign[:_SHOWN]))}{more}; it was left as it is: move that "
        "away, or choose another name"
    )


def _is_kind(path: Path, kind: FolderKind) -> bool:
    """Whether a folder is of a kind."""
    try:
        kind.require(path)
    except (OSError, ValueError):
        return False
    return True


def _is_empty(path: Path, kind: FileKind | FolderKind) -> bool:
    """Whether nothing would be lost with it."""
    if isinstance(kind, FolderKind):
        return path.is_dir() and not any(path.iterdir())
    return path.is_file() and path.stat().st_size == 0


def _same_place(first: Path, second: Path) -> bool:
    """Whether two names are of one file or folder, also where it does not exist yet."""
    try:
        return first.samefile(second)
    except (OSError, ValueError):
        return os.path.realpath(first) == os.path.realpath(second)


def _holds(folder: Path, inner: Path) -> bool:
    """Whether something lies below a folder, however the two are written."""
    return any(_same_place(folder, parent) for parent in Path(os.path.realpath(inner)).parents)
