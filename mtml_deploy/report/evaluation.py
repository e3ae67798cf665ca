"""One evaluation as a whole: the numbers of every stage, as Markdown and as JSON.

In: embeddings and a protocol. Out: an `Evaluation`, for the command and for programs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mtml_deploy.defaults import DRAW_SEED, DRAWS
from mtml_deploy.embed.embeddings import Embeddings, require_comparable
from mtml_deploy.errors import EmbeddingsError
from mtml_deploy.evaluation.ground_truth import GroundTruth
from mtml_deploy.evaluation.metrics import RetrievalMetrics
from mtml_deploy.evaluation.normalised import is_cheap
from mtml_deploy.evaluation.normalised import normalised as normalised_stage
from mtml_deploy.evaluation.own_copies import OwnCopies, find_own_copies
from mtml_deploy.evaluation.protocols import Protocol
from mtml_deploy.evaluation.random_galleries import DrawnMetrics, ImagePool, evaluate_draws
from mtml_deploy.evaluation.stages import SearchOptions, Stage, Watch, stages
from mtml_deploy.report.draws_report import DrawnEvaluation, drawn_json, drawn_markdown
from mtml_deploy.report.metrics_json import Evaluation as JudgedPair
from mtml_deploy.report.metrics_json import describe_evaluation, metrics_json
from mtml_deploy.report.metrics_markdown import metrics_markdown
from mtml_deploy.search.query_expansion import ExpansionOptions
from mtml_deploy.search.rerank import RerankOptions
from mtml_deploy.text import printable


@dataclass(frozen=True, repr=False)
class Evaluation:
    """What an evaluation found; a notebook shows it as a table.

    Attributes:
        stages: metrics by label: as embedded, then expanded and re-ranked where that was asked for.
        markdown: a page with the table and the rules behind the numbers, in percent.
        json: all numbers and where they come from, fractions 0..1.
        own_copies: gallery rows that are the query itself; None where they were not looked for,
            because the rule leaves them out anyway, or where this is several pairs.
        rows: the stages with all that was measured on, as the page shows them; the second is of
            embeddings scaled to length 1, where that was measured.
    """

    stages: Mapping[str, RetrievalMetrics | DrawnMetrics]
    markdown: str
    json: str
    own_copies: OwnCopies | None = None
    rows: tuple[JudgedPair, ...] | tuple[DrawnEvaluation, ...] = ()

    @property
    def metrics(self) -> RetrievalMetrics | DrawnMetrics:
        """The metrics of the last stage."""
        return list(self.stages.values())[-1]

    @property
    def mean_ap(self) -> float:
        """MAP (step) of the last stage, 0..1."""
        return self.metrics.mean_ap

    def to_json(self) -> str:
        """All numbers and where they come from, as indented JSON; fractions 0..1."""
        return self.json

    def __repr__(self) -> str:
        """The page, which is what a terminal shows of it."""
        return self.markdown

    def _repr_markdown_(self) -> str:
        """The page, for notebooks."""
        return self.markdown


def evaluate_pair(
    query: Embeddings,
    gallery: Embeddings,
    protocol: Protocol,
    *,
    truth: GroundTruth | None = None,
    leave_out_self: bool = False,
    label: str | None = None,
    expansion: ExpansionOptions | None = None,
    reranking: RerankOptions | None = None,
    normalised: bool | None = None,
    search: SearchOptions | None = None,
    watch: Watch | None = None,
) -> Evaluation:
    """Metrics of one query set and one gallery, before and after expansion and re-ranking.

    Args:
        query: the query set.
        gallery: the gallery, of the same model.
        protocol: which gallery rows take part.
        truth: matches and junk in place of labels; None takes the labels.
        leave_out_self: a query's own copy in the gallery takes no part.
        label: how the model is called; None takes a short name of it.
        expansion: parameters; None does not expand.
        reranking: parameters; None does not re-rank.
        normalised: also judge the embeddings scaled to length 1, whose order is that of cosines;
            None does where that is cheap, see `is_cheap`. Not where they have that length already.
        search: the budget of memory; None sets none.
        watch: see `stages`.

    Returns:
        The evaluation.

    Raises:
        MtmlError: see `stages` and `Stage.metrics`.
    """
    name = label or query.model.label
    require_comparable(query, gallery)
    copies = None
    if leave_out_self or (truth is None and not protocol.excludes_same_camera):
        # where nothing else leaves them out, copies are counted, so that the reader is told
        copies = find_own_copies(query, gallery, left_out=leave_out_self)

    def judged(stage: Stage) -> JudgedPair:
        return describe_evaluation(
            f"{name}{stage.suffix}",
            stage.metrics(),
            stage.query,
            gallery,
            reranking=stage.reranking,
            truth=truth,
            copies=copies,
            expansion=stage.expansion,
            unit_length=stage.unit,
        )

    found: list[JudgedPair] = []
    unit: list[JudgedPair] = []
    for stage in stages(
        query,
        gallery,
        protocol,
        truth=truth,
        copies=copies,
        search=search,
        expansion=expansion,
        reranking=reranking,
        watch=watch,
    ):
        found.append(judged(stage))
        wanted = is_cheap(query, gallery) if normalised is None else normalised
        if len(found) == 1 and wanted and (scaled := normalised_stage(stage)) is not None:
            unit.append(judged(scaled))
    rows = [found[0], *unit, *found[1:]]
    return Evaluation(
        stages={each.label: each.metrics for each in found},
        own_copies=copies,
        rows=tuple(rows),
        markdown=metrics_markdown(rows),
        json=metrics_json(
            found[0],
            normalised=unit[0] if unit else None,
            expanded=None if expansion is None else found[1],
            reranked=None if reranking is None else found[-1],
        ),
    )


def together(evaluations: Sequence[Evaluation]) -> Evaluation:
    """Evaluations of several pairs as one: a table of all, and a JSON list of their results.

    Args:
        evaluations: one or more, of one protocol; a single one is given back as it is.

    Returns:
        The evaluation of all, in this order.

    Raises:
        EmbeddingsError: two of them are called alike, and one would hide the other.
        ValueError: no evaluation, or more than one protocol.
    """
    if len(evaluations) == 1:
        return evaluations[0]
    names = [label for each in evaluations for label in each.stages]
    if twice := [name for name in names if names.count(name) > 1]:
        raise EmbeddingsError(
            f"two pairs are called {printable(twice[0])!r}, expected a name of its own for each; "
            "name them with --label, or leave one out"
        )
    pairs = [row for each in evaluations for row in each.rows if isinstance(row, JudgedPair)]
    drawn = [row for each in evaluations for row in each.rows if isinstance(row, DrawnEvaluation)]
    return Evaluation(
        stages={label: found for each in evaluations for label, found in each.stages.items()},
        rows=tuple(pairs) or tuple(drawn),
        markdown=metrics_markdown(pairs) if pairs else drawn_markdown(drawn),
        json=f"[{','.join(each.json.rstrip() for each in evaluations)}]\n",
    )


def evaluate_drawn(
    pool: ImagePool,
    protocol: Protocol,
    *,
    draws: int = DRAWS,
    seed: int = DRAW_SEED,
    label: str | None = None,
    reranking: RerankOptions | None = None,
    memory_bytes: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Metrics over drawn galleries, before and after re-ranking.

    Args:
        pool: all images.
        protocol: one that draws its gallery.
        draws: how many.
        seed: of the draws.
        label: how the model is called; None takes a short name of it.
        reranking: parameters; None does not re-rank.
        memory_bytes: see `evaluate`.
        progress: called with (draws done, in total).

    Returns:
        The evaluation.

    Raises:
        MtmlError: see `evaluate_draws`.
    """
    plain, *reranked = evaluate_draws(
        pool,
        protocol,
        draws=draws,
        seed=seed,
        reranking=reranking,
        memory_bytes=memory_bytes,
        progress=progress,
    )
    name = label or pool.images.model.label
    found = [DrawnEvaluation(name, plain, pool)]
    found += [DrawnEvaluation(f"{name}, re-ranked", each, pool, reranking) for each in reranked]
    return Evaluation(
        stages={each.label: each.metrics for each in found},
        rows=tuple(found),
        markdown=drawn_markdown(found),
        json=drawn_json(found[0], reranked=None if reranking is None else found[1]),
    )
