"""Results of an ablation in the layout of the paper's Tables 2 to 4, with the paper's beside.

In: a plan and the results that there are. Out: table.md, table.json, table.html, and a plot of the
mean CMC curves of each test. Fractions 0..1 in JSON, percent in tables.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.files import write_text
from mtml_deploy.record_file import record_json
from mtml_deploy.report.cmc_plot import write_cmc_plot
from mtml_deploy.report.judged_file import JudgedRow, read_judged
from mtml_deploy.report.table_page.page import Table, tables_html, tables_markdown
from mtml_deploy.text import percent
from mtml_train.ablation.paper import Numbers, PaperTable, paper_table
from mtml_train.ablation.plan import Plan, PlannedRun

TITLE: Final = "MTML ablation"
_MAKER: Final = "mtml-train ablation"
_RANKS: Final = (1, 5)
_ENOUGH: Final = 3
"""Seeds of which a standard deviation tells something; of fewer the range is shown."""


@dataclass(frozen=True)
class Spread:
    """One number over the seeds; fractions 0..1.

    Attributes:
        values: of each seed.
    """

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Of the values."""
        return statistics.fmean(self.values)

    @property
    def std(self) -> float | None:
        """Standard deviation, divisor n - 1; None of a single value."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    def text(self) -> str:
        """In percent: the mean, and the standard deviation or the range."""
        if self.std is None:
            return percent(self.mean)
        if len(self.values) >= _ENOUGH:
            return f"{percent(self.mean)} ± {percent(self.std)}"
        return f"{percent(self.mean)} ({percent(min(self.values))} to {percent(max(self.values))})"

    def record(self) -> dict[str, object]:
        """All of it, for JSON."""
        return {
            "mean": self.mean, "std": self.std, "low": min(self.values), "high": max(self.values),
            "values": self.values,
        }  # fmt: skip


@dataclass(frozen=True)
class TableRow:
    """One row: a variant with one value of each varied setting, as embedded or re-ranked.

    Attributes:
        name: in the table.
        seeds: whose runs are done.
        mean_ap: over them.
        ranks: Rank-1 and Rank-5 over them.
        cmc: float64 [K], the mean curve.
        protocol: name of the rule.
        paper: the paper's numbers; None where it has none.
    """

    name: str
    seeds: tuple[int, ...]
    mean_aps: Spread
    ranks: tuple[Spread, ...]
    cmc: NDArray[np.float64]
    protocol: str
    paper: Numbers | None

    @property
    def mean_ap(self) -> float:
        """Of the curve, for its label."""
        return self.mean_aps.mean


def table_rows(
    plan: Plan, runs: Sequence[PlannedRun], results: Mapping[str, Path], test: int
) -> list[TableRow]:
    """The rows of one test.

    Args:
        plan: of the ablation.
        runs: all its runs.
        results: name of a run -> its result; runs without one are left out.
        test: number of the test.

    Returns:
        Rows in the order of the plan; none for what has no result yet.
    """
    stages = 2 if plan.rerank else 1
    paper = paper_table(plan.settings["data"], plan.tests[test])
    rows: list[TableRow] = []
    for name in dict.fromkeys(run.row for run in runs):
        members = [run for run in runs if run.row == name and run.name in results]
        if not members:
            continue
        judged = [read_judged([results[run.name]]) for run in members]
        for stage in range(stages):
            found = [each[test * stages + stage] for each in judged]
            rows.append(_row(name, members, found, paper, reranked=stage > 0))
    return rows


def _row(
    name: str,
    members: Sequence[PlannedRun],
    found: Sequence[JudgedRow],
    paper: PaperTable | None,
    *,
    reranked: bool,
) -> TableRow:
    """One row from the results of its seeds."""
    printed = None
    if paper is not None and not any(run.varied for run in members):
        printed = (paper.reranked if reranked else paper.plain).get(members[0].variant)
    return TableRow(
        name=f"{name}, re-ranked" if reranked else name,
        seeds=tuple(run.seed for run in members),
        mean_aps=Spread(tuple(each.mean_ap for each in found)),
        ranks=tuple(Spread(tuple(each.cmc_at(rank) for each in found)) for rank in _RANKS),
        cmc=np.mean([each.cmc for each in found], axis=0),
        protocol=found[0].protocol,
        paper=printed,
    )


def as_table(plan: Plan, rows: Sequence[TableRow], test: int) -> Table:
    """The rows of one test as a table in percent."""
    paper = paper_table(plan.settings["data"], plan.tests[test])
    columns = ["method", "mAP", *(f"Rank-{rank}" for rank in _RANKS), "seeds"]
    columns += ["paper mAP", "paper Rank-1", "paper Rank-5"] if paper else []
    cells = []
    for row in rows:
        line = [row.name, row.mean_aps.text(), *(each.text() for each in row.ranks)]
        line.append(f"{len(row.seeds)} of {len(plan.seeds)}")
        if paper:
            line += ["–"] * 3 if row.paper is None else [percent(each) for each in row.paper]
        cells.append(tuple(line))
    settings = plan.settings
    notes = [
        f"Protocol {plan.protocols[test]}; step mAP, in percent; {plan.checkpoint} weights of each "
        "run.",
        _spread_note(len(plan.seeds)),
        f"Trained on {', '.join(settings['data'])}: recipe {plan.recipe}, "
        f"{settings['backbone']}, weights {settings['weights']}, {settings['image_size']} pixels, "
        f"{_length(settings)}, batch {settings['batch_size']}.",
    ]
    if paper:
        notes.append(
            f"Beside: {paper.title}, ResNet-50 from ImageNet weights, 224 pixels, batch 8, one run "
            "each. Compare only where data and settings are those."
        )
    return Table(
        title=f"Tested on {plan.tests[test]}",
        columns=tuple(columns),
        align="l" + "r" * (len(columns) - 1),
        rows=tuple(cells),
        notes=tuple(notes),
    )


def write_tables(
    plan: Plan, runs: Sequence[PlannedRun], results: Mapping[str, Path], out: Path
) -> str:
    """Write all tables and plots; what is there of an earlier time is replaced.

    Args:
        plan: of the ablation.
        runs: all its runs.
        results: name of a run -> its result; one or more.
        out: folder of the ablation.

    Returns:
        The Markdown page.

    Raises:
        DataError: a result cannot be read.
        MissingExtraError: matplotlib is not installed.
    """
    tables, plots, record = [], [], []
    for test, source in enumerate(plan.tests):
        rows = table_rows(plan, runs, results, test)
        tables.append(as_table(plan, rows, test))
        name = "cmc" if len(plan.tests) == 1 else f"cmc-{test + 1}"
        for suffix in (".png", ".svg"):
            write_cmc_plot(out / f"{name}{suffix}", {row.name: row for row in rows})
        plots.append(out / f"{name}.svg")
        record.append({"test": source, "rows": [_record(row) for row in rows]})
    page = tables_markdown(TITLE, tables, plots=[plot.name for plot in plots])
    about = {
        "schema": 1, "made_by": _MAKER, "runs": len(runs), "done": len(results),
        "spread": "std: standard deviation over the seeds, divisor n - 1; low, high: their range",
        "tests": record,
    }  # fmt: skip
    write_text(out / "table.md", page)
    write_text(out / "table.json", record_json(about, indent=1) + "\n")
    write_text(out / "table.html", tables_html(TITLE, tables, maker=_MAKER, plots=plots))
    return page


def _record(row: TableRow) -> dict[str, object]:
    """A row for JSON."""
    return {
        "method": row.name,
        "seeds": row.seeds,
        "mean_ap": row.mean_aps.record(),
        **{f"rank_{k}": each.record() for k, each in zip(_RANKS, row.ranks, strict=True)},
        "paper": None if row.paper is None else dict(
            zip(("mean_ap", "rank_1", "rank_5"), row.paper, strict=True)
        ),
        "cmc": row.cmc.tolist(),
    }  # fmt: skip


def _spread_note(seeds: int) -> str:
    """How the spread is shown."""
    if seeds == 1:
        return "One seed: no spread."
    if seeds < _ENOUGH:
        return f"Mean over {seeds} seeds, and their range (lowest to highest)."
    return f"Mean ± standard deviation over {seeds} seeds (divisor {seeds - 1})."


def _length(settings: Mapping[str, object]) -> str:
    """How long a run is."""
    steps = settings["max_steps"]
    return f"{settings['epochs']} epochs" if steps == -1 else f"{steps} steps"
