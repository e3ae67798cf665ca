"""`mtml-deploy demo`: the main commands on a model and pictures that come with the package."""

from __future__ import annotations

import io
import shlex
import webbrowser
from contextlib import redirect_stdout
from pathlib import Path
from typing import Final

import click

from mtml_deploy.cli import options
from mtml_deploy.cli.command import SafeCommand
from mtml_deploy.cli.console import write_data, write_next, write_note
from mtml_deploy.cli.embed import embed
from mtml_deploy.cli.evaluate import evaluate
from mtml_deploy.cli.rank import rank
from mtml_deploy.defaults import PROTOCOL

_STEPS: Final = {
    "embed {out}/model --images veri:{out}/cars#query --out {out}/query.npz": embed,
    "embed {out}/model --images veri:{out}/cars#gallery --out {out}/gallery.npz": embed,
    "evaluate --query {out}/query.npz --gallery {out}/gallery.npz --json {out}/metrics.json": (
        evaluate
    ),
    f"rank --query {{out}}/query.npz --gallery {{out}}/gallery.npz --protocol {PROTOCOL} "
    "--html {out}/report.html": rank,
}
"""What a user would type, and the command that it is."""


@click.command(
    cls=SafeCommand, docs="README.md", examples=("mtml-deploy demo", "mtml-deploy demo --open")
)
@click.option("--out", type=options.FOLDER, default=Path("mtml-demo"), show_default=True,
              help="Folder to write.")  # fmt: skip
@click.option("--open", "show", is_flag=True, help="Show the page in a browser.")
@options.overwrite
def demo(*, out: Path, show: bool, overwrite: bool) -> None:
    """Rank pictures of rendered vehicles with a small model; both come with the package.

    It runs the commands that it prints, writes a page of rank lists, and says what the numbers
    mean. The model has seen nothing but rendered vehicles: it is of no use on real pictures.
    """
    from mtml_deploy.demo.demo_folder import CARS, GALLERY, METRICS, MODEL, PAGE, QUERY, copy_out
    from mtml_deploy.embed.embeddings import Embeddings
    from mtml_deploy.evaluation.chance import first_by_chance
    from mtml_deploy.evaluation.protocols import find_protocol
    from mtml_deploy.report.judged_file import read_judged
    from mtml_deploy.runtime.ort_library import ort_library
    from mtml_deploy.text import percent

    ort_library("cpu")  # before anything is written
    copy_out(out, overwrite=overwrite)
    for step, command in _STEPS.items():
        _run(command, step, out)
    query, gallery = Embeddings.load(out / QUERY), Embeddings.load(out / GALLERY)
    judged = read_judged((out / METRICS,))[0]
    guessed = first_by_chance(query, gallery, find_protocol(PROTOCOL))
    vehicles = len(set(query.vehicle_ids.tolist()))
    for line in (
        f"{len(query)} pictures were looked for among {len(gallery)} of {vehicles} vehicles, each "
        "among those of other cameras:",
        f"  CMC@1 {percent(judged.cmc_at(1)):>6} %  found their vehicle in the first place "
        f"(guessing: {percent(guessed)} %)",
        f"  CMC@5 {percent(judged.cmc_at(5)):>6} %  found it among the first five places",
        f"  mAP   {percent(judged.mean_ap):>6} %  how near the top all pictures of the vehicle are "
        "(100 %: all come first)",
        "No two of these vehicles are of one model; on a road many are, and that is much harder.",
        "The model has seen rendered vehicles only: it is of no use on real pictures.",
        f"the lists with pictures: {out / PAGE}",
    ):
        write_data(line)
    write_next("mtml-deploy", "info", out / MODEL)
    write_next("mtml-deploy", "evaluate", "--query", out / QUERY, "--gallery", out / GALLERY,
               "--rerank")  # fmt: skip
    write_next("mtml-deploy", "rank", out / MODEL, "--query", out / CARS / "image_query",
               "--gallery", out / CARS / "image_test")  # fmt: skip
    if show and not webbrowser.open((out / PAGE).resolve().as_uri()):
        write_note(f"no browser was found here; open {out / PAGE} yourself")


def _run(command: click.Command, step: str, out: Path) -> None:
    """Run a command as typed; what it prints is left to the one who types it."""
    write_note(f"$ mtml-deploy {step.format(out=shlex.quote(str(out)))}")
    words = [word.format(out=out) for word in shlex.split(step)[1:]]
    with (
        command.make_context(command.name, words, parent=click.get_current_context()) as context,
        redirect_stdout(io.StringIO()),
    ):
        command.invoke(context)
