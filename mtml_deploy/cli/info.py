"""`mtml-deploy info`: what a model, an embeddings file, a run or a gallery is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from mtml_deploy.cli import options
from mtml_deploy.cli.command import SafeCommand

if TYPE_CHECKING:
    from mtml_deploy.report.facts.facts import Facts

_TAKEN: Final = (
    "expected a model (folder of mtml-export), an embeddings file (.npz), a run of mtml-train or a "
    "gallery (folder, or milvus://HOST:PORT/NAME)"
)


@click.command(
    cls=SafeCommand,
    docs="docs/deployment.md",
    examples=(
        "mtml-deploy info model",
        "mtml-deploy info gallery.npz",
        "mtml-deploy info model --json -",
    ),
)
@click.argument("name", metavar="THING")
@options.json_file
@options.overwrite
def info(*, name: str, json_file: Path | None, overwrite: bool) -> None:
    """Say what THING is, and what can be done with it.

    THING is a model, an embeddings file, a run of mtml-train or a gallery. It is checked as far as
    every command checks it; --json gives its full record.
    """
    from mtml_deploy.cli.screen import Screen
    from mtml_deploy.outputs import require_outputs

    facts = _facts(name)
    require_outputs(
        [(options.on_disk(json_file), facts.json_kind)],
        overwrite=overwrite,
        inputs=_inputs(name),
    )
    options.write_json(json_file, lambda: facts.json)
    screen = Screen(json_file)
    screen.text(f"{name} is {facts.kind}")
    screen.text("")
    screen.facts(facts.rows)
    screen.text("\nWhat it is for:")
    for command in facts.uses:
        screen.text(f"  {command}")


def _inputs(name: str) -> tuple[Path, ...]:
    """What was read, and is not written over."""
    from mtml_deploy.artifact.artifact import MANIFEST_FILE

    path = Path(name)
    return (path / MANIFEST_FILE,) if path.is_dir() else (path,)


def _facts(name: str) -> Facts:
    """Find out what a name stands for, and read it.

    Raises:
        MtmlError: it is none of these, or damaged.
    """
    from mtml_deploy.errors import DataError
    from mtml_deploy.files import restore_folder
    from mtml_deploy.gallery.open import is_collection, open_gallery
    from mtml_deploy.path_kind import is_there, name_of_kind, what_it_is

    path = Path(name)
    if not is_collection(name):
        restore_folder(path)
    kind = None if is_collection(name) else name_of_kind(path)
    if is_collection(name) or kind == "a gallery":
        from mtml_deploy.report.facts.rows import gallery_facts

        with open_gallery(name) as opened:
            return gallery_facts(name, opened.summary())
    if kind in ("a run of mtml-train", "a checkpoint"):
        from mtml_deploy.report.facts.run import run_facts

        return run_facts(path)
    if kind == "an embeddings file":
        from mtml_deploy.report.facts.rows import embeddings_facts

        return embeddings_facts(path)
    if not is_there(path):
        raise DataError(f"{name} does not exist, {_TAKEN}")
    if path.is_dir() and (kind == "an exported model" or not what_it_is(path)):
        from mtml_deploy.artifact.artifact import open_artifact
        from mtml_deploy.report.facts.model import model_facts

        return model_facts(open_artifact(path))
    raise DataError(f"{name} is nothing that info describes{what_it_is(path)}, {_TAKEN}")
