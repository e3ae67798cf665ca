"""`mtml-deploy evaluate`: metrics of queries and galleries under a named protocol."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mtml_deploy.cli import options
from mtml_deploy.cli.command import SafeCommand
from mtml_deploy.cli.console import write_next, write_note
from mtml_deploy.cli.evaluation_pairs import judge_drawn, judge_fixed, pairs_of
from mtml_deploy.cli.groups import (
    embedding_group,
    expansion_group,
    memory_group,
    rerank_group,
    was_given,
)
from mtml_deploy.defaults import DRAW_SEED, DRAWS, PROTOCOL

if TYPE_CHECKING:
    from mtml_deploy.evaluation.stages import SearchOptions
    from mtml_deploy.model import EmbedOptions
    from mtml_deploy.search.query_expansion import ExpansionOptions
    from mtml_deploy.search.rerank import RerankOptions


@click.command(
    cls=SafeCommand,
    epilog="Images of a SOURCE need MODEL, which embeds them.",
    docs="docs/evaluation.md",
    examples=(
        "mtml-deploy evaluate model --query veri:VeRi#query --gallery veri:VeRi#gallery",
        "mtml-deploy evaluate --query query.npz --gallery gallery.npz --rerank "
        "--json metrics.json --plot cmc.svg",
    ),
)
@options.a_model
@click.option(
    "--query",
    metavar="EMB|SOURCE",
    multiple=True,
    help="The queries, may be repeated for further pairs; vehicleid needs none, as it draws from "
    "all images.",
)
@click.option(
    "--gallery",
    required=True,
    metavar="EMB|SOURCE",
    multiple=True,
    help="Where they are looked for, one for each --query.",
)
@click.option("--protocol", default=PROTOCOL, show_default=True, help=f"{options.PROTOCOLS}.")
@click.option(
    "--ground-truth",
    type=options.FILE,
    multiple=True,
    help="Matches of each query in place of ids, one line per query (VeRi's gt_image.txt). "
    "name_query.txt and name_test.txt beside it give the order of lines and numbers.",
)
@click.option(
    "--junk",
    type=options.FILE,
    multiple=True,
    help="Images left out for each query (jk_image.txt).",
)
@options.leave_out_self
@click.option(
    "--draws",
    type=click.IntRange(min=1),
    default=DRAWS,
    show_default=True,
    help="Random galleries of vehicleid.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=DRAW_SEED,
    show_default=True,
    help="Of these galleries.",
)
@options.explain
@options.json_file
@click.option("--markdown", "markdown_file", type=options.FILE, help="Write the page of --explain.")
@click.option("--plot", "plot_file", type=options.FILE, help="Draw the CMC curve, .png or .svg.")
@click.option(
    "--label", multiple=True, help="Name of the model in table and plot, one for each pair."
)
@click.option(
    "--normalised/--no-normalised",
    default=None,
    help="Also judge the embeddings scaled to length 1, whose order is that of cosines.  "
    "[default: where queries x images x dimensions are at most 1e12]",
)
@expansion_group
@rerank_group
@memory_group
@embedding_group
@options.overwrite
def evaluate(
    *,
    model: Path | None,
    query: tuple[str, ...],
    gallery: tuple[str, ...],
    protocol: str,
    ground_truth: tuple[Path, ...],
    junk: tuple[Path, ...],
    leave_out_self: bool,
    draws: int,
    seed: int,
    explain: bool,
    json_file: Path | None,
    markdown_file: Path | None,
    plot_file: Path | None,
    label: tuple[str, ...],
    normalised: bool | None,
    expansion: ExpansionOptions | None,
    reranking: RerankOptions | None,
    search: SearchOptions,
    how: EmbedOptions,
    overwrite: bool,
) -> None:
    """Print mAP (by both rules in use), mINP, CMC@1, 5, 10 and TPR@FPR in percent.

    Several pairs in one table: repeat --query and --gallery, and --label, --ground-truth and --junk
    where you give them. The JSON is then a list of one result for each pair.
    """
    pairs = pairs_of(
        query=query, gallery=gallery, label=label, ground_truth=ground_truth, junk=junk
    )
    from mtml_deploy.artifact.artifact import open_artifact
    from mtml_deploy.cli.screen import Screen
    from mtml_deploy.evaluation.protocols import find_protocol
    from mtml_deploy.figure import require_plot
    from mtml_deploy.files import write_text
    from mtml_deploy.outputs import require_outputs
    from mtml_deploy.report.cmc_plot import CMC_PLOT, write_cmc_plot
    from mtml_deploy.report.evaluation import together
    from mtml_deploy.report.metrics_json import METRICS_JSON
    from mtml_deploy.report.metrics_markdown import METRICS_MARKDOWN
    from mtml_deploy.report.short_tables import evaluation_tables, judged_on

    rule = find_protocol(protocol)
    require_outputs(
        [
            (options.on_disk(json_file), METRICS_JSON),
            (markdown_file, METRICS_MARKDOWN),
            (plot_file, CMC_PLOT),
        ],
        overwrite=overwrite,
        inputs=[path for pair in pairs for path in pair.files],
    )
    if plot_file is not None:
        require_plot(plot_file)
    if rule.draws_gallery:
        _require_drawn(rule.name, ground_truth=bool(ground_truth), expands=expansion is not None,
                       leave_out_self=leave_out_self, normalised=bool(normalised))  # fmt: skip
    else:
        _require_no_draws(rule.name)
        if not query:
            raise click.UsageError(f"protocol {rule.name} needs --query EMB|SOURCE")
        if ground_truth and leave_out_self:
            raise click.UsageError(
                "--leave-out-self goes by labels, and a ground truth says itself what is left "
                "out; give one of the two"
            )
    artifact = None if model is None else open_artifact(model)
    with options.open_reader(artifact, how) as reader:
        found = [
            judge_drawn(pair, reader, rule, draws=draws, seed=seed, reranking=reranking,
                        search=search, called=len(pairs) > 1)
            if rule.draws_gallery else
            judge_fixed(pair, reader, rule, leave_out_self=leave_out_self, expansion=expansion,
                        normalised=normalised, reranking=reranking, search=search,
                        called=len(pairs) > 1)
            for pair in pairs
        ]  # fmt: skip
    results = together(found)
    options.write_json(json_file, lambda: results.json)
    if markdown_file is not None:
        write_text(markdown_file, results.markdown)
        write_note(f"wrote {markdown_file}")
    # before the plot: a full disk must not hide the result
    screen = Screen(json_file)
    if explain:
        screen.text(results.markdown.rstrip("\n"))
    else:
        for sentence in judged_on(results.rows):
            screen.prose(sentence)
        screen.short_tables(evaluation_tables(results.rows))
    if plot_file is not None:
        write_cmc_plot(plot_file, results.stages)
        write_note(f"wrote {plot_file}")
    write_next("mtml-deploy", "gallery", "create", "GALLERY", model or "MODEL")


def _require_drawn(
    protocol: str, *, ground_truth: bool, expands: bool, leave_out_self: bool, normalised: bool
) -> None:
    """Refuse options that belong to a fixed gallery.

    Raises:
        click.UsageError: one of them was given.
    """
    if ground_truth:
        raise click.UsageError(
            f"--ground-truth belongs to a fixed gallery, and protocol {protocol} draws it"
        )
    if expands:
        raise click.UsageError(
            f"--expand adds further images of a vehicle, and protocol {protocol} draws one "
            f"image of each; leave it out"
        )
    if normalised:
        raise click.UsageError(
            f"--normalised is for a fixed gallery, and protocol {protocol} draws it; export with "
            f"mtml-export RUN --out MODEL --normalise whole to judge embeddings of length 1"
        )
    if leave_out_self:
        raise click.UsageError(
            f"--leave-out-self is for a fixed gallery: protocol {protocol} draws it, and has "
            f"no image twice"
        )


def _require_no_draws(protocol: str) -> None:
    """Refuse --draws and --seed under a protocol that does not draw.

    Args:
        protocol: its name, for the text.

    Raises:
        click.UsageError: one of them was given.
    """
    for name in ("draws", "seed"):
        if was_given(name):
            raise click.UsageError(
                f"--{name} belongs to protocols that draw their gallery, and {protocol} does not"
            )
