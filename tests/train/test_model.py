"""The model of every variant, what its branches see, and the weights it starts from."""

import os
import pickle
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision
from helpers_training import SIZE, assert_equal_tensors, random_images
from safetensors.torch import save_file
from torch import Tensor

from mtml_deploy.errors import CheckpointError, DataError
from mtml_train.backbones.build import build_backbone
from mtml_train.backbones.weights import load_backbones
from mtml_train.config import VARIANTS
from mtml_train.model import MTML
from mtml_train.views import to_planes
from mtml_train.weights_file import read_weights_file

FEATURES = 512  # of ResNet-18
OG = ("gray", "orientation")


def build(branches: tuple[str, ...], **changes: object) -> MTML:
    settings: dict[str, object] = {
        "backbone": "resnet18",
        "branches": branches,
        "identities": 5,
        "image_size": (SIZE, SIZE),
        "scale_size": (23, 23),
        "consensus_dim": 12,
    }
    return MTML(**(settings | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("variant", list(VARIANTS))
@torch.inference_mode()
def test_shapes_of_every_variant(variant: str) -> None:
    branches = VARIANTS[variant]
    output = build(branches).eval()(torch.from_numpy(random_images(3)))
    assert output.id_logits.shape == (len(branches), 3, 5)
    assert output.consensus_logits.shape == (3, 5)
    assert output.fused.shape == (3, len(branches) * FEATURES)
    assert output.consensus.shape == (3, 12)
    if "orientation" in branches:
        assert output.orientation_logits is not None
        assert output.orientation_logits.shape == (3, 8)
    else:
        assert output.orientation_logits is None


def test_branch_e_passes_on_the_share_of_its_gradient_that_was_asked_for() -> None:
    images = torch.from_numpy(random_images(3))
    found, values = {}, []
    for share in (1.0, 0.5, 0.0):
        torch.manual_seed(0)
        model = build(OG, consensus_gradient=share).eval()
        output = model(images)
        values.append(output.consensus_logits.detach())
        output.consensus_logits.square().sum().backward()
        weight = model.trunks.nets["gray"].conv1.weight.grad
        found[share] = (weight, model.fusion.weight.grad)
    whole, own = found[1.0]
    assert whole is not None
    assert own is not None
    assert whole.abs().max() > 0
    half, none = found[0.5], found[0.0]
    assert none[0] is None
    torch.testing.assert_close(half[0], whole / 2)
    for _, gradient in (half, none):  # branch E itself learns as before
        torch.testing.assert_close(gradient, own)
    for value in values[1:]:
        assert torch.equal(value, values[0])


@torch.inference_mode()
def test_the_fused_feature_is_the_branches_side_by_side() -> None:
    model = build(OG).eval()
    images = torch.from_numpy(random_images(2))
    output = model(images)
    pooled = model.trunks(images)
    assert torch.equal(output.fused[:, :FEATURES], pooled[0])
    assert torch.equal(output.fused[:, FEATURES:], pooled[1])
    # each head reads its own branch
    for number, name in enumerate(OG):
        assert torch.equal(output.id_logits[number], model.id_heads[name](pooled[number]))
    assert model.orientation_head is not None
    assert torch.equal(output.orientation_logits, model.orientation_head(pooled[1]))
    assert torch.equal(output.consensus, model.fusion(output.fused))


def test_what_each_branch_sees() -> None:
    model = build(VARIANTS["MTML-OSG"])
    images = torch.from_numpy(random_images(2))
    planes = to_planes(images)
    views = {name: model.trunks.view(planes, name) for name in VARIANTS["MTML-OSG"]}
    assert views["scale"].shape == (2, 3, 23, 23)
    assert all(views[name].shape == (2, 3, SIZE, SIZE) for name in ("identity", "gray"))
    assert torch.equal(views["identity"], views["orientation"])
    # undo the normalisation: the gray view has three equal channels, the colour view the pixels
    levels = views["gray"] * model.trunks.std + model.trunks.mean
    torch.testing.assert_close(levels[:, 0], levels[:, 1], rtol=0, atol=1e-3)
    levels = views["identity"] * model.trunks.std + model.trunks.mean
    torch.testing.assert_close(levels, images.permute(0, 3, 1, 2).float(), rtol=0, atol=1e-3)


def test_views_stay_in_float32_under_mixed_precision() -> None:
    trunks = build(("scale",)).trunks.eval()
    seen: list[Tensor] = []
    trunks.nets["scale"].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    images = torch.from_numpy(random_images(2))
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        (features,) = trunks(images)
    assert features.dtype == torch.bfloat16  # mixed precision was on
    assert torch.equal(seen[0], trunks.view(to_planes(images), "scale"))
    assert seen[0].dtype == torch.float32


def test_the_branches_are_networks_of_their_own() -> None:
    nets = build(OG).trunks.nets
    assert not torch.equal(nets["gray"].conv1.weight, nets["orientation"].conv1.weight)


@pytest.mark.parametrize("backbone", ["resnet19", "vgg16", "resnet"])
def test_an_unknown_backbone_is_refused(backbone: str) -> None:
    with pytest.raises(DataError, match=f"no backbone '{backbone}'; there are: .*resnet18"):
        build(OG, backbone=backbone)


@torch.inference_mode()
def test_a_backbone_is_built_with_the_width_of_its_features() -> None:
    for name, width in (("resnet18", 512), ("resnet50", 2048)):
        network, found = build_backbone(name)
        assert found == width
        assert network.eval()(torch.zeros(2, 3, SIZE, SIZE)).shape == (2, width)


# weights to start from


@pytest.fixture(scope="module")
def resnet() -> dict[str, Tensor]:
    torch.manual_seed(7)
    return dict(torchvision.models.resnet18(weights=None).state_dict())


def write_weights(folder: Path, form: str, state: dict[str, Tensor]) -> Path:
    if form == "safetensors":
        save_file(state, folder / "weights.safetensors")
        return folder / "weights.safetensors"
    content = {
        "bare": state,
        "state_dict": {"epoch": 3, "state_dict": state},
        "module": {"state_dict": {f"module.{name}": value for name, value in state.items()}},
    }[form]
    torch.save(content, folder / "weights.pth")
    return folder / "weights.pth"


def test_tensors_keep_the_names_that_checkpoints_have(resnet: dict[str, Tensor]) -> None:
    # written out: a checkpoint of an earlier version must load, key by key
    state = {
        f"trunks.nets.{branch}.{name}": value
        for branch in OG
        for name, value in resnet.items()
        if not name.startswith("fc.")
    }
    for name, rows, columns in (
        ("id_heads.gray", 5, FEATURES),
        ("id_heads.orientation", 5, FEATURES),
        ("orientation_head", 8, FEATURES),
        ("fusion", 12, 2 * FEATURES),
        ("consensus_head", 5, 12),
    ):
        state |= {f"{name}.weight": torch.rand(rows, columns), f"{name}.bias": torch.rand(rows)}
    model = build(OG)
    model.load_state_dict(state, strict=True)
    assert_equal_tensors(model.state_dict(), state)


@pytest.mark.parametrize("form", ["safetensors", "bare", "state_dict", "module"])
def test_weights_from_a_file_go_into_every_branch(
    tmp_path: Path, resnet: dict[str, Tensor], form: str
) -> None:
    path = write_weights(tmp_path, form, resnet)
    model = build(OG)
    model.trunks.load_pretrained(str(path))
    trunk = {name: value for name, value in resnet.items() if not name.startswith("fc.")}
    for net in model.trunks.nets.values():
        assert_equal_tensors(net.state_dict(), trunk)


def test_weights_none_leaves_the_random_ones() -> None:
    model = build(("gray",))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.trunks.load_pretrained("none")
    assert_equal_tensors(model.state_dict(), before)


@pytest.mark.parametrize("other", ["resnet34", "resnet50"])
def test_weights_of_another_network_are_refused(tmp_path: Path, other: str) -> None:
    state = torchvision.models.get_model(other, weights=None).state_dict()
    path = write_weights(tmp_path, "bare", dict(state))
    with pytest.raises(CheckpointError, match="does not hold the weights of a resnet18"):
        load_backbones([build_backbone("resnet18")[0]], "resnet18", str(path))


def test_weights_that_lack_a_tensor_are_refused(tmp_path: Path, resnet: dict[str, Tensor]) -> None:
    short = {name: value for name, value in resnet.items() if name != "layer2.0.conv1.weight"}
    path = write_weights(tmp_path, "safetensors", short)
    with pytest.raises(CheckpointError, match=r"1 tensors missing .*layer2.0.conv1.weight"):
        load_backbones([build_backbone("resnet18")[0]], "resnet18", str(path))


class Harmful:
    """Unpickling this would make a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.mkdir, (self.folder,)


def test_code_in_a_weights_file_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": Harmful(tmp_path / "made")}, path)
    with pytest.raises(CheckpointError, match="holds more than tensors and was not loaded"):
        read_weights_file(path)
    path.write_bytes(pickle.dumps(Harmful(tmp_path / "made"), protocol=2))
    with pytest.raises(CheckpointError):
        read_weights_file(path)
    assert not (tmp_path / "made").exists()


def test_a_whole_model_is_refused_in_our_words(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(1, 1), tmp_path / "whole.pth")
    with pytest.raises(CheckpointError) as refused:
        read_weights_file(tmp_path / "whole.pth")
    text = str(refused.value)
    assert "a whole model or other objects (torch.nn.modules.linear.Linear)" in text
    assert "torch.save(model.state_dict(), FILE)" in text
    for foreign in ("\n", "\x1b", "weights_only", "trust"):
        assert foreign not in text


def test_classifiers_of_a_file_are_left_out_and_other_tensors_named(
    tmp_path: Path, resnet: dict[str, Tensor]
) -> None:
    heads = {"classifier.weight": torch.rand(576, 512), "classifier.bias": torch.rand(576)}
    trunk = {name: value for name, value in resnet.items() if not name.startswith("fc.")}
    path = write_weights(tmp_path, "bare", trunk | heads)
    network, _ = build_backbone("resnet18")
    load_backbones([network], "resnet18", str(path))
    assert_equal_tensors(network.state_dict(), trunk)
    for name in ("layer1.0.neck.weight", "NL_2.0.g.weight"):  # inside it, and a convolution
        shape = (1, 1, 1, 1) if name.startswith("NL") else (1,)
        path = write_weights(tmp_path, "bare", trunk | {name: torch.rand(shape)})
        with pytest.raises(CheckpointError, match=rf": 1 tensors unknown \(first: {name}\);"):
            load_backbones([network], "resnet18", str(path))
    path = write_weights(tmp_path, "bare", trunk | {"conv1.weight": torch.rand(64, 1, 7, 7)})
    shapes = r"conv1.weight \[64, 1, 7, 7\] instead of \[64, 3, 7, 7\]"
    with pytest.raises(CheckpointError, match=shapes):
        load_backbones([network], "resnet18", str(path))


def test_weights_that_are_no_file_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pth")
    for name, found in (("pipe.pth", "is a pipe"), ("folder", "is a folder")):
        (tmp_path / "folder").mkdir(exist_ok=True)
        with pytest.raises(CheckpointError, match=found):
            read_weights_file(tmp_path / name)


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04 cut off"])
def test_a_damaged_weights_file_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=name):
        read_weights_file(tmp_path / name)


def test_a_truncated_weights_file_is_refused(tmp_path: Path, resnet: dict[str, Tensor]) -> None:
    for form in ("safetensors", "bare"):
        path = write_weights(tmp_path, form, {"conv1.weight": resnet["conv1.weight"]})
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(CheckpointError, match=path.name):
            read_weights_file(path)


def test_a_weights_file_that_is_absent_or_holds_no_tensors(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"cannot read weights from .*absent\.pth"):
        read_weights_file(tmp_path / "absent.pth")
    torch.save({"accuracy": 0.7}, tmp_path / "numbers.pth")
    with pytest.raises(CheckpointError, match="holds no state dict of tensors"):
        read_weights_file(tmp_path / "numbers.pth")


def test_imagenet_weights_without_a_network_name_the_way_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(torchvision.models.ResNet18_Weights, "get_state_dict", fail)
    with pytest.raises(CheckpointError, match=r"could not be downloaded .*--weights FILE"):
        load_backbones([build_backbone("resnet18")[0]], "resnet18", "imagenet")
