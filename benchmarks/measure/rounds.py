"""Alternating rounds: contenders are measured in turn, A B C A B C, and never one after the other.

A machine that slows down for a minute then slows every contender, and ratios stay what they are.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

Unit = Literal["images/s", "FLOP/s", "B/s", "s", "B"]

SETTLE_S: Final = 0.3
"""Pause before each measurement: idle worker threads of the one before spin for a while."""


@dataclass(frozen=True)
class Contender:
    """Something whose speed, or time, is measured.

    Attributes:
        key: its name in the record.
        title: its name in tables.
        what: one sentence, what exactly is timed.
        unit: what `measure` returns.
        measure: runs one round and returns its speed or its seconds.
    """

    key: str
    title: str
    what: str
    unit: Unit
    measure: Callable[[], float]


@dataclass(frozen=True)
class Series:
    """The speeds, times or sizes of one contender.

    Attributes:
        key: its name in the record.
        title: its name in tables.
        what: one sentence, what exactly was timed.
        unit: of `values`.
        values: one per round, in the order of the rounds.
        process_medians: median of each process, where more than one measured; empty for one.
    """

    key: str
    title: str
    what: str
    unit: Unit
    values: tuple[float, ...]
    process_medians: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be summed up.

        Raises:
            ValueError: no value, or one that is not above 0.
        """
        if not self.values or min(self.values + self.process_medians) <= 0:
            raise ValueError(f"{self.key}: values are one or more above 0, found {self.values}")

    @property
    def median(self) -> float:
        """Median over the rounds."""
        return statistics.median(self.values)

    @property
    def of_processes(self) -> tuple[float, ...]:
        """Median of each process that measured: what is independent of the other values."""
        return self.process_medians or (self.median,)


@dataclass(frozen=True)
class Ratio:
    """One speed, time or size over another.

    Attributes:
        key: its name in the record.
        title: its name in tables.
        value: median of one series over the median of the other.
        at_least: what it must reach, or None where nothing is asked.
    """

    key: str
    title: str
    value: float
    at_least: float | None = None

    @property
    def reached(self) -> bool | None:
        """Whether `at_least` is reached; None where nothing is asked."""
        return None if self.at_least is None else self.value >= self.at_least


def ratio(above: Series, below: Series, *, at_least: float | None = None) -> Ratio:
    """The median of `above` over the median of `below`.

    Args:
        above: numerator.
        below: denominator, of the same unit.
        at_least: what the ratio must reach.

    Returns:
        The ratio, named after both.

    Raises:
        ValueError: two units.
    """
    if above.unit != below.unit:
        raise ValueError(f"{above.key} is in {above.unit}, {below.key} in {below.unit}")
    return Ratio(
        key=f"{above.key}/{below.key}",
        title=f"{above.title} / {below.title}",
        value=above.median / below.median,
        at_least=at_least,
    )


def rate_of(
    work: float, act: Callable[[], None], *, clock: Callable[[], float] = time.perf_counter
) -> Callable[[], float]:
    """A measurement: how much work per second one call of `act` does.

    Args:
        work: images or floating point operations of one call.
        act: does the work and returns when it is done.
        clock: seconds.

    Returns:
        For `Contender.measure`.
    """

    def measure() -> float:
        started = clock()
        act()
        return work / (clock() - started)

    return measure


def alternate(
    contenders: Sequence[Contender],
    *,
    rounds: int,
    say: Callable[[str], None] = lambda _: None,
    settle_s: float = SETTLE_S,
) -> dict[str, Series]:
    """Measure every contender once per round, in the order given.

    Args:
        contenders: one or more, warmed up.
        rounds: 1 or more.
        say: told each speed.
        settle_s: pause before each measurement, seconds.

    Returns:
        Key -> series of `rounds` speeds.

    Raises:
        ValueError: no round, or two contenders of one key.
    """
    if rounds < 1:
        raise ValueError(f"rounds is 1 or more, found {rounds}")
    values: dict[str, list[float]] = {contender.key: [] for contender in contenders}
    if len(values) != len(contenders):
        raise ValueError(f"each contender needs its own key, found {[c.key for c in contenders]}")
    for number in range(rounds):
        for contender in contenders:
            time.sleep(settle_s)
            speed = contender.measure()
            values[contender.key].append(speed)
            say(f"round {number + 1} of {rounds}: {contender.title} {in_words(speed, contender)}")
    return {c.key: Series(c.key, c.title, c.what, c.unit, tuple(values[c.key])) for c in contenders}


def in_words(value: float, of: Contender | Series) -> str:
    """`value` with its unit, for people: "12.3 images/s", "76.4 GFLOP/s", "13.2 ms", "389 MiB"."""
    if of.unit in ("FLOP/s", "B/s"):
        return f"{value / 1e9:.1f} G{of.unit}"
    if of.unit == "s":
        return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.1f} ms"
    if of.unit == "B":
        return f"{value / 2**20:.0f} MiB"
    return f"{value:.1f} {of.unit}"
