"""Weights of other programs: files laid out as theirs, found by content, and what is said."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision
from helpers_training import assert_equal_tensors
from torch import Tensor

from mtml_deploy.errors import CheckpointError
from mtml_train.backbones import weights as weights_module
from mtml_train.backbones.build import build_backbone
from mtml_train.backbones.weights import load_backbones

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def resnet() -> State:
    """A ResNet-18 as torchvision saves it, classifier included."""
    torch.manual_seed(3)
    return dict(torchvision.models.resnet18(weights=None).state_dict())


def trunk_of(state: State) -> State:
    return {name: value for name, value in state.items() if not name.startswith("fc.")}


def under(prefix: str, state: State) -> State:
    return {prefix + name: value for name, value in state.items()}


def row(*shape: int) -> Tensor:
    return torch.rand(shape)


FAST_REID_HEADS = {
    "pixel_mean": row(1, 3, 1, 1), "pixel_std": row(1, 3, 1, 1), "heads.pool_layer.p": row(1),
    "heads.bottleneck.0.weight": row(512), "heads.bottleneck.0.running_var": row(512),
    "heads.weight": row(576, 512),
}  # fmt: skip
NECK = {
    "bottleneck.weight": row(512), "bottleneck.bias": row(512), "bottleneck.running_mean": row(512),
    "classifier.weight": row(576, 512),
}  # fmt: skip


def layouts(resnet: State) -> dict[str, tuple[object, str]]:
    """What each program saves, and what is said of it."""
    trunk = trunk_of(resnet)
    classifier = {"classifier.weight": row(576, 512), "classifier.bias": row(576)}
    count = len(trunk)
    return {
        "torchvision, timm": (resnet, f"{count} tensors taken, 2 left out (fc)"),
        "fast-reid": (
            {"model": under("backbone.", trunk) | FAST_REID_HEADS, "iteration": 7,
             "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}},
            f'{count} tensors under "backbone." taken, 6 left out (pixel_mean, pixel_std, heads)',
        ),
        "strong baseline": (
            under("base.", trunk) | NECK,
            f'{count} tensors under "base." taken, 4 left out (bottleneck, classifier)',
        ),
        "torchreid": (
            {"state_dict": under("module.", trunk | classifier), "epoch": 60, "rank1": 0.94},
            f'{count} tensors under "module." taken, 2 left out (classifier)',
        ),
        "Lightning": (
            {"state_dict": under("model.backbone.", trunk) | under("model.head.", classifier),
             "pytorch-lightning_version": "2.4.0", "global_step": 9, "hyper_parameters": {"lr": 1}},
            f'{count} tensors under "model.backbone." taken, 2 left out (head)',
        ),
    }  # fmt: skip


@pytest.mark.parametrize(
    "program", ["torchvision, timm", "fast-reid", "strong baseline", "torchreid", "Lightning"]
)
def test_a_network_is_found_whatever_program_saved_it(
    tmp_path: Path, resnet: State, program: str
) -> None:
    content, said = layouts(resnet)[program]
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    networks = [build_backbone("resnet18")[0] for _ in range(2)]
    told = load_backbones(networks, "resnet18", str(path))
    assert told == f"weights of resnet18 from {path}: {said}"
    for network in networks:
        assert_equal_tensors(network.state_dict(), trunk_of(resnet))


def test_a_learnt_power_is_not_in_such_a_file_and_that_is_said(
    tmp_path: Path, resnet: State
) -> None:
    torch.save(resnet, tmp_path / "weights.pth")
    network, _ = build_backbone("resnet18", pooling="gem")
    told = load_backbones([network], "resnet18", str(tmp_path / "weights.pth"))
    assert told.endswith("2 left out (fc), not in it: avgpool.power")
    assert network.state_dict()["avgpool.power"].item() == 3.0


def test_weights_with_ibn_go_under_their_own_network_alone(tmp_path: Path, resnet: State) -> None:
    source = build_backbone("resnet18_ibn_a")[0].state_dict()
    path = tmp_path / "fast-reid.pth"
    torch.save({"model": under("backbone.", dict(source)) | FAST_REID_HEADS}, path)
    network, _ = build_backbone("resnet18_ibn_a")
    load_backbones([network], "resnet18_ibn_a", str(path))
    assert_equal_tensors(network.state_dict(), source)
    with pytest.raises(CheckpointError, match=r"missing \(first: layer1.0.bn1.weight\)"):
        load_backbones([build_backbone("resnet18")[0]], "resnet18", str(path))
    torch.save(resnet, path)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"missing \(first: layer1.0.bn1.IN.weight\)"):
        load_backbones([network], "resnet18_ibn_a", str(path))
    assert_equal_tensors(network.state_dict(), before)  # all or nothing


def test_a_file_with_several_networks_or_none_is_refused(tmp_path: Path, resnet: State) -> None:
    path = tmp_path / "weights.pth"
    trunk = trunk_of(resnet)
    torch.save(under("encoder_q.", trunk) | under("encoder_k.", trunk), path)
    network, _ = build_backbone("resnet18")
    with pytest.raises(CheckpointError, match=r'more than once \(under "encoder_q.", "encoder_k."'):
        load_backbones([network], "resnet18", str(path))
    torch.save({"head.weight": row(3, 4)}, path)
    with pytest.raises(CheckpointError, match="not one of its 1 tensors has name and shape of one"):
        load_backbones([network], "resnet18", str(path))


@pytest.mark.parametrize(
    ("backbone", "weights", "message"),
    [
        ("resnet18", "IMAGENET1K_V2", r"no weights IMAGENET1K_V2 of resnet18, but: none, imagenet, "
         "IMAGENET1K_V1, or a file"),
        ("resnet18", "timm", "no weights timm of resnet18"),
        ("resnet18_ibn_a", "IMAGENET1K_V1", "of resnet18_ibn_a, but: none, imagenet, or a file"),
        ("resnet18", "nowhere.pth", "cannot read weights from nowhere.pth"),
    ],
)  # fmt: skip
def test_weights_that_a_backbone_does_not_have(backbone: str, weights: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_backbones([build_backbone(backbone)[0]], backbone, weights)


def test_weights_by_the_names_of_torchvision(
    monkeypatch: pytest.MonkeyPatch, resnet: State
) -> None:
    asked = []

    def give(self: object, **_: object) -> State:
        asked.append(self.name)
        return resnet

    monkeypatch.setattr(torchvision.models.ResNet18_Weights, "get_state_dict", give)
    network, _ = build_backbone("resnet18")
    for weights in ("imagenet", "IMAGENET1K_V1"):
        assert load_backbones([network], "resnet18", weights) == ""
    assert asked == ["IMAGENET1K_V1", "IMAGENET1K_V1"]
    assert_equal_tensors(network.state_dict(), trunk_of(resnet))
    names = {each.name for each in torchvision.models.get_model_weights("resnet50")}
    assert names == {"IMAGENET1K_V1", "IMAGENET1K_V2"}


def test_the_authors_weights_with_ibn(monkeypatch: pytest.MonkeyPatch) -> None:
    state = build_backbone("resnet18_ibn_a")[0].state_dict() | {"fc.weight": row(1000, 512)}
    asked = []

    def give(address: str, **settings: object) -> State:
        assert settings["weights_only"] and settings["check_hash"]
        asked.append(address)
        if len(asked) > 1:
            raise URLError("no route to host")
        return state

    monkeypatch.setattr(weights_module.torch.hub, "load_state_dict_from_url", give)
    network, _ = build_backbone("resnet18_ibn_a")
    load_backbones([network], "resnet18_ibn_a", "imagenet")
    assert asked[0].endswith("/IBN-Net/releases/download/v1.0/resnet18_ibn_a-2f571257.pth")
    assert torch.equal(network.conv1.weight, state["conv1.weight"])
    with pytest.raises(CheckpointError, match=r"could not be downloaded .*--weights FILE"):
        load_backbones([network], "resnet18_ibn_a", "imagenet")


@pytest.mark.parametrize("name", ["resnet18d", "convnext_atto"])
def test_weights_of_timm_with_their_classifier(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    """Of a network whose head has more than the classifier too."""
    timm = pytest.importorskip("timm", reason="timm is not installed")
    torch.manual_seed(5)
    whole = timm.create_model(name)
    torch.save(whole.state_dict(), tmp_path / "weights.pth")
    path = str(tmp_path / "weights.pth")
    backbone = f"timm:{name}"
    network, _ = build_backbone(backbone)
    assert "2 left out" in load_backbones([network], backbone, path)
    own = set(network.state_dict())
    taken = {key: value for key, value in whole.state_dict().items() if key in own}
    assert_equal_tensors(network.state_dict(), taken)
    create = timm.create_model

    def offline(name: str, *, pretrained: bool = False, **settings: object) -> object:
        if pretrained:
            raise OSError("cannot reach the hub")
        return create(name, **settings)

    monkeypatch.setattr(timm, "create_model", offline)
    for weights in ("imagenet", "timm"):
        with pytest.raises(CheckpointError, match=rf"timm's weights of {name} could not be down"):
            load_backbones([network], backbone, weights)
    monkeypatch.setattr(timm, "create_model", lambda name, *, pretrained: whole)
    assert load_backbones([network], backbone, "timm") == ""
