"""`mtml-deploy evaluate`: metrics of two embeddings files under a named protocol."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mtml_deploy.cli import options
from mtml_deploy.cli.console import write_data, write_note
from mtml_deploy.cli.draw_options import Results, draw_options, evaluate_drawn, require_no_draws
from mtml_deploy.cli.expansion_options import chosen_expansion, expand_options
from mtml_deploy.cli.rerank_options import chosen_options, rerank_options, watch_reranking
from mtml_deploy.cli.search_options import memory_bytes, memory_option
from mtml_deploy.defaults import PROTOCOL

if TYPE_CHECKING:
    from mtml_deploy.embed.embeddings import Embeddings
    from mtml_deploy.evaluate.ground_truth import GroundTruth
    from mtml_deploy.evaluate.protocols import Protocol
    from mtml_deploy.search.query_expansion import ExpansionOptions
    from mtml_deploy.search.rerank import RerankOptions


@click.command()
@click.option(
    "--query",
    type=options.FILE,
    help="Embeddings file of the queries; vehicleid needs none, as it draws from all images.",
)
@click.option("--gallery", required=True, type=options.FILE, help="Embeddings file searched in.")
@click.option("--protocol", default=PROTOCOL, show_default=True, help=f"{options.PROTOCOLS}.")
@click.option(
    "--ground-truth",
    type=options.FILE,
    help="Matches of each query in place of ids, one line per query (VeRi's gt_image.txt). "
    "name_query.txt and name_test.txt beside it give the order of lines and numbers.",
)
@click.option("--junk", type=options.FILE, help="Images left out for each query (jk_image.txt).")
@draw_options
@click.option("--json", "json_file", type=options.FILE, help="Write all results as JSON.")
@click.option("--markdown", "markdown_file", type=options.FILE, help="Write what is printed.")
@click.option("--plot", "plot_file", type=options.FILE, help="Draw the CMC curve, .png or .svg.")
@click.option("--label", help="Name of the model in table and plot.")
@expand_options
@rerank_options
@memory_option
@options.overwrite
def evaluate(
    *,
    query: Path | None,
    gallery: Path,
    protocol: str,
    ground_truth: Path | None,
    junk: Path | None,
    draws: int,
    seed: int,
    json_file: Path | None,
    markdown_file: Path | None,
    plot_file: Path | None,
    label: str | None,
    expand: int | None,
    alpha: float,
    rerank: bool,
    k1: int,
    k2: int,
    weight: float,
    memory_gib: float | None,
    overwrite: bool,
) -> None:
    """Print mAP (by both rules in use), mINP, CMC@1, 5, 10 and TPR@FPR as Markdown."""
    expansion = chosen_expansion(expand=expand, alpha=alpha)
    reranking = chosen_options(rerank=rerank, k1=k1, k2=k2, weight=weight)
    if junk is not None and ground_truth is None:
        raise click.UsageError("--junk belongs to a ground truth; add --ground-truth FILE")
    from mtml_deploy.embed.embeddings import Embeddings
    from mtml_deploy.evaluate.protocols import find_protocol
    from mtml_deploy.files import require_absent, write_text
    from mtml_deploy.report.cmc_plot import write_cmc_plot

    rule = find_protocol(protocol)
    for path in filter(None, (json_file, markdown_file, plot_file)):
        require_absent(path, overwrite=overwrite)
    if rule.draws_gallery:
        if ground_truth is not None:
            raise click.UsageError(
                f"--ground-truth belongs to a fixed gallery, and protocol {rule.name} draws it"
            )
        if expansion is not None:
            raise click.UsageError(
                f"--expand adds further images of a vehicle, and protocol {rule.name} draws one "
                f"image of each; leave it out"
            )
        queries = None if query is None else Embeddings.load(query)
        results = evaluate_drawn(
            queries,
            Embeddings.load(gallery),
            rule,
            draws=draws,
            seed=seed,
            label=label,
            reranking=reranking,
            memory_bytes=memory_bytes(memory_gib),
        )
    else:
        require_no_draws(rule.name)
        if query is None:
            raise click.UsageError(f"protocol {rule.name} needs --query FILE")
        queries, searched = Embeddings.load(query), Embeddings.load(gallery)
        truth = None
        if ground_truth is not None:
            from mtml_deploy.evaluate.ground_truth import read_ground_truth

            truth = read_ground_truth(ground_truth, junk, queries, searched)
        results = _evaluate_pair(
            queries,
            searched,
            rule,
            truth=truth,
            label=label,
            expansion=expansion,
            reranking=reranking,
            memory=memory_bytes(memory_gib),
        )
    if json_file is not None:
        write_text(json_file, results.json)
    if markdown_file is not None:
        write_text(markdown_file, results.markdown)
    # before the plot: a missing library must not hide the result
    write_data(results.markdown.rstrip("\n"))
    if plot_file is not None:
        write_cmc_plot(plot_file, results.curves)


def _evaluate_pair(
    query: Embeddings,
    gallery: Embeddings,
    protocol: Protocol,
    *,
    truth: GroundTruth | None,
    label: str | None,
    expansion: ExpansionOptions | None,
    reranking: RerankOptions | None,
    memory: int | None,
) -> Results:
    """Metrics of one query set and one gallery, before and after expansion and re-ranking."""
    from mtml_deploy.evaluate.stages import SearchOptions, stages
    from mtml_deploy.report.metrics_json import describe_evaluation, metrics_json
    from mtml_deploy.report.metrics_markdown import metrics_markdown

    if truth is not None and truth.contradictions:
        write_note(
            f"note: {truth.contradictions} matches of the ground truth have another vehicle id by "
            "the labels; if these are many, it is not for these images"
        )
    name = label or options.model_label(query.model)
    evaluations = [
        describe_evaluation(
            f"{name}{stage.suffix}",
            stage.metrics(),
            stage.query,
            gallery,
            reranking=stage.reranking,
            truth=truth,
            expansion=stage.expansion,
        )
        for stage in stages(
            query,
            gallery,
            protocol,
            truth=truth,
            search=SearchOptions(memory_bytes=memory),
            expansion=expansion,
            reranking=reranking,
            watch=watch_reranking,
        )
    ]
    return Results(
        markdown=metrics_markdown(evaluations),
        json=metrics_json(
            evaluations[0],
            expanded=None if expansion is None else evaluations[1],
            reranked=None if reranking is None else evaluations[-1],
        ),
        curves={evaluation.label: evaluation.metrics for evaluation in evaluations},
    )
