"""Evaluations read back from the JSON that `mtml-deploy evaluate` writes.

In: files of one result or a list of them. Out: a row for every stage: as embedded, and what else
stands beside it, such as re-ranked. Drawn galleries give the mean of their draws.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from mtml_deploy.errors import DataError
from mtml_deploy.evaluation.measures import CMC_RANKS
from mtml_deploy.record_file import Count, Fraction, parse_json, parse_plain
from mtml_deploy.regular_file import read_regular
from mtml_deploy.report.metrics_json import SCHEMA
from mtml_deploy.text import printable

_Number = Fraction | None


class _Mean(msgspec.Struct):
    """A measure over several draws; spread and extremes play no part here."""

    mean: Fraction


class _Draw(msgspec.Struct):
    """One draw."""

    cmc: list[Fraction]
    queries: Count


class _Queries(msgspec.Struct):
    """How many were judged."""

    all: Count
    valid: Count


class _Stage(msgspec.Struct):
    """The numbers of one stage; a file holds more, which a table does not show."""

    label: str
    mean_ap: Fraction | _Mean | None
    mean_ap_trapezoid: Fraction | _Mean | None
    mean_inp: Fraction | _Mean | None
    cmc: list[_Number] | None = None
    per_draw: list[_Draw] | None = None
    queries: _Queries | None = None


class _Protocol(msgspec.Struct):
    """Which rule was used."""

    name: str


class _Set(msgspec.Struct):
    """Where images came from."""

    source: str


class _File(msgspec.Struct):
    """What all stages of one result share."""

    schema: int
    protocol: _Protocol
    query: _Set | None = None
    gallery: _Set | None = None
    images: _Set | None = None


@dataclass(frozen=True)
class JudgedRow:
    """One stage of one result; fractions 0..1, NaN where there is no value.

    Attributes:
        file: it was read from.
        label: how the model is called.
        protocol: name of the rule.
        judged: what was looked for where, in words.
        queries: that were judged, of one draw.
        mean_ap: step mAP.
        mean_ap_trapezoid: the same by the trapezoid rule.
        mean_inp: mean inverse negative penalty.
        cmc: float64 [K], the CMC curve.
    """

    file: Path
    label: str
    protocol: str
    judged: str
    queries: int
    mean_ap: float
    mean_ap_trapezoid: float
    mean_inp: float
    cmc: NDArray[np.float64]

    def cmc_at(self, rank: int) -> float:
        """CMC@`rank`; beyond the gallery the last value of the curve."""
        return float(self.cmc[min(rank, len(self.cmc)) - 1]) if len(self.cmc) else float("nan")

    def values(self) -> tuple[float, ...]:
        """The numbers of a table, in the order of `MEASURES`."""
        return (self.mean_ap, self.mean_ap_trapezoid, self.mean_inp, *map(self.cmc_at, CMC_RANKS))


def read_judged(paths: Sequence[Path]) -> list[JudgedRow]:
    """Every stage of the results in files, in order, each with a label of its own.

    Args:
        paths: JSON files of `mtml-deploy evaluate`; one may hold a list.

    Returns:
        One or more rows; where two are called alike, the names of their files come first.

    Raises:
        DataError: a file is no such result.
    """
    rows = [row for path in paths for row in _rows(path)]
    for name in (lambda row: row.file.stem, lambda row: str(row.file)):
        labels = [row.label for row in rows]
        rows = [
            replace(row, label=f"{name(row)}: {row.label}") if labels.count(row.label) > 1 else row
            for row in rows
        ]
    labels = [row.label for row in rows]
    if twice := [label for label in labels if labels.count(label) > 1]:
        raise DataError(
            f"two results are called {printable(twice[0])!r}, expected different ones: leave one "
            "out, or evaluate it again with another --label"
        )
    return rows


def _rows(path: Path) -> Iterator[JudgedRow]:
    """The stages of one file."""
    try:
        found = parse_plain(read_regular(path))
        results: list[Any] = found if isinstance(found, list) else [found]
        if not results:
            raise ValueError("it holds no result")
        for result in results:
            if not isinstance(result, dict):
                raise ValueError("it must be an object or a list of objects")
            shared = parse_json(json.dumps(result), _File)
            if shared.schema != SCHEMA:
                raise ValueError(f"schema is {shared.schema}, this version reads {SCHEMA}")
            for stage in _stages(result):
                yield _row(path, shared, parse_json(json.dumps(stage), _Stage))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise DataError(
            f"{path} is no result of mtml-deploy evaluate: {error}; expected a file that its "
            "--json wrote"
        ) from error


def _stages(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """A result as embedded, and each that stands beside it."""
    inner = [value for value in result.values() if isinstance(value, dict)]
    return [result, *(each for each in inner if {"label", "mean_ap"} <= each.keys())]


def _row(path: Path, shared: _File, stage: _Stage) -> JudgedRow:
    """One stage as a row."""
    if stage.per_draw is not None:
        curves = [draw.cmc for draw in stage.per_draw]
        if not curves or len({len(curve) for curve in curves}) != 1:
            raise ValueError("per_draw must hold draws with curves of one length")
        cmc, queries = np.mean(curves, axis=0), stage.per_draw[0].queries
    elif stage.cmc is not None and stage.queries is not None:
        cmc = np.array([np.nan if each is None else each for each in stage.cmc], dtype=np.float64)
        queries = stage.queries.all
    else:
        raise ValueError(f"{stage.label!r} lacks cmc and queries, or per_draw")
    sources = [each.source for each in (shared.query, shared.gallery, shared.images) if each]
    return JudgedRow(
        file=path,
        label=stage.label,
        protocol=shared.protocol.name,
        judged=" in ".join(sources),
        queries=queries,
        mean_ap=_number(stage.mean_ap),
        mean_ap_trapezoid=_number(stage.mean_ap_trapezoid),
        mean_inp=_number(stage.mean_inp),
        cmc=cmc,
    )


def _number(value: float | _Mean | None) -> float:
    """A measure of one gallery, or its mean over several."""
    if isinstance(value, _Mean):
        return value.mean
    return float("nan") if value is None else value
