"""`mtml-deploy gallery index` and `tune`: an approximate index on a server, and what it misses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mtml_deploy.cli import options
from mtml_deploy.cli.command import SafeCommand
from mtml_deploy.cli.console import progress_bar, write_data, write_note
from mtml_deploy.cli.gallery_search import filter_group
from mtml_deploy.defaults import RECALL, TOP_K

if TYPE_CHECKING:
    from mtml_deploy.gallery.milvus.tune import Rung
    from mtml_deploy.gallery.values import Filter


@click.command(
    cls=SafeCommand,
    docs="docs/gallery-milvus.md",
    examples=(
        "mtml-deploy gallery index milvus://localhost:19530/cars",
        "mtml-deploy gallery index milvus://localhost:19530/cars --exact",
    ),
)
@click.argument("name", metavar="GALLERY")
@click.option("--exact", is_flag=True, help="The index that misses no row, as of a new gallery.")
def index(*, name: str, exact: bool) -> None:
    """Build an approximate index (HNSW) of a gallery on a Milvus server.

    GALLERY is milvus://HOST:PORT/COLLECTION. Nobody can search it until the index is there, and
    then only with search --approximate. A gallery in a folder is always searched exactly.
    """
    from mtml_deploy.gallery.open import open_collection

    with (
        open_collection(name, any_index=True) as opened,
        progress_bar("indexing", unit="rows") as progress,
    ):
        opened.make_index(exact=exact, progress=progress)
    if exact:
        write_note(f"{name}: is searched exactly now")
        return
    write_note(
        f"{name}: has an approximate index now; measure what it misses: "
        f"mtml-deploy gallery tune {name}"
    )


@click.command(
    cls=SafeCommand,
    docs="docs/gallery-milvus.md",
    examples=(
        "mtml-deploy gallery tune milvus://localhost:19530/cars",
        "mtml-deploy gallery tune milvus://localhost:19530/cars --recall 0.99 --query query.npz "
        "--exclude-camera 7",
    ),
)
@click.argument("name", metavar="GALLERY")
@click.option(
    "--recall",
    type=click.FloatRange(min=0, max=1, min_open=True),
    default=RECALL,
    show_default=True,
    help="Share of the exact nearest rows to be found, with every filter.",
)
@click.option(
    "--top-k",
    type=click.IntRange(min=1),
    default=TOP_K,
    show_default=True,
    help="Places that are compared.",
)
@click.option(
    "--query",
    type=options.FILE,
    metavar="EMB",
    help="Embeddings file of queries; without it 200 rows of the gallery ask for their like.",
)
@filter_group
def tune(*, name: str, recall: float, top_k: int, query: Path | None, where: Filter) -> None:
    """Measure the approximate index and keep the cheapest setting that is good enough.

    Reads every vector. Recall is measured without a filter, for the camera with the most rows and
    the one with the fewest, for the middle tenth of the times, and with the filter given here.
    """
    from mtml_deploy.embed.embeddings import Embeddings
    from mtml_deploy.errors import EmbeddingsError
    from mtml_deploy.gallery.checks import require_same_model
    from mtml_deploy.gallery.milvus.tune import tune_index
    from mtml_deploy.gallery.open import open_collection

    features = None
    with open_collection(name) as opened:
        if query is not None:
            asked = Embeddings.load(query)
            require_same_model(asked.model, opened.model, str(query))
            if not len(asked):
                raise EmbeddingsError(f"{query} holds no queries, expected one or more")
            features = asked.features
        write_data(f"   ef   recall@{top_k}   ms per query")

        def show(rung: Rung) -> None:
            write_data(f"{rung.ef:>5}   {rung.recall:>{len(str(top_k)) + 7}.4f}   "
                       f"{rung.query_ms:>12.2f}")  # fmt: skip

        rungs = tune_index(
            opened, recall=recall, top_k=top_k, queries=features, where=where, tried=show
        )
    chosen = rungs[-1]
    for one in chosen.measured:
        write_data(f"{one.where}: {100 * one.share:.3g} % of the rows, recall {one.recall:.4f}")
    write_note(
        f"{name}: search --approximate uses ef {chosen.ef} now, recall@{top_k} "
        f"{chosen.recall:.4f} or better"
    )
