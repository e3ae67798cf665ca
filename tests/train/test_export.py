"""Export: the graph, its record, its parity with torch, and that a wrong graph leaves nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from helpers_artifact import write_artifact
from helpers_outputs import tree
from helpers_training import SIZE
from msgspec.structs import replace as msgspec_replace
from numpy.typing import NDArray
from onnx import numpy_helper

from mtml_deploy.artifact.artifact import Artifact, file_sha256, open_artifact
from mtml_deploy.artifact.manifest import METADATA_KEY
from mtml_deploy.errors import DataError, OutputExistsError, ParityError
from mtml_deploy.parity.agreement import MAX_RELATIVE_FP32, MIN_COSINE_FP32, agreement
from mtml_deploy.parity.images import PARITY_IMAGES, parity_images
from mtml_deploy.runtime.open import open_runtime
from mtml_train.checkpoint import BEST, Checkpoint, load_checkpoint, load_model
from mtml_train.export import export as module
from mtml_train.export.export import ExportOptions, export
from mtml_train.model import MTML, MTMLOutput

FEATURES = 512  # of ResNet-18
OSG = ("identity", "scale", "gray", "orientation")

PROBABILITY = 1e-4
"""Absolute: features agree to about 1e-6 of their length, and logits of a network after two steps
are of the order of 1."""


@pytest.fixture(scope="module")
def checkpoint(tiny_run: Path) -> Checkpoint:
    return load_checkpoint(tiny_run)


@pytest.fixture(scope="module")
def model(checkpoint: Checkpoint) -> MTML:
    return load_model(checkpoint)


@pytest.fixture(scope="module")
def gallery(tiny_set: Path) -> NDArray[np.uint8]:
    """Images of vehicles that were neither trained on nor compared on at export."""
    return parity_images(f"veri:{tiny_set}#gallery", height=SIZE, width=SIZE)


@torch.inference_mode()
def torch_output(model: MTML, images: NDArray[np.uint8]) -> MTMLOutput:
    output: MTMLOutput = model(torch.from_numpy(images))
    return output


def require_agreement(expected: torch.Tensor, found: NDArray[np.float32]) -> None:
    measured = agreement(expected.numpy(), found)
    assert measured.cosine_min >= MIN_COSINE_FP32
    assert measured.max_relative <= MAX_RELATIVE_FP32


def load_graph(artifact: Artifact | Path) -> onnx.ModelProto:
    folder = artifact if isinstance(artifact, Path) else artifact.folder
    return onnx.load(folder / "model.onnx")


# the graph


def test_the_graph_takes_bytes_and_has_a_free_batch(tiny_artifact: Path) -> None:
    graph = load_graph(tiny_artifact)
    onnx.checker.check_model(graph, full_check=True)
    (images,) = graph.graph.input
    assert images.name == "images"
    assert images.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    batch, *rest = images.type.tensor_type.shape.dim
    assert batch.dim_param
    assert [dim.dim_value for dim in rest] == [SIZE, SIZE, 3]
    assert [output.name for output in graph.graph.output] == ["embeddings", "orientation"]
    for output, width in zip(graph.graph.output, (4 * FEATURES, 8), strict=True):
        assert output.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        first, second = output.type.tensor_type.shape.dim
        assert first.dim_param == batch.dim_param
        assert second.dim_value == width


def test_the_graph_has_only_what_every_runtime_computes_alike(tiny_artifact: Path) -> None:
    graph = load_graph(tiny_artifact)
    kinds = {node.op_type for node in graph.graph.node}
    # BatchNorm is folded, resizing is two matrix products, no custom or training operator is left
    assert not kinds & {"BatchNormalization", "Resize", "Upsample", "Dropout", "Gather", "If"}
    assert {node.domain for node in graph.graph.node} <= {"", "ai.onnx"}
    (default,) = [entry for entry in graph.opset_import if entry.domain in ("", "ai.onnx")]
    assert default.version >= 19
    assert not graph.functions
    assert [path.name for path in sorted(tiny_artifact.iterdir())] == [
        "manifest.json",
        "model.onnx",
    ]  # a single file: no weights beside it
    # the classifiers are stripped: four ResNet-18 without fc, the orientation head, the resize
    trunk = 11_176_512 - 9_600  # parameters of ResNet-18 without fc, less BatchNorm's
    held = sum(int(np.prod(tensor.dims)) for tensor in graph.graph.initializer)
    biases = 4_800  # one per output channel of its 20 convolutions
    assert held == pytest.approx(4 * (trunk + biases) + 512 * 8 + 8 + 23 * 32, abs=500)


def test_the_manifest_says_what_the_graph_is(tiny_artifact: Path, tiny_run: Path) -> None:
    manifest = open_artifact(tiny_artifact).manifest
    assert (manifest.variant, manifest.backbone, manifest.branches) == ("MTML-OSG", "resnet18", OSG)
    assert (manifest.embedding, manifest.dim) == ("fused", 4 * FEATURES)
    assert (manifest.height, manifest.width, manifest.precision) == (SIZE, SIZE, "fp32")
    assert manifest.with_orientation
    assert manifest.licence == "made for tests"
    assert manifest.model_sha256 == file_sha256(tiny_artifact / "model.onnx")
    assert manifest.checkpoint_sha256 == file_sha256(tiny_run / BEST)
    assert manifest.versions["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert manifest.training["images"] == 36
    assert manifest.training["identities"] == 6
    assert manifest.training["images_with_orientation"] == manifest.learnt_orientations == 36
    assert manifest.training["sets"] == [{"images": 36, "images_with_orientation": 36}]
    assert manifest.training["steps"] == 2
    graph = load_graph(tiny_artifact)
    (default,) = [entry for entry in graph.opset_import if entry.domain in ("", "ai.onnx")]
    assert manifest.opset == default.version


def test_the_record_in_the_graph_equals_the_manifest(tiny_artifact: Path) -> None:
    (entry,) = [e for e in load_graph(tiny_artifact).metadata_props if e.key == METADATA_KEY]
    record = json.loads((tiny_artifact / "manifest.json").read_text())
    del record["model_sha256"]  # a file cannot hold its own hash
    assert json.loads(entry.value) == record


def test_parity_is_recorded(tiny_artifact: Path) -> None:
    parity = open_artifact(tiny_artifact).manifest.parity
    assert parity["reference"] == "torch"
    assert parity["images"] == PARITY_IMAGES
    names = {"cosine_min", "cosine_p1", "cosine_mean", "max_abs", "max_relative"}
    assert set(parity["embedding"]) == names  # type: ignore[call-overload]
    branches = parity["branches"]
    assert isinstance(branches, dict)
    assert tuple(sorted(branches)) == tuple(sorted(OSG))
    for measures in branches.values():
        assert set(measures) == names | {"closest_images"}
        assert measures["cosine_min"] >= MIN_COSINE_FP32
    assert {"row_difference", "closest_images", "orientation_max_abs"} <= set(parity)


# the numbers, against torch


def test_fused_embeddings_and_orientation_equal_those_of_torch(
    tiny_artifact: Path, model: MTML, gallery: NDArray[np.uint8]
) -> None:
    expected = torch_output(model, gallery)
    with open_runtime(open_artifact(tiny_artifact)) as runtime:
        for count in (1, 3, len(gallery)):  # any batch size
            found = runtime.run_all(gallery[:count])
            require_agreement(expected.fused[:count], found.embeddings)
            assert found.orientation is not None
            assert expected.orientation_logits is not None
            probabilities = torch.softmax(expected.orientation_logits[:count], dim=1).numpy()
            np.testing.assert_allclose(found.orientation, probabilities, rtol=0, atol=PROBABILITY)


def test_a_subset_of_the_branches(
    checkpoint: Checkpoint, model: MTML, gallery: NDArray[np.uint8], tmp_path: Path
) -> None:
    options = ExportOptions(branches=("gray", "identity"))
    artifact = export(checkpoint, tmp_path / "og", options)
    assert artifact.manifest.branches == ("identity", "gray")
    assert artifact.manifest.variant == "MTML-OSG"  # what it was trained as
    assert artifact.manifest.dim == 2 * FEATURES
    assert set(artifact.manifest.parity["branches"]) == {"identity", "gray"}  # type: ignore[call-overload]
    fused = torch_output(model, gallery).fused
    expected = torch.cat([fused[:, :FEATURES], fused[:, 2 * FEATURES : 3 * FEATURES]], dim=1)
    with open_runtime(artifact) as runtime:
        require_agreement(expected, runtime.run(gallery))


def test_the_consensus_embedding(
    untrained_run: Path, gallery: NDArray[np.uint8], tmp_path: Path
) -> None:
    checkpoint = load_checkpoint(untrained_run)
    artifact = export(checkpoint, tmp_path / "art", ExportOptions(embedding="consensus"))
    assert (artifact.manifest.embedding, artifact.manifest.dim) == ("consensus", 16)
    # each branch is measured although the graph does not give its feature
    assert set(artifact.manifest.parity["branches"]) == {"identity", "gray"}  # type: ignore[call-overload]
    assert [output.name for output in load_graph(artifact).graph.output] == ["embeddings"]
    with open_runtime(artifact) as runtime:
        found = runtime.run(gallery)
    require_agreement(torch_output(load_model(checkpoint), gallery).consensus, found)


# faults; the graph that was traced once is taken again, changed


@pytest.fixture
def traced(tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> onnx.ModelProto:
    """The graph that tracing gives in this test; change it in place."""
    graph = load_graph(tiny_artifact)
    monkeypatch.setattr(module, "trace", lambda *_, **__: graph)
    return graph


WITH_ORIENTATION = ExportOptions(with_orientation=True)


def concat_of_branches(graph: onnx.ModelProto) -> onnx.NodeProto:
    """The node that puts the four features side by side."""
    (node,) = [n for n in graph.graph.node if n.op_type == "Concat" and len(n.input) == 4]
    return node


def swap_branches(graph: onnx.ModelProto) -> None:
    node = concat_of_branches(graph)
    node.input[0], node.input[2] = node.input[2], node.input[0]


def repeat_branch(graph: onnx.ModelProto) -> None:
    # branches A and D see the same view: the likeliest mix-up
    node = concat_of_branches(graph)
    node.input[3] = node.input[0]


def change_weight(graph: onnx.ModelProto) -> None:
    convolution = next(n for n in graph.graph.node if n.op_type == "Conv")
    (weight,) = [t for t in graph.graph.initializer if t.name == convolution.input[1]]
    values = numpy_helper.to_array(weight) * np.float32(1.05)
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))


def kill_weights(graph: onnx.ModelProto) -> None:
    for weight in graph.graph.initializer:
        if len(weight.dims) == 4:
            values = np.zeros(tuple(weight.dims), np.float32)
            weight.CopyFrom(numpy_helper.from_array(values, weight.name))


def scale_everything(graph: onnx.ModelProto) -> None:
    # a cosine does not see it
    node = concat_of_branches(graph)
    name = node.output[0]
    node.output[0] = "before_scale"
    graph.graph.initializer.append(
        numpy_helper.from_array(np.array(1.01, np.float32), "wrong_scale")
    )
    graph.graph.node.append(onnx.helper.make_node("Mul", ["before_scale", "wrong_scale"], [name]))


def change_orientation(graph: onnx.ModelProto) -> None:
    (node,) = [n for n in graph.graph.node if n.op_type == "Softmax"]
    name = node.input[0]
    node.input[0] = "sharpened"
    graph.graph.initializer.append(numpy_helper.from_array(np.array(1.5, np.float32), "sharpness"))
    at = list(graph.graph.node).index(node)
    graph.graph.node.insert(at, onnx.helper.make_node("Mul", [name, "sharpness"], ["sharpened"]))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (swap_branches, "cosine to torch of branch identity"),
        (repeat_branch, "cosine to torch of branch orientation"),
        (change_weight, "to torch of "),
        (kill_weights, "cosine to torch of branch identity"),
        (scale_everything, "difference to torch of fused"),
        (change_orientation, "orientation probability"),
    ],
)
def test_a_wrong_graph_is_refused_and_leaves_nothing(
    traced: onnx.ModelProto,
    checkpoint: Checkpoint,
    tmp_path: Path,
    fault,
    message: str,
) -> None:
    fault(traced)
    with pytest.raises(ParityError, match=message):
        export(checkpoint, tmp_path / "art", WITH_ORIENTATION)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_graph_does_not_replace_an_artifact(
    traced: onnx.ModelProto, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    write_artifact(tmp_path / "art")
    before = tree(tmp_path)
    swap_branches(traced)
    with pytest.raises(ParityError):
        export(checkpoint, tmp_path / "art", WITH_ORIENTATION, overwrite=True)
    assert tree(tmp_path) == before


def test_an_existing_artifact_is_replaced_only_on_request(
    traced: onnx.ModelProto, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    write_artifact(tmp_path / "art")
    before = tree(tmp_path)
    with pytest.raises(OutputExistsError, match="exists already"):
        export(checkpoint, tmp_path / "art", WITH_ORIENTATION)
    assert tree(tmp_path) == before
    # the graph as it was traced passes: what is refused above is refused for its fault
    export(checkpoint, tmp_path / "art", WITH_ORIENTATION, overwrite=True)
    assert open_artifact(tmp_path / "art").manifest.dim == 4 * FEATURES
    # with a file of others in it
    (tmp_path / "art" / "mine").write_text("keep")
    before = tree(tmp_path)
    with pytest.raises(OutputExistsError, match="mine"):
        export(checkpoint, tmp_path / "art", WITH_ORIENTATION, overwrite=True)
    assert tree(tmp_path) == before


def never(*_: object) -> onnx.ModelProto:
    raise AssertionError("nothing is traced for a request that is refused")


def test_orientations_that_were_never_learnt_are_not_exported(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "trace", never)
    sets = tuple(msgspec_replace(each, with_orientation=0) for each in checkpoint.card.sets)
    unlabelled = replace(checkpoint, card=replace(checkpoint.card, sets=sets))
    with pytest.raises(DataError, match="36 images, none of them with an orientation"):
        export(unlabelled, tmp_path / "art", WITH_ORIENTATION)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ExportOptions(branches=("identity", "colour")), "the model has no branch 'colour'"),
        (
            ExportOptions(branches=("identity", "gray"), embedding="consensus"),
            "the consensus embedding is computed from all branches",
        ),
        (
            ExportOptions(branches=("identity", "gray"), with_orientation=True),
            "orientation probabilities need the branch orientation",
        ),
    ],
)
def test_what_the_model_has_not_is_refused_before_anything_is_traced(
    checkpoint: Checkpoint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: ExportOptions,
    message: str,
) -> None:
    monkeypatch.setattr(module, "trace", never)
    with pytest.raises(DataError, match=message):
        export(checkpoint, tmp_path / "art", options)
    assert list(tmp_path.iterdir()) == []


def test_a_variant_without_branch_d_has_no_orientation(
    untrained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "trace", never)
    with pytest.raises(DataError, match="need the branch orientation; the export has identity"):
        export(load_checkpoint(untrained_run), tmp_path / "art", WITH_ORIENTATION)


# the images compared on


def test_without_images_there_is_no_export(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "trace", never)
    sets = (msgspec_replace(checkpoint.card.sets[0], source="veri:moved/away"),)
    moved = replace(checkpoint, card=replace(checkpoint.card, sets=sets))
    with pytest.raises(ParityError, match=r"could not be read .* name others with --images SOURCE"):
        export(moved, tmp_path / "art", ExportOptions())
    with pytest.raises(ParityError, match="could not be read"):
        export(checkpoint, tmp_path / "art", ExportOptions(images=str(tmp_path / "absent")))
    assert list(tmp_path.iterdir()) == []


def test_one_image_is_too_few(tiny_set: Path) -> None:
    one = next((tiny_set / "image_train").iterdir())
    with pytest.raises(ParityError, match=r"holds 1 image, the comparison .* needs at least 2"):
        parity_images(str(one), height=SIZE, width=SIZE)


def test_images_are_spread_over_the_vehicles(tiny_set: Path) -> None:
    images = parity_images(f"veri:{tiny_set}", height=SIZE, width=SIZE)
    assert images.shape == (PARITY_IMAGES, SIZE, SIZE, 3)
    assert images.dtype == np.uint8
    assert len(np.unique(images, axis=0)) == PARITY_IMAGES
