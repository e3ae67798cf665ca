"""What deployment keeps of a trained model, and that folding BatchNorm changes nothing."""

import copy

import pytest
import torch
from helpers_training import assert_equal_tensors, random_images, small_config
from torch import nn

from mtml_deploy.errors import DataError
from mtml_train.checkpoint import build_model
from mtml_train.config import VARIANTS
from mtml_train.export.extractor import FusedExtractor
from mtml_train.export.fold import fold_batch_norm
from mtml_train.model import MTML

FEATURES = 512  # of ResNet-18
IMAGES = torch.from_numpy(random_images(3))

FOLDED_RELATIVE = 1e-5
"""Relative distance of a feature: float32 (6e-8) through the 20 convolutions of a ResNet-18, whose
weights are rounded once more when a scale is multiplied into them."""

BATCH_RELATIVE = 1e-5
"""Relative distance: kernels for another batch size or layout add in another order."""


def trained(variant: str) -> MTML:
    """A random model with BatchNorm statistics and weights that are not 0 and 1."""
    torch.manual_seed(0)
    model = build_model(small_config("unused", variant=variant), 5)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                shape = module.running_mean.shape  # type: ignore[union-attr]
                module.running_mean.copy_(torch.randn(shape, generator=generator) * 0.2)  # type: ignore[union-attr]
                module.running_var.copy_(torch.rand(shape, generator=generator) + 0.5)  # type: ignore[union-attr]
                module.weight.copy_(torch.rand(shape, generator=generator) + 0.5)
                module.bias.copy_(torch.randn(shape, generator=generator) * 0.1)
    return model.eval()


@pytest.fixture(scope="module")
def osg() -> MTML:
    return trained("MTML-OSG")


def extract(model: MTML, **changes: object) -> FusedExtractor:
    options: dict[str, object] = {
        "branches": model.trunks.branches,
        "embedding": "fused",
        "with_orientation": False,
    }
    return FusedExtractor(model, **(options | changes))  # type: ignore[arg-type]


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return ((found - expected).norm(dim=1) / expected.norm(dim=1)).max().item()


@pytest.mark.parametrize("variant", list(VARIANTS))
@torch.inference_mode()
def test_every_variant_keeps_its_fused_feature_and_its_consensus(variant: str) -> None:
    model = trained(variant)
    output = model(IMAGES)
    fused = extract(model)
    assert fused.branches == fused.fused_branches == VARIANTS[variant]
    assert torch.equal(fused(IMAGES), output.fused)
    consensus = extract(model, embedding="consensus")
    assert torch.equal(consensus(IMAGES), output.consensus)
    folded = copy.deepcopy(fused)
    fold_batch_norm(folded)
    assert relative(folded(IMAGES), output.fused) < FOLDED_RELATIVE


@torch.inference_mode()
def test_folding_leaves_no_batch_norm_and_the_model_untouched(osg: MTML) -> None:
    before = {name: value.clone() for name, value in osg.state_dict().items()}
    extractor = extract(osg, with_orientation=True)
    expected = extractor.everything(IMAGES)
    fold_batch_norm(extractor)
    assert not [m for m in extractor.modules() if isinstance(m, nn.BatchNorm2d)]
    found = extractor.everything(IMAGES)
    assert relative(found[1], expected[1]) < FOLDED_RELATIVE
    assert found[2] is not None
    assert expected[2] is not None
    assert relative(found[2], expected[2]) < FOLDED_RELATIVE
    assert_equal_tensors(osg.state_dict(), before)


@torch.inference_mode()
def test_bottleneck_blocks_are_folded_too() -> None:
    torch.manual_seed(0)
    config = small_config("unused", backbone="resnet50", variant="MTML-G")
    model = build_model(config, 5).eval()
    extractor = extract(model, branches=("gray",))
    expected = extractor(IMAGES)
    fold_batch_norm(extractor)
    assert not [m for m in extractor.modules() if isinstance(m, nn.BatchNorm2d)]
    assert relative(extractor(IMAGES), expected) < 10 * FOLDED_RELATIVE  # 53 convolutions


@torch.inference_mode()
def test_folding_would_be_wrong_without_the_statistics(osg: MTML) -> None:
    # the bound above can fail: dropping BatchNorm instead of folding it is seen
    extractor = extract(osg, branches=("identity",))
    expected = extractor(IMAGES)
    for module in list(extractor.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
    assert relative(extractor(IMAGES), expected) > 0.01


@torch.inference_mode()
def test_a_batch_norm_with_no_convolution_before_it_becomes_a_factor(osg: MTML) -> None:
    extractor = extract(osg, branches=("identity",))
    norm = nn.BatchNorm2d(3).eval()
    norm.running_mean.copy_(torch.tensor([1.0, -2.0, 0.5]))
    norm.running_var.fill_(4.0)
    extractor.trunks.nets["identity"] = nn.Sequential(norm, extractor.trunks.nets["identity"])
    expected = extractor(IMAGES)
    fold_batch_norm(extractor)
    assert not [m for m in extractor.modules() if isinstance(m, nn.BatchNorm2d)]
    assert relative(extractor(IMAGES), expected) < FOLDED_RELATIVE


@torch.inference_mode()
def test_a_subset_of_branches_is_cut_out_of_the_fused_feature(osg: MTML) -> None:
    fused = osg(IMAGES).fused
    columns = {name: slice(i * FEATURES, (i + 1) * FEATURES)
               for i, name in enumerate(VARIANTS["MTML-OSG"])}  # fmt: skip
    # in the order of training, whatever the order asked for
    subset = extract(osg, branches=("orientation", "gray"))
    assert subset.branches == ("gray", "orientation")
    expected = torch.cat([fused[:, columns["gray"]], fused[:, columns["orientation"]]], dim=1)
    assert torch.equal(subset(IMAGES), expected)
    assert set(subset.trunks.nets) == {"gray", "orientation"}  # the rest is not exported


@pytest.mark.parametrize("name", VARIANTS["MTML-OSG"])
@torch.inference_mode()
def test_one_branch_needs_no_other(osg: MTML, name: str) -> None:
    extractor = extract(osg, embedding=name)
    assert extractor.branches == extractor.fused_branches == (name,)
    at = VARIANTS["MTML-OSG"].index(name) * FEATURES
    assert torch.equal(extractor(IMAGES), osg(IMAGES).fused[:, at : at + FEATURES])


@torch.inference_mode()
def test_orientation_is_the_softmax_of_branch_d(osg: MTML) -> None:
    expected = torch.softmax(osg(IMAGES).orientation_logits, dim=1)
    for changes in ({}, {"embedding": "gray"}, {"embedding": "consensus"}):
        extractor = extract(osg, with_orientation=True, **changes)
        fused, embeddings, orientation = extractor.everything(IMAGES)
        assert orientation is not None
        torch.testing.assert_close(orientation, expected)
        torch.testing.assert_close(orientation.sum(dim=1), torch.ones(3))
        if changes == {"embedding": "gray"}:
            # branch D is computed for its output only
            assert extractor.branches == ("gray", "orientation")
            assert embeddings.shape == fused.shape == (3, FEATURES)


@torch.inference_mode()
def test_rows_do_not_depend_on_each_other(osg: MTML) -> None:
    extractor = extract(osg)
    together = extractor(IMAGES)
    alone = torch.cat([extractor(IMAGES[i : i + 1]) for i in range(3)])
    assert relative(together, alone) < BATCH_RELATIVE


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"branches": ("identity", "colour")}, "the model has no branch 'colour'; it has identity"),
        ({"branches": ()}, "name one or more branches, each once"),
        ({"branches": ("gray", "gray")}, "name one or more branches, each once"),
        ({"branches": ("gray",), "embedding": "scale"}, "no embedding 'scale' with the branches"),
        (
            {"branches": ("gray", "scale"), "embedding": "consensus"},
            "the consensus embedding is computed from all branches",
        ),
        (
            {"branches": ("gray", "scale"), "with_orientation": True},
            "orientation probabilities need the branch orientation",
        ),
    ],
)
def test_what_the_model_has_not_is_refused(
    osg: MTML, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        extract(osg, **changes)
