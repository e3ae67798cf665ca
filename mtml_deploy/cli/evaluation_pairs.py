"""Pairs of a query set and a gallery, as the repeated options of `evaluate` name them.

In: what click collected. Out: a pair for each --gallery, in the order of the user, and what was
found of it; a count that does not fit is an error, so that nothing that was named is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from mtml_deploy.cli import options
from mtml_deploy.cli.console import progress_bar, write_note

if TYPE_CHECKING:
    from mtml_deploy.cli.source_reader import SourceReader
    from mtml_deploy.evaluation.ground_truth import GroundTruth
    from mtml_deploy.evaluation.protocols import Protocol
    from mtml_deploy.evaluation.random_galleries import ImagePool
    from mtml_deploy.evaluation.stages import SearchOptions
    from mtml_deploy.report.evaluation import Evaluation
    from mtml_deploy.search.query_expansion import ExpansionOptions
    from mtml_deploy.search.rerank import RerankOptions

T = TypeVar("T")


@dataclass(frozen=True)
class Pair:
    """One pair to be judged.

    Attributes:
        query: embeddings file or images of the queries; None where the protocol draws them from
            the gallery.
        gallery: embeddings file or images that are searched in.
        label: how the user calls it; None where no name was given.
        ground_truth: matches of each query in place of ids.
        junk: images left out for each query.
    """

    query: str | None
    gallery: str
    label: str | None
    ground_truth: Path | None
    junk: Path | None

    @property
    def files(self) -> list[Path]:
        """All files and folders that are read."""
        from mtml_deploy.data.source import source_paths

        lists = [path for path in (self.ground_truth, self.junk) if path is not None]
        return [*source_paths(self.query or "", self.gallery), *lists]


def pairs_of(
    *,
    query: Sequence[str],
    gallery: Sequence[str],
    label: Sequence[str],
    ground_truth: Sequence[Path],
    junk: Sequence[Path],
) -> list[Pair]:
    """The pairs that options name: the first of each option belong together, and so on.

    Raises:
        click.UsageError: an option is given, but not once for each gallery, or a label twice.
    """
    if junk and not ground_truth:
        raise click.UsageError("--junk belongs to a ground truth; add --ground-truth FILE")
    if twice := sorted({name for name in label if label.count(name) > 1}):
        raise click.UsageError(
            f"--label {twice[0]!r} names two pairs, expected a name of its own for each"
        )
    count = len(gallery)
    columns = (
        _each(query, "--query", count),
        gallery,
        _each(label, "--label", count),
        _each(ground_truth, "--ground-truth", count),
        _each(junk, "--junk", count),
    )
    return [Pair(*row) for row in zip(*columns, strict=True)]


def _each(values: Sequence[T], name: str, count: int) -> Sequence[T | None]:
    """A value for each gallery: as given, or none at all."""
    if len(values) not in (0, count):
        raise click.UsageError(
            f"{name} is given {len(values)} times and --gallery {count} times, expected as many: "
            f"the first {name} belongs to the first --gallery, and so on"
        )
    return values or [None] * count


def judge_fixed(
    pair: Pair,
    reader: SourceReader,
    rule: Protocol,
    *,
    leave_out_self: bool,
    normalised: bool | None,
    expansion: ExpansionOptions | None,
    reranking: RerankOptions | None,
    search: SearchOptions,
    called: bool,
) -> Evaluation:
    """Judge queries and a gallery; `called`: by their sources, where the user gave no name."""
    from mtml_deploy.evaluation.normalised import is_cheap
    from mtml_deploy.report.evaluation import evaluate_pair

    if pair.query is None:
        raise ValueError("a pair without queries")
    queries = reader.read(pair.query, split="query")
    searched = reader.read(pair.gallery, split="gallery")
    truth = None
    if pair.ground_truth is not None:
        from mtml_deploy.evaluation.ground_truth import read_ground_truth

        truth = read_ground_truth(pair.ground_truth, pair.junk, queries, searched)
        _note_contradictions(truth)
    if normalised is None and not is_cheap(queries, searched):
        write_note(
            "note: embeddings scaled to length 1 are not judged as well, which would order "
            f"{len(searched):,} images for {len(queries):,} queries once more; ask for it with "
            "--normalised"
        )
    label = pair.label
    if label is None and called:
        label = f"{queries.model.label}, {queries.source} in {searched.source}"
    found = evaluate_pair(
        queries,
        searched,
        rule,
        truth=truth,
        leave_out_self=leave_out_self,
        label=label,
        normalised=normalised,
        expansion=expansion,
        reranking=reranking,
        search=search,
        watch=options.watch_reranking,
    )
    _note_copies(found)
    return found


def judge_drawn(
    pair: Pair,
    reader: SourceReader,
    rule: Protocol,
    *,
    draws: int,
    seed: int,
    reranking: RerankOptions | None,
    search: SearchOptions,
    called: bool,
) -> Evaluation:
    """Judge galleries drawn from all images; `called` as of `judge_fixed`."""
    from mtml_deploy.evaluation.random_galleries import pool_images
    from mtml_deploy.report.evaluation import evaluate_drawn

    pool = pool_images(
        reader.read(pair.gallery, split="gallery"),
        None if pair.query is None else reader.read(pair.query, split="query"),
    )
    if reranking is not None:
        _note_memory(pool, reranking)
    label = pair.label
    if label is None and called:
        label = f"{pool.images.model.label}, {pool.images.source}"
    with progress_bar("drawing galleries", unit="draws") as progress:
        return evaluate_drawn(
            pool,
            rule,
            draws=draws,
            seed=seed,
            label=label,
            reranking=reranking,
            memory_bytes=search.memory_bytes,
            progress=progress,
        )


def _note_contradictions(truth: GroundTruth) -> None:
    """Say how far a ground truth and the labels disagree."""
    if truth.contradictions:
        write_note(
            f"note: {truth.contradictions} matches of the ground truth have another vehicle id by "
            "the labels; if these are many, it is not for these images"
        )


def _note_copies(results: Evaluation) -> None:
    """Say that queries found themselves, and how not to count that."""
    from mtml_deploy.report.metrics_json import copies_sentence

    copies = results.own_copies
    if copies is not None and copies.queries and not copies.left_out:
        write_note(f"note: {copies_sentence(copies)}; leave it out with --leave-out-self")


def _note_memory(pool: ImagePool, reranking: RerankOptions) -> None:
    """Say what re-ranking one draw takes."""
    from mtml_deploy.search.rerank import estimate_bytes

    size, vehicles = len(pool.images), len(set(pool.images.vehicle_ids.tolist()))
    needed = estimate_bytes(size - vehicles, vehicles, pool.images.model.dim, options=reranking)
    write_note(
        f"re-ranking the {size:,} images of a draw takes about {needed / 2**20:,.0f} MiB "
        f"beside their embeddings"
    )
