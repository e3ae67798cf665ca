"""Block sizes from a budget, and the memory that is really taken."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mtml_deploy.errors import MemoryBudgetError
from mtml_deploy.evaluation.match_ranks import match_ranks
from mtml_deploy.search.candidates.blas import fixed_bytes
from mtml_deploy.search.distance_blocks import PlainOrder
from mtml_deploy.search.memory import GIB, block_rows
from mtml_deploy.search.rank import rank

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("budget", "rows"),
    # 100 bytes whatever the block and 30 a row, at most 5 rows
    [(130, 1), (159, 1), (160, 2), (249, 4), (250, 5), (10_000, 5), (None, 5)],
)
def test_rows_of_a_block(budget, rows):
    assert block_rows(budget, fixed_bytes=100, row_bytes=30, most=5, purpose="work") == rows


def test_too_little_says_the_least_that_works():
    # 1.5 GiB and one row: 1.6 GiB, given 1 GiB
    fixed, row = 3 * GIB // 2, GIB // 10
    with pytest.raises(MemoryBudgetError, match=r"^work may take 1 GiB .* --memory-gib 1\.600$"):
        block_rows(GIB, fixed_bytes=fixed, row_bytes=row, most=9, purpose="work")
    advised = int(1.6 * GIB)
    assert block_rows(advised, fixed_bytes=fixed, row_bytes=row, most=9, purpose="work") == 1


def test_a_small_budget_is_refused_and_the_least_one_works():
    features = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    rows = [np.array([row]) for row in range(60)].__getitem__
    nothing = [np.empty(0, dtype=np.int64)] * 60
    for call, whole in (
        (lambda budget: rank(features, features, top_k=3, memory_bytes=budget).rows.tolist(), None),
        (
            lambda budget: [
                found.tolist()
                for found in match_ranks(
                    PlainOrder(features, features, memory_bytes=budget),
                    matches=rows,
                    excluded=nothing.__getitem__,
                )[0]
            ],
            None,
        ),
    ):
        with pytest.raises(MemoryBudgetError) as caught:
            call(1000)
        least = float(str(caught.value).rpartition(" ")[2])
        assert call(int(least * GIB) + 1) == call(whole)


CHILD = """
import json, resource, sys, tracemalloc
import numpy as np
from mtml_deploy.evaluation.match_ranks import match_ranks
from mtml_deploy.search.distance_blocks import PlainOrder
from mtml_deploy.search.rank import rank

what, budget, size, equal = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "equal"
rng = np.random.default_rng(0)
query = rng.random((200, 32), dtype=np.float32)
gallery = np.ones((size, 32), np.float32) if equal else rng.random((size, 32), dtype=np.float32)
nothing = np.empty(0, dtype=np.int64)

def run(query, gallery):
    if what == "evaluate":
        match_ranks(
            PlainOrder(query, gallery, memory_bytes=budget),
            matches=lambda row: np.arange(5), excluded=lambda row: nothing,
        )
    else:
        rank(query, gallery, top_k=20, engine=what, memory_bytes=budget)

run(query[:30], gallery[:2000])  # libraries and their own buffers
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
tracemalloc.start()
run(query, gallery)
traced = tracemalloc.get_traced_memory()[1]
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"traced": traced, "resident": after - before}))
"""

ALLOCATOR_BYTES = 8 << 20
"""What the allocators keep of freed blocks and count as used."""


def measured(what: str, budget: int, size: int, kind: str) -> dict[str, int]:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, what, str(budget), str(size), kind],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", ["random", "equal"])
@pytest.mark.parametrize("what", ["numpy", "faiss", "ort", "evaluate"])
def test_the_budget_holds(what, kind):
    for library in {"faiss": ("faiss",), "ort": ("onnxruntime", "onnx")}.get(what, ()):
        pytest.importorskip(library)
    size = 20_000
    # less than all products at once (200 x 20,000 x 4 or 8 bytes), beside the rest
    budget = fixed_bytes(size, 32) + (6 << 20) + (0 if what == "numpy" else 48 << 20)
    taken = measured(what, budget, size, kind)
    assert taken["traced"] <= budget
    assert taken["resident"] <= budget + ALLOCATOR_BYTES
    # the measurement sees the work: blocks are made as large as they may be
    assert taken["traced"] >= 2 << 20
