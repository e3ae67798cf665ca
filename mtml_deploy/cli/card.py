"""`mtml-deploy card`: a model card of an artifact."""

from __future__ import annotations

from pathlib import Path

import click

from mtml_deploy.cli import options
from mtml_deploy.cli.command import SafeCommand
from mtml_deploy.cli.console import write_note


@click.command(
    cls=SafeCommand,
    docs="docs/deployment.md",
    examples=(
        "mtml-deploy card model --out model/README.md",
        "mtml-deploy card model --out model/README.md --result metrics.json "
        '--name "MTML-OSG on VeRi-776"',
    ),
)
@options.model
@click.option("--out", required=True, type=options.FILE, help="The card, such as README.md.")
@click.option(
    "--result", "results", type=options.FILE, multiple=True, metavar="FILE",
    help="An evaluation, which evaluate wrote as JSON; may be repeated.",
)  # fmt: skip
@click.option("--name", "title", help="Of the model.  [default: the name of MODEL's folder]")
@options.overwrite
def card(
    *, model: Path, out: Path, results: tuple[Path, ...], title: str | None, overwrite: bool
) -> None:
    """Write a model card of MODEL: its manifest, parity verdicts and evaluations.

    The YAML before the text holds the numbers as a model-index, which Hubs of models show. With the
    card as README.md beside model.onnx and manifest.json, the folder can be uploaded as it is.
    """
    from mtml_deploy.artifact.artifact import open_artifact
    from mtml_deploy.artifact.artifact_folder import CARD
    from mtml_deploy.files import write_text
    from mtml_deploy.outputs import require_output
    from mtml_deploy.report.judged_file import read_judged
    from mtml_deploy.report.model_card import card_text

    require_output(out, CARD, overwrite=overwrite, inputs=results)
    opened = open_artifact(model)
    rows = read_judged(results) if results else []
    write_text(out, card_text(opened, rows, name=title or model.absolute().name))
    write_note(f"wrote {out}: {len(rows)} results")
