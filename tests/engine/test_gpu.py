"""What only a GPU can do: run with `make test-gpu`; what may skip is in `helpers_gpu`."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers_gpu import require_gpu, skip, skip_if_absent

from benchmarks.__main__ import main
from benchmarks.branches.layout_model import random_extractor
from benchmarks.measure.limits import ceilings
from benchmarks.measure.machine import gpu_states
from benchmarks.runners.layout_modules import BranchLayout
from benchmarks.runners.open import lowest_cosine, offers
from benchmarks.runners.runner import Subject
from benchmarks.runners.torch_model import GpuModule, record_graph
from mtml_deploy.artifact.artifact import Artifact, open_artifact
from mtml_deploy.defaults import Backend
from mtml_deploy.engine.folder import build_engine
from mtml_deploy.engine.gpu import Gpu, gpu_of
from mtml_deploy.engine.library import Target, load_library
from mtml_deploy.engine.options import BatchProfile, BuildOptions
from mtml_deploy.errors import MtmlError
from mtml_deploy.runtime.open import open_runtime

DEVICE = "cuda:0"

pytestmark = pytest.mark.gpu

SIZE = 32

COSINE = 0.9999
"""fp16 and TF32 keep 11 bits: errors of 5e-4 of each product average out over thousands. Two images
of `pixels` have 0.96, so a row of another image shows."""


@pytest.fixture(scope="session", autouse=True)
def gpu() -> Gpu:
    """Of the session, so that nothing is built for tests that skip."""
    return require_gpu()


def require_torch() -> torch.device:
    if torch.version.cuda is None:
        skip("torch", f"torch {torch.__version__} was built without CUDA")
    return torch.device(DEVICE)


def pixels(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def extractor():
    torch.manual_seed(0)
    return random_extractor("resnet18", SIZE)[0]


# --- torch ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["plain", "serial", "streams", "grouped"])
def test_layouts_agree_with_the_cpu(extractor, layout):
    device = require_torch()
    images = torch.from_numpy(pixels(5))
    with torch.inference_mode():
        expected = extractor(images).numpy()
        module = BranchLayout(extractor, layout=layout, dtype=torch.float16).to(device)
        on_gpu = images.to(device)
        found = module(on_gpu).cpu().numpy()
        assert lowest_cosine(expected, found) > COSINE
        graph, source, result = record_graph(module, on_gpu)
        source.copy_(on_gpu.flip(0))  # a graph reads what its input holds now
        graph.replay()
        torch.cuda.synchronize()
        assert lowest_cosine(expected[::-1].copy(), result.cpu().numpy()) > COSINE


@pytest.mark.parametrize("graphs", [False, True])
def test_runs_streams_and_parts_of_torch(extractor, graphs):
    device = require_torch()
    module = BranchLayout(extractor, layout="serial", dtype=torch.float32).to(device)
    loaded = GpuModule(module, device, graphs=graphs)
    first, second = pixels(4), pixels(3)
    with torch.inference_mode():
        expected = [extractor(torch.from_numpy(images)).numpy() for images in (first, second)]
    for images, truth in ((first, expected[0]), (second, expected[1]), (first, expected[0])):
        found = loaded.run(images)
        assert lowest_cosine(truth, found) > COSINE
    loaded.stream([first, second, first, first])
    parts = loaded.parts(first)
    assert set(parts) == {"copy_in", "compute", "copy_out"}
    assert min(parts.values()) > 0
    assert parts["compute"] < 1.0  # seconds: the unit of the events is milliseconds


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_ceiling_is_faster_than_any_cpu(precision):
    (found,) = ceilings(require_torch(), (precision,), threads=1, size=4096)
    assert found.measure() > 1e12  # every GPU of the last ten years


def test_the_state_of_the_gpu_is_recorded():
    found = gpu_states()[0]
    assert found.name and found.driver
    assert found.memory_bytes > 1 << 30


# --- backends -------------------------------------------------------------------------------------


def agree(artifact: Artifact, backend: Backend) -> None:
    """Every row of every batch length is what the CPU gives."""
    with (
        open_runtime(artifact) as reference,
        open_runtime(artifact, backend=backend, device=DEVICE) as runtime,
    ):
        for count in (1, 3, 8, 19, 3):  # within the profile, split, padded, seen before
            images = pixels(count)
            assert lowest_cosine(reference.run(images), runtime.run(images)) > COSINE
        reversed_view = pixels(4)[::-1]
        assert lowest_cosine(reference.run(reversed_view), runtime.run(reversed_view)) > COSINE
        with pytest.raises(ValueError, match="uint8"):
            runtime.run(pixels(2).astype(np.float32))  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="at least one image"):
            runtime.run(pixels(1)[:0])
        assert len(runtime.run(pixels(2))) == 2  # usable after refused calls


def test_onnx_runtime_on_the_gpu(tiny_artifact: Path):
    try:
        agree(open_artifact(tiny_artifact), "ort")
    except MtmlError as error:
        skip_if_absent("ort", error)


@pytest.mark.parametrize("target", ["tensorrt", "tensorrt-rtx"])
def test_engines(tiny_artifact: Path, tmp_path: Path, target: Target):
    import shutil

    shutil.copytree(tiny_artifact, tmp_path / "art")
    artifact = open_artifact(tmp_path / "art")
    try:
        library = load_library(target)
        options = BuildOptions(profile=BatchProfile(1, 4, 8))
        build_engine(artifact, options, library, gpu=gpu_of(DEVICE))
        agree(artifact, target)
    except MtmlError as error:
        skip_if_absent(target, error)


# --- the benchmarks themselves --------------------------------------------------------------------


def test_latency_of_all_that_is_here(tiny_artifact: Path, tiny_run: Path, tmp_path: Path):
    require_torch()
    keys = []
    for offer in offers(Subject(open_artifact(tiny_artifact), tiny_run, DEVICE, 1)):
        # compiling takes minutes, and the engines of the artifact are tested above
        if not offer.reason and offer.key.startswith("torch") and offer.key != "torch-compile":
            with ExitStack() as stack:
                stack.enter_context(offer.open())
            keys.append(offer.key)
    assert keys == ["torch", "torch-fp16", "torch-fp16-graph"]
    words = ["latency", str(tiny_artifact), "--run", str(tiny_run)]
    words += [
        "--device",
        DEVICE,
        "--out",
        str(tmp_path),
        "--batch-size",
        "1",
        "--batch-size",
        "4",
        "--runs",
        "20",
    ]
    words += [word for key in keys for word in ("--runner", key)]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    values = json.loads((tmp_path / "latency.json").read_text())
    found = {item["key"]: item for item in values["series"]}
    assert found["b4/torch-fp16-graph/compute"]["runs"] == 20
    assert found["device_memory/torch"]["unit"] == "B"
    assert values["gpus"][0]["name"]


def test_layouts_on_the_gpu(tmp_path: Path):
    require_torch()
    words = ["layouts", "--backbone", "resnet18", "--image-size", str(SIZE), "--device", DEVICE,
             "--out", str(tmp_path), "--batch-size", "1", "--batch-size", "64",
             "--runs", "20"]  # fmt: skip
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    values = json.loads((tmp_path / "layouts.json").read_text())
    keys = {item["key"] for item in values["series"]}
    assert {"b1/streams-graph", "b64/grouped-graph", "matrix_product_fp16"} <= keys
    assert any(item["at_least"] == 0.4 for item in values["ratios"])
