"""Two runs of the benchmarks compared: which medians got worse, by more than chance and a bound.

A regression is a change beyond its threshold AND p < 0.05 in the rank-sum test: the first alone
would be noise, the second alone a difference nobody feels. What is tested are the medians of
processes: runs inside one process are not independent of each other, and hundreds of them make any
difference between two processes look certain.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, Literal

from benchmarks.measure.rounds import Series, Unit
from benchmarks.report.record import Record
from mtml_deploy import record_file
from mtml_deploy.errors import DataError, MissingExtraError, MtmlError
from mtml_deploy.record_file import Fraction
from mtml_deploy.regular_file import RECORD_BYTES, read_regular

Verdict = Literal["worse", "better", "same", "cannot tell"]

SMALLER_IS_BETTER: Final[frozenset[Unit]] = frozenset({"s", "B"})

_EXACT_VALUES: Final = 20
"""Up to so many values in each sample, and without ties, p is counted out; beyond that the normal
approximation is as good."""


class RegressionError(MtmlError):
    """A later run of the benchmarks is worse than an earlier one."""


class CompareThresholds(record_file.Record, frozen=True):
    """What counts as a regression.

    Attributes:
        change: fraction of the median by which a series may get worse.
        p: chance below which a change is believed.
        series: pattern of "kind:key" (* for any text) -> its own `change`; the last that fits wins.
    """

    change: Fraction = 0.05
    p: Fraction = 0.05
    series: Mapping[str, Fraction] = {}

    def of(self, name: str) -> float:
        """The change that series `name` may have."""
        fitting = [change for like, change in self.series.items() if fnmatchcase(name, like)]
        return fitting[-1] if fitting else self.change


@dataclass(frozen=True)
class RankSum:
    """The rank-sum test of Mann and Whitney: do two samples differ in location?

    Attributes:
        u: pairs (x, y) with x > y, ties counted half; 0 .. n m.
        p: two-sided, 0..1: how often chance alone would give a U as far from n m / 2.
        superiority: rank-biserial correlation 2 U / (n m) - 1, -1..1; 1 where every x is larger.
    """

    u: float
    p: float
    superiority: float


@dataclass(frozen=True)
class Comparison:
    """One series of both runs.

    Attributes:
        name: "kind:key".
        title: in tables.
        base: of the earlier run.
        new: of the later run.
        change: fraction by which the median of the processes got worse; negative where it got
            better.
        allowed: its threshold.
        test: of the medians of the new processes against the base's.
        verdict: "cannot tell" where the processes are too few for any p below the bound.
    """

    name: str
    title: str
    base: Series
    new: Series
    change: float
    allowed: float
    test: RankSum
    verdict: Verdict


@dataclass(frozen=True)
class Outcome:
    """What the comparison found.

    Attributes:
        comparisons: of the series that both runs have.
        missing: names that only the base has.
        added: names that only the new run has.
    """

    comparisons: tuple[Comparison, ...]
    missing: tuple[str, ...]
    added: tuple[str, ...]

    @property
    def regressions(self) -> tuple[Comparison, ...]:
        """The series that got worse."""
        return self._with("worse")

    @property
    def untold(self) -> tuple[Comparison, ...]:
        """The series that too few processes measured."""
        return self._with("cannot tell")

    def _with(self, verdict: Verdict) -> tuple[Comparison, ...]:
        return tuple(item for item in self.comparisons if item.verdict == verdict)


def load_thresholds(path: Path | None) -> CompareThresholds:
    """Thresholds of a project.

    Args:
        path: TOML with `change`, `p` and a table `series`; None for the defaults.

    Returns:
        The thresholds; what the file leaves out is the default.

    Raises:
        DataError: not TOML, an unknown key, or a number outside 0..1.
    """
    if path is None:
        return CompareThresholds()
    try:
        content = read_regular(path, most_bytes=RECORD_BYTES)
        found = record_file.parse_toml(content, CompareThresholds)
        if found.p == 0:
            raise ValueError("p is 0, which no chance is below; expected a number above 0")
        return found
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read as thresholds: {error}; it holds change = 0.05, p = 0.05 and "
            "a table [series] of the like"
        ) from error


def compare_records(
    base: Sequence[Record], new: Sequence[Record], thresholds: CompareThresholds
) -> Outcome:
    """Compare two runs of the benchmarks, series by series.

    Args:
        base: records of the earlier run.
        new: records of the later run.
        thresholds: what counts as a regression.

    Returns:
        The outcome.

    Raises:
        DataError: the runs have no series in common, one that has another unit, or records of one
            kind that were not joined.
    """
    before, after = _series(base), _series(new)
    shared = [name for name in before if name in after]
    if not shared:
        raise DataError(
            f"the two runs have no series in common ({len(before)} and {len(after)}); compare "
            "records of the same benchmarks"
        )
    return Outcome(
        comparisons=tuple(
            compare_series(name, before[name], after[name], thresholds) for name in shared
        ),
        missing=tuple(name for name in before if name not in after),
        added=tuple(name for name in after if name not in before),
    )


def require_same_machine(base: Sequence[Record], new: Sequence[Record]) -> None:
    """Refuse to compare machines in place of versions.

    Raises:
        DataError: another processor or GPU.
    """
    before, after = ({_machine(record) for record in run} for run in (base, new))
    if before != after:
        raise DataError(
            f"BASE was measured on {'; '.join(sorted(before))} and NEW on "
            f"{'; '.join(sorted(after))}; measure both on one machine, or say --across-machines"
        )


def compare_series(
    name: str, base: Series, new: Series, thresholds: CompareThresholds
) -> Comparison:
    """Compare one series.

    Args:
        name: "kind:key".
        base: of the earlier run.
        new: of the later run.
        thresholds: what counts as a regression.

    Returns:
        The comparison.

    Raises:
        DataError: two units.
    """
    if base.unit != new.unit:
        raise DataError(f"{name} is in {base.unit} and in {new.unit}; measure both runs again")
    smaller = base.unit in SMALLER_IS_BETTER
    before, after = base.of_processes, new.of_processes
    medians = statistics.median(before), statistics.median(after)
    factor = medians[1] / medians[0] if smaller else medians[0] / medians[1]
    test = rank_sum(after, before)
    allowed = thresholds.of(name)
    verdict: Verdict = "same"
    if least_p(len(before), len(after)) >= thresholds.p:
        verdict = "cannot tell"
    # a gain is judged by the same factor: half the time is as far as double
    elif (factor - 1 > allowed or 1 / factor - 1 > allowed) and test.p < thresholds.p:
        verdict = "worse" if factor > 1 else "better"
    return Comparison(name, new.title, base, new, factor - 1, allowed, test, verdict)


def rank_sum(x: Sequence[float], y: Sequence[float]) -> RankSum:
    """Compare two samples.

    Args:
        x: n values, 1 or more.
        y: m values, 1 or more.

    Returns:
        The result; p exact for small samples without ties, else by the normal distribution with
        corrections for ties and continuity.

    Raises:
        MissingExtraError: scipy is not installed.
        ValueError: a sample is empty.

    Example:
        >>> rank_sum([4, 5, 6], [1, 2, 3])
        RankSum(u=9.0, p=0.1, superiority=1.0)
    """
    try:
        from scipy.stats import mannwhitneyu
    except ImportError as error:
        raise MissingExtraError("comparing benchmarks needs scipy", "bench") from error
    n, m = len(x), len(y)
    if not n or not m:
        raise ValueError(f"both samples hold a value, found {n} and {m}")
    untied = len({*x, *y}) == n + m
    method = "exact" if untied and max(n, m) <= _EXACT_VALUES else "asymptotic"
    found = mannwhitneyu(x, y, alternative="two-sided", method=method, use_continuity=True)
    u = float(found.statistic)
    return RankSum(u, float(found.pvalue), 2 * u / (n * m) - 1)


def least_p(n: int, m: int) -> float:
    """The smallest p that samples of n and m values can give: 2 of all (n + m over n) orders."""
    return min(1.0, 2 / math.comb(n + m, n))


def processes_needed(p: float) -> int:
    """Processes on each side from which a p below the bound `p`, above 0, is possible.

    Example:
        >>> processes_needed(0.05)
        4
    """
    count = 1
    while least_p(count, count) >= p:
        count += 1
    return count


def _series(records: Sequence[Record]) -> dict[str, Series]:
    """Every series by "kind:key"."""
    kinds = [record.kind for record in records]
    if twice := sorted({kind for kind in kinds if kinds.count(kind) > 1}):
        raise DataError(
            f"there are {kinds.count(twice[0])} records of {twice[0]}, expected one; join them: "
            "python -m benchmarks join FOLDER... --out FOLDER"
        )
    return {f"{r.kind}:{item.key}": item for r in records for item in r.series}


def _machine(record: Record) -> str:
    """What a speed depends on most."""
    environment = record.environment
    return ", ".join([environment.machine.cpu, *(gpu.name for gpu in environment.gpus)])
