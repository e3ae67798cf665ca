"""Rank lists as one HTML file that needs nothing else: no server, no script, no network.

In: the rankings of one or more models over the same images. Out: a page with a row of nearest
gallery images per query and model, framed green for the query's vehicle and red for another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mtml_deploy.data.records import UNKNOWN
from mtml_deploy.evaluate.protocols import Protocol
from mtml_deploy.report.rank_lists import (
    RankedImage,
    RankedModel,
    Which,
    choose_queries,
    rank_list,
    require_same_images,
)
from mtml_deploy.report.rank_page.header import (
    MARKS,
    html_text,
    legend_html,
    notes_html,
    shown_html,
    sources_html,
    table_html,
)
from mtml_deploy.report.rank_page.style import STYLE
from mtml_deploy.report.rank_page.thumbnails import Thumbnail, make_thumbnail
from mtml_deploy.text import percent, printable

THUMBNAIL_SIDE: Final = 112
"""Longer side of a thumbnail in pixels."""


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


def rank_page(
    models: Sequence[RankedModel],
    protocol: Protocol,
    *,
    title: str = "Vehicle rank lists",
    which: Which = "spread",
    limit: int = 50,
    length: int = 10,
) -> RankPage:
    """A self-contained page of rank lists.

    Args:
        models: one, or several to be stacked per query; the first one's AP chooses the queries.
        protocol: what was left out of the rankings; said on the page.
        title: heading.
        which: which queries, see `choose_queries`.
        limit: how many queries at most.
        length: places per query.

    Returns:
        The page.

    Raises:
        EmbeddingsError: the models ranked different images.
        ProtocolError: `which` needs vehicle ids that are unknown.
        ValueError: no model, or a limit or length below 1.
    """
    require_same_images(models)
    if length < 1:
        raise ValueError(f"length must be at least 1, found {length}")
    rows = choose_queries(models[0], which=which, limit=limit).tolist()
    pictures = _Pictures()
    articles = [
        _query_section(models, row, number=number, length=length, pictures=pictures)
        for number, row in enumerate(rows, start=1)
    ]
    missing = pictures.missing
    html = "\n".join(
        (
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            # nothing may be loaded, even if a file name found a way to ask for it
            '<meta http-equiv="Content-Security-Policy" '
            "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">",
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{html_text(title)}</title>",
            f"<style>{STYLE}</style></head>",
            f'<body style="--places: {length}"><a class="skip" href="#lists">Skip to lists</a>',
            f"<header><h1>{html_text(title)}</h1>",
            sources_html(models[0]),
            table_html(models),
            legend_html(),
            shown_html(models, protocol, which=which, shown=len(rows), missing=len(missing)),
            notes_html(models, protocol),
            "</header>",
            '<main id="lists">',
            *articles,
            "</main></body></html>",
        )
    )
    return RankPage(html=html + "\n", queries=len(rows), missing=missing)


class _Pictures:
    """Thumbnails as HTML; an image that occurs twice is decoded and counted once."""

    def __init__(self) -> None:
        self._known: dict[Path, Thumbnail | None] = {}

    @property
    def missing(self) -> tuple[Path, ...]:
        """Files that could not be shown, in the order they were met."""
        return tuple(path for path, found in self._known.items() if found is None)

    def html(self, root: str, name: str, *, words: str) -> str:
        """The image `name` below `root` as an element, with `words` for who cannot see it."""
        path = Path(root) / name
        if path not in self._known:
            self._known[path] = make_thumbnail(path, side=THUMBNAIL_SIDE)
        found = self._known[path]
        if found is None:
            return (
                f'<span class="picture missing" role="img" aria-label="{html_text(words)}">'
                "image cannot be shown</span>"
            )
        return (
            f'<img class="picture" src="{found.address}" alt="{html_text(words)}" '
            f'width="{found.width}" height="{found.height}">'
        )


def _query_section(
    models: Sequence[RankedModel], row: int, *, number: int, length: int, pictures: _Pictures
) -> str:
    """One query with the list of every model."""
    query = models[0].query
    name = query.names[row]
    labels = _labels(int(query.vehicle_ids[row]), int(query.camera_ids[row]))
    lists = []
    for model in models:
        precision = model.average_precision(row)
        known = "" if precision is None else f"AP <b>{percent(precision)}</b> %"
        if precision is None and model.metrics is not None:
            known = "no match in the gallery"
        places = [_place(place, model, pictures) for place in rank_list(model, row, length=length)]
        found = f"<ol>{''.join(places)}</ol>" if places else "<p>No gallery image remains.</p>"
        label = f"<strong>{html_text(model.label)}</strong> " if len(models) > 1 else ""
        lists.append(
            f'<div class="list"><p class="label">{label}<span>{known}</span></p>{found}</div>'
        )
    picture = pictures.html(query.root, name, words=f"Query {printable(name)}")
    return (
        f'<article aria-labelledby="q{number}"><div class="query">'
        f'<h2 id="q{number}"><a href="#q{number}">Query {number}</a></h2>'
        f'<figure tabindex="0">{picture}<figcaption>'
        f'<span class="name" title="{html_text(name)}">{html_text(name)}</span>'
        f"<span>{labels}</span></figcaption></figure></div>"
        f'<div class="lists">{"".join(lists)}</div></article>'
    )


def _place(place: RankedImage, model: RankedModel, pictures: _Pictures) -> str:
    """One gallery image of a list."""
    kind, sign, words = MARKS[place.match]
    picture = pictures.html(
        model.gallery.root,
        place.name,
        words=f"Rank {place.rank}, {words}, {printable(place.name)}",
    )
    camera = "" if place.camera_id == UNKNOWN else f"<span>cam {place.camera_id}</span>"
    return (
        f'<li class="{kind}"><figure tabindex="0">'
        f'<span class="frame"><span class="bar"><span>{place.rank}</span>'
        f'<span title="{words}">{sign}</span></span>{picture}</span>'
        f'<figcaption><span class="facts"><span title="L2 distance">{place.distance:#.4g}'
        f"</span>{camera}</span>"
        f'<span class="name" title="{html_text(place.name)}">{html_text(place.name)}</span>'
        f"</figcaption></figure></li>"
    )


def _labels(vehicle: int, camera: int) -> str:
    """Vehicle and camera of a query, as far as they are known."""
    known = [("vehicle", vehicle), ("camera", camera)]
    return " · ".join(f"{word} {value}" for word, value in known if value != UNKNOWN)
