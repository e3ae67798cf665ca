"""`mtml-deploy triton`: an artifact for NVIDIA's Triton Inference Server."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click

from mtml_deploy.cli import options
from mtml_deploy.cli.command import SafeCommand
from mtml_deploy.cli.console import write_data, write_note
from mtml_deploy.triton.options import Kind, ServingOptions


@click.command(
    cls=SafeCommand,
    docs="docs/triton.md",
    examples=(
        "mtml-deploy triton model --out repository",
        "mtml-deploy triton model --out repository --plan --max-batch 32 --instances 2 --kind gpu",
    ),
)
@options.model
@click.option("--out", required=True, type=options.FOLDER, metavar="DIR",
              help="Model repository; the model becomes a folder in it.")  # fmt: skip
@click.option("--name", default=ServingOptions.name, show_default=True,
              help="Of the model on the server.")  # fmt: skip
@click.option("--model-version", "version", type=click.IntRange(min=1), show_default=True,
              default=ServingOptions.version, help="Of the model on the server.")  # fmt: skip
@click.option("--version-policy", default=ServingOptions.version_policy, show_default=True,
              help="Versions that are served: latest:N, all or specific:N,N.")  # fmt: skip
@click.option("--plan", is_flag=True,
              help="Serve the TensorRT engine of ARTIFACT, not its ONNX file.")  # fmt: skip
@click.option("--plan-file", metavar="NAME",
              help="Name of that engine, where there are several.")  # fmt: skip
@click.option("--max-batch", type=click.IntRange(min=1), default=ServingOptions.max_batch,
              show_default=True, help="Most images of one run.")  # fmt: skip
@click.option("--preferred-batch", "preferred", type=click.IntRange(min=1), multiple=True,
              help="Images a run starts with at once; may be repeated.  "
              "[default: none; with --plan what it is tuned for]")  # fmt: skip
@click.option("--queue-delay-ms", type=click.FloatRange(min=0), show_default=True,
              default=ServingOptions.queue_delay_us / 1000,
              help="How long a request waits for others to run with.")  # fmt: skip
@click.option("--queue-size", type=click.IntRange(min=0), show_default=True,
              default=ServingOptions.queue_size,
              help="Most waiting requests, further ones are refused; 0 sets no limit.")  # fmt: skip
@click.option("--queue-timeout-ms", type=click.IntRange(min=0), show_default=True,
              default=ServingOptions.queue_timeout_ms,
              help="Refuse a request that has waited so long; 0 sets no limit.")  # fmt: skip
@click.option("--instances", type=click.IntRange(min=1), default=ServingOptions.instances,
              show_default=True, help="Copies of the model on each device.")  # fmt: skip
@click.option("--kind", type=click.Choice(get_args(Kind)), default=ServingOptions.kind,
              show_default=True, help="Where they run; auto: a GPU if there is one.")  # fmt: skip
@click.option("--gpu", "gpus", type=click.IntRange(min=0), multiple=True,
              help="Number of a GPU, for --kind gpu; repeatable.  [default: all]")  # fmt: skip
@click.option("--warm-up/--no-warm-up", default=ServingOptions.warm_up, show_default=True,
              help="Run the smallest and largest batch before the model is ready.")  # fmt: skip
@options.overwrite
def triton(
    *,
    model: Path,
    out: Path,
    name: str,
    version: int,
    version_policy: str,
    plan: bool,
    plan_file: str | None,
    max_batch: int,
    preferred: tuple[int, ...],
    queue_delay_ms: float,
    queue_size: int,
    queue_timeout_ms: int,
    instances: int,
    kind: Kind,
    gpus: tuple[int, ...],
    warm_up: bool,
    overwrite: bool,
) -> None:
    """Write MODEL as a model of a Triton model repository.

    The configuration names the model file it was made from. Commands that are given the server as
    triton://HOST:PORT/NAME compare that with their own artifact.
    """
    from mtml_deploy.artifact.artifact import open_artifact
    from mtml_deploy.triton.repository import servable_engine, write_repository

    if plan_file is not None and not plan:
        raise click.UsageError("--plan-file names the engine to serve; add --plan")
    opened = open_artifact(model)
    chosen = servable_engine(opened, plan_file) if plan else None
    if chosen is not None and not preferred:
        preferred = (min(chosen.manifest.profile.opt, max_batch),)
    try:
        serving = ServingOptions(
            name=name,
            version=version,
            max_batch=max_batch,
            preferred_batches=preferred,
            queue_delay_us=round(1000 * queue_delay_ms),
            queue_size=queue_size,
            queue_timeout_ms=queue_timeout_ms,
            instances=instances,
            kind=kind,
            gpus=gpus,
            version_policy=version_policy,
            warm_up=warm_up,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    folder = write_repository(
        opened, out, serving, engine=chosen, overwrite=overwrite, say=write_note
    )
    write_data(str(folder))
    write_note(
        f"{folder}: {'plan' if plan else 'ONNX file'} of {opened.manifest.model_sha256[:12]}, "
        f"version {version}; start tritonserver on the model repository {out.absolute()}"
    )
