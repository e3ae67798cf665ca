"""`mtml-deploy embed`: a set of images to an embeddings file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mtml_deploy.cli import options
from mtml_deploy.cli.command import SafeCommand
from mtml_deploy.cli.console import progress_bar, write_next, write_note
from mtml_deploy.cli.groups import embedding_group
from mtml_deploy.errors import EmbeddingsError, MtmlError, OutputExistsError

if TYPE_CHECKING:
    from mtml_deploy.model import EmbedOptions


@click.command(
    cls=SafeCommand,
    docs="docs/deployment.md",
    examples=(
        "mtml-deploy embed model --images veri:VeRi#gallery --out gallery.npz",
        "mtml-deploy embed model --images photos --out photos.npz --batch-size 16 --skip-bad",
    ),
)
@options.a_model
@click.option("--images", metavar="SOURCE", help="The images to embed.")
@click.option(
    "--out", required=True, type=options.FOLDER, metavar="FILE|DIR",
    help="The embeddings file, a .npz; with --shard or --engine ray the folder of the parts.",
)  # fmt: skip
@click.option(
    "--shard", metavar="I/N",
    help="Embed part I of N, 1/N to N/N, into a file of the folder --out; the same command again "
    "goes on after a kill.",
)  # fmt: skip
@click.option(
    "--merge", type=options.FOLDER, metavar="DIR",
    help="Join the parts in a folder into --out; no MODEL is needed.",
)  # fmt: skip
@click.option(
    "--engine", type=click.Choice(["ray"]),
    help="ray: embed all parts into the folder --out, by workers on the Ray cluster that "
    "RAY_ADDRESS names, or on this machine; the same command again goes on after a kill.",
)  # fmt: skip
@click.option(
    "--workers", type=click.IntRange(min=1), metavar="N",
    help="With --engine: models at work at once; without it as many as there is room for.",
)  # fmt: skip
@click.option(
    "--shards", type=click.IntRange(1, 999_999), metavar="N",
    help="With --engine: how many parts; without it 100, or as many as there are batches.",
)  # fmt: skip
@embedding_group
@click.option("--resume", is_flag=True, help="Continue an interrupted run of the same command.")
@options.overwrite
def embed(
    *,
    model: Path | None,
    images: str | None,
    out: Path,
    shard: str | None,
    merge: Path | None,
    engine: str | None,
    workers: int | None,
    shards: int | None,
    how: EmbedOptions,
    resume: bool,
    overwrite: bool,
) -> None:
    """Embed a set of images with the model in MODEL.

    Until the file is whole, finished rows are kept in a folder beside it, so that a run that was
    stopped or killed can be continued.
    """
    if engine is None and (workers or shards):
        raise click.UsageError("--workers and --shards belong to a cluster; add --engine ray")
    if merge is not None:
        if model is not None or images is not None or shard is not None or resume or engine:
            raise click.UsageError("--merge joins parts: leave MODEL, --images, --shard, "
                                   "--engine and --resume out")  # fmt: skip
        _merge(merge, out, overwrite=overwrite)
        return
    if model is None or images is None:
        raise click.UsageError("give MODEL and --images, or --merge DIR")
    if (shard is not None or engine is not None) and (resume or overwrite):
        raise click.UsageError("parts go on by themselves: leave --resume and --overwrite out")
    if engine is not None:
        if shard is not None:
            raise click.UsageError("--engine embeds every part: leave --shard out")
        _embed_on_ray(model, images, out, how, workers=workers or 0, shards=shards or 0)
        return
    if shard is not None:
        _embed_shard(model, images, out, shard, how)
        return
    if out.is_dir():
        raise click.BadParameter(f"{out} is a folder, expected a file", param_hint="--out")
    from mtml_deploy.artifact.artifact import open_artifact
    from mtml_deploy.data.source import load_source
    from mtml_deploy.embed.embed_to import embed_to, partial_path

    opened = open_artifact(model)
    image_set = load_source(images)
    for sentence in image_set.notes:
        write_note(f"note: {sentence}")
    try:
        with (
            how.open(opened) as running,
            progress_bar("embedding", unit="images") as progress,
        ):
            options.note_model(running, how)
            summary = embed_to(
                running,
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
    write_next("mtml-deploy", "rank", model, "--query", "SOURCE", "--gallery", out)


def _embed_shard(model: Path, source: str, folder: Path, text: str, how: EmbedOptions) -> None:
    """Embed one part of the images."""
    from mtml_deploy.artifact.artifact import open_artifact
    from mtml_deploy.data.source import load_source
    from mtml_deploy.embed.shards import Shard, embed_shard

    try:
        shard = Shard.of_text(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--shard") from error
    opened = open_artifact(model)
    images = load_source(source)
    for sentence in images.notes:
        write_note(f"note: {sentence}")
    with how.open(opened) as running, progress_bar("embedding", unit="images") as progress:
        options.note_model(running, how)
        summary = embed_shard(
            running,
            images,
            folder,
            shard,
            batch_size=how.batch_size,
            threads=how.threads,
            skip_bad=how.skip_bad,
            progress=progress,
        )
    if summary is None:
        write_note(f"{shard.path(folder)}: there already")
        return
    options.note_skipped(summary.skipped)
    write_note(
        f"{shard.path(folder)}: {summary.images} images, {len(summary.skipped)} skipped, "
        f"{summary.seconds:.1f} s, {summary.images_per_second:.1f} images/s"
    )


def _embed_on_ray(
    model: Path, source: str, folder: Path, how: EmbedOptions, *, workers: int, shards: int
) -> None:
    """Embed all parts of the images by workers on a cluster."""
    from mtml_deploy.artifact.artifact import open_artifact
    from mtml_deploy.data.source import load_source
    from mtml_deploy.on_ray.embed import embed_on_ray

    open_artifact(model)  # what is wrong with it is told before a cluster is asked
    images = load_source(source)
    for sentence in images.notes:
        write_note(f"note: {sentence}")
    with progress_bar("embedding", unit="images") as progress:
        done = embed_on_ray(
            model, source, images, folder, how,
            workers=workers, shards=shards, progress=progress,
        )  # fmt: skip
    for warning in done.warnings:
        write_note(f"warning: {warning}")
    options.note_skipped(done.skipped)
    present = f", {done.present} there already" if done.present else ""
    lost = f", {done.lost} of them lost and replaced" if done.lost else ""
    write_note(
        f"{folder}: {done.parts} parts{present}, {done.images} images, {len(done.skipped)} "
        f"skipped, {done.seconds:.1f} s; {done.workers} workers{lost}; join the parts: "
        f"mtml-deploy embed --merge {folder} --out FILE.npz"
    )


def _merge(folder: Path, out: Path, *, overwrite: bool) -> None:
    """Join parts into one embeddings file."""
    from mtml_deploy.embed.file import EMBEDDINGS, require_suffix
    from mtml_deploy.embed.shards import merged
    from mtml_deploy.outputs import require_output

    require_suffix(out)
    require_output(out, EMBEDDINGS, overwrite=overwrite)
    rows = merged(folder)
    rows.save(out)
    write_note(f"{out}: {len(rows)} images")
