"""The folder of the demo: the model and the pictures that come with the package, copied out of it.

In: a name. Out: a folder that commands can be tried on, which is replaced only as a whole.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

from mtml_deploy.files import write_text
from mtml_deploy.output_kind import FolderKind
from mtml_deploy.outputs import output_folder
from mtml_deploy.record_file import Record, parse_json, record_json
from mtml_deploy.regular_file import RECORD_BYTES, read_regular
from mtml_deploy.version import __version__

SHIPPED: Final = Path(__file__).parent
"""Where both lie in the package."""

MODEL: Final = "model"
"""The artifact, in the package and in the folder."""

CARS: Final = "cars"
"""The pictures, in VeRi-776 layout, likewise."""

QUERY: Final = "query.npz"
GALLERY: Final = "gallery.npz"
METRICS: Final = "metrics.json"
PAGE: Final = "report.html"
_RECORD: Final = "demo.json"


class _Made(Record, frozen=True, kw_only=True):
    """What tells the folder from others: the version that made it."""

    schema: Literal[1] = 1
    version: str


def shipped_files() -> Iterator[Path]:
    """The files of the model and the pictures, by their names from `SHIPPED` on."""
    for part in (MODEL, CARS):
        for path in sorted((SHIPPED / part).rglob("*")):
            if path.is_file():
                yield path.relative_to(SHIPPED)


def copy_out(folder: Path, *, overwrite: bool) -> None:
    """Write the model and the pictures into a folder, whole or not at all.

    Args:
        folder: becomes the demo's folder.
        overwrite: replace an earlier one.

    Raises:
        OutputExistsError: `folder` exists and `overwrite` is false, or it is no folder of a demo,
            or holds other files.
    """
    with output_folder(folder, DEMO, overwrite=overwrite) as target:
        for name in shipped_files():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            # bytes alone: what is installed may be read-only
            shutil.copyfile(SHIPPED / name, target / name)
        write_text(target / _RECORD, record_json(_Made(version=__version__)) + "\n")


def _require(folder: Path) -> None:
    """Raise where a folder is none of a demo."""
    try:
        parse_json(read_regular(folder / _RECORD, most_bytes=RECORD_BYTES), _Made)
    except FileNotFoundError:
        raise ValueError(f"it lacks {_RECORD}") from None


def _foreign(folder: Path) -> list[str]:
    """What no demo wrote there."""
    own = {Path(name) for name in (_RECORD, QUERY, GALLERY, METRICS, PAGE)}
    files = own | set(shipped_files())
    folders = {parent for name in files for parent in name.parents}
    found = {path.relative_to(folder): path for path in folder.rglob("*")}
    return sorted(
        name.as_posix()
        for name, path in found.items()
        if path.is_symlink() or name not in (folders if path.is_dir() else files)
    )


DEMO: Final = FolderKind("a folder of mtml-deploy demo", _require, _foreign)
