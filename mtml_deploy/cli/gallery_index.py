"""`mtml-deploy gallery index` and `tune`: an approximate index and what it may miss."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mtml_deploy.cli import options
from mtml_deploy.cli.console import SafeCommand, progress_bar, write_data, write_note
from mtml_deploy.defaults import RECALL, TOP_K

if TYPE_CHECKING:
    from mtml_deploy.gallery.approximate.tune import Rung


@click.command(cls=SafeCommand)
@click.argument("name", metavar="GALLERY")
@click.option(
    "--lists",
    type=click.IntRange(min=1),
    help="Parts the gallery is divided into; default 4 times the square root of its rows.",
)
def index(*, name: str, lists: int | None) -> None:
    """Build an approximate index of all rows, for galleries too large to look at every row.

    Rows that are added later are searched exactly until it is built again. Needs faiss.
    """
    from mtml_deploy.gallery.approximate.build import (
        build_index,
        default_lists,
        estimate_build_bytes,
    )
    from mtml_deploy.gallery.folder.gallery import FolderGallery
    from mtml_deploy.gallery.open import gallery_folder

    with (
        FolderGallery(gallery_folder(name), write=True) as opened,
        progress_bar("indexing", unit="rows") as progress,
    ):
        rows = len(opened)
        needed = estimate_build_bytes(rows, opened.model.dim, lists or default_lists(rows))
        write_note(f"indexing {rows:,} rows takes about {needed / 2**20:,.0f} MiB")
        manifest = build_index(opened, lists=lists, progress=progress)
    write_note(
        f"{name}: {manifest.rows} rows in {manifest.lists} lists; now measure what it misses: "
        f"mtml-deploy gallery tune {name}"
    )


@click.command(cls=SafeCommand)
@click.argument("name", metavar="GALLERY")
@click.option(
    "--recall",
    type=click.FloatRange(min=0, max=1, min_open=True),
    default=RECALL,
    show_default=True,
    help="Share of the exact nearest rows to be found.",
)
@click.option(
    "--top-k",
    type=click.IntRange(min=1),
    default=TOP_K,
    show_default=True,
    help="Places that are compared.",
)
@click.option(
    "--queries",
    type=options.FILE,
    metavar="EMB",
    help="Embeddings file of queries; without it 200 rows of the gallery ask for their like.",
)
def tune(*, name: str, recall: float, top_k: int, queries: Path | None) -> None:
    """Measure the index against exact search and keep the cheapest setting that is good enough."""
    from mtml_deploy.embed.embeddings import Embeddings
    from mtml_deploy.errors import EmbeddingsError
    from mtml_deploy.gallery.approximate.tune import tune_index
    from mtml_deploy.gallery.checks import require_same_model
    from mtml_deploy.gallery.folder.gallery import FolderGallery
    from mtml_deploy.gallery.open import gallery_folder

    features = None
    with FolderGallery(gallery_folder(name), write=True) as opened:
        if queries is not None:
            asked = Embeddings.load(queries)
            require_same_model(asked.model, opened.model, str(queries))
            if not len(asked):
                raise EmbeddingsError(f"{queries} holds no queries, expected one or more")
            features = asked.features
        write_data(f"lists   recall@{top_k}   ms per query")

        def show(rung: Rung) -> None:
            write_data(f"{rung.probes:>5}   {rung.recall:>{len(str(top_k)) + 7}.4f}   "
                       f"{rung.query_ms:>12.2f}")  # fmt: skip

        tuned = tune_index(opened, recall=recall, top_k=top_k, queries=features, tried=show)
    write_data(f"exact   {1:>{len(str(top_k)) + 7}.4f}   {tuned.exact_ms:>12.2f}")
    chosen = tuned.rungs[-1]
    write_note(
        f"{name}: search --approximate looks at {chosen.probes} of {tuned.manifest.lists} lists "
        f"now, recall@{top_k} {chosen.recall:.4f}"
    )
