"""`mtml-deploy rank`: the nearest gallery images of each query, as text, JSON and a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, get_args

import click

from mtml_deploy.cli import options
from mtml_deploy.cli.command import SafeCommand
from mtml_deploy.cli.console import write_next, write_note
from mtml_deploy.cli.groups import (
    embedding_group,
    expansion_group,
    rerank_group,
    search_group,
)
from mtml_deploy.defaults import PAGE_QUERIES, TOP_K, Which

if TYPE_CHECKING:
    from mtml_deploy.evaluation.metrics import RetrievalMetrics
    from mtml_deploy.evaluation.stages import SearchOptions
    from mtml_deploy.model import EmbedOptions
    from mtml_deploy.search.query_expansion import ExpansionOptions
    from mtml_deploy.search.rerank import RerankOptions

_TEXT_QUERIES: Final = 5
"""Queries whose list is printed; more would scroll away."""


@click.command(
    cls=SafeCommand,
    epilog="Images of a SOURCE need MODEL, which embeds them.",
    docs="docs/search.md",
    examples=(
        "mtml-deploy rank model --query car.jpg --gallery gallery.npz",
        "mtml-deploy rank --query query.npz --gallery gallery.npz --protocol veri776 --rerank "
        "--html ranks.html",
    ),
)
@options.a_model
@click.option("--query", required=True, metavar="EMB|SOURCE", help="What is looked for.")
@click.option("--gallery", required=True, metavar="EMB|SOURCE", help="Where it is looked for.")
@click.option(
    "--top-k",
    type=click.IntRange(min=1),
    default=TOP_K,
    show_default=True,
    help="Places of each list.",
)
@click.option(
    "--protocol",
    default="plain",
    show_default=True,
    help=f"What the lists leave out: {options.PROTOCOLS}.",
)
@options.json_file
@click.option("--html", "html_file", type=options.FILE, help="Write one page with pictures.")
@click.option(
    "--compare-query",
    "compare",
    multiple=True,
    metavar="EMB",
    help="Query embeddings of another model, shown below on the page; may be repeated.",
)
@click.option(
    "--compare-gallery",
    multiple=True,
    metavar="EMB",
    help="Gallery embeddings of that model, one for each --compare-query.",
)
@click.option("--label", multiple=True, help="Name of a model on the page, once per model.")
@click.option(
    "--max-queries",
    type=click.IntRange(min=1),
    default=PAGE_QUERIES,
    show_default=True,
    help="Queries on the page.",
)
@click.option(
    "--show",
    type=click.Choice(get_args(Which)),
    default="spread",
    show_default=True,
    help="Which queries are on the page, by average precision; gain: where the model differs most "
    "from the first --compare-query.",
)
@expansion_group
@rerank_group
@search_group
@embedding_group
@options.overwrite
def rank(
    *,
    model: Path | None,
    query: str,
    gallery: str,
    top_k: int,
    protocol: str,
    json_file: Path | None,
    html_file: Path | None,
    compare: tuple[str, ...],
    compare_gallery: tuple[str, ...],
    label: tuple[str, ...],
    max_queries: int,
    show: Which,
    expansion: ExpansionOptions | None,
    reranking: RerankOptions | None,
    search: SearchOptions,
    how: EmbedOptions,
    overwrite: bool,
) -> None:
    """Rank the images of a gallery by their distance to each query."""
    _check_models(compare, compare_gallery, label, html_file)
    if show == "gain" and not compare:
        raise click.UsageError("--show gain is against another model; add --compare-query EMB")
    from mtml_deploy.artifact.artifact import open_artifact
    from mtml_deploy.data.source import source_paths
    from mtml_deploy.embed.embeddings import Embeddings
    from mtml_deploy.evaluation.protocols import find_protocol
    from mtml_deploy.files import write_text
    from mtml_deploy.outputs import require_outputs
    from mtml_deploy.report.rank_lists import RANK_JSON, rank_json, rank_text
    from mtml_deploy.report.rank_page.page import RANK_HTML, rank_page
    from mtml_deploy.report.ranked_models import ranked_models

    rule = find_protocol(protocol)
    require_outputs(
        [(options.on_disk(json_file), RANK_JSON), (html_file, RANK_HTML)],
        overwrite=overwrite,
        inputs=source_paths(query, gallery, *compare, *compare_gallery),
    )
    artifact = None if model is None else open_artifact(model)
    with options.open_reader(artifact, how) as reader:
        pairs = [(reader.read(query, split="query"), reader.read(gallery, split="gallery"))]
    for others in zip(compare, compare_gallery, strict=True):
        pairs.append((Embeddings.load(Path(others[0])), Embeddings.load(Path(others[1]))))
    names: tuple[str | None, ...] = label or (None,) * len(pairs)
    ranked = [
        model
        for pair, name in zip(pairs, names, strict=True)
        for model in ranked_models(
            *pair,
            rule,
            top_k=top_k,
            label=name,
            search=search,
            expansion=expansion,
            reranking=reranking,
            watch=options.watch_reranking,
            note=lambda text: write_note(f"note: {text}"),
        )
    ]
    steps = (expansion is not None) + (reranking is not None)
    before, last = ranked[0], ranked[steps]
    expanded = None if expansion is None else ranked[1]
    reranked = None if reranking is None else last
    options.write_json(
        json_file, lambda: rank_json(before, length=top_k, expanded=expanded, reranked=reranked)
    )
    if html_file is not None:
        other = steps + 1 if compare else None  # as embedded, as the first one is
        page = rank_page(ranked, rule, which=show, baseline=other, limit=max_queries, length=top_k)
        write_text(html_file, page.html)
        absent = f", {len(page.missing)} pictures not found" if page.missing else ""
        write_note(f"{html_file}: {page.queries} of {len(pairs[0][0])} queries{absent}")
    if steps:
        done = [] if expansion is None else ["of expanded queries"]
        done += [] if reranking is None else ["re-ranked"]
        write_note(f"the lists are {', '.join(done)}{_change(before.metrics, last.metrics)}")
    tell = options.teller(json_file)
    for line in rank_text(last, length=top_k, limit=_TEXT_QUERIES):
        tell(line)
    if before.metrics is not None:
        given = () if model is None else (model,)
        write_next("mtml-deploy", "evaluate", *given, "--query", query, "--gallery", gallery,
                   "--protocol", protocol)  # fmt: skip


def _check_models(
    compare: tuple[str, ...],
    compare_gallery: tuple[str, ...],
    label: tuple[str, ...],
    html_file: Path | None,
) -> None:
    """Refuse options that do not fit together."""
    if len(compare) != len(compare_gallery):
        raise click.UsageError(
            "give --compare-query and --compare-gallery in pairs, once per model"
        )
    if compare and html_file is None:
        raise click.UsageError("--compare-query is shown on the page; add --html FILE")
    if label and len(label) != 1 + len(compare):
        raise click.UsageError(f"{1 + len(compare)} models need as many --label, or none")


def _change(before: RetrievalMetrics | None, after: RetrievalMetrics | None) -> str:
    """What the steps did to mAP and CMC@1, as the end of a sentence."""
    from mtml_deploy.text import percent

    if before is None or after is None:
        return ""
    return (
        f": mAP {percent(before.mean_ap)} % before, {percent(after.mean_ap)} % after; "
        f"CMC@1 {percent(before.cmc_at(1))} % before, {percent(after.cmc_at(1))} % after"
    )
