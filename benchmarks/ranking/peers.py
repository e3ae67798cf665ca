"""Toolkits that lie beside the project: their compiled evaluation and their re-ranking.

Their code is never part of the project. A user fetches it, compiles the evaluation, and names the
folders; `python -m benchmarks ranking --help` has the commands. It is loaded from single files and
given types: importing the toolkits themselves would need everything that they train with.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.ranking.clustered import Labels
from benchmarks.ranking.metrics import Evaluation, Judged
from mtml_deploy.defaults import RERANK_K1, RERANK_K2, RERANK_LAMBDA
from mtml_deploy.errors import DataError

PeerName = Literal["torchreid", "fast-reid"]

Reranking = Callable[
    [NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]
]
"""L2 distances [Q, G], [Q, Q] and [G, G] -> re-ranked distances [Q, G]."""

CYTHON: Final = "rank_cy"
"""What both toolkits call their compiled evaluation."""


@dataclass(frozen=True)
class _Known:
    """Where a toolkit keeps what is measured, and its hashes as published.

    Attributes:
        cython: folder of the evaluation.
        rerank: file of the re-ranking.
        commit: at which the hashes were taken.
        cython_sha256: of the source of the evaluation.
        rerank_sha256: of the re-ranking.
    """

    cython: str
    rerank: str
    commit: str
    cython_sha256: str
    rerank_sha256: str


_KNOWN: Final[dict[PeerName, _Known]] = {
    "torchreid": _Known(
        "torchreid/metrics/rank_cylib",
        "torchreid/utils/rerank.py",
        "f8cd150",
        "f9a41fdf672fcb35e5a6be5858d3a75c451bdc3219cf80f14846feebdbb35dbf",
        "433c75fb8c256fad834913ac48fd98dbe2d17bce23e4ef5bfe42e3bc53379ea2",
    ),
    "fast-reid": _Known(
        "fastreid/evaluation/rank_cylib",
        "fastreid/evaluation/rerank.py",
        "c9bc3ce",
        "2b60f93303b98e996dad2327494e212e3f017d7293d854c97c3f51fdd7a171cb",
        "c4deebe676441263aae04f751fa19dedf61f55cd531dd7e42469370343fd338e",
    ),
}


@dataclass(frozen=True)
class Peer:
    """One toolkit in a folder.

    Attributes:
        name: of the toolkit.
        folder: its checkout.
    """

    name: PeerName
    folder: Path

    @property
    def key(self) -> str:
        """Its name in keys of the record."""
        return self.name.replace("-", "")

    def compiled_evaluation(self) -> Path:
        """The compiled evaluation.

        Raises:
            DataError: it is not there, or not compiled for this Python.
        """
        folder = self.folder / _KNOWN[self.name].cython
        suffixes = importlib.machinery.EXTENSION_SUFFIXES
        found = [folder / f"{CYTHON}{suffix}" for suffix in suffixes]
        for path in found:
            if path.is_file():
                return path
        raise DataError(
            f"{folder} holds no {found[0].name}, the compiled evaluation of {self.name}; compile "
            "it as python -m benchmarks ranking --help says, or leave that peer out"
        )

    def reranking(self) -> Path:
        """The file of the re-ranking.

        Raises:
            DataError: it is not there.
        """
        path = self.folder / _KNOWN[self.name].rerank
        if not path.is_file():
            raise DataError(
                f"{path} is missing, expected in a checkout of {self.name}; fetch it as "
                "python -m benchmarks ranking --help says, or leave that peer out"
            )
        return path

    def describe(self) -> str:
        """One sentence on which sources ran, with hashes where they are not the published ones."""
        known = _KNOWN[self.name]
        sources = (
            (self.folder / known.cython / f"{CYTHON}.pyx", known.cython_sha256),
            (self.folder / known.rerank, known.rerank_sha256),
        )
        changed = []
        for path, published in sources:
            found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "missing"
            if found != published:
                changed.append(f"{path.name} (sha256 {found[:12]})")
        if not changed:
            return f"{self.name}: sources as published at commit {known.commit}, not patched."
        return (
            f"{self.name}: patched, or of another version than commit {known.commit}: "
            f"{', '.join(changed)}."
        )


def find_peers(torchreid: Path | None, fastreid: Path | None) -> tuple[Peer, ...]:
    """The toolkits that the user named.

    Args:
        torchreid: its checkout; None leaves it out.
        fastreid: the same.

    Returns:
        Their folders absolute, because they are read in processes that start elsewhere.
    """
    found: list[Peer] = []
    if torchreid is not None:
        found.append(Peer("torchreid", torchreid.absolute()))
    if fastreid is not None:
        found.append(Peer("fast-reid", fastreid.absolute()))
    return tuple(found)


def absent_peers(peers: tuple[Peer, ...]) -> tuple[str, ...]:
    """A sentence on each toolkit that is not among `peers`."""
    names = {peer.name for peer in peers}
    return tuple(f"{name}: not installed, not measured." for name in _KNOWN if name not in names)


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
