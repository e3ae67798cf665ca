"""The command `service`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchmarks.cli import options as command_options
from benchmarks.cli.options import COUNT, POSITIVE, ascending, finish, prepare
from mtml_deploy.cli import options
from mtml_deploy.cli.command import SafeCommand
from mtml_deploy.cli.console import write_note

if TYPE_CHECKING:
    from mtml_deploy.defaults import Backend

_SECONDS = click.FloatRange(min=0, min_open=True)


@click.command(
    cls=SafeCommand,
    docs="benchmarks/README.md",
    examples=(
        "python -m benchmarks service model --images veri:VeRi#query --out reports",
        "python -m benchmarks service model --images photos --clients 1 --clients 8 "
        "--duration-s 600 --out reports",
    ),
)
@options.model
@click.option("--images", required=True, metavar="SOURCE", help="The images that are asked for.")
@command_options.out
@click.option(
    "--clients", type=POSITIVE, multiple=True, default=(1, 2, 4, 8, 16, 32, 64), show_default=True,
    help="Clients that ask at once, may be repeated.",
)  # fmt: skip
@click.option("--rounds", type=POSITIVE, default=3, show_default=True)
@click.option(
    "--seconds", type=_SECONDS, default=5.0, show_default=True, help="Of each measurement."
)
@click.option(
    "--duration-s", type=_SECONDS, default=60.0, show_default=True,
    help="Of the long run, whose memory is watched; 600 is the full setting.",
)  # fmt: skip
@click.option(
    "--processes", type=POSITIVE, default=4, show_default=True, help="Most processes of clients."
)
@click.option(
    "--limit", type=COUNT, default=256, show_default=True, help="Use so many images; 0 is all."
)
@options.batch_size
@click.option(
    "--queue-size", type=POSITIVE, default=16, show_default=True,
    help="Images that may wait where the service is overloaded.",
)  # fmt: skip
@click.option(
    "--tolerance", type=click.FloatRange(min=0), default=0.0, show_default=True,
    help="Largest difference of a row over its length that counts as right.",
)  # fmt: skip
@options.backend
@options.device
@command_options.model_threads
@options.overwrite
def service(
    *,
    model: Path,
    images: str,
    out: Path,
    clients: tuple[int, ...],
    rounds: int,
    seconds: float,
    duration_s: float,
    processes: int,
    limit: int,
    batch_size: int,
    queue_size: int,
    tolerance: float,
    backend: Backend,
    device: str,
    model_threads: int,
    overwrite: bool,
) -> None:
    """The service beside embed: speed by clients, waiting times, overload, memory, every answer."""
    prepare(out, ("service",), overwrite=overwrite)
    from benchmarks.speed.service import ServiceBench, measure_service
    from mtml_deploy.artifact.artifact import open_artifact
    from mtml_deploy.data.source import load_source

    options.refuse_huge_images()
    record = measure_service(
        open_artifact(model),
        load_source(images),
        out,
        bench=ServiceBench(
            clients=ascending(clients),
            rounds=rounds,
            seconds=seconds,
            duration_s=duration_s,
            processes=processes,
            limit=limit,
            batch_size=batch_size,
            threads=model_threads,
            queue=queue_size,
            tolerance=tolerance,
            backend=backend,
            device=device,
        ),
        say=write_note,
    )
    finish(out, record, overwrite=overwrite)
