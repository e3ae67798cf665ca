"""Toolkits that lie beside the project: their compiled evaluation and their re-ranking.

Their code is never part of the project. A user fetches it, compiles the evaluation, and names the
folders; `python -m benchmarks ranking --help` has the commands.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from mtml_deploy.errors import DataError

PeerName = Literal["torchreid", "fast-reid"]

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
