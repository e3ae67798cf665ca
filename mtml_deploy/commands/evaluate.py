"""`mtml-deploy evaluate`: metrics of two embeddings files under a named protocol."""

from __future__ import annotations

from pathlib import Path

import click

from mtml_deploy.commands import options
from mtml_deploy.commands.reranking import chosen_options, rerank_options, rerank_pair
from mtml_deploy.console import write_data
from mtml_deploy.defaults import PROTOCOL


@click.command()
@click.option("--query", required=True, type=options.FILE, help="Embeddings file of the queries.")
@click.option("--gallery", required=True, type=options.FILE, help="Embeddings file searched in.")
@click.option("--protocol", default=PROTOCOL, show_default=True, help=f"{options.PROTOCOLS}.")
@click.option("--json", "json_file", type=options.FILE, help="Write all results as JSON.")
@click.option("--markdown", "markdown_file", type=options.FILE, help="Write what is printed.")
@click.option("--plot", "plot_file", type=options.FILE, help="Draw the CMC curve, .png or .svg.")
@click.option("--label", help="Name of the model in table and plot.")
@rerank_options
@options.overwrite
def evaluate(
    *,
    query: Path,
    gallery: Path,
    protocol: str,
    json_file: Path | None,
    markdown_file: Path | None,
    plot_file: Path | None,
    label: str | None,
    rerank: bool,
    k1: int,
    k2: int,
    weight: float,
    overwrite: bool,
) -> None:
    """Print mAP (by both rules in use), mINP and CMC@1, 5, 10 as Markdown."""
    reranking = chosen_options(rerank=rerank, k1=k1, k2=k2, weight=weight)
    from mtml_deploy.embeddings import load_embeddings
    from mtml_deploy.evaluate import evaluate as measure
    from mtml_deploy.files import require_absent, write_text
    from mtml_deploy.protocols import find_protocol
    from mtml_deploy.report import (
        describe_evaluation,
        metrics_json,
        metrics_markdown,
        write_cmc_plot,
    )

    rule = find_protocol(protocol)
    for path in filter(None, (json_file, markdown_file, plot_file)):
        require_absent(path, overwrite=overwrite)
    queries, searched = load_embeddings(query), load_embeddings(gallery)
    metrics = measure(queries, searched, rule)
    name = label or options.model_label(queries.model)
    evaluation = describe_evaluation(name, metrics, queries, searched)
    evaluations, curves, after = [evaluation], {name: metrics}, None
    if reranking is not None:
        order = rerank_pair(queries, searched, reranking)
        after = describe_evaluation(
            f"{name}, re-ranked",
            measure(queries, searched, rule, reranked=order),
            queries,
            searched,
            reranking=reranking,
        )
        evaluations.append(after)
        curves[after.label] = after.metrics
    text = metrics_markdown(evaluations)
    if json_file is not None:
        write_text(json_file, metrics_json(evaluation, reranked=after))
    if markdown_file is not None:
        write_text(markdown_file, text)
    write_data(text.rstrip("\n"))  # before the plot: a missing library must not hide the result
    if plot_file is not None:
        write_cmc_plot(plot_file, curves)
