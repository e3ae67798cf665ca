"""The upper part of the rank-list page: sources, models and metrics, legend, what is shown and how.

In: ranked models and the protocol. Out: pieces of HTML, every foreign text escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from mtml_deploy.embed.embeddings import comparison_mode
from mtml_deploy.evaluate.measures import LISTED, MEANS
from mtml_deploy.evaluate.metrics import RetrievalMetrics
from mtml_deploy.evaluate.protocols import Protocol
from mtml_deploy.report.metrics_json import (
    EXPANSION_RULE,
    RERANK_RULE,
    expansion_text,
    reranking_text,
    unmatched_sentence,
)
from mtml_deploy.report.rank_lists import RankedModel, Which
from mtml_deploy.text import percent, printable

MARKS: Final = {
    True: ("match", "✓", "same vehicle"),
    False: ("other", "✗", "other vehicle"),
    None: ("unknown", "", "vehicle not known"),
}
"""CSS class, sign (colour alone would exclude some readers) and words of a place."""

_ORDERS: Final = {
    "first": "in the order of the set",
    "best": "highest AP first",
    "worst": "lowest AP first",
    "spread": "spread evenly from the highest to the lowest AP",
}


def html_text(text: str) -> str:
    """`text` for HTML, in content and in quoted attributes."""
    return escape(printable(text), quote=True)


def sources_html(model: RankedModel) -> str:
    """Which images were compared.

    Args:
        model: any of the models; all ranked the same images.

    Returns:
        A paragraph.
    """
    return (
        f'<p class="sources">{comparison_mode(model.query.unit, model.gallery.unit)}: '
        f"{len(model.query):,} queries "
        f"<code>{html_text(model.query.source)}</code> "
        f"against {len(model.gallery):,} gallery {model.gallery.unit}s "
        f"<code>{html_text(model.gallery.source)}</code></p>"
    )


def table_html(models: Sequence[RankedModel]) -> str:
    """Metrics and identity of every model.

    Args:
        models: a row each; the columns of metrics are left out if no model has any.

    Returns:
        A table; percent.
    """
    scored = any(model.metrics is not None for model in models)
    # the step rule is that of every AP on the page, so it needs no name here
    numbers = [measure.title.removesuffix(" (step)") for measure in LISTED]
    head = ['<th scope="col">model</th>']
    head += [f'<th scope="col" class="number">{name}</th>' for name in numbers if scored]
    head += ['<th scope="col">precision</th>', '<th scope="col">embedding</th>']
    body = []
    for model in models:
        identity = model.query.model
        label, model_hash = html_text(model.label), html_text(identity.model_sha256[:12])
        cells = [f'<th scope="row">{label} <code>{model_hash}</code></th>']
        if scored:
            cells += [f'<td class="number">{value}</td>' for value in _values(model.metrics)]
        cells += [
            f"<td>{html_text(identity.precision)}</td>",
            f"<td>{html_text(identity.embedding)}, {identity.dim:,} dimensions</td>",
        ]
        body.append(f"<tr>{''.join(cells)}</tr>")
    # focusable: on a narrow screen the keyboard must be able to scroll it
    return (
        '<div class="scroll" role="region" aria-label="Models" tabindex="0">'
        f"<table><thead><tr>{''.join(head)}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def legend_html() -> str:
    """What frames mean, as small frames."""
    items = [
        f'<li class="{kind}"><span class="sample">{sign}</span>{words}</li>'
        for kind, sign, words in MARKS.values()
    ]
    return f'<ul class="legend">{"".join(items)}</ul>'


def shown_html(
    models: Sequence[RankedModel], protocol: Protocol, *, which: Which, shown: int, missing: int
) -> str:
    """Which queries and gallery images are on the page, and which are not.

    Args:
        models: all models of the page.
        protocol: what was left out of the rankings.
        which: how the queries were chosen.
        shown: number of queries on the page.
        missing: images without a picture.

    Returns:
        A paragraph.
    """
    model, total = models[0], len(models[0].query)
    order = _ORDERS[which]
    if model.metrics is None and which == "spread":
        order = "spread evenly over the set"
    elif len(models) > 1 and which != "first":
        order += f" of {html_text(model.label)}"
    how_many = f"All {total:,} queries" if shown == total else f"{shown:,} of {total:,} queries"
    sentences = [f"Protocol <b>{html_text(protocol.name)}</b>.", f"{how_many}, {order}."]
    if protocol.excludes_same_camera or protocol.excludes_unknown:
        sentences.append("Gallery images the protocol leaves out are not shown.")
    if missing:
        sentences.append(f"{missing:,} images could not be read and are empty tiles.")
    return f"<p>{' '.join(sentences)}</p>"


def notes_html(models: Sequence[RankedModel], protocol: Protocol) -> str:
    """What a reader must know to trust the page.

    Args:
        models: all models of the page; numbers are those of the first.
        protocol: what was left out of the rankings.

    Returns:
        A list that opens on request.
    """
    model = models[0]
    notes = [
        f"Protocol <b>{html_text(protocol.name)}</b>: {html_text(protocol.rule)} "
        f"Source: {html_text(protocol.source)}.",
        "The number above an image is its rank, the number below it the L2 distance of its "
        "embedding to the query's; equal distances are ordered by gallery row.",
        "A frame is coloured where the vehicle ids of the image and of the query are known.",
    ]
    for other in models:
        if other.expansion is not None:
            notes.append(
                f"{html_text(other.label)}: {EXPANSION_RULE}; {expansion_text(other.expansion)}."
            )
        if other.reranking is not None:
            notes.append(
                f"{html_text(other.label)}: the number below an image is its re-ranked distance; "
                f"{RERANK_RULE}; {reranking_text(other.reranking)}."
            )
    if model.metrics is None:
        notes.append("There are no metrics: they need labels that these images do not have.")
    else:
        step, trapezoid = MEANS[:2]
        notes.append(f"AP and mAP: {step.rule}. {trapezoid.title}: {trapezoid.rule}.")
        notes.append(f"{model.metrics.num_queries:,} queries: {unmatched_sentence(model.metrics)}.")
    items = "".join(f"<li>{note}</li>" for note in notes)
    return f"<details><summary>How to read this page</summary><ul>{items}</ul></details>"


def _values(metrics: RetrievalMetrics | None) -> list[str]:
    """Cells of one model: percent, or dashes where it has no metrics."""
    if metrics is None:
        return ["–"] * len(LISTED)
    return [f"{percent(measure.take(metrics))} %" for measure in LISTED]
