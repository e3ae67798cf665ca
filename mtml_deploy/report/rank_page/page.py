"""Rank lists as one HTML file that needs nothing else: no server, no script, no network.

In: the rankings of one or more models over the same images. Out: a page with a row of nearest
gallery images per query and model, framed green for the query's vehicle and red for another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final

from mtml_deploy.data.records import UNKNOWN
from mtml_deploy.data.thumbnails import Thumbnail, make_thumbnail
from mtml_deploy.defaults import Which
from mtml_deploy.embed.embeddings import comparison_mode
from mtml_deploy.evaluation.measures import LISTED
from mtml_deploy.evaluation.protocols import Protocol
from mtml_deploy.files import write_text
from mtml_deploy.output_kind import text_kind
from mtml_deploy.report.chosen_queries import choose_queries, gains
from mtml_deploy.report.rank_lists import (
    RankedImage,
    RankedModel,
    rank_list,
    require_same_images,
    time_text,
)
from mtml_deploy.report.rank_page.header import MARKS, Mark, notes, shown_sentences
from mtml_deploy.report.rank_page.names import NamesOfSet, ShownName
from mtml_deploy.report.templates import page_environment
from mtml_deploy.user_path import user_path

THUMBNAIL_SIDE: Final = 112
"""Longer side of a thumbnail in pixels."""

RANK_HTML: Final = text_kind(
    "a page of mtml-deploy rank", '<meta name="generator" content="mtml-deploy rank">'
)


@dataclass(frozen=True)
class RankPage:
    """A page and what is not on it.

    Attributes:
        html: the whole file.
        queries: number of queries shown.
        missing: images that could not be shown and have a placeholder, each once.
    """

    html: str
    queries: int
    missing: tuple[Path, ...]

    def save(self, file: str | Path) -> None:
        """Write the page.

        Args:
            file: target, replaced if it exists.
        """
        write_text(user_path(file), self.html)

    def _repr_html_(self) -> str:
        """The page in a frame of its own, for notebooks."""
        return (
            f'<iframe srcdoc="{escape(self.html)}" style="width: 100%; height: 40em; border: 0">'
            "</iframe>"
        )


@dataclass(frozen=True)
class _Place:
    """One gallery image of a list, as the template takes it."""

    name: ShownName
    image: RankedImage
    mark: Mark
    picture: Thumbnail | None


@dataclass(frozen=True)
class _List:
    """One model's list of a query; `precision` is None where the query does not count."""

    label: str
    scored: bool
    precision: float | None
    places: tuple[_Place, ...]


@dataclass(frozen=True)
class _Query:
    """One query with the lists of every model; `gain` is in points, NaN where it does not count."""

    name: ShownName
    labels: str
    time: str | None
    gain: float | None
    picture: Thumbnail | None
    lists: tuple[_List, ...]


def rank_page(
    models: Sequence[RankedModel],
    protocol: Protocol,
    *,
    title: str = "Vehicle rank lists",
    which: Which = "spread",
    baseline: int | None = None,
    limit: int = 50,
    length: int = 10,
) -> RankPage:
    """A self-contained page of rank lists.

    Args:
        models: one, or several to be stacked per query; the first one's AP chooses the queries.
        protocol: what was left out of the rankings; said on the page.
        title: heading.
        which: which queries, see `choose_queries`.
        baseline: number of the model that the gains of the first one are measured against; they
            are shown beside each query.
        limit: how many queries at most.
        length: places per query.

    Returns:
        The page.

    Raises:
        EmbeddingsError: the models ranked different images.
        ProtocolError: `which` needs vehicle ids that are unknown, or "gain" a `baseline`.
        ValueError: no model, or a limit or length below 1.
    """
    require_same_images(models)
    if length < 1:
        raise ValueError(f"length must be at least 1, found {length}")
    other = None if baseline is None else models[baseline]
    rows = choose_queries(models[0], which=which, limit=limit, baseline=other).tolist()
    gained = gains(models[0], other)[rows].tolist() if which == "gain" else [None] * len(rows)
    pictures = _Pictures()
    names = NamesOfSet(models[0].query.names), NamesOfSet(models[0].gallery.names)
    queries = [
        _query_view(models, row, gain=gain, length=length, names=names, pictures=pictures)
        for row, gain in zip(rows, gained, strict=True)
    ]
    shown = shown_sentences(
        models,
        protocol,
        which=which,
        baseline=other,
        shown=len(rows),
        missing=len(pictures.missing),
    )
    template = page_environment(Path(__file__).parent).get_template("page.html.j2")
    html = template.render(
        title=title,
        length=length,
        models=models,
        mode=comparison_mode(models[0].query.unit, models[0].gallery.unit),
        measures=LISTED if any(model.metrics is not None for model in models) else (),
        marks=MARKS.values(),
        protocol=protocol,
        shown=shown,
        notes=notes(models),
        queries=queries,
        unknown=UNKNOWN,
    )
    return RankPage(html=html, queries=len(rows), missing=pictures.missing)


class _Pictures:
    """Thumbnails; an image that occurs twice is decoded and counted once."""

    def __init__(self) -> None:
        self._known: dict[Path, Thumbnail | None] = {}

    @property
    def missing(self) -> tuple[Path, ...]:
        """Files that could not be shown, in the order they were met."""
        return tuple(path for path, found in self._known.items() if found is None)

    def find(self, root: str, name: str) -> Thumbnail | None:
        """The image `name` below `root`; None if it cannot be shown."""
        path = Path(root) / name
        if path not in self._known:
            self._known[path] = make_thumbnail(path, side=THUMBNAIL_SIDE)
        return self._known[path]


def _query_view(
    models: Sequence[RankedModel],
    row: int,
    *,
    gain: float | None,
    length: int,
    names: tuple[NamesOfSet, NamesOfSet],
    pictures: _Pictures,
) -> _Query:
    """One query with the list of every model."""
    query = models[0].query
    lists = tuple(
        _List(
            label=model.label,
            scored=model.metrics is not None,
            precision=model.average_precision(row),
            places=tuple(
                _Place(
                    name=names[1].shown(place.name),
                    image=place,
                    mark=MARKS[place.match],
                    picture=pictures.find(model.gallery.root, place.name),
                )
                for place in rank_list(model, row, length=length)
            ),
        )
        for model in models
    )
    return _Query(
        name=names[0].shown(query.names[row]),
        labels=_labels(query.named(query.vehicle_ids[row]), query.named(query.camera_ids[row])),
        time=time_text(query, row),
        gain=None if gain is None else 100 * gain,
        picture=pictures.find(query.root, query.names[row]),
        lists=lists,
    )


def _labels(vehicle: int, camera: int) -> str:
    """Vehicle and camera of a query, as far as they are known."""
    known = [("vehicle", vehicle), ("camera", camera)]
    return " · ".join(f"{word} {value}" for word, value in known if value != UNKNOWN)
