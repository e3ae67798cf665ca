"""`mtml-deploy evaluate`: metrics of two embeddings files under a named protocol."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mtml_deploy.cli import options
from mtml_deploy.cli.console import SafeCommand, progress_bar, write_data, write_note
from mtml_deploy.cli.groups import expansion_group, memory_group, rerank_group, was_given
from mtml_deploy.defaults import DRAW_SEED, DRAWS, PROTOCOL

if TYPE_CHECKING:
    from mtml_deploy.evaluation.ground_truth import GroundTruth
    from mtml_deploy.evaluation.random_galleries import ImagePool
    from mtml_deploy.evaluation.stages import SearchOptions
    from mtml_deploy.report.evaluation import Evaluation
    from mtml_deploy.search.query_expansion import ExpansionOptions
    from mtml_deploy.search.rerank import RerankOptions


@click.command(cls=SafeCommand)
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
@options.leave_out_self
@click.option(
    "--draws",
    type=click.IntRange(min=1),
    default=DRAWS,
    show_default=True,
    help="Random galleries of vehicleid.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=DRAW_SEED,
    show_default=True,
    help="Of these galleries.",
)
@click.option("--json", "json_file", type=options.FILE, help="Write all results as JSON.")
@click.option("--markdown", "markdown_file", type=options.FILE, help="Write what is printed.")
@click.option("--plot", "plot_file", type=options.FILE, help="Draw the CMC curve, .png or .svg.")
@click.option("--label", help="Name of the model in table and plot.")
@expansion_group
@rerank_group
@memory_group
@options.overwrite
def evaluate(
    *,
    query: Path | None,
    gallery: Path,
    protocol: str,
    ground_truth: Path | None,
    junk: Path | None,
    leave_out_self: bool,
    draws: int,
    seed: int,
    json_file: Path | None,
    markdown_file: Path | None,
    plot_file: Path | None,
    label: str | None,
    expansion: ExpansionOptions | None,
    reranking: RerankOptions | None,
    search: SearchOptions,
    overwrite: bool,
) -> None:
    """Print mAP (by both rules in use), mINP, CMC@1, 5, 10 and TPR@FPR as Markdown."""
    if junk is not None and ground_truth is None:
        raise click.UsageError("--junk belongs to a ground truth; add --ground-truth FILE")
    from mtml_deploy.embed.embeddings import Embeddings
    from mtml_deploy.evaluation.protocols import find_protocol
    from mtml_deploy.evaluation.random_galleries import pool_images
    from mtml_deploy.files import write_text
    from mtml_deploy.outputs import require_outputs
    from mtml_deploy.report.cmc_plot import CMC_PLOT, write_cmc_plot
    from mtml_deploy.report.evaluation import evaluate_drawn, evaluate_pair
    from mtml_deploy.report.metrics_json import METRICS_JSON
    from mtml_deploy.report.metrics_markdown import METRICS_MARKDOWN

    rule = find_protocol(protocol)
    require_outputs(
        [
            (json_file, METRICS_JSON),
            (markdown_file, METRICS_MARKDOWN),
            (plot_file, CMC_PLOT),
        ],
        overwrite=overwrite,
        inputs=filter(None, (query, gallery, ground_truth, junk)),
    )
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
        if leave_out_self:
            raise click.UsageError(
                f"--leave-out-self is for a fixed gallery: protocol {rule.name} draws it, and has "
                f"no image twice"
            )
        pool = pool_images(
            Embeddings.load(gallery), None if query is None else Embeddings.load(query)
        )
        if reranking is not None:
            _note_memory(pool, reranking)
        with progress_bar("drawing galleries", unit="draws") as progress:
            results = evaluate_drawn(
                pool,
                rule,
                draws=draws,
                seed=seed,
                label=label,
                reranking=reranking,
                memory_bytes=search.memory_bytes,
                progress=progress,
            )
    else:
        _require_no_draws(rule.name)
        if query is None:
            raise click.UsageError(f"protocol {rule.name} needs --query FILE")
        queries, searched = Embeddings.load(query), Embeddings.load(gallery)
        truth = None
        if ground_truth is not None:
            if leave_out_self:
                raise click.UsageError(
                    "--leave-out-self goes by labels, and a ground truth says itself what is left "
                    "out; give one of the two"
                )
            from mtml_deploy.evaluation.ground_truth import read_ground_truth

            truth = read_ground_truth(ground_truth, junk, queries, searched)
            _note_contradictions(truth)
        results = evaluate_pair(
            queries,
            searched,
            rule,
            truth=truth,
            leave_out_self=leave_out_self,
            label=label,
            expansion=expansion,
            reranking=reranking,
            search=search,
            watch=options.watch_reranking,
        )
        _note_copies(results)
    if json_file is not None:
        write_text(json_file, results.json)
    if markdown_file is not None:
        write_text(markdown_file, results.markdown)
    # before the plot: a missing library must not hide the result
    write_data(results.markdown.rstrip("\n"))
    if plot_file is not None:
        write_cmc_plot(plot_file, results.stages)


def _note_contradictions(truth: GroundTruth) -> None:
    """Say how far a ground truth and the labels disagree."""
    if truth.contradictions:
        write_note(
            f"note: {truth.contradictions} matches of the ground truth have another vehicle id by "
            "the labels; if these are many, it is not for these images"
        )


def _note_copies(results: Evaluation) -> None:
    """Say that queries found themselves, and how not to count that."""
    from mtml_deploy.report.metrics_json import copies_sentence

    copies = results.own_copies
    if copies is not None and copies.queries and not copies.left_out:
        write_note(f"note: {copies_sentence(copies)}; leave it out with --leave-out-self")


def _note_memory(pool: ImagePool, reranking: RerankOptions) -> None:
    """Say what re-ranking one draw takes."""
    from mtml_deploy.search.rerank import estimate_bytes

    size, vehicles = len(pool.images), len(set(pool.images.vehicle_ids.tolist()))
    needed = estimate_bytes(size - vehicles, vehicles, pool.images.model.dim, options=reranking)
    write_note(
        f"re-ranking the {size:,} images of a draw takes about {needed / 2**20:,.0f} MiB "
        f"beside their embeddings"
    )


def _require_no_draws(protocol: str) -> None:
    """Refuse --draws and --seed under a protocol that does not draw.

    Args:
        protocol: its name, for the text.

    Raises:
        click.UsageError: one of them was given.
    """
    for name in ("draws", "seed"):
        if was_given(name):
            raise click.UsageError(
                f"--{name} belongs to protocols that draw their gallery, and {protocol} does not"
            )
