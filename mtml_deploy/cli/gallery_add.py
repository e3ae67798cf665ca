"""`mtml-deploy gallery add`: images or embeddings into a gallery."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mtml_deploy.cli import options
from mtml_deploy.cli.command import SafeCommand
from mtml_deploy.cli.console import progress_bar, write_next, write_note
from mtml_deploy.cli.groups import embedding_group
from mtml_deploy.data.records import UNKNOWN

if TYPE_CHECKING:
    from mtml_deploy.embed.embeddings import ModelIdentity
    from mtml_deploy.gallery.add import AddSummary, Known
    from mtml_deploy.model import EmbedOptions


@click.command(
    cls=SafeCommand,
    docs="docs/gallery.md",
    examples=(
        "mtml-deploy gallery add cars model --images veri:VeRi#gallery",
        "mtml-deploy gallery add cars --embeddings gallery.npz",
    ),
)
@click.argument("name", metavar="GALLERY")
@options.a_model
@click.option("--images", metavar="SOURCE", help="Images to embed and add.")
@click.option("--embeddings", type=options.FILE, metavar="EMB", help="Embeddings file to add.")
@click.option(
    "--parts", type=options.FOLDER, metavar="DIR",
    help="Parts that embed wrote with --shard, added one after the other.",
)  # fmt: skip
@click.option(
    "--camera",
    type=options.an_id,
    metavar="ID",
    help="Camera of images whose source tells none.",
)
@click.option(
    "--time",
    metavar="TIME",
    help="Time of the images: ISO 8601 (UTC without an offset) or seconds.",
)
@click.option(
    "--times",
    "times_file",
    type=options.FILE,
    metavar="FILE",
    help="CSV file with the header path,time; paths as the source names them below its folder.",
)
@embedding_group
def add(
    *,
    name: str,
    model: Path | None,
    images: str | None,
    embeddings: Path | None,
    parts: Path | None,
    camera: int | None,
    time: str | None,
    times_file: Path | None,
    how: EmbedOptions,
) -> None:
    """Add images or embeddings; what the gallery holds already is passed over.

    Every batch is on disk before the next begins. A run that was stopped or killed is continued by
    starting it again.
    """
    if sum(each is not None for each in (images, embeddings, parts)) != 1:
        raise click.UsageError("give one of --images, --embeddings and --parts")
    from mtml_deploy.gallery.add import Known
    from mtml_deploy.gallery.times import load_times, parse_time

    known = Known(
        camera_id=UNKNOWN if camera is None else camera,
        time_us=None if time is None else parse_time(time),
        times_us={} if times_file is None else load_times(times_file),
    )
    if embeddings is not None:
        summary = _add_embeddings(name, model, embeddings, known)
    elif parts is not None:
        if times_file is not None:
            raise click.UsageError("--times is for --images and --embeddings")
        summary = _add_parts(name, model, parts, known)
    elif images is not None and model is not None:
        summary = _add_images(name, model, images, known, how)
    else:
        raise click.UsageError("--images needs MODEL to embed them: gallery add GALLERY MODEL")
    options.note_skipped(summary.skipped)
    write_note(
        f"{name}: {summary.added} added, {summary.present} there already, "
        f"{len(summary.skipped)} skipped"
    )
    if summary.labelled_otherwise:
        write_note(
            f"note: {summary.labelled_otherwise} of those there already have another label, camera "
            f"or time here, and what is kept was not changed; to change it: mtml-deploy gallery "
            f"relabel {name} --path PATH --set-camera ID"
        )
    write_next("mtml-deploy", "serve", model or "MODEL", "--gallery", name)


def _model_of(name: str, model: Path | None) -> ModelIdentity:
    """The model of a gallery, which the artifact must be, if one is named."""
    from mtml_deploy.artifact.artifact import open_artifact
    from mtml_deploy.embed.embed import model_identity
    from mtml_deploy.gallery.checks import require_same_model
    from mtml_deploy.gallery.open import open_gallery

    with open_gallery(name) as gallery:
        expected = gallery.model
    if model is not None:
        identity = model_identity(open_artifact(model).manifest)
        require_same_model(identity, expected, str(model))
    return expected


def _add_parts(name: str, model: Path | None, folder: Path, known: Known) -> AddSummary:
    """Add the parts of a folder, each in its turn."""
    from mtml_deploy.embed.shard_plan import read_plan
    from mtml_deploy.embed.shards import parts
    from mtml_deploy.gallery.add import AddSummary, add_embeddings
    from mtml_deploy.gallery.checks import require_same_model
    from mtml_deploy.gallery.open import open_gallery

    expected = _model_of(name, model)
    require_same_model(read_plan(folder).model, expected, str(folder))
    added = present = otherwise = 0
    every = parts(folder)
    first = next(every)  # a missing part is told before the lock is taken
    with open_gallery(name, write=True) as gallery, progress_bar("adding", unit="rows") as progress:
        for part in chain([first], every):
            done = add_embeddings(gallery, part, known=known, progress=progress)
            added, present = added + done.added, present + done.present
            otherwise += done.labelled_otherwise
    return AddSummary(added, present, labelled_otherwise=otherwise)


def _add_embeddings(name: str, model: Path | None, file: Path, known: Known) -> AddSummary:
    """Add an embeddings file."""
    from mtml_deploy.embed.embeddings import Embeddings
    from mtml_deploy.gallery.add import add_embeddings
    from mtml_deploy.gallery.checks import require_same_model
    from mtml_deploy.gallery.open import open_gallery

    expected = _model_of(name, model)
    rows = Embeddings.load(file)
    require_same_model(rows.model, expected, str(file))
    _require_times_used(known, rows.names)
    with open_gallery(name, write=True) as gallery, progress_bar("adding", unit="rows") as progress:
        return add_embeddings(gallery, rows, known=known, progress=progress)


def _add_images(name: str, model: Path, source: str, known: Known, how: EmbedOptions) -> AddSummary:
    """Embed and add images."""
    from mtml_deploy.artifact.artifact import open_artifact
    from mtml_deploy.data.source import load_source
    from mtml_deploy.embed.embed import model_identity
    from mtml_deploy.gallery.add import add_images
    from mtml_deploy.gallery.checks import require_same_model
    from mtml_deploy.gallery.open import open_gallery

    artifact = open_artifact(model)
    with open_gallery(name) as gallery:
        # before the model is loaded and the lock is taken
        require_same_model(model_identity(artifact.manifest), gallery.model, str(model))
    images = load_source(source)
    for sentence in images.notes:
        write_note(f"note: {sentence}")
    _require_times_used(known, images.names())
    with (
        open_gallery(name, write=True) as gallery,
        how.open(artifact) as opened,
        progress_bar("adding", unit="images") as progress,
    ):
        options.note_model(opened, how)
        return add_images(
            gallery,
            opened.runtime,
            images,
            model=opened.identity,
            known=known,
            batch_size=how.batch_size,
            threads=how.threads,
            skip_bad=how.skip_bad,
            progress=progress,
        )


def _require_times_used(known: Known, names: Sequence[str]) -> None:
    """Refuse a table of times that names none of the images, and count lines without one."""
    from mtml_deploy.gallery.values import GalleryError

    unused = set(known.times_us) - set(names)
    if unused and len(unused) == len(known.times_us):
        raise GalleryError(
            f"none of the {len(unused)} paths of --times is an image of the source: found "
            f"{min(unused)!r}, expected paths like {names[0]!r}; correct the table"
        )
    if unused:
        write_note(f"note: {len(unused)} of {len(known.times_us)} times name no image here")
