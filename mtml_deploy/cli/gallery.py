"""`mtml-deploy gallery`: embeddings that are kept, grow and are searched."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click

from mtml_deploy.cli import options
from mtml_deploy.cli.command import SafeGroup
from mtml_deploy.cli.console import progress_bar, write_data, write_next, write_note
from mtml_deploy.cli.gallery_add import add
from mtml_deploy.cli.gallery_index import index, tune
from mtml_deploy.cli.gallery_life import migrate, relabel, remove
from mtml_deploy.defaults import StoredType


@click.group(cls=SafeGroup, docs="docs/gallery.md")
def gallery() -> None:
    """Keep embeddings of one model in a gallery that grows; mtml-deploy search looks in it.

    One process may write at a time, any number may read.
    """


for _command in (
    add,
    index,
    migrate,
    relabel,
    remove,
    tune,
):
    gallery.add_command(_command)


@gallery.command(
    docs="docs/gallery.md",
    examples=(
        "mtml-deploy gallery create cars model",
        "mtml-deploy gallery create milvus://localhost:19530/cars model",
    ),
)
@click.argument("name", metavar="GALLERY")
@options.model
@click.option(
    "--dtype",
    type=click.Choice(get_args(StoredType)),
    default="float32",
    show_default=True,
    help="How vectors are kept; int8 adds codes, a quarter of the vectors, so that a search reads "
    "little else.",
)
def create(*, name: str, model: Path, dtype: StoredType) -> None:
    """Make an empty gallery for the embeddings of MODEL."""
    from mtml_deploy.artifact.artifact import open_artifact
    from mtml_deploy.embed.embed import model_identity
    from mtml_deploy.gallery.open import create_gallery
    from mtml_deploy.path_kind import MODEL_FOLDER, name_of_kind

    if name_of_kind(Path(name)) == MODEL_FOLDER:  # rank and search are given the model first
        raise click.UsageError(
            f"{name} is {MODEL_FOLDER}, expected the new gallery first: "
            f"mtml-deploy gallery create {model} {name}"
        )
    identity = model_identity(open_artifact(model).manifest)
    create_gallery(name, identity, dtype=dtype)
    write_note(f"{name}: made for {identity.label}, {dtype} [{identity.dim}]")
    write_next("mtml-deploy", "gallery", "add", name, model, "--images", "SOURCE")


@gallery.command(
    docs="docs/gallery.md",
    examples=(
        "mtml-deploy gallery info cars",
        "mtml-deploy gallery info cars --json -",
    ),
)
@click.argument("name", metavar="GALLERY")
@options.json_file
@options.overwrite
def info(*, name: str, json_file: Path | None, overwrite: bool) -> None:
    """Print what a gallery holds."""
    from mtml_deploy.gallery.open import open_gallery
    from mtml_deploy.gallery.summary import SUMMARY_JSON, summary_json, summary_lines
    from mtml_deploy.outputs import require_outputs

    require_outputs([(options.on_disk(json_file), SUMMARY_JSON)], overwrite=overwrite)
    with open_gallery(name) as opened:
        summary = opened.summary()
    options.write_json(json_file, lambda: summary_json(summary))
    tell = options.teller(json_file)
    for line in summary_lines(summary):
        tell(line)


@gallery.command(
    docs="docs/gallery.md",
    examples=(
        "mtml-deploy gallery verify cars",
        "mtml-deploy gallery verify milvus://localhost:19530/cars",
    ),
)
@click.argument("name", metavar="GALLERY")
def verify(*, name: str) -> None:
    """Check every row; print missing, corrupted, foreign and duplicate ones.

    The exit status is 1 where there are any.
    """
    from mtml_deploy.gallery.open import open_gallery

    with open_gallery(name) as opened, progress_bar("checking", unit="rows") as progress:
        findings = opened.verify(progress=progress)
        count = len(opened)
    for finding in findings:
        where = "" if finding.row is None else f" row {finding.row}:"
        write_data(f"{finding.kind}{where} {finding.text}")
    if findings:
        write_note(f"{name}: {len(findings)} faults in {count} rows")
        raise click.exceptions.Exit(1)
    write_note(f"{name}: {count} rows, no fault")


@gallery.command(
    docs="docs/gallery.md",
    examples=(
        "mtml-deploy gallery upgrade cars",
        "mtml-deploy gallery upgrade /srv/galleries/cars",
    ),
)
@click.argument("name", metavar="GALLERY")
def upgrade(*, name: str) -> None:
    """Bring a gallery of an earlier version to the format of this one; nothing is lost.

    Rows keep their numbers, labels and times. Galleries of this version stay as they are.
    """
    from mtml_deploy.gallery.folder.upgrade import upgrade as upgrade_folder
    from mtml_deploy.gallery.open import gallery_folder

    done = upgrade_folder(gallery_folder(name))
    if done is None:
        write_note(f"{name}: has the format of this version already")
        return
    write_note(f"{name}: upgraded, {done.rows} rows and {done.removed} removed ones kept")


@gallery.command(
    docs="docs/gallery.md",
    examples=(
        "mtml-deploy gallery compact cars",
        "mtml-deploy gallery compact milvus://localhost:19530/cars",
    ),
)
@click.argument("name", metavar="GALLERY")
def compact(*, name: str) -> None:
    """Take removed rows off the disk; row numbers stay."""
    from mtml_deploy.gallery.open import open_gallery

    with open_gallery(name, write=True) as opened:
        done = opened.compact()
    dropped = "the server drops" if done.dropped is None else f"{done.dropped}"
    after = " in the background" if done.dropped is None else " dropped"
    write_note(f"{name}: {dropped} removed rows{after}, {done.kept} rows kept")


@gallery.command(
    docs="docs/gallery.md",
    examples=(
        "mtml-deploy gallery export cars --out cars.npz",
        "mtml-deploy gallery export milvus://localhost:19530/cars --out cars.npz --overwrite",
    ),
)
@click.argument("name", metavar="GALLERY")
@click.option("--out", required=True, type=options.FILE, help="The embeddings file, a .npz.")
@options.overwrite
def export(*, name: str, out: Path, overwrite: bool) -> None:
    """Write all rows to an embeddings file, for rank and evaluate."""
    from mtml_deploy.defaults import EMBEDDINGS_SUFFIX
    from mtml_deploy.embed.file import EMBEDDINGS
    from mtml_deploy.gallery.open import open_gallery
    from mtml_deploy.gallery.values import GalleryError
    from mtml_deploy.outputs import require_output

    if out.suffix != EMBEDDINGS_SUFFIX:  # rank knows embeddings by their suffix
        raise GalleryError(
            f"{out} does not end in {EMBEDDINGS_SUFFIX}, as embeddings files must; say for example "
            f"--out {out.with_suffix(EMBEDDINGS_SUFFIX)}"
        )
    require_output(out, EMBEDDINGS, overwrite=overwrite)
    with open_gallery(name) as opened:
        embeddings = opened.embeddings()
    embeddings.save(out)
    write_note(f"{out}: {len(embeddings)} rows")
