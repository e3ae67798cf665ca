"""`mtml-deploy gallery`: embeddings that are kept, grow and are searched."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click

from mtml_deploy.cli import options
from mtml_deploy.cli.console import SafeGroup, progress_bar, write_data, write_note
from mtml_deploy.cli.gallery_add import add
from mtml_deploy.cli.gallery_index import index, tune
from mtml_deploy.cli.gallery_life import migrate, relabel, remove
from mtml_deploy.defaults import StoredType


@click.group(cls=SafeGroup)
def gallery() -> None:
    """Keep embeddings of one model in a gallery that grows; mtml-deploy search looks in it.

    GALLERY is a folder on a local disk, or a Milvus collection: milvus://HOST:PORT/COLLECTION. One
    process may write at a time, any number may read.
    """


for _command in (add, remove, relabel, migrate, index, tune):
    gallery.add_command(_command)


@gallery.command()
@click.argument("name", metavar="GALLERY")
@click.option("--model", required=True, type=options.FOLDER, metavar="ARTIFACT", help="Its model.")
@click.option(
    "--dtype",
    type=click.Choice(get_args(StoredType)),
    default="float32",
    show_default=True,
    help="How vectors are kept; int8 adds codes, a quarter of the vectors, so that a search reads "
    "little else.",
)
def create(*, name: str, model: Path, dtype: StoredType) -> None:
    """Make an empty gallery for the model in ARTIFACT."""
    from mtml_deploy.artifact.artifact import open_artifact
    from mtml_deploy.embed.embed import model_identity
    from mtml_deploy.gallery.open import create_gallery

    identity = model_identity(open_artifact(model).manifest)
    create_gallery(name, identity, dtype=dtype)
    write_note(f"{name}: made for {identity.label}, {dtype} [{identity.dim}]")


@gallery.command()
@click.argument("name", metavar="GALLERY")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info(*, name: str, as_json: bool) -> None:
    """Print what a gallery holds."""
    from mtml_deploy.gallery.open import open_gallery
    from mtml_deploy.gallery.summary import summary_json, summary_lines

    with open_gallery(name) as opened:
        summary = opened.summary()
    if as_json:
        write_data(summary_json(summary))
        return
    for line in summary_lines(summary):
        write_data(line)


@gallery.command()
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


@gallery.command()
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


@gallery.command()
@click.argument("name", metavar="GALLERY")
def compact(*, name: str) -> None:
    """Take removed rows off the disk; row numbers stay."""
    from mtml_deploy.gallery.open import open_gallery

    with open_gallery(name, write=True) as opened:
        done = opened.compact()
    dropped = "the server drops" if done.dropped is None else f"{done.dropped}"
    after = " in the background" if done.dropped is None else " dropped"
    write_note(f"{name}: {dropped} removed rows{after}, {done.kept} rows kept")


@gallery.command()
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
