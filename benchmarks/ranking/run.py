"""Search, evaluation, re-ranking and the gallery on made-up embeddings, beside peers and limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from benchmarks.measure.limits import MATRIX_SIZE, machine_limit, matrix_products, torch_threads
from benchmarks.measure.machine import describe_environment
from benchmarks.measure.process import Summary, measure_entrants, run_once
from benchmarks.measure.rounds import SETTLE_S, Contender
from benchmarks.ranking.clustered import ClusterRecipe, write_clustered
from benchmarks.ranking.evaluate import evaluate_entrants, summarise_evaluate
from benchmarks.ranking.gallery import gallery_entrants, summarise_gallery
from benchmarks.ranking.peers import Peer, absent_peers
from benchmarks.ranking.rerank import rerank_entrants, summarise_rerank
from benchmarks.ranking.sizes import TOP_K, Case, Size, record_kind
from benchmarks.ranking.stores import store_entrants
from benchmarks.ranking.topk import summarise_topk, topk_entrants
from benchmarks.report.record import Record
from mtml_deploy.search.distances import worker_threads

_TITLES: Final[dict[Case, str]] = {
    "topk": "Top-k search",
    "evaluate": "Evaluation",
    "rerank": "Re-ranking",
    "gallery": "Gallery search",
}


@dataclass(frozen=True)
class RankingBench:
    """How ranking is summary.

    Attributes:
        rounds: measurements of each contender.
        threads: of every library; 0 for one per physical core.
        matrix_size: side of the matrices of the machine's limit.
        settle_s: pause before each measurement, seconds.
        seed: of the embeddings.
    """

    rounds: int = 3
    threads: int = 0
    matrix_size: int = MATRIX_SIZE
    settle_s: float = SETTLE_S
    seed: int = 0


def measure_ranking(
    case: Case,
    size: Size,
    dim: int,
    scratch: Path,
    *,
    peers: tuple[Peer, ...] = (),
    bench: RankingBench,
    say: Callable[[str], None] = lambda _: None,
) -> Record:
    """Time and memory of one case.

    Args:
        case: what to measure.
        size: of the made-up embeddings.
        dim: D.
        scratch: existing folder on the disk that embeddings and stores are written to.
        peers: toolkits that lie beside the project.
        bench: how to measure.
        say: receives progress.

    Returns:
        The record.

    Raises:
        DataError: a peer is not where it should be.
        BackendError: a contender's process failed.
    """
    environment = describe_environment()
    if case == "evaluate":
        for peer in peers:
            peer.compiled_evaluation()
    if case == "rerank":
        for peer in peers:
            peer.reranking()
    with (
        torch_threads(bench.threads) as threads,
        # absolute: contenders run in processes that start elsewhere
        TemporaryDirectory(prefix=".ranking.", dir=scratch.absolute()) as folder,
    ):
        say(f"making {size.queries} queries and {size.gallery} gallery rows of {dim} dimensions")
        data = Path(folder)
        recipe = ClusterRecipe(size.queries, size.gallery, size.vehicles, dim, bench.seed)
        write_clustered(recipe, data)
        summary = _measure(
            case, size, dim, data, peers, bench=replace(bench, threads=threads), say=say
        )
    return Record(
        kind=record_kind(case, size, dim),
        title=f"{_TITLES[case]}: {size.queries} x {size.gallery} embeddings [{dim}]",
        environment=environment,
        model={"embeddings": "made up", "recipe": "benchmarks/ranking/clustered.py"},
        settings={
            "case": case,
            "size": size.name,
            "queries": size.queries,
            "gallery": size.gallery,
            "vehicles": size.vehicles,
            "dim": dim,
            "top_k": TOP_K,
            "seed": bench.seed,
            "rounds": bench.rounds,
            "threads": threads,
        },
        series=summary.series,
        ratios=summary.ratios,
        notes=(
            "Every run is a new process that loads its libraries and data and warms up before it "
            "is timed; memory is the most the process ever held, libraries and data included.",
            "Times and memory are divided as written: above 100 % the peer, before the stroke, "
            "took longer or held more.",
            *_thread_notes(threads),
            *summary.notes,
        ),
    )


def _thread_notes(threads: int) -> tuple[str, ...]:
    """What a reader must know where contenders could not be given equal threads."""
    own = worker_threads()
    if own == threads:
        return ()
    return (f"The toolkit's float64 sums and sorts ran on {own} threads, all else on {threads}.",)


def _measure(
    case: Case,
    size: Size,
    dim: int,
    folder: Path,
    peers: tuple[Peer, ...],
    *,
    bench: RankingBench,
    say: Callable[[str], None],
) -> Summary:
    """Measure one case on the data in `folder`."""
    limits: tuple[Contender, ...] = ()
    notes: tuple[str, ...] = (*(peer.describe() for peer in peers), *absent_peers(peers))
    if case == "topk":
        entrants, notes = topk_entrants(folder)
        limits = matrix_products(threads=bench.threads, size=bench.matrix_size)
    elif case == "evaluate":
        entrants = evaluate_entrants(folder, peers)
    elif case == "rerank":
        entrants, absent = rerank_entrants(folder, peers, size=size)
        notes += absent
    else:
        for store in store_entrants(folder):
            say(store.title)
            run_once(store, threads=bench.threads, scratch=folder)
        entrants, notes = gallery_entrants(folder)
    outcomes, limit_series = measure_entrants(
        entrants,
        limits=limits,
        rounds=bench.rounds,
        threads=bench.threads,
        scratch=folder,
        say=say,
        settle_s=bench.settle_s,
    )
    if case == "topk":
        summary = summarise_topk(outcomes, machine_limit(limit_series), size=size, dim=dim)
    elif case == "evaluate":
        summary = summarise_evaluate(outcomes, size=size)
    elif case == "rerank":
        summary = summarise_rerank(outcomes, size=size, dim=dim)
    else:
        summary = summarise_gallery(outcomes, size=size, dim=dim)
    measured = [series for o in outcomes.values() for series in (o.seconds, o.peak)]
    return Summary(
        (*measured, *limit_series.values(), *summary.series),
        summary.ratios,
        (*notes, *summary.notes),
    )
