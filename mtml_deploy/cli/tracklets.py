"""`mtml-deploy tracklets`: an embeddings file of images to one of tracklets."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click

from mtml_deploy.cli import options
from mtml_deploy.cli.command import SafeCommand
from mtml_deploy.cli.console import write_note
from mtml_deploy.defaults import Grouping, Pool


@click.command(
    cls=SafeCommand,
    docs="docs/tracklets.md",
    examples=(
        "mtml-deploy tracklets gallery.npz --out tracks.npz",
        "mtml-deploy tracklets query.npz --by vehicle-camera --out joined.npz",
    ),
)
@click.argument("embeddings", type=options.FILE, metavar="EMB")
@click.option("--out", required=True, type=options.FILE, help="The file of tracklets, a .npz.")
@click.option(
    "--pool",
    type=click.Choice(get_args(Pool)),
    default="mean",
    show_default=True,
    help="Weights of a tracklet's images: equal, or by their pixels before resizing.",
)
@click.option(
    "--by",
    type=click.Choice(get_args(Grouping)),
    default="tracklet",
    show_default=True,
    help="What makes images one tracklet; vehicle-camera is for sets that tell no tracklets, "
    "vehicle joins all query images of one vehicle.",
)
@click.option(
    "--keep-single",
    is_flag=True,
    help="Let an image that is in no tracklet be one of its own.",
)
@options.overwrite
def tracklets(
    *,
    embeddings: Path,
    out: Path,
    pool: Pool,
    by: Grouping,
    keep_single: bool,
    overwrite: bool,
) -> None:
    """Pool the images of each tracklet in EMB into one embedding.

    The result is compared like any embeddings file of the model; what was compared with what
    (image-to-track and so on) is part of every evaluation.
    """
    from mtml_deploy.data.records import UNKNOWN
    from mtml_deploy.embed.embeddings import Embeddings
    from mtml_deploy.embed.file import EMBEDDINGS, require_suffix
    from mtml_deploy.embed.pooling import pool_tracklets
    from mtml_deploy.outputs import require_output

    require_suffix(out)
    require_output(out, EMBEDDINGS, overwrite=overwrite, inputs=(embeddings,))
    images = Embeddings.load(embeddings)
    pooled = pool_tracklets(images, pool=pool, by=by, keep_single=keep_single)
    pooled.save(out)
    single = int((pooled.tracklet_ids == UNKNOWN).sum())
    alone = f", {single} of them single images" if single else ""
    write_note(f"{out}: {len(pooled)} tracklets of {len(images)} images{alone}")
