"""Records of one benchmark measured in several processes, joined into one.

Runs inside one process share its memory layout, its threads and its moment, so they say little of
how another process will do. A joined record keeps the median of each process, and those are what
`compare` looks at.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

from benchmarks.measure.rounds import Ratio, Series
from benchmarks.report.record import Record
from mtml_deploy.errors import DataError


def join_records(records: Sequence[Record]) -> tuple[Record, ...]:
    """Join the records of each kind.

    Args:
        records: one or more, each measured by a process of its own.

    Returns:
        One record of each kind, in the order of the kinds: all values, the median of each process,
        and of every ratio the median over the records.

    Raises:
        DataError: two records of a kind measured different things, or on different machines.
    """
    kinds: dict[str, list[Record]] = {}
    for record in records:
        kinds.setdefault(record.kind, []).append(record)
    return tuple(_join(kinds[kind]) for kind in sorted(kinds))


def _join(records: Sequence[Record]) -> Record:
    """One record of records of one kind."""
    first = records[0]
    for other in records[1:]:
        _require_alike(first, other)
    return replace(
        first,
        series=tuple(map(_joined_series, zip(*(r.series for r in records), strict=True))),
        ratios=tuple(map(_joined_ratio, zip(*(r.ratios for r in records), strict=True))),
        notes=tuple(dict.fromkeys(chain.from_iterable(r.notes for r in records))),
        lead=(),  # made of the values of one process
    )


def _joined_series(parts: Sequence[Series]) -> Series:
    return replace(
        parts[0],
        values=tuple(chain.from_iterable(part.values for part in parts)),
        process_medians=tuple(chain.from_iterable(part.of_processes for part in parts)),
    )


def _joined_ratio(parts: Sequence[Ratio]) -> Ratio:
    return replace(parts[0], value=statistics.median(part.value for part in parts))


def _require_alike(first: Record, other: Record) -> None:
    """Refuse to join what is not one measurement made twice."""

    def facts(record: Record) -> dict[str, object]:
        environment = record.environment
        return {
            "commit": (environment.git_commit, environment.git_changed),
            "processor": environment.machine.cpu,
            "GPUs": tuple(gpu.name for gpu in environment.gpus),
            "versions": dict(environment.versions),
            "model": dict(record.model),
            "settings": dict(record.settings),
            "series": tuple((item.key, item.unit) for item in record.series),
            "ratios": tuple(item.key for item in record.ratios),
        }

    found, expected = facts(other), facts(first)
    for name, value in expected.items():
        if found[name] != value:
            raise DataError(
                f"two records of {first.kind} differ in their {name}: {value} and {found[name]}; "
                "join records of one command, repeated on one machine"
            )
