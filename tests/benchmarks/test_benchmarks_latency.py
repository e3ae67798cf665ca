"""Latency, throughput, layouts and branches: what is timed and what follows, never how fast."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec.structs
import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner, Result
from helpers_artifact import DIM, SIZE, tiny_manifest, write_artifact, write_images
from onnx import TensorProto, helper, numpy_helper

import benchmarks.runners.open
from benchmarks.__main__ import main
from benchmarks.branches.cost import columns_of
from benchmarks.branches.layout_model import random_extractor
from benchmarks.branches.layouts import compared, counted_flop
from benchmarks.measure.limits import ceiling_keys, ceilings, products_for
from benchmarks.measure.rounds import Series
from benchmarks.measure.single_runs import RunPlan, Timed, sample_in_turn
from benchmarks.runners.deployed import products_in
from benchmarks.runners.layout_modules import BranchLayout, grouped_net
from benchmarks.runners.nncf_peer import open_nncf
from benchmarks.runners.open import lowest_cosine, open_runners
from benchmarks.runners.runner import Offer, Runner, Subject
from benchmarks.speed.flops import multiply_adds
from benchmarks.speed.latency import LatencyBench, measure_latency
from benchmarks.speed.throughput import ThroughputBench, measure_throughput, shares_of_limit
from mtml_deploy.artifact.artifact import open_artifact
from mtml_deploy.data.source import load_source
from mtml_deploy.errors import ArtifactError, BackendError, CheckpointError

SAME_IN_FLOAT32 = 1e-4
"""Relative to the largest value: the same products summed in another order over 20 layers."""

NEAR = 1e-12
"""Of quotients in float64."""

PLAN = RunPlan(most=2, fewest=1, seconds=5.0, rounds=1, settle_s=0)


def subject(place: Path, **changes) -> Subject:
    return Subject(**{"artifact": open_artifact(place / "art"), "run": None, "device": "cpu",
                      "threads": 1} | changes)  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """`art` with DIM columns and a folder `images` of 3 images."""
    folder = tmp_path_factory.mktemp("latency")
    write_artifact(folder / "art")
    write_images(folder / "images", 3)
    return folder


# --- runs -----------------------------------------------------------------------------------------


def test_slow_ones_run_as_often_as_time_allows_and_all_take_turns():
    now = [0.0]
    calls: list[str] = []

    def timed(key: str, seconds: float) -> Timed:
        def act() -> None:
            calls.append(key)
            now[0] += seconds

        return Timed(key, key, "", act)

    plan = RunPlan(most=6, fewest=2, seconds=8.0, rounds=2, settle_s=0)
    found = sample_in_turn(
        [timed("a", 0.1), timed("b", 2.0), timed("c", 100.0)], plan, clock=lambda: now[0]
    )
    assert {key: len(item.values) for key, item in found.items()} == {"a": 6, "b": 4, "c": 2}
    assert found["b"].values == pytest.approx((2.0,) * 4, abs=NEAR)
    # warm-up twice, once where one run is longer than the time; then half of each per round
    assert "".join(calls) == "aabbc" + "aaabbc" * 2
    with pytest.raises(ValueError, match="own key"):
        sample_in_turn([timed("a", 1.0)] * 2, plan)
    with pytest.raises(ValueError, match="fewest"):
        RunPlan(most=2, fewest=3)


def test_every_run_of_a_batch_size_is_kept(place: Path, tmp_path: Path):
    result = measure_latency(
        subject(place),
        load_source(str(place / "images")),
        tmp_path,
        chosen=("ort",),
        bench=LatencyBench((1, 4), PLAN, memory=False),
    )
    keys = ("ort", "decode", "end_to_end")
    assert [item.key for item in result.series] == [f"b{b}/{key}" for b in (1, 4) for key in keys]
    assert all(len(item.values) == 2 and item.unit == "s" for item in result.series)
    assert result.model["sha256"] == open_artifact(place / "art").manifest.model_sha256
    assert result.settings["source"] == str(place / "images")
    assert not any("not measured" in note for note in result.notes)  # only one was asked for
    with pytest.raises(ValueError, match="ascending"):
        LatencyBench((4, 1))


def test_without_images_only_the_model_is_measured_and_absent_runners_are_named(
    place: Path, tmp_path: Path
):
    result = measure_latency(
        subject(place), None, tmp_path, bench=LatencyBench((2,), PLAN, memory=False)
    )
    assert "b2/ort" in {item.key for item in result.series}
    assert not any("decode" in item.key for item in result.series)
    text = " ".join(result.notes)
    assert "TensorRT: not measured: it runs on a GPU only: --device cuda:0." in text
    assert "torch eager: not measured: it needs the trained weights: --run RUN." in text


def test_memory_is_that_of_a_process_of_its_own(place: Path, tmp_path: Path):
    result = measure_latency(
        subject(place), None, tmp_path, chosen=("ort",), bench=LatencyBench((1,), PLAN)
    )
    memory = {item.key: item for item in result.series}["memory/ort"]
    assert memory.unit == "B"
    # Python and NumPy alone take 30 MB; this test process, with torch, several times the rest
    assert 30e6 < memory.median < 400e6
    assert list(tmp_path.iterdir()) == []


def test_parts_are_shown_where_a_runner_can_tell(place: Path, tmp_path: Path, monkeypatch):
    seen: list[int] = []

    def parts(images):
        seen.append(len(images))
        return {"copy_in": 0.001, "compute": 0.002, "copy_out": 0.0}

    fake = runner("ort", lambda images: np.ones((len(images), 2), np.float32), parts=parts)
    offer(monkeypatch, fake)
    result = measure_latency(
        subject(place), None, tmp_path, bench=LatencyBench((3,), PLAN, memory=False)
    )
    found = {item.key: item for item in result.series}
    assert found["b3/ort/copy_in"].values == (0.001, 0.001)
    assert found["b3/ort/compute"].median == 0.002
    assert found["b3/ort/copy_out"].median > 0  # below the clock's resolution
    assert found["b3/ort/copy_in"].title == "batch 3, ORT: host copy"
    assert seen == [3] * 3  # a warm-up, then as often as the whole


# --- runners --------------------------------------------------------------------------------------


def runner(key: str, run, **changes) -> Runner:
    made = Runner(key, key.upper(), "A fake.", "fp32", run,
                  lambda batches: [run(batch) for batch in batches])  # fmt: skip
    return replace(made, **changes)


def offer(monkeypatch, *runners: Runner) -> None:
    """Let these be all that can run a model."""

    def opened(one: Runner):
        @contextmanager
        def manager():
            yield one

        return manager

    made = tuple(Offer(one.key, one.title, opened(one)) for one in runners)
    monkeypatch.setattr(benchmarks.runners.open, "offers", lambda subject: made)


def open_all(place: Path, *chosen: str):
    from contextlib import ExitStack

    images = np.zeros((2, SIZE, SIZE, 3), np.uint8)
    images[1] = 9
    with ExitStack() as stack:
        return open_runners(subject(place), stack, images, chosen=chosen)


def test_a_runner_that_computes_something_else_is_refused(place: Path, monkeypatch):
    truth = np.array([[1.0, 0.0], [0.0, 2.0]], np.float32)
    near = np.array([[1.0, 0.1], [0.0, 7.0]], np.float32)  # cosines 0.995 and 1
    offer(monkeypatch, runner("a", lambda _: truth), runner("b", lambda _: near))
    found, notes = open_all(place)
    assert [one.key for one in found] == ["a", "b"]
    assert notes == ("Least cosine with the embeddings of A: B 0.995037.",)
    offer(monkeypatch, runner("a", lambda _: truth), runner("b", lambda _: truth[::-1]))
    with pytest.raises(BackendError, match=r"B gives other embeddings than A: .* 0\.0000"):
        open_all(place)
    assert np.isnan(lowest_cosine(truth, truth * np.nan))
    offer(monkeypatch, runner("a", lambda _: truth), runner("b", lambda _: truth * 0))
    with pytest.raises(BackendError, match="cosine is nan"):
        open_all(place)


def test_what_was_asked_for_must_work(place: Path, monkeypatch):
    with pytest.raises(BackendError, match="TensorRT was asked for but is not usable here"):
        open_all(place, "tensorrt")

    def fails():
        raise BackendError("no driver")

    monkeypatch.setattr(
        benchmarks.runners.open, "offers", lambda subject: (Offer("a", "A", fails),)
    )
    with pytest.raises(BackendError, match=r"nothing here can run the model: A: .*no driver"):
        open_all(place)


def test_torch_runs_the_model_that_was_exported(tiny_artifact: Path, tiny_run: Path):
    from contextlib import ExitStack

    whole = Subject(open_artifact(tiny_artifact), tiny_run, "cpu", 1)
    images = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)
    with ExitStack() as stack:
        found, (note,) = open_runners(whole, stack, images, chosen=("ort", "torch"))
        assert [one.key for one in found] == ["ort", "torch"]
        assert "torch eager 1.000000" in note or "torch eager 0.999999" in note
        found[1].stream([images, images[:1]])
    changed = msgspec.structs.replace(whole.artifact.manifest, checkpoint_sha256="d" * 64)
    other = replace(whole, artifact=replace(whole.artifact, manifest=changed))
    with ExitStack() as stack, pytest.raises(CheckpointError, match="exported from dddddd"):
        open_runners(other, stack, images, chosen=("torch",))


def test_openvino_gives_the_same_embeddings(tiny_artifact: Path):
    pytest.importorskip("openvino", reason="openvino is not installed")
    from contextlib import ExitStack

    whole = Subject(open_artifact(tiny_artifact), None, "cpu", 1)
    images = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)
    with ExitStack() as stack:
        (first, second), _ = open_runners(whole, stack, images, chosen=("ort", "openvino"))
        kept = second.run(images)
        second.run(images[:1])
        # the result is the caller's own, and each row is close to the first library's
        assert lowest_cosine(first.run(images), kept) > 1 - 1e-6


def test_torch_in_bf16_is_near_and_says_what_it_computes_in(tiny_artifact: Path, tiny_run: Path):
    from contextlib import ExitStack

    whole = Subject(open_artifact(tiny_artifact), tiny_run, "cpu", 1)
    images = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
    with ExitStack() as stack:
        (first, half), _ = open_runners(whole, stack, images, chosen=("ort", "torch-bf16"))
        assert (first.precision, half.precision) == ("fp32", "bf16")
        # 8 bits: rounded to bf16 no row stays as it was, and none goes far
        assert 0.99 < lowest_cosine(first.run(images), half.run(images)) < 1 - 1e-8
    on_gpu = {
        one.key: one for one in benchmarks.runners.open.offers(replace(whole, device="cuda:0"))
    }
    assert "on a CPU only" in on_gpu["torch-bf16"].reason


@pytest.mark.parametrize(
    ("model", "backend", "device", "rounded", "expected"),
    [
        ("fp32", "ort", "cpu", "", "fp32"),
        ("fp16", "ort", "cpu", "", "fp32"),
        ("int8", "ort", "cpu", "", "fp32"),
        ("fp32", "openvino", "cpu", "bf16", "bf16"),
        ("fp16", "openvino", "cpu", "", "fp32"),
        ("fp16", "openvino", "cpu", "f16", "fp16"),
        ("int8", "openvino", "cpu", "", "int8"),
        ("int8", "openvino", "cpu", "bf16", "int8"),
        ("fp16", "tensorrt", "cuda:0", "", "fp16"),
        ("int8", "ort", "cuda:0", "", "int8"),
    ],
)
def test_what_products_are_computed_in(model, backend, device, rounded, expected):
    assert products_in(model, backend, device, rounded) == expected


def test_nncf_needs_images_a_float_model_and_itself(place: Path, monkeypatch):
    images = load_source(str(place / "images"))
    with_images = subject(place, images=images)
    reasons = {one.key: one.reason for one in benchmarks.runners.open.offers(subject(place))}
    assert "--images SOURCE" in reasons["nncf"]
    (offered,) = (o for o in benchmarks.runners.open.offers(with_images) if o.key == "nncf")
    assert offered.reason == ""
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(BackendError, match=r"not installed.*pip install nncf"), offered.open():
        pass
    manifest = msgspec.structs.replace(with_images.artifact.manifest, precision="int8")
    other = replace(with_images, artifact=replace(with_images.artifact, manifest=manifest))
    with pytest.raises(BackendError, match="this one is int8"), open_nncf(other):
        pass


def test_nncf_computes_the_model_s_embeddings(tiny_artifact: Path, place: Path):
    pytest.importorskip("nncf", reason="nncf is not installed")
    pytest.importorskip("openvino", reason="openvino is not installed")
    images = load_source(str(place / "images"))
    whole = Subject(open_artifact(tiny_artifact), None, "cpu", 1, images)
    with open_nncf(whole) as quantised:
        batch = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
        assert quantised.run(batch).shape == (2, whole.artifact.manifest.dim)
        assert quantised.precision == "int8"


# --- throughput -----------------------------------------------------------------------------------


def test_the_limits_of_a_cpu_are_those_of_what_is_computed():
    cpu = torch.device("cpu")
    found = ceilings(cpu, ("fp32", "bf16", "int8"), threads=1, size=32)
    assert [one.key for one in found] == [
        "matrix_product_numpy", "matrix_product_torch",
        "matrix_product_bf16", "matrix_product_int8",
    ]  # fmt: skip
    assert "bf16 matrices [32, 32] on 1 threads with torch" in found[2].what
    assert all(one.measure() > 0 for one in found[1:])
    assert len(ceilings(cpu, ("fp32",), threads=1, size=32)) == 2
    for precision in ("bf16", "int8"):
        assert ceiling_keys(cpu, precision) == (f"matrix_product_{precision}",)


def test_the_limit_is_measured_as_long_as_the_model():
    assert products_for(2.0, 20, 0.03) == 20 * 67  # 2 / 0.03 is 66.7
    assert products_for(0.0, 4, 0.5) == 4
    assert products_for(0.1, 20, 0.5) == 20


def speed(key: str, *values: float, unit="images/s") -> Series:
    return Series(key, key, "", unit, values)


def test_shares_are_of_the_faster_product():
    series = {
        "b8/ort": speed("b8/ort", 9.0, 10.0, 11.0),
        "matrix_product_numpy": speed("matrix_product_numpy", 400.0, unit="FLOP/s"),
        "matrix_product_torch": speed("matrix_product_torch", 100.0, unit="FLOP/s"),
        "matrix_product_fp16": speed("matrix_product_fp16", 1000.0, unit="FLOP/s"),
    }
    one = runner("ort", None, precision="fp32")
    (found,) = shares_of_limit(series, one, (8,), 20, torch.device("cpu"))
    assert found.value == pytest.approx(10 * 20 / 400, abs=NEAR)
    # what is computed in another precision has another limit, on a CPU as well
    one = replace(one, precision="fp16")
    (found,) = shares_of_limit(series, one, (8,), 20, torch.device("cpu"))
    assert found.value == pytest.approx(10 * 20 / 1000, abs=NEAR)
    (found,) = shares_of_limit(series, one, (8,), 20, torch.device("cuda:0"))
    assert found.value == pytest.approx(10 * 20 / 1000, abs=NEAR)


@pytest.mark.parametrize(
    ("key", "precision", "gpu", "size", "asked"),
    [
        ("tensorrt", "fp16", "NVIDIA H100 80GB HBM3", 64, 0.4),
        ("tensorrt", "fp16", "NVIDIA A100 SXM4 80GB", 128, 0.6),
        ("tensorrt-rtx", "fp16", "NVIDIA L4", 64, 0.35),
        ("tensorrt", "fp16", "NVIDIA L40S", 64, None),
        ("tensorrt", "fp16", "NVIDIA H100 80GB HBM3", 8, None),
        ("tensorrt", "int8", "NVIDIA L4", 64, None),
        ("torch-fp16", "fp16", "NVIDIA L4", 64, None),
    ],
)
def test_engines_have_targets_where_these_can_be_met(key, precision, gpu, size, asked):
    series = {
        f"b{size}/{key}": speed(f"b{size}/{key}", 10.0),
        "matrix_product_fp16": speed("matrix_product_fp16", 1000.0, unit="FLOP/s"),
        "matrix_product_int8": speed("matrix_product_int8", 1000.0, unit="OP/s"),
    }
    one = runner(key, None, precision=precision)
    device = torch.device("cuda:0")
    (found,) = shares_of_limit(series, one, (size,), 20, device, gpu=gpu)
    assert found.at_least == asked


def test_throughput_beside_the_limit(place: Path):
    result = measure_throughput(
        subject(place),
        load_source(str(place / "images")),
        chosen=("ort",),
        bench=ThroughputBench((1, 2), rounds=2, seconds=0.01, end_to_end=4, matrix_size=16,
                              settle_s=0),
    )  # fmt: skip
    found = {item.key: item for item in result.series}
    assert list(found) == [
        "b1/ort", "b2/ort", "decode", "end_to_end", "matrix_product_numpy", "matrix_product_torch",
    ]  # fmt: skip
    assert result.model["flop_per_image"] == 2 * 6 * DIM
    limit = max(found["matrix_product_numpy"].median, found["matrix_product_torch"].median)
    assert result.ratios[0].value == pytest.approx(found["b1/ort"].median * 2 * 6 * DIM / limit)
    assert result.ratios[-1].key == "end_to_end/b2/ort"


# --- arithmetic of converted models ---------------------------------------------------------------


def test_quantised_and_half_precision_convolutions_count_alike():
    def value(name: str, kind: int, shape):
        return helper.make_tensor_value_info(name, kind, shape)

    node = helper.make_node
    weights = np.zeros((6, 4, 3, 3), np.int8)
    constants = {
        "step": np.array(0.1, np.float16), "zero": np.array(0, np.int8), "w": weights,
        "steps": np.ones(6, np.float16), "zeros": np.zeros(6, np.int8),
    }  # fmt: skip
    graph = helper.make_graph(
        [
            node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
            node("QuantizeLinear", ["h", "step", "zero"], ["q"]),
            node("DequantizeLinear", ["q", "step", "zero"], ["d"]),
            node("DequantizeLinear", ["w", "steps", "zeros"], ["v"], axis=0),
            node("Conv", ["d", "v"], ["y"], kernel_shape=[3, 3]),
        ],
        "g",
        [value("x", TensorProto.FLOAT, ["batch", 4, 5, 7])],
        [value("y", TensorProto.FLOAT16, ["batch", 6, 3, 5])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    # [1, 6, 3, 5] values, each a sum over 4 x 3 x 3
    assert multiply_adds(model) == {"Conv": 6 * 3 * 5 * 36}


# --- layouts --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def extractor():
    torch.manual_seed(0)
    made, size, model = random_extractor("resnet18", SIZE)
    assert (size, model["weights"]) == ((SIZE, SIZE), "random")
    return made


@pytest.mark.parametrize("layout", ["plain", "serial", "grouped"])
def test_every_layout_gives_the_embedding(extractor, layout):
    # statistics that are not 0 and 1, so that a BatchNorm folded wrongly shows
    for module in extractor.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 2.0)
    images = torch.randint(0, 256, (3, SIZE, SIZE, 3), dtype=torch.uint8)
    with torch.inference_mode():
        expected = extractor(images)
        found = BranchLayout(extractor, layout=layout, dtype=torch.float32)(images)
    assert found.shape == expected.shape == (3, 4 * 512)
    assert (found - expected).abs().max() < SAME_IN_FLOAT32 * expected.abs().max()


def test_only_convolutions_are_grouped():
    nets = [torch.nn.Sequential(torch.nn.Linear(2, 2)) for _ in range(2)]
    with pytest.raises(TypeError, match="0 is a Linear"):
        grouped_net(nets)


def test_flop_of_torch_are_those_of_its_layers():
    one = torch.nn.Conv2d(3, 4, 3)
    # 6 x 6 places, 4 channels, each 2 x 3 x 3 x 3
    images = torch.zeros(1, 8, 8, 3, dtype=torch.uint8)

    class Net(torch.nn.Module):
        def forward(self, x):
            return one(x.permute(0, 3, 1, 2).float())

    assert counted_flop(Net(), (8, 8)) == 6 * 6 * 4 * 2 * 27
    assert Net()(images).shape == (1, 4, 6, 6)


def test_layouts_are_compared_with_the_plain_one_and_have_no_target():
    limit = speed("matrix_product_fp16", 1000.0, unit="FLOP/s")
    times = {
        key: Series(key, key, "", "s", (value,))
        for key, value in (("b64/plain", 8.0), ("b64/serial", 4.0), ("b64/grouped-graph", 2.0))
    }
    ratios = compared(times, batch=64, flop=10, limit=limit)
    assert {item.key: (item.value, item.at_least) for item in ratios} == {
        "b64/plain/b64/serial": (2.0, None),
        "b64/plain/b64/grouped-graph": (4.0, None),
        "b64/best/matrix_product_fp16": (64 * 10 / 2 / 1000, None),
    }


# --- branches -------------------------------------------------------------------------------------


def test_columns_of_a_part():
    whole = tiny_manifest(branches=("identity", "scale", "gray"), dim=6)
    gray = tiny_manifest(branches=("gray",), embedding="gray", dim=2)
    assert columns_of(gray, whole).tolist() == [4, 5]
    two = tiny_manifest(branches=("identity", "gray"), dim=4)
    assert columns_of(two, whole).tolist() == [0, 1, 4, 5]
    with pytest.raises(ArtifactError, match="not part of fused of identity, gray"):
        columns_of(tiny_manifest(branches=("scale",), embedding="scale"), two)
    with pytest.raises(ArtifactError, match="of checkpoint dddddd"):
        columns_of(msgspec.structs.replace(gray, checkpoint_sha256="d" * 64), whole)


# --- command line ---------------------------------------------------------------------------------


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def test_latency_command_writes_percentiles(place: Path, tmp_path: Path):
    words = ("latency", place / "art", "--out", tmp_path, "--batch-size", 2, "--batch-size", 1,
             "--runner", "ort", "--runs", 4, "--no-memory", "--model-threads", 1)  # fmt: skip
    result = run(*words)
    assert result.exit_code == 0, result.output
    values = json.loads((tmp_path / "latency.json").read_text())
    assert [item["key"] for item in values["series"]] == ["b1/ort", "b2/ort"]
    assert values["series"][0]["runs"] == 4
    assert "| measured |  | p50 | p95 | p99 | runs |" in result.stdout
    assert "exists already" in run(*words).stderr


def test_branches_command_puts_time_beside_map(
    tiny_artifact: Path, tiny_run: Path, tiny_set: Path, tmp_path: Path
):
    from mtml_deploy.evaluation.metrics import evaluate
    from mtml_deploy.evaluation.protocols import find_protocol
    from mtml_train.checkpoint import load_checkpoint
    from mtml_train.export.export import ExportOptions, export

    part = export(load_checkpoint(tiny_run), tmp_path / "gray", ExportOptions(branches=("gray",)))
    result = run("branches", tiny_artifact, "--out", tmp_path / "out",
                 "--branch-model", f"gray={part.folder}", "--data", f"veri:{tiny_set}",
                 "--runs", 2, "--batch-size", 4, "--model-threads", 1)  # fmt: skip
    assert result.exit_code == 0, result.output
    values = json.loads((tmp_path / "out" / "branches.json").read_text())
    assert [item["key"] for item in values["series"]] == ["whole", "gray"]
    ratios = {item["key"]: item["value"] for item in values["ratios"]}
    assert set(ratios) == {"whole/map", "gray/map", "gray/whole"}
    # the mAP of the part's own embeddings
    sets = []
    for split in ("query", "gallery"):
        words = ("embed", str(part.folder), "--images", f"veri:{tiny_set}#{split}")
        sets.append(embedded(words, tmp_path / f"{split}.npz"))
    own = evaluate(*sets, find_protocol("veri776")).mean_ap
    assert ratios["gray/map"] == pytest.approx(own, abs=1e-9)  # equal orders give equal mAP
    bad = run("branches", tiny_artifact, "--out", tmp_path / "other",
              "--branch-model", "gray", "--data", f"veri:{tiny_set}")  # fmt: skip
    assert bad.exit_code == 2
    assert "NAME=MODEL" in bad.stderr


def embedded(words: tuple[str, ...], out: Path):
    from mtml_deploy.cli.main import main as deploy
    from mtml_deploy.embed.embeddings import Embeddings

    result = CliRunner().invoke(deploy, [*words, "--out", str(out)])
    assert result.exit_code == 0, result.output
    return Embeddings.load(out)


def test_layouts_command_needs_no_run(tmp_path: Path):
    result = run("layouts", "--backbone", "resnet18", "--image-size", SIZE, "--device", "cpu",
                 "--out", tmp_path, "--batch-size", 1, "--runs", 1, "--model-threads", 1,
                 "--matrix-size", 16)  # fmt: skip
    assert result.exit_code == 0, result.output
    values = json.loads((tmp_path / "layouts.json").read_text())
    keys = [item["key"] for item in values["series"]]
    assert keys[:3] == ["b1/plain", "b1/serial", "b1/grouped"]
    assert "Streams and graphs: not measured" in result.stdout
    if not torch.cuda.is_available():
        bad = run("layouts", "--backbone", "resnet18", "--image-size", SIZE, "--device", "cuda:0",
                  "--out", tmp_path / "gpu")  # fmt: skip
        assert bad.exit_code == 1
        assert "cuda:0 was asked for but torch" in bad.stderr


def test_all_is_latency_throughput_and_their_report(place: Path, tmp_path: Path, monkeypatch):
    import benchmarks.speed.latency
    import benchmarks.speed.throughput

    for module, name in (
        (benchmarks.speed.latency, "latency"),
        (benchmarks.speed.throughput, "throughput"),
    ):
        real = getattr(module, f"measure_{name}")
        monkeypatch.setattr(module, f"measure_{name}", quick(real, name))
    result = run("all", place / "art", "--out", tmp_path, "--model-threads", 1)
    assert result.exit_code == 0, result.output
    assert {path.name for path in tmp_path.iterdir()} == {
        "latency.json", "latency.md", "throughput.json", "throughput.md", "report.html",
        "summary.md", "smaller-is-better.json", "bigger-is-better.json",
    }  # fmt: skip
    bad = run("all", place / "art", "--out", tmp_path, "--reference", place)
    assert bad.exit_code == 2
    assert "--reference needs one --data" in bad.stderr


def quick(real, name: str):
    """`real` with one runner and next to no runs."""

    def measure(*args, bench, **options):
        assert bench.batches == (1, 8, 32, 64, 128)
        if name == "latency":
            bench = LatencyBench((1,), PLAN, memory=False)
        else:
            bench = ThroughputBench((1,), rounds=1, seconds=0.01, matrix_size=16, settle_s=0)
        return real(*args, **(options | {"bench": bench, "chosen": ("ort",)}))

    return measure
