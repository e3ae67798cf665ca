"""`mtml-deploy aicity`: the answer file of the challenge, its check and score, a local split."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mtml_deploy.cli import options
from mtml_deploy.cli.command import SafeGroup
from mtml_deploy.cli.console import write_data, write_note
from mtml_deploy.cli.groups import rerank_group
from mtml_deploy.defaults import TRACK2_GALLERY, TRACK2_LENGTH, TRACK2_QUERIES

if TYPE_CHECKING:
    from mtml_deploy.search.rerank import RerankOptions


@click.group(cls=SafeGroup, docs="docs/aicity.md")
def aicity() -> None:
    """AI City Challenge 2019, Track 2 (CityFlow): track2.txt and local scores."""


@aicity.command(
    docs="docs/aicity.md",
    examples=(
        "mtml-deploy aicity write --query query.npz --gallery gallery.npz --out track2.txt",
        "mtml-deploy aicity write --query query.npz --gallery gallery.npz --out track2.txt "
        "--rerank --local",
    ),
)
@click.option("--query", required=True, type=options.FILE, metavar="EMB", help="Of the queries.")
@click.option("--gallery", required=True, type=options.FILE, metavar="EMB", help="Of the gallery.")
@click.option("--out", required=True, type=options.FILE, help="The file, usually track2.txt.")
@click.option(
    "--local",
    is_flag=True,
    help="Number the images of a set of your own by their order, whatever they are called.",
)
@rerank_group
@options.overwrite
def write(
    *,
    query: Path,
    gallery: Path,
    out: Path,
    local: bool,
    reranking: RerankOptions | None,
    overwrite: bool,
) -> None:
    """Write the 100 best gallery images of each query, as numbers.

    With --rerank the file holds the re-ranked lists. Images are numbered by their names, as in the
    published set, and a set with gaps is refused.
    """
    from mtml_deploy.embed.embeddings import Embeddings
    from mtml_deploy.evaluation.aicity.track2_file import (
        SUBMISSION,
        require_answerable,
        submission_text,
    )
    from mtml_deploy.evaluation.protocols import find_protocol
    from mtml_deploy.evaluation.stages import stages
    from mtml_deploy.files import write_text
    from mtml_deploy.outputs import require_output

    require_output(out, SUBMISSION, overwrite=overwrite, inputs=(query, gallery))
    queries, searched = Embeddings.load(query), Embeddings.load(gallery)
    require_answerable(queries, searched, local=local)
    protocol = find_protocol("aicity-top100")
    *_, last = stages(
        queries, searched, protocol, reranking=reranking, watch=options.watch_reranking
    )
    write_text(out, submission_text(last.ranking(TRACK2_LENGTH)))
    how = "" if reranking is None else ", re-ranked"
    write_note(
        f"{out}: {len(queries)} lines of {TRACK2_LENGTH} from {len(searched)} gallery images{how}"
    )


@aicity.command(
    docs="docs/aicity.md",
    examples=(
        "mtml-deploy aicity check track2.txt",
        "mtml-deploy aicity check track2.txt --query-count 12 --gallery-count 132",
    ),
)
@click.argument("file", type=options.FILE)
@click.option(
    "--query-count",
    type=click.IntRange(min=1),
    default=TRACK2_QUERIES,
    show_default=True,
    help="Its lines.",
)
@click.option(
    "--gallery-count",
    type=click.IntRange(min=TRACK2_LENGTH),
    default=TRACK2_GALLERY,
    show_default=True,
    help="Gallery images, the largest number.",
)
def check(*, file: Path, query_count: int, gallery_count: int) -> None:
    """Print every fault of FILE with its line; the exit status is 1 where there are any."""
    from mtml_deploy.evaluation.aicity.track2_file import find_faults

    faults = find_faults(file, queries=query_count, gallery=gallery_count)
    for fault in faults:
        write_data(fault)
    if faults:
        write_note(f"{file}: {len(faults)} faults")
        raise click.exceptions.Exit(1)
    write_note(f"{file}: {query_count} lines of {TRACK2_LENGTH} numbers, no fault")


@aicity.command(
    epilog="Vehicles are read from an EMB, a label file (.xml) or a SOURCE; no image is opened.",
    docs="docs/aicity.md",
    examples=(
        "mtml-deploy aicity score track2.txt --query csv:local/query.csv "
        "--gallery csv:local/gallery.csv",
        "mtml-deploy aicity score track2.txt --query query.npz --gallery gallery.npz "
        "--json score.json",
    ),
)
@click.argument("file", type=options.FILE)
@click.option("--query", required=True, metavar="EMB|FILE|SOURCE", help="Vehicles of the queries.")
@click.option(
    "--gallery", required=True, metavar="EMB|FILE|SOURCE", help="Vehicles of the gallery."
)
@options.explain
@options.json_file
@options.overwrite
def score(
    *,
    file: Path,
    query: str,
    gallery: str,
    explain: bool,
    json_file: Path | None,
    overwrite: bool,
) -> None:
    """Print mAP and CMC of FILE under protocol aicity-top100, where the vehicles are known."""
    from mtml_deploy.cli.screen import Screen
    from mtml_deploy.data.source import source_paths
    from mtml_deploy.evaluation.aicity.labels import read_vehicles
    from mtml_deploy.evaluation.aicity.track2_file import read_submission
    from mtml_deploy.evaluation.given_ranking import evaluate_ranking
    from mtml_deploy.evaluation.protocols import find_protocol
    from mtml_deploy.outputs import require_outputs
    from mtml_deploy.report.metrics_json import METRICS_JSON, Evaluation, metrics_json
    from mtml_deploy.report.metrics_markdown import metrics_markdown
    from mtml_deploy.report.short_tables import evaluation_tables, judged_on

    require_outputs(
        [(options.on_disk(json_file), METRICS_JSON)],
        overwrite=overwrite,
        inputs=(file, *source_paths(query, gallery)),
    )
    wanted = read_vehicles(query, split="query")
    searched = read_vehicles(gallery, split="gallery")
    sizes = len(wanted.records), len(searched.records)
    lists = read_submission(file, queries=sizes[0], gallery=sizes[1])
    result = Evaluation(
        label=file.name,
        metrics=evaluate_ranking(lists, wanted, searched, find_protocol("aicity-top100")),
        model=None,
        query_source=wanted.source,
        query_names=wanted.names(),
        gallery_source=searched.source,
        gallery_size=sizes[1],
    )
    options.write_json(json_file, lambda: metrics_json(result))
    screen = Screen(json_file)
    if explain:
        screen.text(metrics_markdown([result]).rstrip("\n"))
        return
    for sentence in judged_on([result]):
        screen.prose(sentence)
    screen.short_tables(evaluation_tables([result]))


@aicity.command(
    docs="docs/aicity.md",
    examples=(
        "mtml-deploy aicity split cityflow:CityFlow --out local",
        "mtml-deploy aicity split cityflow:CityFlow --out local --holdout 0.1 --seed 3",
    ),
)
@click.argument("source", metavar="SOURCE")
@click.option("--out", required=True, type=options.FOLDER, help="Folder of the lists.")
@click.option("--seed", type=int, default=0, show_default=True, help="Which vehicles are drawn.")
@click.option(
    "--holdout",
    "test_share",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.25,
    show_default=True,
    help="Share of the vehicles that are kept from training.",
)
@options.overwrite
def split(*, source: str, out: Path, seed: int, test_share: float, overwrite: bool) -> None:
    """Split a labelled training set by vehicle into train.csv, query.csv and gallery.csv.

    SOURCE is usually cityflow:DIR, whose training part is taken. The lists are sources: csv:FILE.
    """
    from mtml_deploy.data.holdout import split_by_id, split_lines
    from mtml_deploy.data.source import load_source, source_paths
    from mtml_deploy.data.split_files import require_split_writable, write_split

    given = source_paths(source)
    require_split_writable(out, overwrite=overwrite, inputs=given)
    images = load_source(source, split="train")
    for sentence in images.notes:
        write_note(f"note: {sentence}")
    done = split_by_id(images, seed=seed, test_share=test_share)
    write_split(out, done, overwrite=overwrite)
    for line in split_lines(done):
        write_data(line)
