"""Options of protocols that draw their gallery, and what `evaluate` does under one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import click
from click.core import ParameterSource

from mtml_deploy.cli import options
from mtml_deploy.cli.console import progress_bar, write_note
from mtml_deploy.defaults import DRAW_SEED, DRAWS

if TYPE_CHECKING:
    from mtml_deploy.embed.embeddings import Embeddings
    from mtml_deploy.evaluate.metrics import RetrievalMetrics
    from mtml_deploy.evaluate.protocols import Protocol
    from mtml_deploy.evaluate.random_galleries import DrawnMetrics
    from mtml_deploy.search.rerank import RerankOptions

_Command = TypeVar("_Command", bound=Callable[..., None])


@dataclass(frozen=True)
class Results:
    """What `evaluate` prints and writes.

    Attributes:
        markdown: the page.
        json: the same numbers and more.
        curves: for the plot, by label.
    """

    markdown: str
    json: str
    curves: Mapping[str, RetrievalMetrics | DrawnMetrics]


def draw_options(command: _Command) -> _Command:
    """Add --draws and --seed to a command."""
    command = click.option(
        "--seed",
        type=click.IntRange(min=0),
        default=DRAW_SEED,
        show_default=True,
        help="Of these galleries.",
    )(command)
    return click.option(
        "--draws",
        type=click.IntRange(min=1),
        default=DRAWS,
        show_default=True,
        help="Random galleries of vehicleid.",
    )(command)


def require_no_draws(protocol: str) -> None:
    """Refuse --draws and --seed under a protocol that does not draw.

    Args:
        protocol: its name, for the text.

    Raises:
        click.UsageError: one of them was given.
    """
    context = click.get_current_context()
    for name in ("draws", "seed"):
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise click.UsageError(
                f"--{name} belongs to protocols that draw their gallery, and {protocol} does not"
            )


def evaluate_drawn(
    query: Embeddings | None,
    gallery: Embeddings,
    protocol: Protocol,
    *,
    draws: int,
    seed: int,
    label: str | None,
    reranking: RerankOptions | None,
    memory_bytes: int | None,
) -> Results:
    """Metrics over drawn galleries, before and after re-ranking.

    Args:
        query: more images, pooled with those of `gallery`; None for none.
        gallery: images.
        protocol: one that draws its gallery.
        draws: how many.
        seed: of the draws.
        label: how the model is called; None takes a short name of it.
        reranking: parameters; None does not re-rank.
        memory_bytes: see `evaluate`.

    Returns:
        The results.

    Raises:
        MtmlError: see `pool_images` and `evaluate_draws`.
    """
    from mtml_deploy.evaluate.random_galleries import evaluate_draws, pool_images
    from mtml_deploy.report.draws_report import DrawnEvaluation, drawn_json, drawn_markdown
    from mtml_deploy.search.rerank import estimate_bytes

    pool = pool_images(gallery, query)
    name = label or options.model_label(pool.images.model)
    if reranking is not None:
        size, vehicles = len(pool.images), len(set(pool.images.vehicle_ids.tolist()))
        needed = estimate_bytes(size - vehicles, vehicles, pool.images.model.dim, options=reranking)
        write_note(
            f"re-ranking the {size:,} images of a draw takes about {needed / 2**20:,.0f} MiB "
            f"beside their embeddings"
        )
    with progress_bar("drawing galleries", unit="draws") as progress:
        plain, *reranked = evaluate_draws(
            pool,
            protocol,
            draws=draws,
            seed=seed,
            reranking=reranking,
            memory_bytes=memory_bytes,
            progress=progress,
        )
    evaluations = [DrawnEvaluation(name, plain, pool)]
    for metrics in reranked:
        evaluations.append(DrawnEvaluation(f"{name}, re-ranked", metrics, pool, reranking))
    return Results(
        markdown=drawn_markdown(evaluations),
        json=drawn_json(evaluations[0], reranked=None if reranking is None else evaluations[1]),
        curves={evaluation.label: evaluation.metrics for evaluation in evaluations},
    )
