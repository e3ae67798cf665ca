"""Necks, the stride of the last stage and the learnt pooling: in the model and when exported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from helpers_training import SIZE, random_images, small_config
from torch import Tensor, nn

from mtml_deploy.artifact.artifact import open_artifact
from mtml_deploy.artifact.manifest import Manifest
from mtml_deploy.errors import DataError
from mtml_deploy.parity.agreement import MAX_RELATIVE_FP32, MIN_COSINE_FP32, agreement
from mtml_deploy.parity.images import parity_images
from mtml_deploy.runtime.open import open_runtime
from mtml_train.backbones.build import build_backbone
from mtml_train.backbones.pooling import PowerMean
from mtml_train.backbones.weights import load_backbones
from mtml_train.checkpoint import LAST, build_model, load_checkpoint, load_model
from mtml_train.cli.export import export_main
from mtml_train.distributed import Process
from mtml_train.export.extractor import FusedExtractor
from mtml_train.export.fold import fold_batch_norm
from mtml_train.micro_batch import require_statistics
from mtml_train.train import train

FEATURES = 512  # of ResNet-18
ALL = {"variant": "MTML-O", "neck": "bn", "last_stride": 1, "pooling": "gem"}
IMAGES = torch.from_numpy(random_images(3))

ROUNDING = 1e-5
"""Relative, float32: a few products and sums of features, whose weights are rounded once more."""


def relative(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).norm(dim=1) / expected.norm(dim=1)).max().item()


# the neck


def test_classifiers_see_features_after_the_neck_and_the_fusion_layer_those_before() -> None:
    torch.manual_seed(0)
    model = build_model(small_config("unused", variant="MTML-O", neck="bn"), 5).train()
    output = model(IMAGES)
    fused = output.fused.detach().double()
    for number, name in enumerate(("identity", "orientation")):
        before = fused[:, number * FEATURES : (number + 1) * FEATURES]
        assert model.id_heads[name].bias is None
        # statistics of the batch, by hand
        centred = before - before.mean(dim=0)
        after = centred / torch.sqrt((centred**2).mean(dim=0) + 1e-5)
        logits = after @ model.id_heads[name].weight.double().T
        torch.testing.assert_close(output.id_logits[number].double(), logits, rtol=0, atol=1e-4)
    head = model.orientation_head
    assert head is not None
    expected = after @ head.weight.double().T + head.bias.double()
    assert output.orientation_logits is not None
    torch.testing.assert_close(output.orientation_logits.double(), expected, rtol=0, atol=1e-4)
    assert torch.equal(output.consensus, model.fusion(output.fused))
    # E has a neck of its own, between its feature and its classifier
    assert model.consensus_head.bias is None
    feature = output.consensus.detach().double()
    centred = feature - feature.mean(dim=0)
    after = centred / torch.sqrt((centred**2).mean(dim=0) + 1e-5)
    logits = after @ model.consensus_head.weight.double().T
    torch.testing.assert_close(output.consensus_logits.double(), logits, rtol=0, atol=1e-4)
    names = {name for name, _ in model.necks.named_parameters()}
    assert names == {"identity.weight", "orientation.weight"}  # without bias
    assert [name for name, _ in model.consensus_neck.named_parameters()] == ["weight"]


def test_one_image_is_too_few_for_a_neck() -> None:
    config = small_config("unused", neck="bn", batch_size=1, image_size=128)
    with pytest.raises(DataError, match="neck a single value; expected two or more"):
        require_statistics(build_model(config, 3), config, Process(0, 1, torch.device("cpu")))


# the last stage


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnext50_32x4d"])
@torch.inference_mode()
def test_a_last_stride_of_one_gives_maps_of_twice_the_side(name: str) -> None:
    sides = []
    for stride in (2, 1):
        network = build_backbone(name, last_stride=stride)[0].eval()
        network.avgpool.register_forward_pre_hook(
            lambda _, inputs: sides.append(tuple(inputs[0].shape[2:]))
        )
        network(torch.zeros(1, 3, 64, 64))
    assert sides == [(2, 2), (4, 4)]


# pooling


def test_a_power_mean_by_hand() -> None:
    maps = torch.tensor([[1.0, 2.0, 2.0, 3.0], [0.0, 0.0, 0.0, 4.0]]).view(1, 2, 2, 2)
    found = PowerMean(power=3.0)(maps).flatten()
    expected = [((1 + 8 + 8 + 27) / 4) ** (1 / 3), (64 / 4) ** (1 / 3)]
    assert found.tolist() == pytest.approx(expected, rel=1e-6)
    average = PowerMean(power=1.0)(maps).flatten()
    assert average.tolist() == pytest.approx([2.0, 1.0], rel=1e-3)  # 0 counts as 1e-4


def test_the_power_is_learnt_and_an_empty_map_gives_no_nan() -> None:
    pool = PowerMean()
    maps = torch.zeros(2, 3, 4, 4, requires_grad=True)
    values = pool(maps)
    assert values.flatten().tolist() == pytest.approx([1e-4] * 6)
    (values.sum() + pool(torch.rand(2, 3, 4, 4)).sum()).backward()
    assert pool.power.grad is not None
    assert pool.power.grad.item() > 0  # a larger power gives a larger mean
    assert maps.grad is not None
    assert maps.grad.isfinite().all()


def test_a_power_mean_of_large_values_stays_in_half_precision() -> None:
    maps = torch.full((1, 1, 2, 2), 60000.0, dtype=torch.float16)  # its cube would be infinite
    assert PowerMean()(maps).item() == 60000.0


def test_weights_of_a_file_go_under_a_learnt_pooling(tmp_path: Path) -> None:
    source = build_backbone("resnet18")[0]
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    network = build_backbone("resnet18", pooling="gem")[0]
    load_backbones([network], "resnet18", str(tmp_path / "weights.pth"))
    assert torch.equal(network.conv1.weight, source.conv1.weight)
    assert network.avgpool.power.item() == 3.0


# exported


@pytest.fixture(scope="module")
def run(tiny_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("neck") / "run"
    train(small_config(tiny_set, max_steps=2, lr=1e-3, **ALL), folder)
    return folder


@pytest.fixture(scope="module")
def images(tiny_set: Path) -> np.ndarray:
    return parity_images(f"veri:{tiny_set}#gallery", height=SIZE, width=SIZE)


@torch.inference_mode()
def test_folding_a_neck_changes_nothing(run: Path) -> None:
    model = load_model(load_checkpoint(run / LAST))
    for neck in model.necks.values():  # statistics that are far from 0 and 1
        neck.running_mean.uniform_(0.5, 2.0)
        neck.running_var.uniform_(0.2, 3.0)
        neck.weight.uniform_(0.5, 2.0)
    for after in (False, True):
        extractor = FusedExtractor(
            model,
            branches=("orientation", "identity"),
            embedding="fused",
            with_orientation=True,
            after_neck=after,
        )
        expected = extractor.everything(IMAGES)
        output = model(IMAGES)
        assert torch.equal(expected[1], output.fused) is not after
        assert torch.equal(expected[2], torch.softmax(output.orientation_logits, dim=1))
        fold_batch_norm(extractor)
        kinds = (nn.BatchNorm1d, nn.BatchNorm2d)
        assert not [each for each in extractor.modules() if isinstance(each, kinds)]
        found = extractor.everything(IMAGES)
        assert relative(found[1], expected[1]) < ROUNDING
        assert found[2] is not None
        assert relative(found[2], expected[2]) < ROUNDING
    # only what is needed is kept
    plain = FusedExtractor(
        model, branches=("identity",), embedding="identity", with_orientation=False
    )
    assert not plain.necks


def exported(run: Path, out: Path, *words: object) -> Manifest:
    given = [run / LAST, "--out", out, "--target", "onnx", *words]
    result = CliRunner().invoke(export_main, [str(word) for word in given])
    assert result.exit_code == 0, result.output
    return open_artifact(out).manifest


@torch.inference_mode()
@pytest.mark.parametrize("side", ["before", "after"])
def test_the_graph_gives_what_torch_gives(
    run: Path, images: np.ndarray, tmp_path: Path, side: str
) -> None:
    manifest = exported(run, tmp_path / "art", "--neck", side, "--with-orientation")
    assert (manifest.neck, manifest.dim) == (side, 2 * FEATURES)
    graph = onnx.load(tmp_path / "art" / "model.onnx")
    kinds = {node.op_type for node in graph.graph.node}
    assert "BatchNormalization" not in kinds
    assert "Pow" in kinds  # the pooling
    model = load_model(load_checkpoint(run / LAST))
    output = model(torch.from_numpy(images))
    expected = output.fused
    if side == "after":
        halves = zip(model.necks.values(), expected.chunk(2, dim=1), strict=True)
        expected = torch.cat([neck(half) for neck, half in halves], dim=1)
    with open_runtime(open_artifact(tmp_path / "art")) as runtime:
        found = runtime.run_all(images)
    measured = agreement(expected.numpy(), found.embeddings)
    assert measured.cosine_min >= MIN_COSINE_FP32
    assert measured.max_relative <= MAX_RELATIVE_FP32
    assert found.orientation is not None
    probabilities = torch.softmax(output.orientation_logits, dim=1).numpy()
    np.testing.assert_allclose(found.orientation, probabilities, rtol=0, atol=1e-4)


def test_a_neck_and_a_learnt_pooling_in_fp16_and_int8(
    run: Path, tiny_set: Path, tmp_path: Path
) -> None:
    listed = tmp_path / "list.txt"
    pictures = sorted((tiny_set / "image_train").iterdir())[::2]
    listed.write_text("".join(f"{picture}\n" for picture in pictures))
    # bounds of half precision are those of every conversion; both are measured on real images
    low = exported(run, tmp_path / "fp16", "--neck", "after", "--fp16", "--embedding", "identity")
    assert (low.precision, low.neck) == ("fp16", "after")
    words = ("--int8", "--calibration", listed, "--max-map-drop", 0.1)
    low = exported(run, tmp_path / "int8", *words, "--embedding", "identity")
    assert (low.precision, low.neck) == ("int8", "before")


@pytest.mark.parametrize(
    ("changes", "embedding", "message"),
    [
        ({}, "fused", "the model has no neck to take features after; leave --neck out"),
        ({"neck": "bn"}, "consensus", "the consensus embedding is made of features before"),
    ],
)
def test_a_side_that_is_not_there_is_refused(
    changes: dict[str, object], embedding: str, message: str
) -> None:
    model = build_model(small_config("unused", **changes), 3).eval()
    with pytest.raises(DataError, match=message):
        FusedExtractor(
            model,
            branches=("identity", "gray"),
            embedding=embedding,
            with_orientation=False,
            after_neck=True,
        )
