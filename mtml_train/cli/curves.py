"""`mtml-train curves`: losses and validations of runs, drawn over one another."""

from __future__ import annotations

from pathlib import Path

import click

from mtml_deploy.cli.command import SafeCommand
from mtml_deploy.cli.console import write_data, write_note


@click.command(
    cls=SafeCommand,
    docs="docs/training.md",
    examples=(
        "mtml-train curves RUN --out curves.svg",
        "mtml-train curves RUN OTHER --label paper --label strong --out curves.png",
    ),
)
@click.argument("runs", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="RUN...")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="FILE",
              help="Plot to write, .png or .svg.")  # fmt: skip
@click.option("--label", multiple=True, help="Name of a run in the plot, one for each.")
@click.option("--overwrite", is_flag=True, help="Replace a plot that is there.")
def curves_command(
    *, runs: tuple[Path, ...], out: Path, label: tuple[str, ...], overwrite: bool
) -> None:
    """Draw validation, losses of each branch and of the consensus over the steps of each RUN.

    A run may be finished or still training. The best mAP of each is printed.
    """
    if label and len(label) != len(runs):
        raise click.UsageError(f"{len(runs)} runs need as many --label, or none")
    names = label or tuple(map(str, runs))
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise click.UsageError(f"{twice[0]} is named twice; give each run a --label of its own")
    from mtml_deploy.figure import require_plot
    from mtml_deploy.outputs import require_outputs
    from mtml_deploy.text import escaped, table
    from mtml_train.curves_plot import CURVES_PLOT, best_map, write_curves_plot
    from mtml_train.history import HISTORY, read_history

    files = [(run.parent if run.is_file() else run) / HISTORY for run in runs]
    require_plot(out)
    require_outputs([(out, CURVES_PLOT)], overwrite=overwrite, inputs=files)
    found = {name: read_history(file) for name, file in zip(names, files, strict=True)}
    write_curves_plot(out, found)
    rows = []
    for name, points in found.items():
        best = best_map(points)
        totals = [point.values["total"] for point in points
                  if point.group == "loss" and "total" in point.values]  # fmt: skip
        rows.append((
            escaped(name),
            f"{max(point.step for point in points):,}" if points else "0",
            f"{totals[-1]:.3f}" if totals else "–",
            "–" if best is None else f"{100 * best[1]:.1f} at step {best[0]:,}",
        ))  # fmt: skip
    titles = ("run", "steps", "total loss", "best mAP, %")
    write_data("\n".join(table(titles, rows, align="lrrr")))
    write_note(f"wrote {out}")
