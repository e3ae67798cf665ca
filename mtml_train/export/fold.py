"""BatchNorm made part of what stands before it, as far as it can be.

In: an extractor in evaluation mode. Out: the same function with fewer steps.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mtml_train.backbones.ibn import InstanceBatchNorm
from mtml_train.export.extractor import FusedExtractor

_Normaliser = nn.BatchNorm1d | nn.BatchNorm2d


class _Affine(nn.Module):
    """A factor and an addend for each channel."""

    factor: Tensor
    addend: Tensor

    def __init__(self, normaliser: _Normaliser) -> None:
        """What a BatchNorm does once its statistics are constants."""
        super().__init__()
        factor, addend = _constants(normaliser)
        if isinstance(normaliser, nn.BatchNorm2d):  # rows and columns of a map share them
            factor, addend = factor.view(-1, 1, 1), addend.view(-1, 1, 1)
        self.register_buffer("factor", factor)
        self.register_buffer("addend", addend)

    def forward(self, features: Tensor) -> Tensor:
        return features * self.factor + self.addend


def fold_batch_norm(extractor: FusedExtractor) -> None:
    """Replace BatchNorm by constants: new weights of the convolution before it, else a factor.

    Which convolution stands before it is seen by computing an image, whatever the network names
    its parts.

    Args:
        extractor: in evaluation mode; changed in place.
    """
    before = _convolutions_before(extractor)
    for name, module in list(extractor.named_modules()):
        convolution = before.get(name)
        if isinstance(module, InstanceBatchNorm) and isinstance(module.BN, nn.BatchNorm2d):
            if convolution is not None:
                _fold_half(convolution, module.BN)
                module.BN = nn.Identity()
        elif isinstance(module, _Normaliser) and extractor.get_submodule(name) is module:
            extractor.set_submodule(name, _without_statistics(module, convolution))


def _without_statistics(normaliser: _Normaliser, convolution: nn.Conv2d | None) -> nn.Module:
    """What stays of a BatchNorm whose convolution, where it has one, took it in."""
    kept: nn.Module = nn.Identity()
    if convolution is None:
        kept = _Affine(normaliser)
    else:
        fused = fuse_conv_bn_eval(convolution, cast("nn.BatchNorm2d", normaliser))
        convolution.weight, convolution.bias = fused.weight, fused.bias
    # of timm: a BatchNorm with an activation in it
    parts = [getattr(normaliser, part, None) for part in ("drop", "act")]
    behind = [part for part in parts if isinstance(part, nn.Module)]
    return nn.Sequential(kept, *behind) if behind else kept


@torch.no_grad()
def _convolutions_before(extractor: FusedExtractor) -> dict[str, nn.Conv2d]:
    """Name of a normalisation -> the convolution whose output it reads."""
    outputs: list[tuple[Tensor, nn.Conv2d]] = []  # kept, so that no other tensor gets their place
    found: dict[str, nn.Conv2d] = {}

    def watch(name: str, module: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def note_output(module: nn.Module, _: object, output: Tensor) -> None:
            outputs.append((output, cast("nn.Conv2d", module)))

        def note_input(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            for output, convolution in outputs:
                if output is inputs[0]:
                    found[name] = convolution

        if type(module) is nn.Conv2d:
            return module.register_forward_hook(note_output)
        return module.register_forward_pre_hook(note_input)

    kinds = (nn.Conv2d, nn.BatchNorm2d, InstanceBatchNorm)
    handles = [
        watch(name, module)
        for name, module in extractor.named_modules()
        if isinstance(module, kinds)
    ]
    height, width = (
        matrix.shape[1] for matrix in (extractor.trunks.scale_rows, extractor.trunks.scale_columns)
    )
    device = extractor.trunks.mean.device
    extractor(torch.zeros(1, height, width, 3, dtype=torch.uint8, device=device))
    for handle in handles:
        handle.remove()
    return found


def _fold_half(convolution: nn.Conv2d, normaliser: nn.BatchNorm2d) -> None:
    """Make a BatchNorm of a convolution's last channels part of it."""
    factor, addend = _constants(normaliser)
    first = convolution.out_channels - normaliser.num_features
    weight = convolution.weight.detach().clone()
    weight[first:] *= factor.view(-1, 1, 1, 1)
    bias = torch.zeros(convolution.out_channels, device=weight.device, dtype=weight.dtype)
    if convolution.bias is not None:
        bias += convolution.bias.detach()
        bias[first:] *= factor
    bias[first:] += addend
    convolution.weight, convolution.bias = nn.Parameter(weight), nn.Parameter(bias)


def _constants(normaliser: _Normaliser) -> tuple[Tensor, Tensor]:
    """Factor and addend of each channel."""
    if normaliser.running_mean is None or normaliser.running_var is None:
        raise TypeError("a BatchNorm without running statistics cannot be folded")
    factor = 1 / torch.sqrt(normaliser.running_var + normaliser.eps)
    if normaliser.weight is not None:
        factor = factor * normaliser.weight.detach()
    addend = -normaliser.running_mean * factor
    if normaliser.bias is not None:
        addend = addend + normaliser.bias.detach()
    return factor, addend
