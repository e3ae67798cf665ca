"""What belongs to an artifact's folder, so that a command replaces an artifact and nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from mtml_deploy.artifact.artifact import MANIFEST_FILE
from mtml_deploy.artifact.manifest import Manifest
from mtml_deploy.output_kind import FolderKind, left_behind, text_kind
from mtml_deploy.record_file import parse_json
from mtml_deploy.regular_file import RECORD_BYTES, read_regular

_ENGINE: Final = re.compile(r"engines/[^/]+\.engine\Z")
_VERDICT: Final = re.compile(r"parity/[^/]+\.json\Z")
_OWN: Final = re.compile(
    r"(model\.onnx|manifest\.json|threshold\.json|sensitivity\.(json|md|svg)|engines|engines/[^/]+\.(engine|json|"
    r"cache)|parity|parity/[^/]+\.(json|md))\Z"
)
"""Names below the folder of all that commands write there."""

CARD_MARK: Final = "<!-- written by mtml-deploy card -->"
"""A line of every model card, which tells it from a README of the user's own."""

CARD: Final = text_kind("a model card", f"^{re.escape(CARD_MARK)}$")
_CARD_FILE: Final = "README.md"


def _require(folder: Path) -> None:
    """Raise where a folder holds no manifest of an artifact."""
    try:
        parse_json(read_regular(folder / MANIFEST_FILE, most_bytes=RECORD_BYTES), Manifest)
    except FileNotFoundError:
        raise ValueError(f"it lacks {MANIFEST_FILE}") from None
    except ValueError as error:
        raise ValueError(f"its {MANIFEST_FILE} is not valid: {error}") from error


def _names(folder: Path) -> list[str]:
    """Everything below a folder, by its name from there; a link is not followed."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def _foreign(folder: Path) -> list[str]:
    """What no command wrote into an artifact."""
    return [
        name
        for name in _names(folder)
        if (folder / name).is_symlink()
        or not (_OWN.match(name) or left_behind(folder / name) or _is_card(folder, name))
        or (folder / name).is_dir() != (name in ("engines", "parity"))
    ]


def _is_card(folder: Path, name: str) -> bool:
    """Whether a file is the model card that a command wrote."""
    return name == _CARD_FILE and (folder / name).is_file() and CARD.known(folder / name)


def _products(folder: Path) -> str:
    """Engines and verdicts, counted."""
    names = _names(folder)
    counts = (
        (sum(map(bool, map(_ENGINE.match, names))), "TensorRT engine"),
        (sum(map(bool, map(_VERDICT.match, names))), "parity verdict"),
        (names.count("threshold.json"), "calibrated distance"),
    )
    found = [f"{count} {what}{'s' * (count > 1)}" for count, what in counts if count]
    return " and ".join(found)


ARTIFACT: Final = FolderKind("an exported model", _require, _foreign, _products)
