"""`mtml-deploy report`: one table and one plot of several evaluations."""

from __future__ import annotations

from pathlib import Path

import click

from mtml_deploy.cli import options
from mtml_deploy.cli.command import SafeCommand
from mtml_deploy.cli.console import write_data, write_note


@click.command(
    cls=SafeCommand,
    docs="docs/evaluation.md",
    examples=(
        "mtml-deploy report metrics.json --out evaluations",
        'mtml-deploy report day.json night.json --out evaluations --title "Day and night"',
    ),
)
@click.argument("files", type=options.FILE, nargs=-1, required=True, metavar="FILE...")
@click.option("--out", type=options.FOLDER, required=True, metavar="DIR", help="Folder to write.")
@click.option("--title", default="Evaluations", show_default=True, help="Of the page.")
@options.overwrite
def report(*, files: tuple[Path, ...], out: Path, title: str, overwrite: bool) -> None:
    """Put several evaluations into one table and one plot of their CMC curves.

    FILE is what mtml-deploy evaluate --json wrote. DIR gets report.md, report.json, report.html,
    cmc.png and cmc.svg; the table is printed as well.
    """
    from mtml_deploy.outputs import require_output
    from mtml_deploy.report.judged_file import read_judged
    from mtml_deploy.report.overview import OVERVIEW, write_overview

    require_output(out, OVERVIEW, overwrite=overwrite, inputs=files)
    rows = read_judged(files)
    page = write_overview(rows, out, title=title, overwrite=overwrite, inputs=files)
    write_data(page.rstrip("\n"))
    write_note(f"wrote {out}: {len(rows)} rows, report.html shows them")
