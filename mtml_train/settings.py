"""The named recipes, and settings read from TOML, JSON and the command line.

Order of precedence: recipe < shape of the model that a run starts from < TOML file < flag. Needs
no torch, and msgspec only where a text is read, so that help does without it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal, get_type_hints

from mtml_deploy.errors import DataError
from mtml_deploy.regular_file import RECORD_BYTES, read_regular
from mtml_train.config import TrainConfig
from mtml_train.image_size import ImageSize, size_of

RECIPES: Final[Mapping[str, Mapping[str, object]]] = {
    # the paper's settings are the defaults
    "paper": {},
    # the paper's losses around what was measured to help, each part alone: docs/lab-records.md
    "strong": {
        "epochs": 60,
        "batch_size": 64,
        "optimizer": "adam",
        "lr": 1e-3,
        "weight_decay": 5e-4,
        "schedule": "cosine",
        "warmup_epochs": 10.0,
        "neck": "bn",
        "last_stride": 1,
        "sampler": "pk-once",
        "instances": 4,
        "triplet_weight": 1.0,
        "triplet_on": "branches",
        "label_smoothing": 0.1,
        "pad": 0.05,
    },
}


_NUMBER_OR_SOFT: Final = float | Literal["soft"]
"""Type of a margin."""


def build_config(
    recipe: str,
    file: Path | None,
    flags: Mapping[str, object],
    *,
    model: Mapping[str, object] = MappingProxyType({}),
) -> TrainConfig:
    """The settings of a run: recipe, then those of a model's shape, the TOML file, the flags.

    Args:
        recipe: a key of `RECIPES`.
        file: TOML file whose keys are the fields of `TrainConfig`, or None.
        flags: field name -> value that the user gave on the command line.
        model: likewise, of the model that the run starts from.

    Returns:
        The checked settings.

    Raises:
        DataError: unknown recipe or key, wrong type, value out of range, unreadable file.
    """
    if recipe not in RECIPES:
        raise DataError(f"no recipe {recipe!r}; there are: {', '.join(RECIPES)}")
    values = {**RECIPES[recipe], **model}
    if file is not None:
        values |= read_toml(file)
    values |= flags
    try:
        return replace(TrainConfig(), **values)  # type: ignore[arg-type]  # checked by _typed
    except ValueError as error:
        raise DataError(f"these settings do not work: {error}") from error


def read_toml(file: Path) -> dict[str, object]:
    """Settings named in a TOML file, with the types of `TrainConfig`.

    Args:
        file: flat TOML table, one key per setting.

    Returns:
        Field name -> value.

    Raises:
        DataError: unreadable or invalid TOML, unknown key, or wrong type.
    """
    # with msgspec, which help does without

    from mtml_deploy.record_file import parse_table

    try:
        values = parse_table(read_regular(file, most_bytes=RECORD_BYTES).decode("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read settings from {file}: {error}") from error
    return from_plain(values, where=str(file))


def parse_setting(text: str) -> dict[str, object]:
    """One setting from "name=value", the value in TOML; a bare word is taken as text.

    Args:
        text: for example "triplet_weight=0.5" or "sampler=pk".

    Returns:
        Field name -> value.

    Raises:
        DataError: no "=", unknown name, or wrong type.
    """
    from mtml_deploy.record_file import parse_table

    name, equals, value = text.partition("=")
    if not equals:
        raise DataError(f"--set {text}: write NAME=VALUE, for example --set flip=0.5")
    try:
        parsed = parse_table(f"value = {value}")["value"]
    except ValueError:
        parsed = value
    return from_plain({name.strip().replace("-", "_"): parsed}, where=f"--set {text}")


def to_plain(config: TrainConfig) -> dict[str, object]:
    """`config` as a JSON-ready dictionary; `from_plain` reads it back."""
    plain = {field.name: getattr(config, field.name) for field in fields(config)}
    return plain | {"data": list(config.data)}


def setting_texts() -> dict[str, str]:
    """Every setting, and the words beside it in `TrainConfig`; empty where there are none."""
    lines = inspect.getsource(TrainConfig).splitlines()
    found = {field.name: "" for field in fields(TrainConfig)}
    for line in lines:
        match = re.match(r"    (\w+): [^#]+# (.+)", line)
        if match and match[1] in found:
            found[match[1]] = match[2]
    return found


def from_plain(values: Mapping[str, object], *, where: str) -> dict[str, object]:
    """Checked settings from JSON or TOML values.

    Args:
        values: field name -> JSON value.
        where: file they came from, for the error text.

    Returns:
        Field name -> value of the field's type.

    Raises:
        DataError: unknown key or wrong type.
    """
    hints = get_type_hints(TrainConfig)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise DataError(
            f"{where} has the unknown setting {unknown[0]!r}; known: {', '.join(sorted(hints))}"
        )
    return {name: _typed(name, value, hints[name], where) for name, value in values.items()}


def _typed(name: str, value: object, hint: object, where: str) -> object:
    """`value` as the type `hint` of field `name`, or a DataError."""
    from mtml_deploy.record_file import MOST, shown

    if hint == tuple[str, ...]:
        items = [value] if isinstance(value, str) else value
        if isinstance(items, list | tuple) and all(isinstance(item, str) for item in items):
            return tuple(items)
    elif hint is float or (hint == _NUMBER_OR_SOFT and not isinstance(value, str)):
        if isinstance(value, float) or (type(value) is int and abs(value) <= MOST):
            return float(value)
    elif hint == ImageSize:
        with suppress(ValueError):
            return size_of(value)
    elif hint in (int, bool):
        if type(value) is hint and abs(value) <= MOST:
            return value
    elif isinstance(value, str):  # str and the Literal types; ranges are checked on construction
        return value
    kinds: dict[object, str] = {
        int: "an integer",
        float: "a number",
        bool: "true or false",
        tuple[str, ...]: "a list of strings",
        _NUMBER_OR_SOFT: 'a number or "soft"',
        ImageSize: "one number for a square, or HEIGHT,WIDTH such as 256,128",
    }
    expected = kinds.get(hint, "a string")
    raise DataError(f"{where}: {name} must be {expected}, found {shown(value)}")
