"""`mtml-deploy search`: the nearest rows of a gallery to each query."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from mtml_deploy.cli import options
from mtml_deploy.cli.command import SafeCommand
from mtml_deploy.cli.console import write_note
from mtml_deploy.cli.gallery_search import (
    Finding,
    chosen_finder,
    expand_in_gallery,
    filter_group,
    finding_group,
    rerank_found,
    rows_to_find,
)
from mtml_deploy.cli.groups import embedding_group, expansion_group, rerank_group
from mtml_deploy.cli.max_distance import Calibrated, MaxDistance, chosen_cut, note_cut
from mtml_deploy.defaults import TOP_K
from mtml_deploy.text import printable

if TYPE_CHECKING:
    from mtml_deploy.gallery.values import Filter
    from mtml_deploy.model import EmbedOptions
    from mtml_deploy.search.query_expansion import ExpansionOptions
    from mtml_deploy.search.rerank import RerankOptions

_TEXT_QUERIES: Final = 5
"""Queries whose list is printed; more would scroll away."""


@click.command(
    cls=SafeCommand,
    epilog="Images of a SOURCE need MODEL, which embeds them. Rows whose camera, time or "
    "orientation is unknown fail a test that asks for one.",
    docs="docs/gallery.md",
    examples=(
        "mtml-deploy search model --gallery cars --query car.jpg --top-k 5",
        "mtml-deploy search --gallery cars --query query.npz --exclude-camera 7 "
        "--since 2024-05-01T08:00 --html lists.html",
    ),
)
@options.a_model
@click.option("--gallery", "name", required=True, metavar="GALLERY", help="Where to look.")
@click.option(
    "--query",
    "sources",
    required=True,
    multiple=True,
    metavar="EMB|SOURCE",
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
@click.option(
    "--max-distance",
    type=MaxDistance(),
    metavar="D|calibrated",
    help="Leave out rows that are farther away; calibrated: the distance that calibrate-threshold "
    "kept in MODEL.",
)
@filter_group
@expansion_group
@rerank_group
@finding_group
@options.json_file
@click.option("--html", type=options.FILE, help="Write a page with every list and its images.")
@embedding_group
@options.overwrite
def search(
    *,
    name: str,
    model: Path | None,
    sources: tuple[str, ...],
    as_one: bool,
    top_k: int,
    max_distance: float | Calibrated | None,
    where: Filter,
    expansion: ExpansionOptions | None,
    reranking: RerankOptions | None,
    finding: Finding,
    json_file: Path | None,
    html: Path | None,
    how: EmbedOptions,
    overwrite: bool,
) -> None:
    """Find the rows of a gallery that are nearest to each query."""
    wanted = rows_to_find(top_k=top_k, shortlist=finding.shortlist, rerank=reranking)
    from mtml_deploy.artifact.artifact import open_artifact
    from mtml_deploy.data.source import source_paths
    from mtml_deploy.embed.embed import model_identity
    from mtml_deploy.embed.embeddings import Embeddings
    from mtml_deploy.files import write_text
    from mtml_deploy.gallery.checks import require_same_model
    from mtml_deploy.gallery.cut import near_hits
    from mtml_deploy.gallery.hit_lists import HITS_JSON, hits_json, hits_text
    from mtml_deploy.gallery.open import open_gallery
    from mtml_deploy.outputs import require_outputs

    given = source_paths(*sources)
    outputs = [(options.on_disk(json_file), HITS_JSON)]
    if html is not None:
        from mtml_deploy.report.search_page.page import SEARCH_HTML

        outputs.append((html, SEARCH_HTML))
    require_outputs(outputs, overwrite=overwrite, inputs=given)
    with open_gallery(name) as gallery:
        artifact = None if model is None else open_artifact(model)
        if artifact is not None:  # before the model is loaded
            require_same_model(model_identity(artifact.manifest), gallery.model, str(model))
        cut = chosen_cut(max_distance, artifact)
        with options.open_reader(artifact, how) as reader:
            sets = [reader.read(text, split="query") for text in sources]
        for images, text in zip(sets, sources, strict=True):
            require_same_model(images.model, gallery.model, text)
        queries = Embeddings.concat(sets)
        if as_one:
            queries = queries.pool("one")
        finder = chosen_finder(gallery, name, where, finding)
        if expansion is not None:
            queries = expand_in_gallery(queries, gallery, finder.find, expansion)
        hits = finder.find(queries.features, wanted)
        if where.orientations and not hits.rows.size and not gallery.summary().with_orientation:
            write_note(
                f"note: no row of {printable(name)} has a known orientation, so --orientation "
                "finds none; leave it out"
            )
        if reranking is None:
            lists = gallery.hit_lists(hits)
        else:
            places = rerank_found(queries.features, hits, gallery, top_k=top_k, reranking=reranking)
            lists = gallery.hit_lists(places)
    nearest: list[float | None] = []
    if cut is not None:
        nearest = [min((hit.distance for hit in hits), default=None) for hits in lists]
        lists = near_hits(lists, cut.distance)
        note_cut(cut, lists, changed=as_one or expansion is not None)
    options.write_json(
        json_file,
        lambda: hits_json(
            name,
            queries,
            lists,
            expansion=expansion,
            rerank=reranking,
            shortlist=finding.shortlist,
            tuning=finder.tuning,
            cut=cut,
        ),
    )
    if html is not None:
        from mtml_deploy.report.search_page.facts import page_facts
        from mtml_deploy.report.search_page.page import lists_page

        facts = page_facts(queries.model, artifact)
        write_text(html, lists_page("Vehicle search", facts, queries, lists))
    tell = options.teller(json_file)
    for line in hits_text(queries, lists, limit=_TEXT_QUERIES, nearest=nearest):
        tell(line)
