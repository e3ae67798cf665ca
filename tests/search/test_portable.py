"""The same bits on every machine: ranking, re-ranking and evaluation under several processors.

Each child process leaves instructions of its processor aside, or uses other kernels of the BLAS and
C libraries, or another number of threads. What they write must be equal in every byte.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from decimal import Context, Decimal
from pathlib import Path

import numpy as np
import pytest
from helpers_embeddings import embedded
from numpy._core import _multiarray_umath as kernels

from mtml_deploy.search.portable import exp_of_minus, power

HALF_EPS = 2.0**-53
ROOT = Path(__file__).parents[2]
FEATURES: dict[str, bool] = kernels.__cpu_features__
DISPATCHED = [name for name in kernels.__cpu_dispatch__ if FEATURES.get(name)]
X86 = platform.machine() in ("x86_64", "AMD64")

# what a child does: the commands of a user, and float64 distances, of which JSON holds float32
CHILD = """
import hashlib, sys
import numpy as np
from click.testing import CliRunner
from mtml_deploy.cli.main import main
from mtml_deploy.embed.embeddings import Embeddings
from mtml_deploy.search.query_expansion import ExpansionOptions, expand
from mtml_deploy.search.rerank import rerank

def run(*words):
    done = CliRunner().invoke(main, [*words, "--query", "q.npz", "--gallery", "g.npz"])
    assert done.exit_code == 0, done.output

folder = sys.argv[1]
steps = ("--expand", "3", "--alpha", "2.7", "--rerank", "--k1", "7", "--k2", "3")
run("rank", "--top-k", "90", "--json", f"{folder}/ranked.json", "--search-engine", "numpy")
run("rank", "--top-k", "90", "--json", f"{folder}/reranked.json", *steps)
run("evaluate", "--protocol", "veri776", "--json", f"{folder}/metrics.json", *steps)
query, gallery = (Embeddings.load(name).features for name in ("q.npz", "g.npz"))
order = rerank(query, gallery)
rows = np.arange(len(gallery))
bits = [order.distances(row, rows).tobytes().hex() for row in range(len(query))]
bits.append(expand(query, gallery, options=ExpansionOptions(4, 1.3)).tobytes().hex())
open(f"{folder}/bits.txt", "w").write("\\n".join(bits))
"""


def settings() -> dict[str, dict[str, str]]:
    """Environments of the children: as it is, then with less and less of this processor."""
    found = {
        "as it is": {"OMP_NUM_THREADS": "1"},
        "other threads": {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"},
        "oldest kernels": {
            "OMP_NUM_THREADS": "1",
            "NPY_DISABLE_CPU_FEATURES": " ".join(DISPATCHED),
            "OPENBLAS_CORETYPE": "Prescott" if X86 else "ARMV8",
            "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX2,-FMA,-FMA4",
        },
    }
    if len(DISPATCHED) > 1:
        found["without the newest"] = {
            "OMP_NUM_THREADS": "1",
            "NPY_DISABLE_CPU_FEATURES": " ".join(DISPATCHED[1:]),
        }
    return found


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    """Clusters with copies, and features on a coarse grid, so that many distances are near ties."""
    rng = np.random.default_rng(4)
    for name, count in (("q", 24), ("g", 120)):
        vehicles = np.arange(count, dtype=np.int32) % 12
        features = np.random.default_rng(9).normal(size=(12, 40))[vehicles]
        features += rng.normal(size=features.shape)
        features[: count // 4] = np.round(features[: count // 4])
        features[-5:] = features[:5]
        embedded(features, vehicles, np.arange(count, dtype=np.int32) % 5, source=name).save(
            tmp_path / f"{name}.npz"
        )
    return tmp_path


def test_every_processor_gives_the_same_bytes(sets: Path):
    children = {}
    for name, changes in settings().items():
        folder = sets / name
        folder.mkdir()
        kept = {k: v for k, v in os.environ.items() if not k.startswith("NPY_")}
        kept["PYTHONPATH"] = os.pathsep.join([str(ROOT), kept.get("PYTHONPATH", "")])
        children[name] = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(folder)],
            cwd=sets, env=kept | changes, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
    for name, child in children.items():
        _, said = child.communicate(timeout=120)
        assert child.returncode == 0, f"{name}: {said}"
    first, *others = children
    files = sorted(path.name for path in (sets / first).iterdir())
    assert files == ["bits.txt", "metrics.json", "ranked.json", "reranked.json"]
    for name in others:
        for file in files:
            same = (sets / name / file).read_bytes() == (sets / first / file).read_bytes()
            assert same, f"{file} differs between '{first}' and '{name}'"


def test_exp_is_within_its_bound():
    values = np.concatenate([np.random.default_rng(0).random(2000), np.arange(17) / 16])
    context = Context(prec=40)
    for value, found in zip(values.tolist(), exp_of_minus(values).tolist(), strict=True):
        error = abs(Decimal(found) - context.exp(-Decimal(value)))
        assert error <= Decimal(7 * HALF_EPS)


def test_exp_of_chosen_values():
    values = np.array([0.0, -0.0, 2.0**-54, 5e-324, 1.0])
    assert exp_of_minus(values)[:4].tolist() == [1, 1, 1, 1]
    assert exp_of_minus(np.empty(0)).tolist() == []
    # more than one chunk, each value as alone
    many = np.random.default_rng(1).random(40_000)
    assert exp_of_minus(many)[[0, 20_000, -1]].tolist() == [
        exp_of_minus(many[[row]])[0] for row in (0, 20_000, -1)
    ]
    for wrong in (-1e-9, 1.5, np.nan):
        with pytest.raises(ValueError, match=r"values are 0\.\.1"):
            exp_of_minus(np.array([0.5, wrong]))


@pytest.mark.parametrize("exponent", [0.0, 1e-300, 0.5, 1.0, 2.7, 3.0, 40.3, 1e5])
def test_power_is_close_to_the_exact_one(exponent: float):
    values = np.array([1e-300, 0.1, 0.5, 0.9999, 1.0, 1.0000000000000002])
    context = Context(prec=40)
    for value, found in zip(values.tolist(), power(values, exponent).tolist(), strict=True):
        exact = float(context.power(Decimal(value), Decimal(exponent)))
        assert found == pytest.approx(exact, rel=1e-10, abs=1e-300)
    assert power(values, 1.0).tolist() == values.tolist()
