"""Records read back: JSON that `report` wrote, checked, as a `Record`."""

from __future__ import annotations

from pathlib import Path

from benchmarks.measure.machine import Environment
from benchmarks.measure.rounds import Ratio, Series
from benchmarks.report.record import Record, WrittenRecord
from mtml_deploy.errors import DataError
from mtml_deploy.record_file import SchemaError, parse_json, parse_plain
from mtml_deploy.regular_file import RECORD_BYTES, read_regular


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
        return _record(parse_json(read_regular(path, most_bytes=RECORD_BYTES), WrittenRecord))
    except SchemaError as error:
        raise DataError(f"{path}: {error}; {fix}") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not a record of a benchmark: {error}; {fix}") from error


def load_records(place: Path) -> tuple[Record, ...]:
    """The records of one run of the benchmarks.

    Args:
        place: a record, or a folder with records; JSON files that are none are left alone.

    Returns:
        One or more, in the order of their names.

    Raises:
        DataError: a record cannot be read, or there is none.
    """
    paths = record_files(place)
    if not paths:
        raise DataError(
            f"{place} holds no record of a benchmark, expected latency.json and the like; name a "
            "folder that was --out of python -m benchmarks"
        )
    return tuple(load_record(path) for path in paths)


def record_files(place: Path) -> tuple[Path, ...]:
    """The files of the records of one run: a file itself, or those of a folder, by name."""
    if place.is_file():
        return (place,)
    return tuple(path for path in sorted(place.glob("*.json")) if _is_record(path))


def _is_record(path: Path) -> bool:
    """Whether a JSON file says that it is a record, of any schema."""
    try:
        values = parse_plain(read_regular(path, most_bytes=RECORD_BYTES))
    except (OSError, ValueError):
        return False
    return isinstance(values, dict) and {"schema", "kind", "series", "machine"} <= values.keys()


def _record(written: WrittenRecord) -> Record:
    """The record of a file; a ValueError where a series has no values."""
    return Record(
        kind=written.kind,
        title=written.kind if written.title is None else written.title,
        environment=Environment(
            date=written.date,
            git_commit=written.git_commit,
            git_changed=written.git_changed,
            machine=written.machine,
            versions=written.versions,
            gpus=written.gpus,
        ),
        model=written.model,
        settings=written.settings,
        series=tuple(
            Series(item.key, item.title, item.what, item.unit, item.values, item.process_medians)
            for item in written.series
        ),
        ratios=tuple(
            Ratio(item.key, item.title, item.value, item.at_least) for item in written.ratios
        ),
        notes=written.notes,
        percentiles=written.percentiles,
        lead=written.lead,
    )
