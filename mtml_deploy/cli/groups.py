"""Options that make one value: a command takes the value, not five options.

In: what click collected. Out: the value, under one name, for every command that is given the group.
Nothing heavy is imported before a command runs.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import click
from click.core import ParameterSource

from mtml_deploy.cli import options
from mtml_deploy.defaults import (
    BATCH_SIZE,
    ENGINE,
    EXPAND_ALPHA,
    RERANK_K1,
    RERANK_K2,
    RERANK_LAMBDA,
    EngineName,
    ExecutionPrecision,
)

if TYPE_CHECKING:
    from mtml_deploy.evaluation.stages import SearchOptions
    from mtml_deploy.model import EmbedOptions
    from mtml_deploy.search.query_expansion import ExpansionOptions
    from mtml_deploy.search.rerank import RerankOptions

Command = Callable[..., None]
Decorator = Callable[[Command], Command]


def group(name: str, build: Callable[..., object], *parts: Decorator) -> Decorator:
    """A decorator that adds options to a command, which gets one value of them all.

    Args:
        name: argument of the command that takes the value.
        build: makes the value; its keyword arguments are named like the options' parameters.
        parts: the options, in the order they are listed.

    Returns:
        The decorator.
    """
    taken = tuple(inspect.signature(build).parameters)

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def wrapped(**values: object) -> None:
            value = build(**{part: values.pop(part) for part in taken if part in values})
            command(**values, **{name: value})

        # what click collected from the options below this group, wraps() has copied
        grouped: Command = wrapped
        for part in reversed(parts):
            grouped = part(grouped)
        return grouped

    return decorate


def was_given(parameter: str) -> bool:
    """Whether the user gave an option of the running command, be it its default."""
    source = click.get_current_context().get_parameter_source(parameter)
    return source is not ParameterSource.DEFAULT


def _how(
    *,
    batch_size: int,
    threads: int,
    skip_bad: bool = False,
    backend: str,
    device: str,
    model_threads: int,
    precision: ExecutionPrecision,
    streams: int,
) -> EmbedOptions:
    """How images are embedded; from here on a huge one is an error."""
    from mtml_deploy.model import EmbedOptions

    options.refuse_huge_images()
    return EmbedOptions(
        backend=backend,
        device=device,
        batch_size=batch_size,
        threads=threads,
        skip_bad=skip_bad,
        model_threads=model_threads,
        precision=precision,
        streams=streams,
    )


_RUNNING: Final = (
    options.backend,
    options.device,
    options.execution_precision,
    options.model_threads,
    options.streams,
)

embedding_group = group(
    "how",
    _how,
    options.batch_size,
    options.threads,
    options.skip_bad,
    *_RUNNING,
)
"""How images are decoded, and what runs the model, as `how: EmbedOptions`."""

comparing_group = group("how", _how, options.batch_size, options.threads, *_RUNNING)
"""As `embedding_group`, without --skip-bad."""


def _running(
    *,
    backend: str,
    device: str,
    model_threads: int,
    precision: ExecutionPrecision,
    streams: int,
) -> EmbedOptions:
    """What runs the model."""
    return _how(
        batch_size=BATCH_SIZE,
        threads=0,
        backend=backend,
        device=device,
        model_threads=model_threads,
        precision=precision,
        streams=streams,
    )


running_group = group("how", _running, *_RUNNING)
"""What runs the model alone."""


def _search(*, engine: EngineName, memory_gib: float | None) -> SearchOptions:
    """How candidates are proposed; --device is the model's, and only ort searches there too."""
    from mtml_deploy.evaluation.stages import SearchOptions

    device = click.get_current_context().params["device"] if engine == "ort" else "cpu"
    return SearchOptions(engine, device, options.memory_bytes(memory_gib))


search_group = group("search", _search, options.engine, options.memory_gib)
"""--search-engine and --memory-gib, beside the --device of `embedding_group`, as `search`."""


def _measuring(*, memory_gib: float | None) -> SearchOptions:
    """The budget alone."""
    return _search(engine=ENGINE, memory_gib=memory_gib)


memory_group = group("search", _measuring, options.memory_gib)
"""--memory-gib as `search: SearchOptions`."""


def _expansion(*, expand: int | None, alpha: float) -> ExpansionOptions | None:
    """How queries are expanded; None without --expand."""
    if expand is None:
        if was_given("alpha"):
            raise click.UsageError("--alpha belongs to query expansion; add --expand N")
        return None
    from mtml_deploy.search.query_expansion import ExpansionOptions

    return ExpansionOptions(neighbours=expand, alpha=alpha)


expansion_group = group(
    "expansion",
    _expansion,
    click.option(
        "--expand",
        type=click.IntRange(min=1),
        metavar="N",
        help="Expand each query by its N nearest images and ask again.",
    ),
    click.option(
        "--alpha",
        type=click.FloatRange(min=0),
        default=EXPAND_ALPHA,
        show_default=True,
        help="Power of the cosine that weighs these images; 0 weighs all alike.",
    ),
)
"""--expand and --alpha as `expansion: ExpansionOptions | None`."""


def _reranking(*, rerank: bool, k1: int, k2: int, weight: float) -> RerankOptions | None:
    """How the order is re-ranked; None without --rerank."""
    for name, text in (("k1", "--k1"), ("k2", "--k2"), ("weight", "--lambda")):
        if was_given(name) and not rerank:
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


rerank_group = group(
    "reranking",
    _reranking,
    click.option(
        "--rerank",
        is_flag=True,
        help="Also re-rank with k-reciprocal encoding, and show both results.",
    ),
    click.option(
        "--k1",
        type=click.IntRange(min=1),
        default=RERANK_K1,
        show_default=True,
        help="Neighbours that must be mutual.",
    ),
    click.option(
        "--k2",
        type=click.IntRange(min=1),
        default=RERANK_K2,
        show_default=True,
        help="Nearest images whose neighbours are averaged.",
    ),
    click.option(
        "--lambda",
        "weight",
        type=click.FloatRange(0, 1),
        default=RERANK_LAMBDA,
        show_default=True,
        help="Share of the original distance after re-ranking.",
    ),
)
"""--rerank, --k1, --k2 and --lambda as `reranking: RerankOptions | None`."""
