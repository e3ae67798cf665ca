"""`mtml-deploy centre`: an embeddings file without what all images of a camera share."""

from __future__ import annotations

from pathlib import Path

import click

from mtml_deploy.cli import options
from mtml_deploy.cli.command import SafeCommand
from mtml_deploy.cli.console import write_note


@click.command(
    cls=SafeCommand,
    docs="docs/compression.md",
    examples=(
        "mtml-deploy centre query.npz --means-of gallery.npz --out query-c.npz",
        "mtml-deploy centre gallery.npz --means-of gallery.npz --out gallery-c.npz",
    ),
)
@click.argument("embeddings", type=options.FILE, metavar="EMB")
@click.option(
    "--means-of",
    required=True,
    type=options.FILE,
    metavar="EMB",
    help="Embeddings whose mean of each camera is taken off, such as those of the gallery.",
)
@click.option("--out", required=True, type=options.FILE, help="The file to write, a .npz.")
@click.option(
    "--no-normalise",
    is_flag=True,
    help="Do not scale the rows to length 1.",
)
@options.overwrite
def centre(
    *, embeddings: Path, means_of: Path, out: Path, no_normalise: bool, overwrite: bool
) -> None:
    """Take the mean embedding of each camera off the rows of EMB.

    For a closed set of cameras: every row must know its camera, and --means-of must hold images of
    each.
    The result is compared only with rows that were centred by the same --means-of in the same way.
    """
    from mtml_deploy.embed.camera_centring import camera_means
    from mtml_deploy.embed.camera_centring import centre as centre_rows
    from mtml_deploy.embed.embeddings import Embeddings
    from mtml_deploy.embed.file import EMBEDDINGS, require_suffix
    from mtml_deploy.outputs import require_output

    require_suffix(out)
    require_output(out, EMBEDDINGS, overwrite=overwrite, inputs=(embeddings, means_of))
    images = Embeddings.load(embeddings)
    reference = images if means_of == embeddings else Embeddings.load(means_of)
    means = camera_means(reference, normalise=not no_normalise)
    found = centre_rows(images, means)
    found.save(out)
    write_note(
        f"{out}: {len(found)} rows without the means of {len(means.cameras)} cameras "
        f"({means.mark[:12]})"
    )
