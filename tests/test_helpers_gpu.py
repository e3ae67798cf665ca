"""Skips of the GPU tests: what may skip, what must fail, looked at without a GPU."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers_gpu import VARIABLE, must_run, skip, skip_if_absent

from mtml_deploy.errors import BackendError, MissingExtraError, UnsupportedGpuError

OUTCOMES = {"passed", "failed", "skipped", "error"}
ROOT = Path(__file__).parents[1]
Skipped = pytest.skip.Exception
Failed = pytest.fail.Exception


@pytest.mark.parametrize(
    "error",
    [MissingExtraError("engines need tensorrt", "tensorrt"), UnsupportedGpuError("no SM90")],
)
def test_what_is_absent_skips_unless_it_must_run(monkeypatch: pytest.MonkeyPatch, error: Exception):
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(Skipped, match="tensorrt: "):
        skip_if_absent("tensorrt", error)
    monkeypatch.setenv(VARIABLE, "ort, tensorrt")
    assert must_run() == ("ort", "tensorrt")
    with pytest.raises(Failed, match="MTML_MUST_RUN says that tensorrt runs here"):
        skip_if_absent("tensorrt", error)
    with pytest.raises(Skipped):
        skip("tensorrt-rtx", "not named")


@pytest.mark.parametrize("error", [
    BackendError("could not build an engine: Error Code 1: Cuda Runtime"),
    BackendError("ONNX Runtime offers CPUExecutionProvider only"),
    ValueError("anything else"),
])  # fmt: skip
def test_what_is_broken_fails(monkeypatch: pytest.MonkeyPatch, error: Exception):
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(type(error)) as caught:
        skip_if_absent("ort", error)
    assert caught.value is error


def test_a_backend_that_does_not_exist_is_not_forgotten(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(VARIABLE, "ort,tensort")
    with pytest.raises(Failed, match=r"names tensort, known are torch, ort"):
        must_run()


def test_a_machine_without_a_gpu_fails_what_must_run():
    hidden = {"CUDA_VISIBLE_DEVICES": "-1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "gpu",
               "tests/runtime/test_runtime_gpu.py", "-k", "contiguous"]  # fmt: skip
    for named, status, counts in (
        ("", 0, {"skipped": "6"}),
        # CUDA graphs of ONNX Runtime are of "ort" as well
        ("ort,tensorrt", 1, {"skipped": "2", "error": "4"}),
    ):
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | hidden | {VARIABLE: named}, capture_output=True,
            text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == status, done.stdout
        summary = done.stdout.strip().splitlines()[-1]
        found = {word: count for count, word in re.findall(r"(\d+) ([a-z]+?)s?\b", summary)}
        found = {word: count for word, count in found.items() if word in OUTCOMES}
        assert found == counts, done.stdout


def test_the_environment_of_the_gpu_tests_is_made_for_a_gpu():
    # this may itself run under make
    kept = {k: v for k, v in os.environ.items() if k != VARIABLE and not k.startswith("MAKE")}
    shown = subprocess.run(
        ["make", "--always-make", "--dry-run", "test-gpu"],
        cwd=ROOT, env=kept, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    lines = [line.strip() for line in shown.splitlines()]
    extras = re.search(r"'\.\[(.+)\]'", shown)
    assert extras is not None
    wanted = {"gpu", "tensorrt", "rtx", "pycuda", "train", "dev"}
    assert wanted <= set(extras[1].split(","))
    assert "cpu" not in extras[1].split(",")
    assert shown.index("--editable") < shown.index("pytest -m gpu")
    assert ".venv/bin" not in shown
    assert "MTML_MUST_RUN=torch,ort,tensorrt " in lines[-1]
