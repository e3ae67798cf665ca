"""What a checkpoint says in words: settings, identities, data and how far the run is.

In: a run. Out: the JSON record in the header of its checkpoint, and the files its folder shows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from mtml_deploy.errors import OutputExistsError
from mtml_deploy.files import write_text
from mtml_deploy.output_kind import json_kind
from mtml_deploy.outputs import require_outputs
from mtml_deploy.record_file import (
    Count,
    Positive,
    Record,
    Sha256,
    parse_json,
    parse_plain,
    record_json,
)
from mtml_deploy.text import printable
from mtml_train.config import TrainConfig
from mtml_train.data.fingerprint import SetFingerprint
from mtml_train.history import BOARD, HISTORY, HISTORY_KIND
from mtml_train.settings import from_plain, to_plain

SCHEMA: Final = 3
"""Version of the record in a checkpoint's header."""

_WITH_MAP: Final = 2
"""The version before it."""

_CONFIG: Final = "config.json"
_IDENTITIES: Final = "identities.json"
_WRITTEN: Final = frozenset({_CONFIG, _IDENTITIES, HISTORY, BOARD})
"""What a run writes before its first checkpoint."""

_CONFIG_JSON: Final = json_kind("the settings of a run", "recipe", "variant", "backbone", "epochs")
_IDENTITIES_JSON: Final = json_kind("the identities of a run", "class", "source", "vehicle_id")


class Progress(Record, frozen=True):
    """How far a run is.

    Attributes:
        step: optimiser steps done.
        images: images seen.
        best: best value so far of the measure `best_by` (0..1), -1 before the first validation.
        since_best: validations since that one.
        validation: metrics of the last validation, name -> value (fractions 0..1).
        validation_due: the validation after `step` is still to be done.
        judge: which images, protocol and measure; values of two judges are not compared.
    """

    step: Count = 0
    images: Count = 0
    best: float = -1.0
    since_best: Count = 0
    validation: dict[str, float] | None = None
    validation_due: bool = False
    judge: str = ""


class Origin(Record, frozen=True):
    """The own model that a run started from.

    Attributes:
        checkpoint: its file, with an absolute path.
        sha256: of that file.
        step: optimiser steps it had.
        sources: data sets that its weights were trained on, those of its own origin first.
    """

    checkpoint: str
    sha256: Sha256
    step: Count
    sources: tuple[str, ...]


@dataclass(frozen=True)
class RunCard:
    """What does not change during a run.

    Attributes:
        config: all settings.
        recipe: name of the recipe they started from.
        identities: [C] (data set, vehicle id) of each class, the id a number or the text it is.
        sets: the training data sets.
        processes: how many train.
        origin: the own model it started from; None for a run from scratch.
    """

    config: TrainConfig
    recipe: str
    identities: tuple[tuple[int, int | str], ...]
    sets: tuple[SetFingerprint, ...]
    processes: int = 1
    origin: Origin | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        """Training data sets as the user named them, with absolute paths."""
        return tuple(each.source for each in self.sets)

    @property
    def train_images(self) -> int:
        """Number of training images."""
        return sum(each.images for each in self.sets)

    @property
    def images_with_orientation(self) -> int:
        """Training images from which branch D could learn orientations."""
        return sum(each.with_orientation for each in self.sets)


class _Header(Record, frozen=True):
    """The record in a checkpoint's header."""

    schema: Literal[3]
    config: dict[str, Any]
    recipe: str
    identities: tuple[tuple[int, int | str], ...]
    sets: tuple[SetFingerprint, ...]
    processes: Positive
    progress: Progress
    scaler: dict[str, int | float] | None = None
    origin: Origin | None = None


def header_text(
    card: RunCard, progress: Progress, *, scaler: Mapping[str, float] | None = None
) -> str:
    """The JSON record of a run; `read_header` reads it back."""
    header = _Header(
        schema=SCHEMA,
        config=to_plain(card.config),
        recipe=card.recipe,
        identities=card.identities,
        sets=card.sets,
        processes=card.processes,
        progress=progress,
        scaler=None if scaler is None else dict(scaler),
        origin=card.origin,
    )
    return record_json(header)


def read_header(text: str, *, where: str) -> tuple[RunCard, Progress, Mapping[str, float] | None]:
    """What a header says.

    Args:
        text: JSON.
        where: the file it is from, for errors.

    Returns:
        The run, how far it is, and the loss scaling of fp16 training where it was used.

    Raises:
        SchemaError: it is of another version.
        ValueError: not JSON, or a field is missing, unknown or wrong; the text says which.
        DataError: a setting is unknown or of the wrong type.
    """
    header = parse_json(_of_today(text), _Header)
    groups = {group for group, _ in header.identities}
    if not groups <= set(range(len(header.sets))):
        raise ValueError(f"identities name data set {max(groups)} of {len(header.sets)}")
    card = RunCard(
        config=replace(TrainConfig(), **from_plain(header.config, where=where)),  # type: ignore[arg-type]
        recipe=header.recipe,
        identities=header.identities,
        sets=header.sets,
        processes=header.processes,
        origin=header.origin,
    )
    return card, header.progress, header.scaler


def _of_today(text: str) -> str:
    """A header as it is written now: until schema 2 the best value was always an mAP."""
    values = parse_plain(text)
    if isinstance(values, dict) and values.get("schema") == _WITH_MAP:
        progress = values.get("progress")
        if isinstance(progress, dict) and "best_map" in progress:
            progress["best"] = progress.pop("best_map")
            return json.dumps({**values, "schema": SCHEMA})
    return text


def require_run_writable(folder: Path) -> None:
    """Refuse a folder in which a run would write over files of others.

    Args:
        folder: holds no checkpoint; what an earlier run left before its first one is replaced.

    Raises:
        OutputExistsError: a file that a run writes is there, and no run wrote it, or there is
            something that no run writes.
    """
    if folder.is_dir():
        others = sorted(
            path.name
            for path in folder.iterdir()
            if path.name not in _WRITTEN and not path.name.startswith(".")
        )
        if others:
            more = f" and {len(others) - 1} more" if len(others) > 1 else ""
            raise OutputExistsError(
                f"{folder} holds {printable(others[0])}{more}, which is no part of a run; it was "
                "left as it is: name a new folder with --out"
            )
    outputs = (
        (folder / _CONFIG, _CONFIG_JSON),
        (folder / _IDENTITIES, _IDENTITIES_JSON),
        (folder / HISTORY, HISTORY_KIND),
    )
    require_outputs(outputs, overwrite=True)


def write_run_files(folder: Path, card: RunCard) -> None:
    """Show settings and identity map as JSON files in the run folder.

    Args:
        folder: the run folder.
        card: the run.
    """
    identities = [
        {"class": number, "source": card.sources[group], "vehicle_id": vehicle}
        for number, (group, vehicle) in enumerate(card.identities)
    ]
    config = {"recipe": card.recipe, **to_plain(card.config)}
    for name, content in ((_CONFIG, config), (_IDENTITIES, identities)):
        write_text(folder / name, json.dumps(content, indent=2, allow_nan=False) + "\n")


def advanced(progress: Progress, **changes: object) -> Progress:
    """`progress` with some values changed."""
    changed: Progress = msgspec.structs.replace(progress, **changes)
    return changed
