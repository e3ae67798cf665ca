"""Networks by name: IBN-a, timm, strides and pooling; torch's own is in test_model.py."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from mtml_deploy.errors import DataError, MissingExtraError
from mtml_train.backbones.build import build_backbone
from mtml_train.backbones.ibn import IBN_NETWORKS, InstanceBatchNorm

# IBN-a


def test_half_of_the_channels_is_normalised_per_image_by_hand() -> None:
    layer = InstanceBatchNorm(2).train()
    with torch.no_grad():
        layer.IN.weight.fill_(2.0)
        layer.IN.bias.fill_(1.0)
    maps = torch.tensor([[[0.0, 2.0], [1.0, 3.0]], [[10.0, 14.0], [5.0, 7.0]]]).unsqueeze(2)
    found = layer(maps).squeeze(2)  # [2 images, 2 channels, 2 pixels]
    # channel 0, each image alone: means 1 and 12, deviations 1 and 2; then 2 x + 1
    assert found[0, 0].tolist() == pytest.approx([-1.0, 3.0], abs=1e-4)
    assert found[1, 0].tolist() == pytest.approx([-1.0, 3.0], abs=1e-4)
    # channel 1, all four pixels: mean 4, variance (9 + 1 + 1 + 9) / 4 = 5
    assert found[:, 1].flatten().tolist() == pytest.approx(
        [value / 5**0.5 for value in (-3, -1, 1, 3)], abs=1e-4
    )


@pytest.mark.parametrize(
    ("name", "width", "blocks"),
    [("resnet18_ibn_a", 512, (2, 2, 2, 2)), ("resnet50_ibn_a", 2048, (3, 4, 6, 3))],
)
def test_tensors_of_a_network_with_ibn_have_the_published_names(
    name: str, width: int, blocks: tuple[int, ...]
) -> None:
    network, found = build_backbone(name)
    assert found == width
    names = set(network.state_dict())
    for stage, count in enumerate(blocks, 1):
        for block in range(count):
            place = f"layer{stage}.{block}.bn1"
            parts = {f"{place}.IN.weight", f"{place}.IN.bias", f"{place}.BN.running_mean"}
            # the last stage keeps what tells vehicles apart
            assert parts <= names if stage < 4 else f"{place}.running_mean" in names
            assert not [key for key in names if key.startswith(f"layer{stage}.{block}.bn2.IN")]
    assert network.state_dict()["layer1.0.bn1.IN.weight"].shape == (32,)
    assert "bn1.running_mean" in names  # the stem has no IBN


@torch.inference_mode()
def test_the_contrast_of_an_image_is_taken_out_by_ibn() -> None:
    layer = InstanceBatchNorm(8).eval()
    maps = torch.rand(1, 8, 4, 4)
    same, other = layer(maps), layer(3 * maps + 2)
    torch.testing.assert_close(same[:, :4], other[:, :4], rtol=0, atol=1e-2)
    assert (same[:, 4:] - other[:, 4:]).abs().min() > 1


def test_every_backbone_is_named_where_there_is_no_such_one() -> None:
    with pytest.raises(DataError, match=r"no backbone 'resnet19'.*resnext50_32x4d.*wide_resnet50_2"
                       rf".*{IBN_NETWORKS[0]}.*timm:NAME"):  # fmt: skip
        build_backbone("resnet19")


# timm


@pytest.fixture
def timm_there() -> None:
    pytest.importorskip("timm", reason="timm is not installed")


@pytest.mark.usefixtures("timm_there")
@torch.inference_mode()
@pytest.mark.parametrize(
    ("name", "width"),
    [("resnet18d", 512), ("convnext_atto", 320), ("mobilenetv3_small_050", 1024)],
)
def test_a_network_of_timm_gives_one_row_of_features(name: str, width: int) -> None:
    network, found = build_backbone(f"timm:{name}", image_size=(64, 32))
    assert found == width
    assert network.training
    assert network.eval()(torch.zeros(2, 3, 64, 32)).shape == (2, width)


@pytest.mark.usefixtures("timm_there")
@torch.inference_mode()
@pytest.mark.parametrize("name", ["resnet18", "resnet18d", "seresnet18"])
def test_a_last_stride_of_one_of_timm_gives_maps_of_twice_the_side(name: str) -> None:
    sides = []
    for stride in (2, 1):
        network, _ = build_backbone(f"timm:{name}", last_stride=stride, image_size=(64, 64))
        network.eval().layer4.register_forward_hook(
            lambda _, inputs, output: sides.append(tuple(output.shape[2:]))
        )
        network(torch.zeros(1, 3, 64, 64))
    assert sides == [(2, 2), (4, 4)]


@pytest.mark.usefixtures("timm_there")
@torch.inference_mode()
@pytest.mark.parametrize("name", ["resnet18d", "convnext_atto", "mobilenetv3_small_050"])
def test_a_learnt_pooling_takes_the_place_of_timms_own(name: str) -> None:
    torch.manual_seed(0)
    plain = build_backbone(f"timm:{name}", image_size=(64, 64))[0].eval()
    network, width = build_backbone(f"timm:{name}", pooling="gem", image_size=(64, 64))
    powers = [key for key in network.state_dict() if key.endswith(".power")]
    assert len(powers) == 1
    network.load_state_dict(plain.state_dict(), strict=False)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        network.get_parameter(powers[0]).fill_(1.0)  # then it is the average, of what is above 0
    before, after = plain(images), network.eval()(images)
    assert after.shape == (2, width)
    if name == "resnet18d":  # behind a ReLU
        torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-3)


@pytest.mark.usefixtures("timm_there")
@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("resnet18e", {}, r"has no network 'resnet18e'; nearest: .*resnet18d"),
        ("convnext_atto", {"last_stride": 1}, "convnext_atto is no ResNet whose last stage"),
        ("vit_tiny_patch16_224", {"pooling": "gem"}, "has no map that one module pools"),
        ("convnext_atto", {"image_size": (46, 23)}, "takes no images of 46x23 pixels"),
    ],
)
def test_what_a_network_of_timm_has_no_place_for_is_refused(
    name: str, settings: dict[str, object], message: str
) -> None:
    given = {"image_size": (64, 64), **settings}
    with pytest.raises(DataError, match=message):
        build_backbone(f"timm:{name}", **given)  # type: ignore[arg-type]


@pytest.mark.usefixtures("timm_there")
@torch.inference_mode()
def test_a_network_made_for_one_size_is_made_for_that_of_the_run() -> None:
    network, width = build_backbone("timm:vit_tiny_patch16_224", image_size=(64, 32))
    assert network.eval()(torch.zeros(1, 3, 64, 32)).shape == (1, width)


def test_timm_is_asked_for_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtraError, match=r"timm:NAME.*run: pip install 'mtml-reid\[timm\]'"):
        build_backbone("timm:resnet18d")
    assert isinstance(build_backbone("resnet18")[0], nn.Module)  # nothing else needs it
