"""Options of re-ranking and what is said while it runs, for the commands that offer it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

import click
from click.core import ParameterSource

from mtml_deploy.cli.console import Progress, progress_bar, write_note
from mtml_deploy.defaults import RERANK_K1, RERANK_K2, RERANK_LAMBDA

if TYPE_CHECKING:
    from mtml_deploy.embed.embeddings import Embeddings
    from mtml_deploy.search.rerank import RerankOptions

_Command = TypeVar("_Command", bound=Callable[..., None])

_PARAMETERS: Final = {"k1": "--k1", "k2": "--k2", "weight": "--lambda"}


def rerank_options(command: _Command) -> _Command:
    """Add --rerank, --k1, --k2 and --lambda to a command."""
    for option in (
        click.option(
            "--lambda",
            "weight",
            type=click.FloatRange(0, 1),
            default=RERANK_LAMBDA,
            show_default=True,
            help="Share of the original distance after re-ranking.",
        ),
        click.option(
            "--k2",
            type=click.IntRange(min=1),
            default=RERANK_K2,
            show_default=True,
            help="Nearest images whose neighbours are averaged.",
        ),
        click.option(
            "--k1",
            type=click.IntRange(min=1),
            default=RERANK_K1,
            show_default=True,
            help="Neighbours that must be mutual.",
        ),
        click.option(
            "--rerank",
            is_flag=True,
            help="Also re-rank with k-reciprocal encoding, and show both results.",
        ),
    ):
        command = option(command)
    return command


def chosen_options(*, rerank: bool, k1: int, k2: int, weight: float) -> RerankOptions | None:
    """What the user asked for.

    Args:
        rerank: whether --rerank was given.
        k1: see `RerankOptions`.
        k2: see `RerankOptions`.
        weight: see `RerankOptions`.

    Returns:
        The parameters; None without --rerank.

    Raises:
        click.UsageError: parameters without --rerank, or that do not fit together.
    """
    context = click.get_current_context()
    for name, text in _PARAMETERS.items():
        given = context.get_parameter_source(name) is not ParameterSource.DEFAULT
        if given and not rerank:
            raise click.UsageError(f"{text} belongs to re-ranking; add --rerank")
    if not rerank:
        return None
    if k2 > k1 + 1:
        raise click.UsageError(
            f"--k2 is {k2}, and only the --k1 + 1 = {k1 + 1} nearest images are known; "
            f"lower --k2 or raise --k1"
        )
    from mtml_deploy.search.rerank import RerankOptions

    return RerankOptions(k1=k1, k2=k2, weight=weight)


@contextmanager
def watch_reranking(
    query: Embeddings, gallery: Embeddings, options: RerankOptions
) -> Iterator[Progress]:
    """Say how much memory re-ranking takes, then show a progress bar.

    Args:
        query: the query set.
        gallery: the gallery.
        options: parameters.

    Yields:
        Called with (blocks done, in total).
    """
    from mtml_deploy.search.rerank import estimate_bytes

    needed = estimate_bytes(len(query), len(gallery), query.model.dim, options=options)
    write_note(
        f"re-ranking {len(query) + len(gallery):,} images takes about {needed / 2**20:,.0f} MiB "
        f"beside their embeddings"
    )
    with progress_bar("comparing all images", unit="blocks") as progress:
        yield progress
