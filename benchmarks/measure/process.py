"""Work in a process of its own: its time, and the most memory that the process ever held.

A peak of memory belongs to a whole process, and threads of one library disturb the next one, so
every contender of every round starts anew: it loads its libraries and its data, warms up, and is
then timed. Peaks hold libraries, data and everything else.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure.rounds import SETTLE_S, Contender, Ratio, Series, alternate
from mtml_deploy.errors import BackendError

Arrays = Mapping[str, NDArray[np.generic]]
"""What a piece of work found, by name; first axis queries."""

_THREAD_VARIABLES: Final = (
    "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "LANCE_CPU_THREADS",
)  # fmt: skip
_ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True)
class Work:
    """What one process is timed at.

    Attributes:
        warm_up: called first, not timed.
        timed: called in turn, each timed alone; the median counts. Results are joined along their
            first axis.
    """

    warm_up: Callable[[], object]
    timed: tuple[Callable[[], Arrays], ...]


@dataclass(frozen=True)
class Entrant:
    """One contender.

    Attributes:
        key: its name in the record.
        title: its name in tables.
        what: one sentence, what exactly is timed.
        prepare: loads libraries and data, in the new process; can be pickled.
        environment: variables of the new process, beside those of its parent.
    """

    key: str
    title: str
    what: str
    prepare: Callable[[], Work]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """What a new process is told.

    Attributes:
        prepare: see `Entrant`.
        out: the file it writes, an .npz: `seconds`, `before_bytes`, `peak_bytes` and the results.
    """

    prepare: Callable[[], Work]
    out: Path


@dataclass(frozen=True)
class Outcome:
    """What was measured of one entrant.

    Attributes:
        seconds: one value per round.
        peak: most memory of the process, bytes, one value per round.
        growth_bytes: peak beyond what was held before the timed work, one value per round.
        result: of the last round.
    """

    seconds: Series
    peak: Series
    growth_bytes: tuple[int, ...]
    result: Arrays


@dataclass(frozen=True)
class Summary:
    """What follows from the outcomes of one case.

    Attributes:
        series: computed, not measured.
        ratios: with the bars to reach.
        notes: sentences that a reader must know.
    """

    series: tuple[Series, ...]
    ratios: tuple[Ratio, ...]
    notes: tuple[str, ...]


class FreshProcess:
    """Runs one entrant, each time in a new process, and keeps what it took."""

    def __init__(self, entrant: Entrant, *, threads: int, scratch: Path) -> None:
        """Nothing runs yet.

        Args:
            entrant: what to run.
            threads: of every library that asks the environment.
            scratch: existing folder for results.
        """
        self._entrant = entrant
        self._threads = threads
        self._scratch = scratch
        self.peaks: list[int] = []
        self.growths: list[int] = []
        self.result: Arrays = {}

    def measure(self) -> float:
        """Seconds of one run.

        Raises:
            BackendError: the process failed.
        """
        with TemporaryDirectory(prefix=".run.", dir=self._scratch) as folder:
            job = Job(self._entrant.prepare, Path(folder) / "result.npz")
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.measure.child"],
                cwd=_ROOT,
                env=os.environ
                | dict.fromkeys(_THREAD_VARIABLES, str(self._threads))
                | dict(self._entrant.environment),
                input=pickle.dumps(job),
                capture_output=True,
                check=False,
            )
            if done.returncode != 0:
                said = done.stderr.decode(errors="replace").strip().splitlines()
                raise BackendError(
                    f"measuring {self._entrant.title} ended with status {done.returncode}: "
                    f"{said[-1] if said else 'it said nothing'}; expected a result. Correct that, "
                    "leave the peer out, or, after status -9 (no memory left), measure a smaller "
                    "size"
                )
            with np.load(job.out) as file:
                values = {name: file[name] for name in file}
        self.peaks.append(int(values.pop("peak_bytes")))
        self.growths.append(max(1, self.peaks[-1] - int(values.pop("before_bytes"))))
        seconds = float(values.pop("seconds"))
        self.result = values
        return seconds


def run_once(entrant: Entrant, *, threads: int, scratch: Path) -> None:
    """Run something that is not measured, such as filling a store, away from this process."""
    FreshProcess(entrant, threads=threads, scratch=scratch).measure()


def measure_entrants(
    entrants: Sequence[Entrant],
    *,
    limits: Sequence[Contender] = (),
    rounds: int,
    threads: int,
    scratch: Path,
    say: Callable[[str], None] = lambda _: None,
    settle_s: float = SETTLE_S,
) -> tuple[dict[str, Outcome], dict[str, Series]]:
    """Measure every entrant, and the machine's limits, once per round and in turn.

    Args:
        entrants: one or more.
        limits: contenders that are measured in this process.
        rounds: 1 or more.
        threads: of every library.
        scratch: existing folder for results.
        say: told each time.
        settle_s: pause before each measurement, seconds.

    Returns:
        Key -> outcome of the entrants; key -> series of the limits.

    Raises:
        BackendError: a process failed.
    """
    runs = {e.key: FreshProcess(e, threads=threads, scratch=scratch) for e in entrants}
    contenders = [Contender(e.key, e.title, e.what, "s", runs[e.key].measure) for e in entrants]
    series = alternate([*contenders, *limits], rounds=rounds, say=say, settle_s=settle_s)
    outcomes = {}
    for entrant in entrants:
        run = runs[entrant.key]
        peak = Series(
            f"{entrant.key}_memory",
            f"{entrant.title}, memory",
            f"Most memory of the process of {entrant.title}, libraries and data included.",
            "B",
            tuple(map(float, run.peaks)),
            process_medians=tuple(map(float, run.peaks)),
        )
        seconds = replace(series[entrant.key], process_medians=series[entrant.key].values)
        outcomes[entrant.key] = Outcome(seconds, peak, tuple(run.growths), run.result)
    return outcomes, {limit.key: series[limit.key] for limit in limits}
