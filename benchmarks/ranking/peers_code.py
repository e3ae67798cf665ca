"""The code of the peers, loaded from single files and given types.

Importing the toolkits themselves would need everything that they train with.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from benchmarks.ranking.clustered import Labels
from benchmarks.ranking.metrics import Evaluation, Judged
from benchmarks.ranking.peers import CYTHON, Peer
from mtml_deploy.defaults import RERANK_K1, RERANK_K2, RERANK_LAMBDA
from mtml_deploy.errors import DataError

Reranking = Callable[
    [NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]
]
"""L2 distances [Q, G], [Q, Q] and [G, G] -> re-ranked distances [Q, G]."""


def load_evaluation(peer: Peer) -> Evaluation:
    """The compiled evaluation of a peer, under the rule of Market-1501, loaded.

    Raises:
        DataError: it is not there or cannot be loaded here.
    """
    module = _load(peer.compiled_evaluation(), CYTHON)

    def evaluate(
        distances: NDArray[np.float32], query: Labels, gallery: Labels, ranks: int
    ) -> Judged:
        ids = (query.vehicle_ids, gallery.vehicle_ids, query.camera_ids, gallery.camera_ids)
        cmc, precision, *penalty = module.evaluate_cy(
            distances, *(labels.astype(np.int64) for labels in ids), ranks
        )
        # torchreid gives the mean, fast-reid the values of all queries and the penalties too
        return Judged(
            np.asarray(cmc, dtype=np.float64),
            float(np.mean(precision, dtype=np.float64)),
            float(np.mean(penalty[0], dtype=np.float64)) if penalty else None,
        )

    return evaluate


def load_reranking(peer: Peer) -> Reranking:
    """The re-ranking of a peer with k1 20, k2 6 and lambda 0.3, loaded.

    Raises:
        DataError: it is not there or cannot be loaded here.
    """
    module = _load(peer.reranking(), f"peer_{peer.key}_rerank")

    def rerank(
        between: NDArray[np.float32], queries: NDArray[np.float32], gallery: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        found = module.re_ranking(between, queries, gallery, RERANK_K1, RERANK_K2, RERANK_LAMBDA)
        return np.asarray(found, dtype=np.float32)

    return rerank


def _load(path: Path, name: str) -> ModuleType:
    """The module in one file, without the package around it.

    Args:
        path: a Python file or a compiled module.
        name: what the module calls itself; a compiled one insists on it.
    """
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise DataError(f"{path} is not a Python module; fetch and compile that peer again")
    try:
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    except ImportError as error:
        raise DataError(
            f"{path} cannot be loaded ({error}); compile it again with this Python"
        ) from error
    return module
