"""`mtml-deploy serve`: an exported model and a gallery behind HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mtml_deploy.cli import options
from mtml_deploy.cli.console import SafeCommand, write_data
from mtml_deploy.cli.groups import running_group
from mtml_deploy.cli.serve_options import serve_group

if TYPE_CHECKING:
    from mtml_deploy.model import EmbedOptions
    from mtml_deploy.serve.options import ServeOptions


@click.command(
    cls=SafeCommand,
    epilog="Prints its address on stdout and writes its log to stderr, one JSON object a line. It "
    "ends on SIGTERM or Ctrl-C, after what it accepted; see docs/serve.md.",
)
@click.argument("artifact", type=options.FOLDER)
@click.option("--gallery", "name", metavar="GALLERY", help="Where to search.")
@serve_group
@running_group
def serve(*, artifact: Path, name: str | None, serving: ServeOptions, how: EmbedOptions) -> None:
    """Answer requests for embeddings of ARTIFACT and searches of a gallery over HTTP."""
    try:
        from mtml_deploy.serve.server import serve as run
    except ModuleNotFoundError as error:
        from mtml_deploy.errors import MissingExtraError

        raise MissingExtraError(f"serve needs {error.name}", "serve") from error
    from mtml_deploy.artifact.artifact import open_artifact
    from mtml_deploy.embed.embed import model_identity
    from mtml_deploy.gallery.checks import require_same_model
    from mtml_deploy.gallery.open import open_gallery
    from mtml_deploy.serve.json_logs import use_json_logs

    opened = open_artifact(artifact)
    if name is not None:  # before the model is loaded
        with open_gallery(name) as gallery:
            require_same_model(model_identity(opened.manifest), gallery.model, str(artifact))
    verbose = bool(click.get_current_context().find_root().params.get("verbose"))
    use_json_logs(verbose=verbose)
    status = run(opened, name, how, serving, listening=write_data)
    if status:
        raise click.exceptions.Exit(status)
