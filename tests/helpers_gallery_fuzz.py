"""A small gallery, every question that can be asked of it, and a judge of the answers.

The judge compares with the undamaged gallery: an answer is the same, or it is refused in words, or
(where bytes of vectors were changed) what comes back is true and `verify` names what is wrong.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from fuzz_mutations import (
    Outcome,
    outcome_of,
)
from helpers_gallery import batch, identity
from helpers_gallery_damage import Damage

from mtml_deploy.data.ids import NamedId
from mtml_deploy.gallery.folder.gallery import FolderGallery, create_folder_gallery
from mtml_deploy.gallery.values import Filter, Selection

DIM: Final = 6
ROWS: Final = 23
SEGMENT_BYTES: Final = 9 * 4 * DIM
"""Of the writer, for the test: three vector files."""

MODEL: Final = identity(dim=DIM)


def vectors(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)


QUERY: Final = vectors(9, 3)


def make(folder: Path, dtype: str) -> Path:
    """23 rows in 3 files, two of them removed; folded, as a closed gallery is."""
    create_folder_gallery(folder, MODEL, dtype=dtype)
    labels = {
        "vehicle_id": [NamedId("B-41") if i % 5 == 2 else i // 4 for i in range(ROWS)],
        "camera_id": [i % 3 - (i == 5) for i in range(ROWS)],
        "orientation": [i % 8 for i in range(ROWS)],
        "tracklet_id": [i // 2 for i in range(ROWS)],
        "time_us": [None if i == 7 else 10**15 + i for i in range(ROWS)],
    }
    with FolderGallery(folder, write=True) as gallery:
        gallery.add_rows(
            batch(vectors(0, ROWS), dim=DIM, contents=[f"c{i}" for i in range(ROWS)], **labels)
        )
        gallery.remove(Selection(rows=(3, 20)))
    for path in folder.glob("rows.sqlite-*"):
        path.unlink()
    return folder


def _asked(gallery: FolderGallery, where: Filter, top_k: int = 5) -> object:
    found = gallery.search(QUERY, model=MODEL, top_k=top_k, where=where)
    return found.rows.tolist(), found.distances.tolist()


def _search(folder: Path) -> object:
    with FolderGallery(folder) as gallery:
        return _asked(gallery, Filter())


def _all(folder: Path) -> object:
    with FolderGallery(folder) as gallery:
        return _asked(gallery, Filter(), ROWS)


def _filtered(folder: Path) -> object:
    with FolderGallery(folder) as gallery:
        return (
            _asked(gallery, Filter(cameras=(1, 2))),
            _asked(gallery, Filter(not_cameras=(0,), since_us=10**15 + 4)),
            _asked(gallery, Filter(orientations=(1, 5), until_us=10**15 + 18)),
        )


def _hits(folder: Path) -> object:
    with FolderGallery(folder) as gallery:
        return gallery.hit_lists(gallery.search(QUERY, model=MODEL, top_k=4))


def _records(folder: Path) -> object:
    with FolderGallery(folder) as gallery:
        return len(gallery), list(gallery.rows()), list(gallery.rows([5, 1, 3, 99]))


def _holds(folder: Path) -> object:
    with FolderGallery(folder) as gallery:
        return gallery.holds(["c0", "c3", "c9", "none"])


def _vectors(folder: Path) -> object:
    with FolderGallery(folder) as gallery:
        return gallery.vectors([9, 2, 22]).tolist()


def _info(folder: Path) -> object:
    with FolderGallery(folder) as gallery:
        return replace(gallery.summary(), disk_bytes=None)


def _export(folder: Path) -> object:
    with FolderGallery(folder) as gallery:
        rows = gallery.embeddings()
    labels = [rows.vehicle_ids, rows.camera_ids, rows.orientations, rows.tracklet_ids]
    return rows.names, rows.features.tolist(), [label.tolist() for label in labels]


def _verify(folder: Path) -> object:
    with FolderGallery(folder) as gallery:
        return gallery.verify()


READS: Final[dict[str, Callable[[Path], object]]] = {
    "search": _search, "all": _all, "filtered": _filtered, "hits": _hits, "records": _records,
    "holds": _holds, "vectors": _vectors, "info": _info, "export": _export,
    "verify": _verify,
}  # fmt: skip
"""Questions that change nothing."""


def _add(gallery: FolderGallery) -> object:
    added = gallery.add_rows(batch(vectors(1, 4), dim=DIM, contents=["n0", "c1", "n1", "n2"]))
    return added.rows.tolist(), added.is_new.tolist()


WRITES: Final[dict[str, Callable[[FolderGallery], object]]] = {
    "add": _add,
    "remove": lambda gallery: gallery.remove(
        Selection(rows=(2,), paths=("/images/c11.png",), vehicles=(1,))
    ),
    "compact": lambda gallery: gallery.compact(),
}  # fmt: skip
"""Changes, in this order."""


def _written(folder: Path, name: str) -> object:
    with FolderGallery(folder, write=True) as gallery:
        return WRITES[name](gallery)


class Judge:
    """Knows the answers of a whole gallery."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        """Ask a copy everything.

        Args:
            folder: the whole gallery; stays as it is.
            scratch: folder for copies.
        """
        self.folder = folder
        self.copy = scratch / "copy"
        self.reads = list(READS)
        self._fresh()
        self.expected = {name: READS[name](self.copy) for name in self.reads}
        truth = _distances(self.copy)
        self.after: list[tuple[dict[str, object], object]] = []
        for name in WRITES:
            made = _written(self.copy, name)
            self.after.append(({key: READS[key](self.copy) for key in ("all", "records")}, made))
        self._truth = truth | _distances(self.copy)

    def _fresh(self) -> None:
        if self.copy.exists() or self.copy.is_symlink():
            shutil.rmtree(self.copy)
        shutil.copytree(self.folder, self.copy)

    def damaged(self, damage: Callable[[Path, random.Random], Damage | None], seed: int) -> Damage:
        """A fresh copy with one damage; of a seed always the same."""
        draw = random.Random(seed)
        while True:
            self._fresh()
            done = damage(self.copy, draw)
            if done is not None:
                return done

    def judge_reads(self, names: list[str]) -> tuple[int, list[str]]:
        """Ask the copy; how many were refused, and every fault."""
        refused, faults, differ = 0, [], []
        for name in names:
            outcome = self._asked(lambda name=name: READS[name](self.copy), name, faults)
            if outcome is None:
                continue
            if outcome.refusal:
                refused += 1
            elif name != "verify" and outcome.answer != self.expected[name]:
                if self._is_true(name, outcome.answer):
                    differ.append(name)
                else:
                    faults.append(f"{name}: wrong answer")
        if differ:
            verdict = self._asked(lambda: READS["verify"](self.copy), "verify", faults)
            if verdict is not None and not verdict.refusal and verdict.answer == ():
                faults.append(f"{', '.join(differ)}: incomplete, and verify finds nothing")
        return refused, faults

    def judge_writes(self) -> tuple[int, list[str]]:
        """Change the copy until something is refused; what it says afterwards must be right."""
        refused, faults = 0, []
        for name, (expected, made) in zip(WRITES, self.after, strict=True):
            done = self._asked(lambda name=name: _written(self.copy, name), name, faults)
            if done is None or done.refusal:
                return refused + 1, faults
            answers = {
                key: self._asked(
                    lambda key=key: READS[key](self.copy), f"{key} after {name}", faults
                )
                for key in expected
            }
            if any(answer is None for answer in answers.values()):
                return refused, faults
            same = done.answer == made and all(
                answer.refusal or answer.answer == expected[key] for key, answer in answers.items()
            )
            if not same:
                verdict = self._asked(lambda: READS["verify"](self.copy), "verify", faults)
                if verdict is not None and not verdict.refusal and verdict.answer == ():
                    faults.append(f"{name}: wrong afterwards, and verify finds nothing")
                return refused, faults
        return refused, faults

    @staticmethod
    def _asked(call: Callable[[], object], name: str, faults: list[str]) -> Outcome | None:
        """The outcome; None, with a fault, for what is neither an answer nor a refusal."""
        try:
            return outcome_of(call, limit_s=10)
        except BaseException as error:  # a hang is a BaseException
            if isinstance(error, KeyboardInterrupt):
                raise
            faults.append(f"{name}: {type(error).__name__}: {str(error)[:150]}")
            return None

    def _is_true(self, name: str, answer: object) -> bool:
        """Whether an answer that lacks rows has only right ones."""
        if name == "holds":  # what it does not tell of is added again
            return answer.items() < self.expected[name].items()
        if name not in ("search", "all", "filtered"):
            return False
        parts = {"filtered": lambda a: a}
        expected = self.expected[name]
        found = parts.get(name, lambda a: (a,))(answer)
        for (rows, distances), (wanted, _) in zip(
            found, parts.get(name, lambda a: (a,))(expected), strict=True
        ):
            if [len(row) for row in rows] != [len(row) for row in wanted]:
                return False
            for query, (row, distance) in enumerate(zip(rows, distances, strict=True)):
                pairs = zip(row, distance, strict=True)
                if any(self._truth[query, number] != value for number, value in pairs):
                    return False
        return True


def _distances(folder: Path) -> dict[tuple[int, int], float]:
    """(query, row) -> distance."""
    rows, distances = _all(folder)
    return {
        (query, row): distances[query][place]
        for query in range(len(rows))
        for place, row in enumerate(rows[query])
    }
