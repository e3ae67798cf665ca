"""Peers' checkouts, copied and mended so that they work beside today's libraries.

In: a checkout that the user fetched. Out: a copy of its package in which only what no longer works
is changed; the checkout stays as it is, and nothing of it is part of the project.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from mtml_deploy.errors import DataError

PeerName = Literal["torchreid", "fast-reid"]


@dataclass(frozen=True)
class Mend:
    """One change of one file.

    Attributes:
        file: within the checkout.
        found: text that must be there.
        better: what takes its place, everywhere in the file.
    """

    file: str
    found: str
    better: str


@dataclass(frozen=True)
class Peer:
    """One toolkit.

    Attributes:
        module: of its trainer.
        commit: that the changes were made for, and that numbers are reported of.
        folders: of the checkout that it needs.
        mends: what no longer works, and how it does.
    """

    module: str
    commit: str
    folders: tuple[str, ...]
    mends: tuple[Mend, ...]


PEERS: Final[Mapping[PeerName, Peer]] = {
    "torchreid": Peer(
        "benchmarks.training.torchreid_trainer",
        "f8cd150",
        ("torchreid",),
        (Mend("torchreid/metrics/rank.py", "np.bool)", "bool)"),),
    ),
    "fast-reid": Peer(
        "benchmarks.training.fast_reid_trainer",
        "c9bc3ce",
        ("fastreid", "configs"),
        (
            Mend(
                "fastreid/data/build.py",
                "from collections import Mapping",
                "from collections.abc import Mapping",
            ),
            Mend(
                "fastreid/evaluation/testing.py",
                "from collections import Mapping, OrderedDict",
                "from collections import OrderedDict\nfrom collections.abc import Mapping",
            ),
            Mend("fastreid/evaluation/rank.py", "np.bool)", "bool)"),
            # the gradients of all weights are views of one buffer, which None would cut off
            Mend("fastreid/engine/train_loop.py", "zero_grad()", "zero_grad(set_to_none=False)"),
        ),
    ),
}
"""Every peer by name."""


def mended_copy(name: PeerName, checkout: Path, target: Path) -> Path:
    """Copy what is needed of a checkout, and mend it.

    Args:
        name: of the peer.
        checkout: as the user fetched it.
        target: folder of the copy; what was there is replaced.

    Returns:
        `target`, to be put on the path of the process that trains.

    Raises:
        DataError: another commit, or a text that is to be changed is not there.
    """
    peer = PEERS[name]
    commit = _commit(checkout)
    if not commit.startswith(peer.commit):
        raise DataError(
            f"{checkout} is at commit {commit[:7] or '(no checkout of git)'}, and {name} is "
            f"measured at {peer.commit}; check that commit out there"
        )
    shutil.rmtree(target, ignore_errors=True)
    for folder in peer.folders:
        shutil.copytree(checkout / folder, target / folder)
    for mend in peer.mends:
        path = target / mend.file
        text = path.read_text(encoding="utf-8")
        if mend.found not in text:
            raise DataError(
                f"{checkout / mend.file} does not hold {mend.found!r}, which is to be changed; "
                f"fetch {name} anew at {peer.commit}"
            )
        path.write_text(text.replace(mend.found, mend.better), encoding="utf-8")
    return target


def _commit(checkout: Path) -> str:
    """The commit of a checkout; empty where there is none."""
    done = subprocess.run(
        ["git", "-C", str(checkout), "rev-parse", "HEAD"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.strip() if done.returncode == 0 else ""
