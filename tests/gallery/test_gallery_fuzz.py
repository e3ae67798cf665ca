"""Whatever is done to the files of a gallery: the right answer, or an error in words, in time.

Damage of vectors may leave a hit out; what comes back is true then, and `verify` tells.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from helpers_gallery_damage import DAMAGES
from helpers_gallery_forgery import forge
from helpers_gallery_fuzz import READS, SEGMENT_BYTES, Judge, make

MUTATIONS = {
    "bytes": 100, "pages": 100, "json": 70, "entry": 80, "sql": 130, "schema": 90,
}  # fmt: skip
"""How many of each kind, half of them on a gallery of int8 codes."""

SEED = 20_000


@pytest.fixture(scope="module")
def judges(tmp_path_factory) -> dict[str, Judge]:
    folder = tmp_path_factory.mktemp("fuzz")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mtml_deploy.gallery.folder.writer.SEGMENT_BYTES", SEGMENT_BYTES)
        found = {}
        for dtype in ("float32", "int8"):
            (folder / f"of-{dtype}").mkdir()
            found[dtype] = Judge(make(folder / dtype, dtype), folder / f"of-{dtype}")
    return found


@pytest.mark.parametrize("kind", MUTATIONS)
def test_damage(judges: dict[str, Judge], monkeypatch, kind: str):
    monkeypatch.setattr("mtml_deploy.gallery.folder.writer.SEGMENT_BYTES", SEGMENT_BYTES)
    refused, faults = 0, []
    for number in range(MUTATIONS[kind]):
        judge = judges["int8" if number % 2 else "float32"]
        seed = SEED + number
        done = judge.damaged(DAMAGES[kind], seed)
        if number % 4 == 0:
            count, found = judge.judge_writes()
        else:
            names = random.Random(seed).sample(judge.reads, 2)
            count, found = judge.judge_reads(names)
        refused += bool(count)
        faults += [f"{done.file}, {done.what}, seed {seed}: {fault}" for fault in found]
    assert not faults, "\n".join(faults)
    assert refused > MUTATIONS[kind] // 4, "damage that nobody sees is no test"


def test_forged_values_are_answered_or_refused(judges: dict[str, Judge], monkeypatch):
    monkeypatch.setattr("mtml_deploy.gallery.folder.writer.SEGMENT_BYTES", SEGMENT_BYTES)
    faults = []
    for number in range(80):
        judge = judges["int8" if number % 2 else "float32"]
        seed = SEED + number
        done = judge.damaged(forge, seed)
        names = random.Random(seed).sample(judge.reads, 3)
        found = judge.judge_writes()[1] if number % 4 == 0 else judge.judge_reads(names)[1]
        # nothing can tell a forged value from a right one: only its kind of answer is judged
        faults += [
            f"{done.file}, {done.what}, seed {seed}: {fault}"
            for fault in found
            if "wrong" not in fault and "incomplete" not in fault
        ]
    assert not faults, "\n".join(faults)


def test_the_judge_sees_what_is_wrong(judges: dict[str, Judge], monkeypatch):
    judge = judges["float32"]
    judge.damaged(DAMAGES["bytes"], SEED)

    def lie(folder: Path) -> object:
        return [[[1, 2]], [[0.5, 0.5]]]

    def fall(folder: Path) -> object:
        raise ZeroDivisionError

    monkeypatch.setitem(READS, "search", lie)
    monkeypatch.setitem(READS, "info", fall)
    _, faults = judge.judge_reads(["search", "info"])
    assert [fault.split(":")[0] for fault in faults] == ["search", "info"]
