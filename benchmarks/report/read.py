"""Records read back: JSON that `report` wrote, checked, as a `Record`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, get_args

from benchmarks.measure.machine import Environment, GpuState, Machine
from benchmarks.measure.rounds import Ratio, Series, Unit
from benchmarks.report.record import SCHEMA, Record
from mtml_deploy.errors import DataError

_ENVIRONMENT: Final = ("date", "git_commit", "git_changed", "versions")


def load_record(path: Path) -> Record:
    """The record in a JSON file.

    Args:
        path: a file that a benchmark wrote.

    Returns:
        The record.

    Raises:
        DataError: missing, not JSON, of another schema or with wrong fields.
    """
    fix = "give a file that python -m benchmarks wrote, or measure again"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict) or values.get("schema") != SCHEMA:
            found = values.get("schema") if isinstance(values, dict) else type(values).__name__
            raise DataError(f"{path} has schema {found!r}, this version reads {SCHEMA}; {fix}")
        return _record(values)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DataError(f"{path} is not a record of a benchmark ({error!r}); {fix}") from error


def load_records(place: Path) -> tuple[Record, ...]:
    """The records of one run of the benchmarks.

    Args:
        place: a record, or a folder with records; JSON files that are none are left alone.

    Returns:
        One or more, in the order of their names.

    Raises:
        DataError: a record cannot be read, or there is none.
    """
    if place.is_file():
        return (load_record(place),)
    paths = [path for path in sorted(place.glob("*.json")) if _is_record(path)]
    if not paths:
        raise DataError(
            f"{place} holds no record of a benchmark, expected latency.json and the like; name a "
            "folder that was --out of python -m benchmarks"
        )
    return tuple(load_record(path) for path in paths)


def _is_record(path: Path) -> bool:
    """Whether a JSON file says that it is a record, of any schema."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(values, dict) and {"schema", "kind", "series", "machine"} <= values.keys()


def _record(values: Mapping[str, Any]) -> Record:
    """The record; what is missing raises KeyError, what has a wrong type TypeError."""
    machine = dict(values["machine"])
    machine["instructions"] = tuple(machine["instructions"])
    for item in values["series"]:
        if item["unit"] not in get_args(Unit):
            raise ValueError(f"series {item['key']} is in {item['unit']!r}")
    return Record(
        kind=values["kind"],
        title=values.get("title", values["kind"]),
        environment=Environment(
            **{name: values[name] for name in _ENVIRONMENT},
            machine=Machine(**machine),
            # older records of this schema have no GPUs, titles and percentiles
            gpus=tuple(GpuState(**gpu) for gpu in values.get("gpus", ())),
        ),
        model=values["model"],
        settings=values["settings"],
        series=tuple(
            Series(item["key"], item["title"], item["what"], item["unit"], tuple(item["values"]))
            for item in values["series"]
        ),
        ratios=tuple(
            Ratio(item["key"], item["title"], item["value"], item["at_least"])
            for item in values["ratios"]
        ),
        notes=tuple(values["notes"]),
        percentiles=values.get("percentiles", False),
    )
