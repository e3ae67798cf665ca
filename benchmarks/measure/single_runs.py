"""Single runs timed in turn: as many as a time allows, spread over rounds.

Latency is a distribution, so every run is kept; a slow minute of the machine falls on all
contenders because they take turns, some runs each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.measure.rounds import SETTLE_S, Series


@dataclass(frozen=True)
class Timed:
    """Something whose single runs are timed.

    Attributes:
        key: its name in the record.
        title: its name in tables.
        what: one sentence, what exactly is timed.
        act: one run; returns when it is done.
    """

    key: str
    title: str
    what: str
    act: Callable[[], object]


@dataclass(frozen=True)
class RunPlan:
    """How often each contender runs.

    Attributes:
        most: runs where time allows.
        fewest: runs however slow it is.
        seconds: time of one contender beyond which it runs no oftener than `fewest`.
        rounds: turns that the runs are spread over.
        settle_s: pause before each turn, seconds.
    """

    most: int = 200
    fewest: int = 3
    seconds: float = 10.0
    rounds: int = 5
    settle_s: float = SETTLE_S

    def __post_init__(self) -> None:
        """Refuse a plan of nothing.

        Raises:
            ValueError: not 1 <= fewest <= most, or no round.
        """
        if not 1 <= self.fewest <= self.most or self.rounds < 1:
            raise ValueError(
                f"1 <= fewest <= most and 1 <= rounds, found fewest {self.fewest}, "
                f"most {self.most} and rounds {self.rounds}"
            )

    def runs(self, one_s: float) -> int:
        """Runs of a contender of which one takes `one_s` seconds."""
        return min(self.most, max(self.fewest, int(self.seconds / max(one_s, 1e-9))))


def sample_in_turn(
    timed: Sequence[Timed],
    plan: RunPlan,
    *,
    say: Callable[[str], None] = lambda _: None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Series]:
    """Seconds of every run of every contender.

    Args:
        timed: one or more.
        plan: how often.
        say: told each median.
        clock: seconds.

    Returns:
        Key -> series of all runs, in the order they happened. The runs that warm up are not in it.

    Raises:
        ValueError: two contenders of one key.
    """
    if len({item.key for item in timed}) != len(timed):
        raise ValueError(f"each contender needs its own key, found {[item.key for item in timed]}")

    def seconds_of(item: Timed) -> float:
        started = clock()
        item.act()
        return clock() - started

    wanted: dict[str, int] = {}
    for item in timed:
        # the first run allocates, compiles or captures; the second tells how long a run takes
        if (first := seconds_of(item)) < plan.seconds:
            first = seconds_of(item)
        wanted[item.key] = plan.runs(first)
    values: dict[str, list[float]] = {item.key: [] for item in timed}
    for number in range(1, plan.rounds + 1):
        for item in timed:
            time.sleep(plan.settle_s)
            while len(values[item.key]) < wanted[item.key] * number // plan.rounds:
                values[item.key].append(max(seconds_of(item), 1e-9))
    series = {i.key: Series(i.key, i.title, i.what, "s", tuple(values[i.key])) for i in timed}
    for found in series.values():
        say(f"{found.title}: {found.median * 1e3:.2f} ms, {len(found.values)} runs")
    return series
