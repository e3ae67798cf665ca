"""`mtml-deploy search`: the nearest rows of a gallery to each query."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from mtml_deploy.cli import options
from mtml_deploy.cli.console import progress_bar, write_data, write_note
from mtml_deploy.cli.expansion_options import chosen_expansion, expand_in_gallery, expand_options
from mtml_deploy.cli.gallery_search_options import (
    chosen_finder,
    finding_options,
    rerank_found,
    rows_to_find,
)
from mtml_deploy.cli.rerank_options import chosen_options, rerank_options
from mtml_deploy.defaults import TOP_K

if TYPE_CHECKING:
    from mtml_deploy.defaults import Backend

_TEXT_QUERIES: Final = 5
"""Queries whose list is printed; more would scroll away."""


@click.command(
    epilog=f"QUERY is an embeddings file (.npz) or a source of images. {options.SOURCES} TIME is "
    "ISO 8601 (UTC without an offset) or seconds since 1970. Rows whose camera, time or "
    "orientation is unknown fail a test that asks for one."
)
@click.option("--gallery", "name", required=True, metavar="GALLERY", help="Where to look.")
@click.option("--model", type=options.FOLDER, metavar="ARTIFACT", help="Embeds the images.")
@click.option(
    "--query",
    "sources",
    required=True,
    multiple=True,
    metavar="QUERY",
    help="What is looked for; may be repeated.",
)
@click.option(
    "--as-one", is_flag=True, help="All query images show one vehicle: look for their mean."
)
@click.option(
    "--top-k",
    type=click.IntRange(min=1),
    default=TOP_K,
    show_default=True,
    help="Places of each list.",
)
@click.option("--camera", "cameras", type=int, multiple=True, help="Only this; may be repeated.")
@click.option(
    "--exclude-camera", "not_cameras", type=int, multiple=True, help="Not this; may be repeated."
)
@click.option("--since", metavar="TIME", help="Not before this time.")
@click.option("--until", metavar="TIME", help="Before this time.")
@click.option(
    "--orientation",
    "orientations",
    type=click.IntRange(min=0, max=7),
    multiple=True,
    help="Only this: 0 front, 1 rear, 2 left, 3 left front, 4 left rear, 5 right, 6 right front, "
    "7 right rear; may be repeated.",
)
@expand_options
@rerank_options
@finding_options
@click.option("--json", "json_file", type=options.FILE, help="Write every list.")
@options.batch_size
@options.threads
@options.skip_bad
@options.overwrite
@options.backend
@options.device
def search(
    *,
    name: str,
    model: Path | None,
    sources: tuple[str, ...],
    as_one: bool,
    top_k: int,
    cameras: tuple[int, ...],
    not_cameras: tuple[int, ...],
    since: str | None,
    until: str | None,
    orientations: tuple[int, ...],
    expand: int | None,
    alpha: float,
    rerank: bool,
    k1: int,
    k2: int,
    weight: float,
    shortlist: int,
    approximate: bool,
    memory_gib: float | None,
    json_file: Path | None,
    batch_size: int,
    threads: int,
    skip_bad: bool,
    overwrite: bool,
    backend: Backend,
    device: str,
) -> None:
    """Find the rows of a gallery that are nearest to each query."""
    expansion = chosen_expansion(expand=expand, alpha=alpha)
    reranking = chosen_options(rerank=rerank, k1=k1, k2=k2, weight=weight)
    wanted = rows_to_find(top_k=top_k, shortlist=shortlist, rerank=reranking)
    options.refuse_huge_images()
    from mtml_deploy.artifact.artifact import open_artifact
    from mtml_deploy.embed.embed import model_identity
    from mtml_deploy.embed.embeddings import Embeddings
    from mtml_deploy.files import require_absent, write_text
    from mtml_deploy.gallery.checks import require_same_model
    from mtml_deploy.gallery.hit_lists import hit_lists, hits_json, hits_text
    from mtml_deploy.gallery.open import Filter, open_gallery
    from mtml_deploy.gallery.times import parse_time
    from mtml_deploy.model import EmbedOptions, SourceReader

    where = Filter(
        cameras=cameras,
        not_cameras=not_cameras,
        since_us=None if since is None else parse_time(since),
        until_us=None if until is None else parse_time(until),
        orientations=orientations,
    )
    if json_file is not None:
        require_absent(json_file, overwrite=overwrite)
    with open_gallery(name) as gallery:
        artifact = None if model is None else open_artifact(model)
        if artifact is not None:  # before the model is loaded
            require_same_model(model_identity(artifact.manifest), gallery.model, str(model))
        with SourceReader(
            artifact,
            EmbedOptions(
                backend=backend,
                device=device,
                batch_size=batch_size,
                threads=threads,
                skip_bad=skip_bad,
            ),
            note=lambda text: write_note(f"note: {text}"),
            skipped=options.note_skipped,
            progress=lambda title: progress_bar(title, unit="images"),
        ) as reader:
            sets = [reader.read(text, split="query") for text in sources]
        for images, text in zip(sets, sources, strict=True):
            require_same_model(images.model, gallery.model, text)
        queries = Embeddings.concat(sets)
        if as_one:
            queries = queries.pool("one")
        finder = chosen_finder(gallery, name, where, approximate=approximate, memory_gib=memory_gib)
        if expansion is not None:
            queries = expand_in_gallery(queries, gallery, finder.find, expansion)
        hits = finder.find(queries.features, wanted)
        if reranking is None:
            lists = hit_lists(gallery, hits)
        else:
            places = rerank_found(queries.features, hits, gallery, top_k=top_k, options=reranking)
            lists = hit_lists(gallery, places)
    if json_file is not None:
        text = hits_json(
            name,
            queries,
            lists,
            expansion=expansion,
            rerank=reranking,
            shortlist=shortlist,
            tuning=finder.tuning,
        )
        write_text(json_file, text)
    for line in hits_text(queries, lists, limit=_TEXT_QUERIES):
        write_data(line)
