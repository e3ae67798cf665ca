"""`mtml-deploy centre`: an embeddings file without what all images of a camera share."""

from __future__ import annotations

from pathlib import Path

import click

from mtml_deploy.cli import options
from mtml_deploy.cli.console import SafeCommand, write_note


@click.command(cls=SafeCommand)
@click.argument("embeddings", type=options.FILE, metavar="EMB")
@click.option(
    "--by",
    required=True,
    type=options.FILE,
    help="Embeddings whose mean of each camera is taken off, such as those of the gallery.",
)
@click.option("--out", required=True, type=options.FILE, help="The file to write, a .npz.")
@click.option(
    "--normalise/--no-normalise",
    default=True,
    show_default=True,
    help="Scale every row to length 1 afterwards.",
)
@options.overwrite
def centre(*, embeddings: Path, by: Path, out: Path, normalise: bool, overwrite: bool) -> None:
    """Take the mean embedding of each camera off the rows of EMB.

    For a closed set of cameras: every row must know its camera, and --by must hold images of each.
    The result is compared only with rows that were centred by the same --by in the same way.
    """
    from mtml_deploy.embed.camera_centring import camera_means
    from mtml_deploy.embed.camera_centring import centre as centre_rows
    from mtml_deploy.embed.embeddings import Embeddings
    from mtml_deploy.embed.file import EMBEDDINGS, require_suffix
    from mtml_deploy.outputs import require_output

    require_suffix(out)
    require_output(out, EMBEDDINGS, overwrite=overwrite, inputs=(embeddings, by))
    images = Embeddings.load(embeddings)
    reference = images if by == embeddings else Embeddings.load(by)
    means = camera_means(reference, normalise=normalise)
    found = centre_rows(images, means)
    found.save(out)
    write_note(
        f"{out}: {len(found)} rows without the means of {len(means.cameras)} cameras "
        f"({means.mark[:12]})"
    )
