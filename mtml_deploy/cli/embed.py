"""`mtml-deploy embed`: a set of images to an embeddings file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mtml_deploy.cli import options
from mtml_deploy.cli.console import SafeCommand, progress_bar, write_note
from mtml_deploy.cli.groups import embedding_group
from mtml_deploy.errors import EmbeddingsError, MtmlError, OutputExistsError

if TYPE_CHECKING:
    from mtml_deploy.model import EmbedOptions


@click.command(cls=SafeCommand, epilog=options.SOURCES)
@click.argument("artifact", type=options.FOLDER)
@click.option("--images", required=True, metavar="SOURCE", help="The images to embed.")
@click.option("--out", required=True, type=options.FILE, help="The embeddings file, a .npz.")
@embedding_group
@click.option("--resume", is_flag=True, help="Continue an interrupted run of the same command.")
@options.overwrite
def embed(
    *,
    artifact: Path,
    images: str,
    out: Path,
    how: EmbedOptions,
    resume: bool,
    overwrite: bool,
) -> None:
    """Embed a set of images with the model in ARTIFACT.

    Until the file is whole, finished rows are kept in a folder beside it, so that a run that was
    stopped or killed can be continued.
    """
    from mtml_deploy.artifact.artifact import open_artifact
    from mtml_deploy.data.source import load_source
    from mtml_deploy.embed.embed_to import embed_to, partial_path

    opened = open_artifact(artifact)
    image_set = load_source(images)
    for sentence in image_set.notes:
        write_note(f"note: {sentence}")
    try:
        with (
            how.open(opened) as model,
            progress_bar("embedding", unit="images") as progress,
        ):
            options.note_model(model, how)
            summary = embed_to(
                model,
                image_set,
                out,
                batch_size=how.batch_size,
                threads=how.threads,
                skip_bad=how.skip_bad,
                resume=resume,
                overwrite=overwrite,
                progress=progress,
            )
    except (OutputExistsError, EmbeddingsError):  # their texts say what to do
        raise
    except (MtmlError, OSError, KeyboardInterrupt):
        if partial_path(out).exists():
            write_note("note: the finished rows are kept; add --resume to go on from there")
        raise
    options.note_skipped(summary.skipped)
    resumed = f" ({summary.resumed_rows} by an earlier run)" if summary.resumed_rows else ""
    write_note(
        f"{out}: {summary.images} images{resumed}, {len(summary.skipped)} skipped, "
        f"{summary.seconds:.1f} s, {summary.images_per_second:.1f} images/s"
    )
