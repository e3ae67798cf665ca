"""The commands `join`, `compare` and `report`, which measure nothing."""

from __future__ import annotations

from pathlib import Path

import click

from mtml_deploy.cli import options
from mtml_deploy.cli.command import SafeCommand
from mtml_deploy.cli.console import write_data, write_note

_PLACE = click.Path(path_type=Path, exists=True)


@click.command(
    cls=SafeCommand,
    docs="benchmarks/README.md",
    examples=(
        "python -m benchmarks join parts/1 parts/2 parts/3 --out reports",
        "python -m benchmarks join parts/1 parts/2 --out reports --overwrite",
    ),
)
@click.argument("parts", type=_PLACE, nargs=-1, required=True)
@click.option("--out", type=options.FOLDER, required=True, help="Folder of the joined records.")
@options.overwrite
def join(*, parts: tuple[Path, ...], out: Path, overwrite: bool) -> None:
    """Join records of one command that ran several times, PARTS being files or folders.

    Each run is a process of its own, and compare gives a verdict only over several of them.
    """
    from benchmarks.report.join import join_records
    from benchmarks.report.read import load_records, record_files
    from benchmarks.report.record import require_writable, write_record

    records = join_records([record for place in parts for record in load_records(place)])
    given = [file for place in parts for file in record_files(place)]
    for record in records:
        require_writable(out, record.kind, overwrite=overwrite, inputs=given)
    for record in records:
        write_record(out, record, overwrite=overwrite)
    kinds = ", ".join(record.kind for record in records)
    write_note(f"wrote {kinds} of {len(parts)} parts to {out}")


@click.command(
    cls=SafeCommand,
    docs="benchmarks/README.md",
    examples=(
        "python -m benchmarks compare before after",
        "python -m benchmarks compare before after --thresholds benchmarks/thresholds.toml "
        "--out after",
    ),
)
@click.argument("base", type=_PLACE)
@click.argument("new", type=_PLACE)
@click.option("--thresholds", type=options.FILE, help="TOML; without it 5 % everywhere.")
@click.option("--out", type=options.FOLDER, help="Folder for compare.md.")
@click.option("--across-machines", is_flag=True, help="Compare though the machines differ.")
@options.overwrite
def compare(
    *,
    base: Path,
    new: Path,
    thresholds: Path | None,
    out: Path | None,
    across_machines: bool,
    overwrite: bool,
) -> None:
    """Compare the records NEW with BASE, files or folders; exit status 1 on a regression."""
    from benchmarks.report.compare import (
        RegressionError,
        compare_records,
        load_thresholds,
        require_same_machine,
    )
    from benchmarks.report.compare_report import COMPARE_MARKDOWN, compare_markdown
    from benchmarks.report.read import load_records
    from mtml_deploy.files import write_text
    from mtml_deploy.outputs import require_outputs

    path = None if out is None else out / "compare.md"
    require_outputs([(path, COMPARE_MARKDOWN)], overwrite=overwrite)
    bounds = load_thresholds(thresholds)
    before, after = load_records(base), load_records(new)
    if not across_machines:
        require_same_machine(before, after)
    outcome = compare_records(before, after, bounds)
    text = compare_markdown(outcome, bounds)
    if path is not None:
        write_text(path, text)
    write_data(text.rstrip("\n"))
    if outcome.regressions:
        worst = max(outcome.regressions, key=lambda item: item.change)
        raise RegressionError(
            f"{len(outcome.regressions)} of {len(outcome.comparisons)} series got worse, most "
            f"{worst.name}: {100 * worst.change:.1f} %, allowed are {100 * worst.allowed:g} %; "
            "find the cause, or accept NEW as the next base"
        )


@click.command(
    cls=SafeCommand,
    docs="benchmarks/README.md",
    examples=(
        "python -m benchmarks report reports",
        "python -m benchmarks report after",
    ),
)
@click.argument("folder", type=_PLACE, metavar="DIR")
def report(*, folder: Path) -> None:
    """Write the pages of all records in DIR.

    report.html has plots and needs no other file, summary.md is for a job summary (verdicts first,
    then details), and smaller-is-better.json and bigger-is-better.json are for
    github-action-benchmark. They are
    replaced where an earlier report wrote them.
    """
    from benchmarks.report.action_json import ACTION_JSON, action_paths, write_action_json
    from benchmarks.report.page import RECORDS_HTML, records_html
    from benchmarks.report.read import load_records
    from benchmarks.report.summary import SUMMARY, extra_markdown, summary_markdown
    from mtml_deploy.files import write_text
    from mtml_deploy.outputs import require_outputs

    records = load_records(folder)
    page, summary = folder / "report.html", folder / "summary.md"
    lists = [(path, ACTION_JSON) for path in action_paths(folder)]
    require_outputs([(page, RECORDS_HTML), (summary, SUMMARY), *lists], overwrite=True)
    write_text(page, records_html(records))
    write_text(summary, summary_markdown(records, before=extra_markdown(folder)))
    written = (page, summary, *write_action_json(folder, records))
    write_note(f"wrote {', '.join(map(str, written))}")
