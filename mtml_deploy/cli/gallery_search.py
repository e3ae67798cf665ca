"""How `search` looks in a gallery: its options, and the way to search that they choose.

In: what the user asked for and an open gallery. Out: rows, as they were found or re-ranked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import click

from mtml_deploy.cli import options
from mtml_deploy.cli.console import progress_bar, write_note
from mtml_deploy.cli.groups import group, was_given
from mtml_deploy.defaults import SHORTLIST

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mtml_deploy.embed.embeddings import Embeddings
    from mtml_deploy.gallery.folder.gallery import FolderGallery
    from mtml_deploy.gallery.gallery import Gallery
    from mtml_deploy.gallery.tuning import Tuning
    from mtml_deploy.gallery.values import Filter, Hits, RerankedHits
    from mtml_deploy.search.query_expansion import ExpansionOptions
    from mtml_deploy.search.rerank import RerankOptions

    Find = Callable[[NDArray[np.float32], int], Hits]


@dataclass(frozen=True)
class Finder:
    """A way to search a gallery.

    Attributes:
        find: (queries float32 [Q, D], top_k) -> hits.
        tuning: of the approximate index; None where the search is exact.
    """

    find: Find
    tuning: Tuning | None = None


@dataclass(frozen=True)
class Finding:
    """How the user wants rows to be found.

    Attributes:
        approximate: by the index of a server, which may miss some.
        memory_bytes: the budget; None sets none.
        shortlist: nearest rows of each query that are re-ranked.
    """

    approximate: bool = False
    memory_bytes: int | None = None
    shortlist: int = SHORTLIST


def _finding(*, approximate: bool, memory_gib: float | None, shortlist: int) -> Finding:
    """How rows are found."""
    return Finding(approximate, options.memory_bytes(memory_gib), shortlist)


finding_group = group(
    "finding",
    _finding,
    click.option(
        "--approximate",
        is_flag=True,
        help="By the tuned index of a Milvus server; may miss rows.",
    ),
    click.option(
        "--memory-gib",
        type=click.FloatRange(min=0, min_open=True),
        metavar="GIB",
        help="Most memory for the search beside queries and lists.",
    ),
    click.option(
        "--shortlist",
        type=click.IntRange(min=1),
        default=SHORTLIST,
        show_default=True,
        help="Nearest rows of each query that are re-ranked, by themselves.",
    ),
)
"""--approximate, --memory-gib and --shortlist as `finding: Finding`."""


def _where(
    *,
    cameras: tuple[int, ...],
    not_cameras: tuple[int, ...],
    since: str | None,
    until: str | None,
    orientations: tuple[int, ...],
) -> Filter:
    """Which rows are looked at."""
    from mtml_deploy.gallery.times import parse_time
    from mtml_deploy.gallery.values import Filter

    return Filter(
        cameras=cameras,
        not_cameras=not_cameras,
        since_us=None if since is None else parse_time(since),
        until_us=None if until is None else parse_time(until),
        orientations=orientations,
    )


filter_group = group(
    "where",
    _where,
    click.option(
        "--camera",
        "cameras",
        type=options.an_id,
        metavar="ID",
        multiple=True,
        help="Only this; may be repeated.",
    ),
    click.option(
        "--exclude-camera",
        "not_cameras",
        type=options.an_id,
        metavar="ID",
        multiple=True,
        help="Not this; may be repeated.",
    ),
    click.option("--since", metavar="TIME", help="Not before this time."),
    click.option("--until", metavar="TIME", help="Before this time."),
    click.option(
        "--orientation",
        "orientations",
        type=click.IntRange(min=0, max=7),
        multiple=True,
        help="Only this: 0 front, 1 rear, 2 left, 3 left front, 4 left rear, 5 right, 6 right "
        "front, 7 right rear; may be repeated.",
    ),
)
"""--camera, --exclude-camera, --since, --until and --orientation as `where: Filter`."""


def rows_to_find(*, top_k: int, shortlist: int, rerank: RerankOptions | None) -> int:
    """Rows to find for each query: the places of a list, or the shortlist that is re-ranked.

    Raises:
        click.UsageError: --shortlist without --rerank, or shorter than the list wanted.
    """
    if rerank is None:
        if was_given("shortlist"):
            raise click.UsageError("--shortlist belongs to re-ranking; add --rerank")
        return top_k
    if shortlist < top_k:
        raise click.UsageError(
            f"--shortlist is {shortlist}, and lists of {top_k} were asked for; raise --shortlist "
            "or lower --top-k"
        )
    return shortlist


def chosen_finder(gallery: Gallery, name: str, where: Filter, finding: Finding) -> Finder:
    """The way to search that the user asked for.

    Args:
        gallery: open.
        name: of the gallery, as the user gave it.
        where: which rows to look at.
        finding: how to look for them.

    Returns:
        The way; what an approximate search may miss was said on stderr.

    Raises:
        GalleryError: the gallery is not a folder where memory is bounded, or has no tuned
            approximate index where that is asked for.
    """
    if finding.memory_bytes is not None:
        folder = _require_folder(gallery, name)
        memory = finding.memory_bytes
        return Finder(
            lambda query, top_k: folder.search(
                query,
                model=folder.model,
                top_k=top_k,
                where=where,
                approximate=finding.approximate,
                memory_bytes=memory,
            )
        )
    return Finder(
        lambda query, top_k: gallery.search(
            query, model=gallery.model, top_k=top_k, where=where, approximate=finding.approximate
        ),
        _told_tuning(gallery, name) if finding.approximate else None,
    )


def _told_tuning(gallery: Gallery, name: str) -> Tuning:
    """The tuning of an approximate index, of which the user is told what it may miss."""
    from mtml_deploy.gallery.checks import always_exact
    from mtml_deploy.gallery.milvus.gallery import MilvusGallery

    if not isinstance(gallery, MilvusGallery):
        raise always_exact(name)
    tuning = gallery.tuning
    write_note(
        f"note: approximate search, recall@{tuning.top_k} {tuning.recall:.4f} or better when it "
        "was tuned"
    )
    return tuning


def rerank_found(
    query: NDArray[np.float32],
    shortlists: Hits,
    gallery: Gallery,
    *,
    top_k: int,
    reranking: RerankOptions,
) -> RerankedHits:
    """Re-rank the shortlist of each query, with a progress bar.

    Args:
        query: float32 [Q, D].
        shortlists: [Q, M].
        gallery: where they were found.
        top_k: places wanted.
        reranking: parameters.

    Returns:
        The first places.
    """
    from mtml_deploy.gallery.local_rerank import rerank_shortlists

    with progress_bar("re-ranking", unit="queries") as progress:
        return rerank_shortlists(
            query,
            shortlists,
            partial(gallery.vectors, fresh=False),
            top_k=top_k,
            options=reranking,
            progress=progress,
        )


def expand_in_gallery(
    queries: Embeddings, gallery: Gallery, find: Find, expansion: ExpansionOptions
) -> Embeddings:
    """The queries with features expanded by rows of a gallery; everything else of them stays.

    Args:
        queries: the query set.
        gallery: of the same model.
        find: searches it, among the rows that may take part.
        expansion: parameters.

    Returns:
        The expanded set.

    Raises:
        GalleryError: the gallery is damaged, or a row was removed meanwhile.
    """
    from dataclasses import replace

    from mtml_deploy.search.query_expansion import expand_by

    found = find(queries.features, expansion.neighbours).rows
    features = expand_by(
        queries.features,
        lambda row: gallery.vectors(found[row].tolist(), fresh=False),
        alpha=expansion.alpha,
    )
    return replace(queries, features=features)


def _require_folder(gallery: Gallery, name: str) -> FolderGallery:
    """The gallery as one in a folder."""
    from mtml_deploy.gallery.folder.gallery import FolderGallery
    from mtml_deploy.gallery.values import GalleryError

    if not isinstance(gallery, FolderGallery):
        raise GalleryError(
            f"{name} is not a folder, as --memory-gib needs; leave it out: a server searches in "
            "its own memory"
        )
    return gallery
