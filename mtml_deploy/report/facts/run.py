"""What a run folder of the training holds, read without torch.

In: the header of a checkpoint, a JSON text behind its length in 8 bytes. Out: facts. The record is
declared and checked by the training; here only what is shown is taken from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from mtml_deploy.errors import CheckpointError
from mtml_deploy.output_kind import json_kind
from mtml_deploy.record_file import Count, parse_plain, record_json
from mtml_deploy.regular_file import RECORD_BYTES, open_regular
from mtml_deploy.report.facts.facts import Facts
from mtml_deploy.report.facts.model import megabytes
from mtml_deploy.text import command_line, percent

RUN_JSON: Final = json_kind("facts about a run as JSON", "recipe", "config", "progress", "classes")
_CHECKPOINTS: Final = ("last.safetensors", "best.safetensors")


class _Progress(msgspec.Struct, frozen=True):
    """How far the run was."""

    step: Count
    images: Count
    best: float = -1.0


class _Set(msgspec.Struct, frozen=True):
    """A training data set."""

    source: str
    images: Count


class _Header(msgspec.Struct, frozen=True):
    """Of the record in a checkpoint, what is shown; other fields are for the training."""

    recipe: str
    config: dict[str, object]
    identities: list[object]
    sets: list[_Set]
    progress: _Progress


def run_facts(path: Path) -> Facts:
    """Facts about a run.

    Args:
        path: a run folder, or one of its checkpoints.

    Raises:
        CheckpointError: it holds no checkpoint, or a damaged one.
    """
    folder = path if path.is_dir() else path.parent
    given = [path / name for name in _CHECKPOINTS] if path.is_dir() else [path]
    there = [file for file in given if file.is_file()]
    if not there:
        raise CheckpointError(
            f"{path} holds no checkpoint, expected {' or '.join(_CHECKPOINTS)}; name the folder "
            "that mtml-train --out made"
        )
    header = _header(there[0])
    config, progress = header.config, header.progress
    rows = [
        ("recipe", header.recipe),
        ("model", f"{config.get('variant')}, {config.get('backbone')}, images of "
                  f"{_size(config.get('image_size'))} pixels"),
        ("trained on", ", ".join(f"{each.source} ({each.images:,} images)"
                                 for each in header.sets)),
        ("classes", f"{len(header.identities):,} vehicles"),
        ("steps", f"{progress.step:,} done, {progress.images:,} images seen; {config.get('epochs')}"
                  " epochs asked for"),
    ]  # fmt: skip
    if progress.best >= 0:
        rows.append(("best value", f"{config.get('best_by')} {percent(progress.best)} %"))
    else:
        rows.append(("best value", "none: it was not validated"))
    rows += [(file.stem, f"{file.name}, {megabytes(file.stat().st_size)}") for file in there]
    uses: list[tuple[object, ...]] = [("mtml-export", path, "--out", "MODEL")]
    if (folder / _CHECKPOINTS[0]).is_file():
        uses.append(("mtml-train", "--out", folder, "--resume"))
    uses.append(("mtml-train", "--init", path, "--data", "SOURCE", "--out", "RUN"))
    record = {
        "recipe": header.recipe, "config": config, "classes": len(header.identities),
        "sets": msgspec.to_builtins(header.sets), "progress": msgspec.to_builtins(progress),
    }  # fmt: skip
    return Facts(
        kind="a run of mtml-train" if path.is_dir() else "a checkpoint of mtml-train",
        rows=tuple(rows),
        uses=tuple(command_line(*words) for words in uses),
        json=record_json(record, indent=1) + "\n",
        json_kind=RUN_JSON,
    )


def _header(path: Path) -> _Header:
    """The record of a run in the header of a checkpoint."""
    try:
        with open_regular(path) as opened:
            length = int.from_bytes(opened.read(8), "little")
            if not 0 < length <= RECORD_BYTES:
                raise ValueError(f"its header is said to have {length} bytes")
            names = parse_plain(opened.read(length))
        metadata = names.get("__metadata__") if isinstance(names, Mapping) else None
        text = metadata.get("mtml") if isinstance(metadata, Mapping) else None
        if not isinstance(text, str):
            raise ValueError("its header has no record of a run")
        return msgspec.convert(parse_plain(text), _Header)
    except (OSError, ValueError) as error:  # msgspec's errors are of the second kind
        raise CheckpointError(
            f"{path} is not a checkpoint of mtml-train, or is damaged: {error}; take another "
            "checkpoint, or train again"
        ) from error


def _size(value: object) -> str:
    """A size of images as settings write it."""
    return " x ".join(map(str, value)) if isinstance(value, list) else f"{value} x {value}"
