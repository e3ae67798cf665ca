"""The workflow for GPU machines: its own commands, run here on a CPU with a tiny model."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from benchmarks.report.compare import CompareThresholds, processes_needed

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / ".github" / "workflows" / "gpu-benchmarks.yml"


def steps() -> dict[str, str]:
    """Name -> commands of each step that runs commands, in order."""
    found: dict[str, str] = {}
    for block in WORKFLOW.read_text().split("\n      - ")[1:]:
        name = re.match(r"name: (.+)", block)
        command = re.search(r"^ {8}run: \|\n((?: {10}.*\n|\n)+)", block + "\n", flags=re.MULTILINE)
        if command is not None:
            assert name is not None, "a step that runs commands has no name"
            found[name[1]] = textwrap.dedent(command[1])
    return found


def declared() -> dict[str, str]:
    """The environment that the workflow's job sets."""
    block = re.search(r"^ {4}env:\n((?: {6}.*\n)+)", WORKFLOW.read_text(), flags=re.MULTILINE)
    assert block is not None
    lines = (line.strip().partition(": ") for line in block[1].splitlines())
    return {name: value.strip('"') for name, _, value in lines}


def test_every_variable_of_the_commands_is_declared():
    used = set(re.findall(r"\$\{?([A-Z][A-Z_]*)", "\n".join(steps().values())))
    given = {"GITHUB_PATH", "GITHUB_STEP_SUMMARY", "PWD"}
    assert used - given <= declared().keys()


def test_gpu_is_measured_as_often_as_promised():
    environment = declared()
    assert environment["BATCHES"].split() == ["1", "8", "32", "64", "128"]
    assert int(environment["RUNS"]) >= 200
    assert environment["PRECISION"] == "fp16"
    # or no comparison could ever give a verdict
    assert int(environment["PROCESSES"]) >= processes_needed(CompareThresholds().p) == 4


@pytest.fixture
def place(tmp_path: Path, untrained_run: Path, tiny_set: Path) -> tuple[Path, dict[str, str]]:
    """A folder like a checkout, and the environment of a run on the CPU."""
    for name in ("benchmarks", "mtml_deploy", "mtml_train"):
        (tmp_path / name).symlink_to(ROOT / name)
    programs = Path(sys.executable).parent
    if shutil.which("mtml-deploy", path=str(programs)) is None:
        pytest.skip(f"the programs of the project are not installed in {programs}")
    environment = os.environ | declared() | {
        "BACKEND": "ort", "DEVICE": "cpu", "RUN": str(untrained_run), "DATA": f"veri:{tiny_set}",
        "BATCHES": "1", "RUNS": "8", "SECONDS_EACH": "0.2", "BASELINE": "baseline",
        "REPORTS": "reports", "PROCESSES": "1",
        "LATENCY_EXTRA": "--runner ort --model-threads 1 --no-memory",
        "THROUGHPUT_EXTRA": "--runner ort --model-threads 1 --rounds 1 --seconds 0.1 "
        "--matrix-size 64",
        "LAYOUTS_EXTRA": "--model-threads 1 --matrix-size 64",
        "GITHUB_STEP_SUMMARY": str(tmp_path / "step-summary.md"),
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    return tmp_path, environment


def as_if_measured(path: Path, *, processes: int, factor: float) -> None:
    """Change a record as if several processes had measured the same, and `factor` times as much."""
    written = json.loads(path.read_text())
    for item in written["series"]:
        item["values"] = [value * factor for value in item["values"]]
        item["process_medians"] = [item["values"][0]] * processes
    path.write_text(json.dumps(written))


def test_the_commands_run_on_a_cpu(place: tuple[Path, dict[str, str]]):
    folder, environment = place
    commands = steps()
    assert list(commands) == [
        "Install", "Look at the machine", "Test on the GPU", "Export", "Build the engine",
        "Parity gate", "Measure", "Compare", "Report", "Keep this measurement",
    ]  # fmt: skip
    del commands["Install"]  # installs what runs this test
    assert commands.pop("Test on the GPU").split() == ["make", "test-gpu"]

    def run(name: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands[name]],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    for name in commands:
        done = run(name)
        assert done.returncode == 0, f"{name}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    reports = folder / "reports"
    manifest = json.loads((folder / "work" / "model" / "manifest.json").read_text())
    assert manifest["precision"] == "fp16"
    assert json.loads((reports / "parity.json").read_text())["passed"] is True
    latency = json.loads((reports / "latency.json").read_text())
    assert latency["model"]["sha256"] == manifest["model_sha256"]
    assert [item["key"] for item in latency["series"]][:3] == [
        "b1/ort", "b1/decode", "b1/end_to_end",
    ]  # fmt: skip
    summary = (folder / "step-summary.md").read_text()
    assert summary.index("PASS") < summary.index("<details>")
    assert (reports / "report.html").stat().st_size > 1000
    kept = {path.name for path in (folder / "baseline").iterdir()}
    assert kept == {"latency.json", "throughput.json", "layouts.json"}

    # the next run finds what this one kept; one process on each side is no reason to stop
    base, new = folder / "baseline" / "latency.json", reports / "latency.json"
    as_if_measured(base, processes=1, factor=0.01)
    done = run("Compare")
    assert done.returncode == 0, done.stderr
    assert "no verdict on" in done.stdout
    # an earlier measurement that was faster in each of four processes stops it
    as_if_measured(base, processes=4, factor=1)
    as_if_measured(new, processes=4, factor=1)
    done = run("Compare")
    assert done.returncode == 1
    assert "latency:b1/ort" in done.stdout
    assert "❌" in (reports / "compare.md").read_text()
