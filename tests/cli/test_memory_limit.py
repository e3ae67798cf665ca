"""Where the system gives no more memory: one line, and no half file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from mtml_deploy.cli.command import SafeCommand
from mtml_deploy.embed.embeddings import Embeddings, ModelIdentity

STATM = Path("/proc/self/statm")

ROWS, DIM = 1000, 50_000
"""200 MB of features."""

_LIMITED = """
import resource, sys
import numpy as np
import mtml_deploy
from mtml_deploy.cli.main import main
np.ones((64, 64), np.float32) @ np.ones((64, 64), np.float32)  # the BLAS takes its own first
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 100_000_000,) * 2)
main(sys.argv[1:])
"""
"""A command that may have half of what the features need, beside what it has already."""


def test_no_memory_is_one_line() -> None:
    def hungry() -> None:
        np.empty(2**62, np.uint8)

    result = CliRunner().invoke(SafeCommand("hungry", callback=hungry), [])
    assert result.exit_code == 1
    assert result.output.startswith("error: not enough memory: Unable to allocate")
    assert "ulimit -v" in result.output and "Traceback" not in result.output


@pytest.mark.skipif(not STATM.exists(), reason="this system does not tell what a process has")
def test_a_limited_process(tmp_path: Path) -> None:
    numbers = np.zeros(ROWS, np.int32)
    Embeddings(
        features=np.zeros((ROWS, DIM), np.float32),
        vehicle_ids=numbers,
        camera_ids=numbers,
        orientations=numbers,
        tracklet_ids=numbers,
        names=tuple(map(str, range(ROWS))),
        root="",
        source="s",
        model=ModelIdentity("a" * 64, "fp32", "fused", DIM),
    ).save(tmp_path / "e.npz")
    before = sorted(path.name for path in tmp_path.iterdir())
    for words in (
        ["tracklets", "e.npz", "--out", "t.npz"],
        ["evaluate", "--query", "e.npz", "--gallery", "e.npz", "--json", "m.json"],
        ["rank", "--query", "e.npz", "--gallery", "e.npz", "--json", "r.json"],
    ):
        done = subprocess.run(
            [sys.executable, "-c", _LIMITED, *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 1, done.stderr
        assert done.stderr.startswith("error: not enough memory: "), done.stderr
        assert done.stderr.count("\n") == 1
        assert sorted(path.name for path in tmp_path.iterdir()) == before
