"""Options of exact search between two sets, for the commands that offer it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, get_args

import click

from mtml_deploy.defaults import ENGINE, EngineName
from mtml_deploy.search.memory import GIB

if TYPE_CHECKING:
    from mtml_deploy.evaluate.stages import SearchOptions

_Command = TypeVar("_Command", bound=Callable[..., None])


def chosen_search(*, engine: EngineName, device: str, memory_gib: float | None) -> SearchOptions:
    """What the user asked for; --device is that of the model, and only ort searches there too."""
    from mtml_deploy.evaluate.stages import SearchOptions

    return SearchOptions(engine, device if engine == "ort" else "cpu", memory_bytes(memory_gib))


def memory_option(command: _Command) -> _Command:
    """Add --memory-gib to a command."""
    return click.option(
        "--memory-gib",
        type=click.FloatRange(min=0, min_open=True),
        metavar="GIB",
        help="Most memory for ranking and metrics beside embeddings and lists; re-ranking says "
        "its own.",
    )(command)


def engine_option(command: _Command) -> _Command:
    """Add --engine to a command."""
    return click.option(
        "--engine",
        type=click.Choice(get_args(EngineName)),
        default=ENGINE,
        show_default=True,
        help="What proposes the nearest images, never their order: ort is ONNX Runtime, on the "
        "--device.",
    )(command)


def memory_bytes(memory_gib: float | None) -> int | None:
    """The budget in bytes; None where the user set none."""
    return None if memory_gib is None else int(memory_gib * GIB)
