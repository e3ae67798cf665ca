"""A comparison for people: the verdict first, then what changed, then everything."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Final

from benchmarks.measure.rounds import in_words
from benchmarks.report.compare import (
    CompareThresholds,
    Comparison,
    Outcome,
    processes_needed,
)
from mtml_deploy.output_kind import text_kind
from mtml_deploy.text import table

COMPARE_MARKDOWN: Final = text_kind("a comparison of benchmarks", r"\A## \S+ Benchmarks: ")

_TITLES = (
    "series",
    "base",
    "new",
    "change for the worse",
    "allowed",
    "p",
    "superiority",
    "processes",
    "verdict",
)


def compare_markdown(outcome: Outcome, thresholds: CompareThresholds) -> str:
    """The comparison as Markdown.

    Args:
        outcome: from `compare_records`.
        thresholds: what it was judged by.

    Returns:
        Markdown; a table of what is worse or better, and one of all, folded.
    """
    count, untold = len(outcome.regressions), len(outcome.untold)
    total = len(outcome.comparisons)
    verdict = f"{count} regression{'s' if count != 1 else ''}" if count else "no regression"
    sign = "❌" if count else "⚠️" if untold else "✅"
    notable = [item for item in outcome.comparisons if item.verdict in ("worse", "better")]
    lines = [
        f"## {sign} Benchmarks: {verdict} in {total - untold} series"
        + (f", no verdict on {untold}" if untold else ""),
        "",
        f"A regression is a median that got worse by more than allowed (by default "
        f"{100 * thresholds.change:g} %) and p < {thresholds.p:g} in the rank-sum test of Mann and "
        "Whitney, over the medians of processes.",
        "",
    ]
    if untold:
        needed = processes_needed(thresholds.p)
        lines += [
            f"No verdict where too few processes measured: {needed} on each side are needed. "
            "Repeat the command with other --out folders, and join them: "
            "`python -m benchmarks join FOLDER... --out FOLDER`.",
            "",
        ]
    if notable:
        lines += [*_table(notable), ""]
    for title, names in (("Only in BASE", outcome.missing), ("Only in NEW", outcome.added)):
        if names:
            lines += [f"{title}: {', '.join(f'`{name}`' for name in names)}.", ""]
    lines += ["<details><summary>All series</summary>", ""]
    lines += [*_table(_worst_first(outcome.comparisons)), "", "</details>", ""]
    return "\n".join(lines)


def _worst_first(comparisons: Sequence[Comparison]) -> list[Comparison]:
    return sorted(comparisons, key=lambda item: -item.change)


def _table(comparisons: Sequence[Comparison]) -> list[str]:
    return table(_TITLES, map(_cells, comparisons), align="lrrrrrrrl")


def _cells(item: Comparison) -> tuple[str, ...]:
    """One line of a table."""
    return (
        f"{item.title} `{item.name}`",
        in_words(statistics.median(item.base.of_processes), item.base),
        in_words(statistics.median(item.new.of_processes), item.new),
        f"{100 * item.change:+.1f} %",
        f"{100 * item.allowed:g} %",
        f"{item.test.p:.2g}",
        f"{item.test.superiority:+.2f}",
        f"{len(item.base.of_processes)}, {len(item.new.of_processes)}",
        item.verdict,
    )
