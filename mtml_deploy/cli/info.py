"""`mtml-deploy info`: what an artifact is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from mtml_deploy.cli import options
from mtml_deploy.cli.console import SafeCommand, write_data


@click.command(cls=SafeCommand)
@click.argument("artifact", type=options.FOLDER)
@click.option("--json", "as_json", is_flag=True, help="Print the manifest as JSON.")
def info(*, artifact: Path, as_json: bool) -> None:
    """Check ARTIFACT and print its manifest, what engines it holds, and its calibrated distance."""
    from mtml_deploy.artifact.artifact import open_artifact
    from mtml_deploy.artifact.manifest import manifest_json, manifest_values
    from mtml_deploy.artifact.threshold import calibrated_distance
    from mtml_deploy.engine.folder import list_engines

    opened = open_artifact(artifact)
    manifest = opened.manifest
    if as_json:
        write_data(manifest_json(manifest).rstrip("\n"))
        return
    threshold = calibrated_distance(opened)
    lines = list(_lines("", manifest_values(manifest)))
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        write_data(f"{name:<{width}}  {value}")
    for engine in list_engines(opened):
        write_data(f"{engine.path.name}: {engine.manifest.in_words()}")
    if threshold is not None:
        write_data(f"calibrated distance: {threshold.distance:.6g}, {threshold.in_words()}")


def _lines(prefix: str, values: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Name and value of every field; nested names are joined by dots."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _lines(f"{prefix}{name}.", value)
        elif isinstance(value, (list, tuple)):
            yield f"{prefix}{name}", ", ".join(map(str, value))
        else:
            yield f"{prefix}{name}", str(value)
