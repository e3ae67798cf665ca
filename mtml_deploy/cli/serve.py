"""`mtml-deploy serve`: an exported model and a gallery behind HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mtml_deploy.cli import options
from mtml_deploy.cli.command import SafeCommand, is_verbose
from mtml_deploy.cli.console import write_data
from mtml_deploy.cli.groups import running_group
from mtml_deploy.cli.serve_options import serve_group

if TYPE_CHECKING:
    from mtml_deploy.artifact.artifact import Artifact
    from mtml_deploy.model import EmbedOptions
    from mtml_deploy.serve.options import ServeOptions


@click.command(
    cls=SafeCommand,
    epilog="Prints its address on stdout and writes its log to stderr, one JSON object a line. It "
    "ends on SIGTERM or Ctrl-C, after what it accepted.",
    docs="docs/serve.md",
    examples=(
        "mtml-deploy serve model --gallery cars",
        "mtml-deploy serve model --gallery cars --host 0.0.0.0 --token-file token.txt --writable",
    ),
)
@options.model
@click.option("--gallery", "name", metavar="GALLERY", help="Where to search.")
@click.option("--compare-model", "compare", type=options.FOLDER, metavar="MODEL",
              help="Another model, which the page shows beside this one.")  # fmt: skip
@click.option("--compare-gallery", metavar="GALLERY", help="That model's gallery.")
@serve_group
@running_group
def serve(
    *,
    model: Path,
    name: str | None,
    compare: Path | None,
    compare_gallery: str | None,
    serving: ServeOptions,
    how: EmbedOptions,
) -> None:
    """Answer requests for embeddings of MODEL and searches of a gallery over HTTP.

    Its address, opened in a browser, is a page that searches the gallery.
    """
    if (compare is None) is not (compare_gallery is None) or (compare is not None and name is None):
        raise click.UsageError(
            "--compare-model needs --gallery and --compare-gallery: each model searches a gallery "
            "of its own embeddings"
        )
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

    def opened_with(model: Path, name: str | None) -> Artifact:
        """A model, checked beside its gallery before it is loaded."""
        found = open_artifact(model)
        if name is not None:
            with open_gallery(name) as gallery:
                require_same_model(model_identity(found.manifest), gallery.model, str(model))
        return found

    opened = opened_with(model, name)
    other = None
    if compare is not None and compare_gallery is not None:
        other = opened_with(compare, compare_gallery), compare_gallery
    use_json_logs(verbose=is_verbose(click.get_current_context()))
    status = run(opened, name, how, serving, listening=write_data, compared=other)
    if status:
        raise click.exceptions.Exit(status)
