"""`mtml-deploy doctor`: what works on this machine and what the rest needs."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from mtml_deploy.cli.console import write_data


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for bug reports and scripts.")
def doctor(*, as_json: bool) -> None:
    """Show GPUs, versions, and which backends are usable here.

    Nothing is changed. For each backend that is not usable it says what is missing.
    """
    from mtml_deploy.cli.doctor import examine

    found = examine()
    if as_json:
        write_data(json.dumps(asdict(found), indent=1))
        return
    write_data(f"mtml-reid {found.version}, Python {found.python}, {found.system}")
    for gpu in found.gpus.gpus:
        driver = f", driver {gpu.driver}" if gpu.driver else ""
        write_data(
            f"cuda:{gpu.index}  {gpu.name}, compute capability {gpu.compute_capability}, "
            f"{gpu.memory_bytes / 2**30:.0f} GiB{driver}, CUDA up to {gpu.cuda}"
        )
    if not found.gpus.gpus:
        write_data(f"no GPU: {found.gpus.reason}")
    write_data(", ".join(f"{name} {number}" for name, number in found.packages.items()))
    width = max(len(ability.name) for ability in found.abilities)
    for ability in found.abilities:
        mark = "yes" if ability.usable else "no "
        write_data(f"{mark}  {ability.name:<{width}}  {ability.reason}")
