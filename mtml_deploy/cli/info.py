"""`mtml-deploy info`: what an artifact is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from mtml_deploy.cli import options
from mtml_deploy.cli.command import SafeCommand


@click.command(
    cls=SafeCommand,
    docs="docs/deployment.md",
    examples=(
        "mtml-deploy info model",
        "mtml-deploy info model --json -",
    ),
)
@options.model
@options.json_file
@options.overwrite
def info(*, model: Path, json_file: Path | None, overwrite: bool) -> None:
    """Check MODEL and print its manifest, what engines it holds, and its calibrated distance."""
    from mtml_deploy.artifact.artifact import MANIFEST_FILE, open_artifact
    from mtml_deploy.artifact.manifest import MANIFEST_JSON, manifest_json, manifest_values
    from mtml_deploy.artifact.threshold import calibrated_distance
    from mtml_deploy.engine.folder import list_engines
    from mtml_deploy.outputs import require_outputs

    opened = open_artifact(model)
    manifest = opened.manifest
    require_outputs(
        [(options.on_disk(json_file), MANIFEST_JSON)],
        overwrite=overwrite,
        inputs=(opened.folder / MANIFEST_FILE,),
    )
    options.write_json(json_file, lambda: manifest_json(manifest))
    tell = options.teller(json_file)
    threshold = calibrated_distance(opened)
    lines = list(_lines("", manifest_values(manifest)))
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        tell(f"{name:<{width}}  {value}")
    for engine in list_engines(opened):
        tell(f"{engine.path.name}: {engine.manifest.in_words()}")
    if threshold is not None:
        tell(f"calibrated distance: {threshold.distance:.6g}, {threshold.in_words()}")


def _lines(prefix: str, values: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Name and value of every field; nested names are joined by dots."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _lines(f"{prefix}{name}.", value)
        elif isinstance(value, (list, tuple)):
            yield f"{prefix}{name}", ", ".join(map(str, value))
        else:
            yield f"{prefix}{name}", str(value)
