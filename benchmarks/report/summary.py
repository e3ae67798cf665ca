"""The records of one run as one Markdown page for a job summary: verdict first, details folded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.measure.rounds import Ratio
from benchmarks.report.record import Record, record_markdown
from mtml_deploy.output_kind import text_kind
from mtml_deploy.regular_file import RECORD_BYTES, read_regular

SUMMARY_LIMIT_BYTES: Final = 1 << 20
"""A larger job summary is dropped as a whole."""

SUMMARY: Final = text_kind("a summary of benchmarks", r"^## Measured: ")


def summary_markdown(records: Sequence[Record], *, before: str = "") -> str:
    """The page.

    Args:
        records: of one run.
        before: Markdown of a comparison or a parity verdict, shown first.

    Returns:
        Markdown; details that would make it too long for a job summary are left out, with a line
        that says so.
    """
    missed = [item for item in _ratios(records) if item.reached is False]
    reached = [item for item in _ratios(records) if item.reached]
    lines = [before] if before else []
    if missed or reached:
        total = len(missed) + len(reached)
        sign = "❌" if missed else "✅"
        lines += [f"## {sign} Targets: {len(reached)} of {total} reached", ""]
        lines += [f"- missed: {_target(item)}" for item in missed]
        lines += [f"- reached: {_target(item)}" for item in reached] + [""]
    lines += [f"## Measured: {', '.join(record.title for record in records)}", ""]
    page = "\n".join(lines)
    for record in records:
        # the page of a record starts with its title
        body = record_markdown(record).partition("\n")[2]
        details = f"<details><summary>{record.title}</summary>\n{body}\n</details>\n\n"
        if len((page + details).encode()) > SUMMARY_LIMIT_BYTES - 1024:
            page += f"{record.title}: too long for this page, see {record.kind}.md.\n\n"
        else:
            page += details
    return page


def extra_markdown(folder: Path) -> str:
    """Verdicts that other commands left in the folder of the reports, the gate's first."""
    found = [folder / name for name in ("parity.md", "compare.md")]
    texts = [
        read_regular(path, most_bytes=RECORD_BYTES).decode("utf-8", "backslashreplace")
        for path in found
        if path.is_file()
    ]
    return "\n".join(texts)


def _ratios(records: Sequence[Record]) -> list[Ratio]:
    return [item for record in records for item in record.ratios]


def _target(item: Ratio) -> str:
    """One line on a ratio that has a target."""
    least = 0.0 if item.at_least is None else item.at_least
    return f"{item.title}: {100 * item.value:.1f} %, at least {100 * least:.1f} % is asked"
