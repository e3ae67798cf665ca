"""The command line `mtml-deploy`: one file of this folder per subcommand.

In: artifacts, images and embeddings files. Out: embeddings files, rank lists and metrics; results
on stdout, everything else on stderr. Nothing heavy is imported before a command runs, so that
every `--help` answers at once and needs no inference library.
"""

from __future__ import annotations

import click

from mtml_deploy.cli.aicity import aicity
from mtml_deploy.cli.build import build
from mtml_deploy.cli.calibrate import calibrate
from mtml_deploy.cli.calibrate_threshold import calibrate_threshold
from mtml_deploy.cli.card import card
from mtml_deploy.cli.centre import centre
from mtml_deploy.cli.command import SafeGroup
from mtml_deploy.cli.compress import compress
from mtml_deploy.cli.convert import convert
from mtml_deploy.cli.deepstream import deepstream
from mtml_deploy.cli.demo import demo
from mtml_deploy.cli.doctor import doctor
from mtml_deploy.cli.embed import embed
from mtml_deploy.cli.evaluate import evaluate
from mtml_deploy.cli.gallery import gallery
from mtml_deploy.cli.info import info
from mtml_deploy.cli.parity import parity
from mtml_deploy.cli.rank import rank
from mtml_deploy.cli.report import report
from mtml_deploy.cli.search import search
from mtml_deploy.cli.serve import serve
from mtml_deploy.cli.tracklets import tracklets
from mtml_deploy.cli.triton import triton
from mtml_deploy.version import __version__


@click.group("mtml-deploy", cls=SafeGroup, docs="README.md")
@click.version_option(__version__, prog_name="mtml-deploy")
def main() -> None:
    """Vehicle re-identification with an exported model: from images to ranked vehicles."""


for _command in (
    aicity,
    build,
    calibrate,
    calibrate_threshold,
    card,
    centre,
    compress,
    convert,
    deepstream,
    demo,
    doctor,
    embed,
    evaluate,
    gallery,
    info,
    parity,
    rank,
    report,
    search,
    serve,
    tracklets,
    triton,
):
    main.add_command(_command)
