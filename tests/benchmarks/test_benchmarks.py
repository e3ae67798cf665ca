"""Benchmarks: the arithmetic of their records and what is timed, never how fast something is."""

import json
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec
import onnx
import pytest
import torch
from click.testing import CliRunner, Result
from helpers_artifact import DIM, SIZE, tiny_manifest, write_artifact, write_images
from onnx import TensorProto, helper

import benchmarks.speed.embed
import benchmarks.speed.latency
import benchmarks.speed.throughput
import benchmarks.speed.train
import mtml_deploy.model
import mtml_train.cli.requirements
from benchmarks.__main__ import main
from benchmarks.measure.limits import machine_limit, matrix_products, torch_threads
from benchmarks.measure.machine import Environment, Machine, describe_environment
from benchmarks.measure.rounds import Contender, Ratio, Series, alternate, rate_of, ratio
from benchmarks.report.record import Record, record_json, record_markdown, write_record
from benchmarks.runners.torch_peer import torch_peer
from benchmarks.speed.embed import EmbedBench, measure_embed, summarise
from benchmarks.speed.flops import flop_per_image, multiply_adds
from benchmarks.speed.train import TrainBench, measure_train
from benchmarks.speed.train_speeds import loop_config
from mtml_deploy.artifact.artifact import file_sha256, open_artifact
from mtml_deploy.data.source import load_source
from mtml_deploy.errors import ArtifactError, CheckpointError, DataError, OutputExistsError
from mtml_deploy.model import open_model
from mtml_train.checkpoint import load_checkpoint
from mtml_train.config import TrainConfig
from mtml_train.train import train

ROOT = Path(__file__).parents[2]
TINY = EmbedBench(batch_size=2, rounds=2, limit=5, threads=1, matrix_size=16, settle_s=0)
CONFIG = TrainConfig(
    variant="MTML-O", backbone="resnet18", weights="none", image_size=32, consensus_dim=8,
    batch_size=4, max_steps=0, workers=0, device="cpu",
)  # fmt: skip
FLOAT = TensorProto.FLOAT


@pytest.fixture(autouse=True)
def _torch_as_before():
    """Training makes torch deterministic for the whole process."""
    before = torch.are_deterministic_algorithms_enabled()
    yield
    torch.use_deterministic_algorithms(before)


# --- flops ---------------------------------------------------------------------------------------


def graph(node, inputs: dict, constants: dict, *before) -> onnx.ModelProto:
    """A model of `before` and `node`, with inputs and zero constants of the given sizes."""
    value = partial(helper.make_tensor_value_info, elem_type=FLOAT)
    tensors = [
        helper.make_tensor(name, FLOAT, size, [0.0] * torch.Size(size).numel())
        for name, size in constants.items()
    ]
    made = helper.make_graph(
        [*before, node],
        "g",
        [value(name, shape=size) for name, size in inputs.items()],
        [value(node.output[0], shape=None)],
        tensors,
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_convolution_with_stride_padding_and_groups():
    # rows (5 + 2 - 3) / 2 + 1 = 3, columns (7 + 2 - 3) / 2 + 1 = 4; 6 channels -> 72 values,
    # each a sum over 4 / 2 channels x 3 x 3 = 18
    node = helper.make_node(
        "Conv", ["x", "w"], ["y"], group=2, strides=[2, 2], pads=[1, 1, 1, 1], kernel_shape=[3, 3]
    )
    assert multiply_adds(graph(node, {"x": ["batch", 4, 5, 7]}, {"w": [6, 2, 3, 3]})) == {
        "Conv": 72 * 18
    }


def test_dilation_and_uneven_padding_count_through_the_output():
    # a kernel of 3 with dilation 2 spans 5: (8 + 1 - 5) + 1 = 5 rows, (8 - 5) + 1 = 4 columns
    node = helper.make_node(
        "Conv", ["x", "w"], ["y"], dilations=[2, 2], pads=[1, 0, 0, 0], kernel_shape=[3, 3]
    )
    model = graph(node, {"x": [1, 1, 8, 8]}, {"w": [2, 1, 3, 3]})
    assert multiply_adds(model) == {"Conv": 2 * 5 * 4 * 9}


@pytest.mark.parametrize("transposed", [False, True])
def test_gemm_sums_over_the_shared_side(transposed: bool):
    # A [1, 3] or its transpose [3, 1], B [3, 5]: 5 values of 3 products
    node = helper.make_node("Gemm", ["a", "b"], ["y"], transA=int(transposed))
    model = graph(node, {"a": [3, 1] if transposed else ["batch", 3]}, {"b": [3, 5]})
    assert multiply_adds(model) == {"Gemm": 15}


def test_batched_and_broadcast_matrix_product():
    # [1, 2, 3, 4] x [4, 5] -> [1, 2, 3, 5]: 30 values of 4 products
    node = helper.make_node("MatMul", ["a", "b"], ["y"])
    assert multiply_adds(graph(node, {"a": ["batch", 2, 3, 4]}, {"b": [4, 5]})) == {"MatMul": 120}
    # [4, 5] x [1, 2, 5, 3] -> [1, 2, 4, 3]: 24 values of 5 products
    node = helper.make_node("MatMul", ["b", "a"], ["y"])
    assert multiply_adds(graph(node, {"a": ["batch", 2, 5, 3]}, {"b": [4, 5]})) == {"MatMul": 120}


def test_nodes_of_one_kind_add_up_and_shapes_flow_through_a_computed_reshape():
    before = (
        helper.make_node("MatMul", ["x", "v"], ["h"]),  # [1, 6] x [6, 4]: 24
        helper.make_node("Shape", ["h"], ["s"]),
        helper.make_node("Reshape", ["h", "s"], ["r"]),
    )
    node = helper.make_node("MatMul", ["r", "w"], ["y"])  # [1, 4] x [4, 2]: 8
    model = graph(node, {"x": ["batch", 6]}, {"v": [6, 4], "w": [4, 2]}, *before)
    text = model.SerializeToString()
    assert multiply_adds(model) == {"MatMul": 32}
    assert model.SerializeToString() == text  # the caller's model stays as it was


def test_flop_are_twice_the_multiply_adds(tmp_path: Path):
    artifact = write_artifact(tmp_path / "art")
    assert flop_per_image(artifact.model_path) == 2 * 6 * DIM  # one product [1, 6] x [6, DIM]


def test_what_cannot_be_counted_is_refused():
    node = helper.make_node("Einsum", ["a", "b"], ["y"], equation="ij,jk->ik")
    with pytest.raises(ArtifactError, match="Einsum"):
        multiply_adds(graph(node, {"a": [2, 3]}, {"b": [3, 4]}))
    node = helper.make_node("MatMul", ["a", "b"], ["y"], domain="com.example")
    with pytest.raises(ArtifactError, match=r"com\.example:MatMul"):
        multiply_adds(graph(node, {"a": [2, 3]}, {"b": [3, 4]}))
    node = helper.make_node("MatMul", ["a", "b"], ["y"])
    with pytest.raises(ArtifactError, match="size of a at the MatMul y"):
        multiply_adds(graph(node, {"a": ["batch", "rows", 3]}, {"b": [3, 4]}))
    with pytest.raises(ArtifactError, match="cannot be inferred"):
        multiply_adds(graph(node, {"a": ["batch", 3]}, {"b": [4, 4]}))


# --- rounds --------------------------------------------------------------------------------------


def series(key: str, *values: float, unit="images/s") -> Series:
    return Series(key, key.upper(), "What was timed.", unit, values)


def test_contenders_take_turns():
    calls = []

    def contender(key: str, speeds: list[float]) -> Contender:
        def measure() -> float:
            calls.append(key)
            return speeds.pop(0)

        return Contender(key, key, "", "images/s", measure)

    heard: list[str] = []
    result = alternate(
        [contender("a", [3.0, 1.0, 2.0]), contender("b", [6.0, 5.0, 4.0])],
        rounds=3,
        say=heard.append,
        settle_s=0,
    )
    assert calls == ["a", "b"] * 3
    assert {key: item.values for key, item in result.items()} == {"a": (3, 1, 2), "b": (6, 5, 4)}
    assert result["a"].median == 2
    assert len(heard) == 6
    with pytest.raises(ValueError, match="rounds"):
        alternate([], rounds=0)
    with pytest.raises(ValueError, match="own key"):
        alternate([contender("a", [1.0])] * 2, rounds=1)


def test_a_rate_is_work_over_time():
    ticks = iter([10.0, 14.0])
    done = []
    assert rate_of(20, lambda: done.append(1), clock=lambda: next(ticks))() == 5
    assert done == [1]


def test_a_ratio_is_of_medians():
    above, below = series("a", 9.0, 1.0, 4.0), series("b", 5.0, 100.0, 2.0)
    found = ratio(above, below, at_least=0.8)
    assert (found.key, found.value, found.reached) == ("a/b", 0.8, True)
    assert ratio(above, below, at_least=0.81).reached is False
    assert ratio(above, below).reached is None
    with pytest.raises(ValueError, match="FLOP/s"):
        ratio(above, series("c", 1.0, unit="FLOP/s"))
    with pytest.raises(ValueError, match="above 0"):
        series("a", 1.0, 0.0)
    with pytest.raises(ValueError, match="above 0"):
        series("a")


def test_the_limit_is_the_faster_product_on_the_threads_asked_for():
    before = torch.get_num_threads()
    with torch_threads(1) as threads:
        assert (threads, torch.get_num_threads()) == (1, 1)
        result = alternate(matrix_products(threads=1, size=16, products=1), rounds=1, settle_s=0)
    assert torch.get_num_threads() == before
    assert list(result) == ["matrix_product_numpy", "matrix_product_torch"]
    result = {
        "model": series("model", 90.0),
        "matrix_product_numpy": series("matrix_product_numpy", 5.0, 7.0, 50.0, unit="FLOP/s"),
        "matrix_product_torch": series("matrix_product_torch", 8.0, 8.0, 8.0, unit="FLOP/s"),
    }
    assert machine_limit(result).key == "matrix_product_torch"


# --- report --------------------------------------------------------------------------------------


def record(kind: str = "embed") -> Record:
    machine = Machine("A | B", ("avx2",), 8, 4, 2**34, "Linux", 0.5)
    return Record(
        kind=kind,
        title="Some speed",
        environment=Environment(
            "2026-01-02T03:04:05+00:00", "f" * 40, True, machine, {"numpy": "2"}
        ),
        model={"sha256": "a" * 64, "branches": ("identity", "gray")},
        settings={"images": 7, "source": "odd `name`"},
        series=(series("a", 1.0, 3.0, 2.0), series("b", 5e9, 4e9, unit="FLOP/s")),
        ratios=(Ratio("a/b", "A / B", 0.875, 0.9), Ratio("c/d", "C / D", 1.5)),
        notes=("A note.",),
    )


def test_the_json_holds_what_a_later_comparison_needs():
    values = json.loads(record_json(record()))
    assert values["schema"] == 1
    assert values["kind"] == "embed"
    assert values["git_commit"] == "f" * 40
    assert values["git_changed"] is True
    assert values["machine"]["usable_cpus"] == 4
    assert values["versions"] == {"numpy": "2"}
    assert values["model"] == {"sha256": "a" * 64, "branches": ["identity", "gray"]}
    assert values["settings"]["images"] == 7
    first = values["series"][0]
    assert first["values"] == [1.0, 3.0, 2.0]
    assert (first["median"], first["min"], first["max"], first["runs"]) == (2, 1, 3, 3)
    assert first["unit"] == "images/s"
    assert [item["reached"] for item in values["ratios"]] == [False, None]


def test_the_page_shows_units_percent_and_targets():
    page = record_markdown(record())
    # the axis ends at the 95th percentiles, 2.9 and 4.95
    assert "| A | ██████▉ | 2.0 images/s | 1.0 images/s | 3.0 images/s | 3 | 1 |" in page
    assert "| B | █████████▏ | 4.5 GFLOP/s | 4.0 GFLOP/s | 5.0 GFLOP/s | 2 | 1 |" in page
    assert "| A / B | 87.5 % | at least 90.0 %: missed |" in page
    assert "| C / D | 150.0 % |  |" in page
    assert "commit ffffffffffff with changes" in page
    assert "4 of 8 CPUs, 16 GiB" in page
    assert "branches `identity+gray`" in page
    assert "source `odd 'name'`" in page


def test_a_record_is_never_written_over(tmp_path: Path):
    write_record(tmp_path / "new", record(), overwrite=False)
    (tmp_path / "new" / "embed.json").unlink()
    page = tmp_path / "new" / "embed.md"
    page.write_text("mine")
    with pytest.raises(OutputExistsError, match=r"embed\.md"):
        write_record(tmp_path / "new", record(), overwrite=False)
    assert [item.name for item in (tmp_path / "new").iterdir()] == ["embed.md"]
    assert page.read_text() == "mine"
    with pytest.raises(OutputExistsError, match=r"embed\.md is a file, not a page of a benchmark"):
        write_record(tmp_path / "new", record(), overwrite=True)
    page.write_text(record_markdown(replace(record(), notes=("another",))))
    write_record(tmp_path / "new", record(), overwrite=True)
    assert page.read_text() == record_markdown(record())


def test_the_environment_is_of_this_process():
    found = describe_environment()
    assert found.versions["torch"] == torch.__version__.partition("+")[0]
    assert 1 <= found.machine.usable_cpus <= found.machine.logical_cpus
    assert found.machine.memory_bytes > 2**28
    assert found.git_commit is None or len(found.git_commit) == 40
    assert (found.git_commit is None) == (found.git_changed is None)


# --- embed ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """`set.csv` with 8 images of 2 vehicles, `run`, and `art`, said to be exported from it."""
    folder = tmp_path_factory.mktemp("bench")
    paths = write_images(folder, 8)
    rows = [f"{path.name},{i % 2},0,{i}" for i, path in enumerate(paths)]
    table = "\n".join(["path,vehicle_id,camera_id,orientation", *rows])
    (folder / "set.csv").write_text(table + "\n")
    config = replace(CONFIG, data=(f"csv:{folder / 'set.csv'}",))
    before = torch.are_deterministic_algorithms_enabled()
    train(config, folder / "run")
    torch.use_deterministic_algorithms(before)
    checkpoint = file_sha256(folder / "run" / "last.safetensors")
    manifest = tiny_manifest(
        variant="MTML-O", branches=("identity", "orientation"), checkpoint_sha256=checkpoint
    )
    write_artifact(folder / "art", manifest)
    return folder


def opened(place: Path):
    return open_artifact(place / "art")


def test_embedding_is_measured_with_all_peers(place: Path, tmp_path: Path):
    result = measure_embed(
        opened(place),
        load_source(f"csv:{place / 'set.csv'}"),
        tmp_path,
        checkpoint=load_checkpoint(place / "run"),
        bench=TINY,
    )
    found = {item.key: item for item in result.series}
    assert list(found) == [
        "end_to_end", "model", "decode", "torch", "torch_channels_last",
        "matrix_product_numpy", "matrix_product_torch", "model_arithmetic",
    ]  # fmt: skip
    assert all(len(item.values) == 2 for item in result.series)
    assert result.settings["images"] == 5
    assert result.settings["threads"] == 1
    assert result.model["sha256"] == opened(place).manifest.model_sha256
    assert result.model["flop_per_image"] == 2 * 6 * DIM
    ratios = {item.key: item for item in result.ratios}
    assert ratios["end_to_end/model"].value == found["end_to_end"].median / found["model"].median
    assert ratios["end_to_end/model"].at_least == 0.9
    assert ratios["model/torch"].value == found["model"].median / found["torch"].median
    assert "model/torch_channels_last" in ratios
    assert list(tmp_path.iterdir()) == []  # the embeddings files are gone


def test_every_contender_sees_every_image_once(place: Path, tmp_path: Path, monkeypatch):
    seen: dict[str, list[int]] = {"run": [], "torch": []}

    class Counting:
        def __init__(self, runtime):
            self.runtime = runtime

        def __getattr__(self, name):
            return getattr(self.runtime, name)

        def run(self, images):
            seen["run"].append(len(images))
            return self.runtime.run(images)

        def stream(self, batches):
            for batch in batches:
                seen["run"].append(len(batch))
                yield self.runtime.run_all(batch)

    real = mtml_deploy.model.open_runtime
    monkeypatch.setattr(mtml_deploy.model, "open_runtime", lambda *a, **k: Counting(real(*a, **k)))
    monkeypatch.setattr(
        "mtml_train.export.extractor.FusedExtractor.forward",
        lambda self, images: seen["torch"].append(len(images)),
    )
    measure_embed(
        opened(place),
        load_source(f"csv:{place / 'set.csv'}"),
        tmp_path,
        checkpoint=load_checkpoint(place / "run"),
        bench=replace(TINY, rounds=1),
    )
    assert seen["run"] == [2, 2, 2, 1, 2, 2, 1]  # warm-up, end to end, model alone
    assert seen["torch"] == [2, 2, 2, 2, 1, 2, 2, 1]  # two warm-ups, two memory layouts


def test_another_backend_is_measured_against_what_it_computes_in(place: Path, tmp_path: Path):
    pytest.importorskip("openvino", reason="openvino is not installed")
    result = measure_embed(
        opened(place),
        load_source(f"csv:{place / 'set.csv'}"),
        tmp_path,
        bench=replace(TINY, backend="openvino", precision="auto", streams=2),
    )
    assert result.settings["backend"] == "openvino"
    assert result.settings["streams"] == 2
    assert result.settings["execution_precision"] == "auto"
    (share,) = (item for item in result.ratios if item.key.startswith("model_arithmetic/"))
    with open_model(place / "art", backend="openvino", precision="auto") as model:
        limits = {"bf16": ["bf16"], "f16": ["fp16"], "": ["numpy", "torch"]}
        names = limits[model.runtime.computes_in]
    assert share.key in {f"model_arithmetic/matrix_product_{name}" for name in names}


def test_the_share_of_the_limit_is_of_medians():
    measured = [
        series("end_to_end", 60.0, 80.0),
        series("model", 90.0, 110.0),  # median 100 images/s = 1000 FLOP/s
        series("matrix_product_numpy", 4000.0, 4000.0, unit="FLOP/s"),
        series("matrix_product_torch", 1.0, 1.0, unit="FLOP/s"),
    ]
    achieved, ratios = summarise({item.key: item for item in measured}, 10)
    assert achieved.values == (900, 1100)
    assert {item.key: item.value for item in ratios} == {
        "end_to_end/model": 0.7,
        "model_arithmetic/matrix_product_numpy": 0.25,
    }


def test_the_torch_peer_must_be_the_model_that_was_exported(place: Path):
    checkpoint = load_checkpoint(place / "run")
    other = tiny_manifest(branches=("identity", "orientation"))
    with pytest.raises(CheckpointError, match="exported from cccccccccccc"):
        torch_peer(checkpoint, other)
    peer = torch_peer(checkpoint, opened(place).manifest)
    assert not peer.training
    with torch.inference_mode():
        features = peer(torch.zeros(2, SIZE, SIZE, 3, dtype=torch.uint8))
    assert features.shape == (2, 2 * 512)
    # of the same embedding, whatever was done to it
    unit = msgspec.structs.replace(opened(place).manifest, normalised="whole")
    with torch.inference_mode():
        scaled = torch_peer(checkpoint, unit)(torch.zeros(2, SIZE, SIZE, 3, dtype=torch.uint8))
    assert torch.allclose(scaled, features / features.norm(dim=1, keepdim=True))
    after = msgspec.structs.replace(opened(place).manifest, neck="after")
    with pytest.raises(DataError, match="the model has no neck"):
        torch_peer(checkpoint, after)


# --- train ---------------------------------------------------------------------------------------


def test_training_is_measured_against_the_bare_step(place: Path, tmp_path: Path):
    config = replace(CONFIG, data=(f"csv:{place / 'set.csv'}",))
    result = measure_train(
        config, tmp_path, recipe="paper", bench=TrainBench(steps=1, rounds=1, threads=1, settle_s=0)
    )
    found = {item.key: item for item in result.series}
    assert list(found) == ["loop", "step", "loader"]
    (only,) = result.ratios
    assert only.key == "loop/step"
    assert only.value == found["loop"].median / found["step"].median
    assert result.settings["images"] == 8
    assert result.settings["threads"] == 1
    assert result.model["identities"] == 2
    assert list(tmp_path.iterdir()) == []  # the run is gone


def test_the_measured_steps_lie_between_start_up_and_the_last_batches():
    config = loop_config(replace(TrainConfig(data=("d",)), workers=3, val="v", save_every=2), 20)
    assert config.max_steps == 20 + 20 + 4 * 3
    assert config.log_every == 20  # readings after step 20 and step 40
    assert config.save_every > config.max_steps
    assert config.epochs >= config.max_steps
    assert (config.val, config.weights) == ("", "none")
    with pytest.raises(ValueError, match="steps"):
        TrainBench(steps=0)


# --- command line --------------------------------------------------------------------------------


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def test_embed_command_writes_and_prints_the_record(place: Path, tmp_path: Path, monkeypatch):
    bench = partial(EmbedBench, matrix_size=16, settle_s=0)
    monkeypatch.setattr(benchmarks.speed.embed, "EmbedBench", bench)
    words = ("embed", place / "art", "--images", f"csv:{place / 'set.csv'}",
             "--run", place / "run", "--out", tmp_path / "out", "--rounds", 1, "--limit", 3,
             "--model-threads", 1, "--batch-size", 2, "--threads", 1)  # fmt: skip
    result = run(*words)
    assert result.exit_code == 0, result.output
    values = json.loads((tmp_path / "out" / "embed.json").read_text())
    assert values["settings"]["images"] == 3
    assert values["settings"]["batch_size"] == 2
    assert result.stdout.strip() == (tmp_path / "out" / "embed.md").read_text().strip()
    assert "round 1 of 1: end to end" in result.stderr
    monkeypatch.setattr(benchmarks.speed.embed, "measure_embed", None)  # must not be reached
    again = run(*words)
    assert again.exit_code == 1
    assert "exists already" in again.stderr
    assert again.stdout == ""


def test_train_command_passes_its_settings_on(tmp_path: Path, monkeypatch):
    asked = {}

    def measure(config, scratch, *, recipe, bench, say):
        asked.update(config=config, recipe=recipe, bench=bench)
        return record("train")

    monkeypatch.setattr(benchmarks.speed.train, "measure_train", measure)
    words = ("--data", "veri:A", "--data", "veri:B", "--out", tmp_path, "--recipe", "strong",
             "--batch-size", 8, "--workers", 1, "--steps", 7, "--model-threads", 2)  # fmt: skip
    result = run("train", *words)
    assert result.exit_code == 0, result.output
    assert asked["config"].data == ("veri:A", "veri:B")
    assert asked["config"].batch_size == 8  # the flag wins over the recipe
    assert asked["config"].sampler == "pk-once"  # of the recipe
    assert asked["config"].backbone == "resnet18"
    assert (asked["recipe"], asked["bench"]) == ("strong", TrainBench(steps=7, threads=2))
    assert (tmp_path / "train.md").is_file()


def test_all_measures_what_its_options_name(place: Path, tmp_path: Path, monkeypatch):
    limits = []

    def measure(*args, bench, **options):
        limits.append((bench.limit, bench.rounds))
        return record("embed")

    monkeypatch.setattr(benchmarks.speed.embed, "measure_embed", measure)
    monkeypatch.setattr(benchmarks.speed.train, "measure_train", lambda *a, **k: record("train"))
    monkeypatch.setattr(
        benchmarks.speed.latency, "measure_latency", lambda *a, **k: record("latency")
    )
    monkeypatch.setattr(
        benchmarks.speed.throughput, "measure_throughput", lambda *a, **k: record("throughput")
    )
    words = ("all", place / "art", "--images", f"csv:{place / 'set.csv'}",
             "--data", "veri:A", "--out", tmp_path, "--limit", 3)  # fmt: skip
    result = run(*words)
    assert result.exit_code == 0, result.output
    assert limits == [(3, EmbedBench.rounds)]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "bigger-is-better.json", "embed.json", "embed.md", "latency.json", "latency.md",
        "report.html", "smaller-is-better.json", "summary.md", "throughput.json", "throughput.md",
        "train.json", "train.md",
    ]  # fmt: skip
    for kind in ("embed", "latency", "throughput"):
        (tmp_path / f"{kind}.json").unlink()
        (tmp_path / f"{kind}.md").unlink()
    again = run(*words)  # an old record of the last stops before the first
    assert again.exit_code == 1
    assert limits == [(3, EmbedBench.rounds)]


def test_what_the_user_can_fix_is_one_line(place: Path, tmp_path: Path, monkeypatch):
    def refused(*words: object) -> str:
        result = run(*words)
        assert result.exit_code == 1, result.output
        assert "Traceback" not in result.output
        return result.stderr.splitlines()[-1]

    images = ("--images", f"csv:{place / 'set.csv'}", "--out", tmp_path / "out")
    assert "error: " in refused("embed", tmp_path / "none", *images)
    train_words = ("train", "--data", f"csv:{place / 'set.csv'}", "--out", tmp_path / "out")
    assert "do not fill one batch" in refused(*train_words, "--batch-size", 64, "--workers", 0)
    assert "image_size" in refused(*train_words, "--image-size", 8)
    real = mtml_train.cli.requirements.importlib.util.find_spec
    monkeypatch.setattr(
        mtml_train.cli.requirements.importlib.util,
        "find_spec",
        lambda n: None if n == "onnx" else real(n),
    )
    line = refused("embed", place / "art", *images)
    assert line.startswith("error: measuring needs onnx, ")
    assert "pip install" in line


@pytest.mark.parametrize("command", ["", "embed", "train", "all"])
def test_help_needs_no_heavy_library(command: str):
    code = (
        "import sys\n"
        "for name in ('torch', 'onnx', 'onnxruntime', 'safetensors', 'numpy', 'PIL'):\n"
        "    sys.modules[name] = None\n"
        "from benchmarks.__main__ import main\n"
        f"main([*{command.split()!r}, '--help'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout
