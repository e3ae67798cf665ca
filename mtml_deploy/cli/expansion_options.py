"""Options of query expansion, for the commands that offer it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import click
from click.core import ParameterSource

from mtml_deploy.defaults import EXPAND_ALPHA

if TYPE_CHECKING:
    from mtml_deploy.cli.gallery_search_options import Find
    from mtml_deploy.embed.embeddings import Embeddings
    from mtml_deploy.gallery.open import Gallery
    from mtml_deploy.search.query_expansion import ExpansionOptions

_Command = TypeVar("_Command", bound=Callable[..., None])


def expand_options(command: _Command) -> _Command:
    """Add --expand and --alpha to a command."""
    for option in (
        click.option(
            "--alpha",
            type=click.FloatRange(min=0),
            default=EXPAND_ALPHA,
            show_default=True,
            help="Power of the cosine that weighs these images; 0 weighs all alike.",
        ),
        click.option(
            "--expand",
            type=click.IntRange(min=1),
            metavar="N",
            help="Expand each query by its N nearest images and ask again.",
        ),
    ):
        command = option(command)
    return command


def chosen_expansion(*, expand: int | None, alpha: float) -> ExpansionOptions | None:
    """What the user asked for.

    Args:
        expand: see `ExpansionOptions.neighbours`; None without --expand.
        alpha: see `ExpansionOptions`.

    Returns:
        The parameters; None without --expand.

    Raises:
        click.UsageError: --alpha without --expand.
    """
    source = click.get_current_context().get_parameter_source("alpha")
    if expand is None:
        if source is not ParameterSource.DEFAULT:
            raise click.UsageError("--alpha belongs to query expansion; add --expand N")
        return None
    from mtml_deploy.search.query_expansion import ExpansionOptions

    return ExpansionOptions(neighbours=expand, alpha=alpha)


def expand_in_gallery(
    queries: Embeddings, gallery: Gallery, find: Find, options: ExpansionOptions
) -> Embeddings:
    """The queries with features expanded by rows of a gallery; everything else of them stays.

    Args:
        queries: the query set.
        gallery: of the same model.
        find: searches it, among the rows that may take part.
        options: parameters.

    Returns:
        The expanded set.

    Raises:
        GalleryError: the gallery is damaged, or a row was removed meanwhile.
    """
    from dataclasses import replace

    from mtml_deploy.search.query_expansion import expand_by

    found = find(queries.features, options.neighbours).rows
    features = expand_by(
        queries.features, lambda row: gallery.vectors(found[row].tolist()), alpha=options.alpha
    )
    return replace(queries, features=features)
