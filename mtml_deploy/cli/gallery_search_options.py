"""Options of how the rows of a gallery are found, for `search`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import click
from click.core import ParameterSource

from mtml_deploy.cli.console import progress_bar, write_note
from mtml_deploy.cli.search_options import memory_bytes
from mtml_deploy.defaults import SHORTLIST

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mtml_deploy.gallery.folder.gallery import FolderGallery
    from mtml_deploy.gallery.index_manifest import Tuning
    from mtml_deploy.gallery.local_rerank import RerankedHits
    from mtml_deploy.gallery.open import Filter, Gallery, Hits
    from mtml_deploy.search.rerank import RerankOptions

    Find = Callable[[NDArray[np.float32], int], Hits]

_Command = TypeVar("_Command", bound=Callable[..., None])


@dataclass(frozen=True)
class Finder:
    """A way to search a gallery.

    Attributes:
        find: (queries float32 [Q, D], top_k) -> hits.
        tuning: of the approximate index; None where the search is exact.
    """

    find: Find
    tuning: Tuning | None = None


def finding_options(command: _Command) -> _Command:
    """Add --approximate, --memory-gib and --shortlist to a command."""
    for option in (
        click.option(
            "--shortlist",
            type=click.IntRange(min=1),
            default=SHORTLIST,
            show_default=True,
            help="Nearest rows of each query that are re-ranked, by themselves.",
        ),
        click.option(
            "--memory-gib",
            type=click.FloatRange(min=0, min_open=True),
            metavar="GIB",
            help="Most memory for the search beside queries and lists.",
        ),
        click.option(
            "--approximate",
            is_flag=True,
            help="Look only where the tuned index points to; may miss rows.",
        ),
    ):
        command = option(command)
    return command


def rows_to_find(*, top_k: int, shortlist: int, rerank: RerankOptions | None) -> int:
    """Rows to find for each query: the places of a list, or the shortlist that is re-ranked.

    Raises:
        click.UsageError: --shortlist without --rerank, or shorter than the list wanted.
    """
    source = click.get_current_context().get_parameter_source("shortlist")
    if rerank is None:
        if source is not ParameterSource.DEFAULT:
            raise click.UsageError("--shortlist belongs to re-ranking; add --rerank")
        return top_k
    if shortlist < top_k:
        raise click.UsageError(
            f"--shortlist is {shortlist}, and lists of {top_k} were asked for; raise --shortlist "
            "or lower --top-k"
        )
    return shortlist


def chosen_finder(
    gallery: Gallery, name: str, where: Filter, *, approximate: bool, memory_gib: float | None
) -> Finder:
    """The way to search that the user asked for.

    Args:
        gallery: open.
        name: of the gallery, as the user gave it.
        where: which rows to look at.
        approximate: the user's --approximate.
        memory_gib: the user's --memory-gib.

    Returns:
        The way; what an approximate search may miss was said on stderr.

    Raises:
        GalleryError: the gallery is not a folder, or its index is missing, not tuned or of no use.
        MissingExtraError: an approximate search without faiss.
    """
    if not approximate and memory_gib is None:
        return Finder(
            lambda query, top_k: gallery.search(
                query, model=gallery.model, top_k=top_k, where=where
            )
        )
    folder = _require_folder(gallery, name)
    memory = memory_bytes(memory_gib)
    if not approximate:
        return Finder(
            lambda query, top_k: folder.search(
                query, model=folder.model, top_k=top_k, where=where, memory_bytes=memory
            )
        )
    from mtml_deploy.gallery.approximate.open import open_index
    from mtml_deploy.gallery.approximate.search import search_approximate
    from mtml_deploy.gallery.open import GalleryError

    index = open_index(folder)
    tuning = index.manifest.tuning
    if tuning is None:
        raise GalleryError(
            f"the index of {name} is not tuned, so what it misses is unknown; measure it: "
            f"mtml-deploy gallery tune {name}"
        )
    write_note(
        f"note: approximate search, recall@{tuning.top_k} {tuning.recall:.4f} when it was tuned"
    )
    return Finder(
        lambda query, top_k: search_approximate(
            folder,
            index,
            query,
            model=folder.model,
            top_k=top_k,
            probes=tuning.probes,
            where=where,
            memory_bytes=memory,
        ),
        tuning,
    )


def rerank_found(
    query: NDArray[np.float32],
    shortlists: Hits,
    gallery: Gallery,
    *,
    top_k: int,
    options: RerankOptions,
) -> RerankedHits:
    """Re-rank the shortlist of each query, with a progress bar.

    Args:
        query: float32 [Q, D].
        shortlists: [Q, M].
        gallery: where they were found.
        top_k: places wanted.
        options: parameters.

    Returns:
        The first places.
    """
    from mtml_deploy.gallery.local_rerank import rerank_shortlists

    with progress_bar("re-ranking", unit="queries") as progress:
        return rerank_shortlists(
            query, shortlists, gallery.vectors, top_k=top_k, options=options, progress=progress
        )


def _require_folder(gallery: Gallery, name: str) -> FolderGallery:
    """The gallery as one in a folder."""
    from mtml_deploy.gallery.folder.gallery import FolderGallery
    from mtml_deploy.gallery.open import GalleryError

    if not isinstance(gallery, FolderGallery):
        raise GalleryError(
            f"{name} is not a folder, as --approximate and --memory-gib need; leave them out: a "
            "server searches by its own index and in its own memory"
        )
    return gallery
