"""The branches of a trained model laid out in three ways: one after the other, on streams, grouped.

In: a `FusedExtractor`. Out: a module of the same embedding. Grouped means that branches whose views
have one size become one network of grouped convolutions, which starts a fraction of the kernels.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from mtml_train.export.extractor import FusedExtractor
from mtml_train.export.fold import fold_batch_norm
from mtml_train.views import to_planes

Layout = Literal["plain", "serial", "streams", "grouped"]
"""Plain is one branch after the other as torch runs them by itself: BatchNorm as layers of their
own, the default memory layout. All others have BatchNorm folded and channels last."""


class BranchLayout(nn.Module):
    """Images to embeddings."""

    def __init__(self, extractor: FusedExtractor, *, layout: Layout, dtype: torch.dtype) -> None:
        """Copy the extractor and arrange its branches.

        Args:
            extractor: on the CPU, in evaluation mode, BatchNorm not folded; not changed.
            layout: how the branches run; "streams" runs on a GPU only.
            dtype: of the residual networks; views and the join are float32.
        """
        super().__init__()
        folded = copy.deepcopy(extractor)
        self._format = torch.contiguous_format
        if layout != "plain":
            fold_batch_norm(folded)
            self._format = torch.channels_last
        self._trunks = folded.trunks
        self._fusion = folded.fusion
        self._dtype = dtype
        self._order = folded.fused_branches
        self._streams: list[torch.cuda.Stream] | None = None
        self._on_streams = layout == "streams"
        nets = {name: folded.trunks.nets[name] for name in self._order}
        self._lanes: tuple[tuple[str, ...], ...] = tuple((name,) for name in self._order)
        if layout == "grouped":
            # the scale branch sees smaller images, so it cannot share their kernels
            alike = tuple(name for name in self._order if name != "scale")
            rest = tuple((name,) for name in self._order if name == "scale")
            self._lanes = ((alike,) if alike else ()) + rest
        lanes = [grouped_net([nets[name] for name in lane]) for lane in self._lanes]
        self._nets = nn.ModuleList(lanes).to(dtype).to(memory_format=self._format)
        # views still need the constants of the trunks, but not their networks
        self._trunks.nets = nn.ModuleDict()
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings of images.

        Args:
            images: uint8 [B, H, W, 3], RGB.

        Returns:
            float32 [B, D].
        """
        planes = to_planes(images)  # [B, 3, H, W]
        views = [self._view(planes, lane) for lane in self._lanes]
        outputs = self._in_parallel(views) if self._on_streams else self._in_turn(views)
        features: dict[str, Tensor] = {}
        for lane, output in zip(self._lanes, outputs, strict=True):
            parts = output.float().chunk(len(lane), dim=1)  # k x [B, F]
            features.update(zip(lane, parts, strict=True))
        fused = torch.cat([features[name] for name in self._order], dim=1)  # [B, R * F]
        if self._fusion is None:
            return fused
        embeddings: Tensor = self._fusion(fused)
        return embeddings

    def _view(self, planes: Tensor, lane: Sequence[str]) -> Tensor:
        """What the branches of a lane see, their channels side by side: [B, 3k, S, S]."""
        view = torch.cat([self._trunks.view(planes, name) for name in lane], dim=1)
        return view.to(dtype=self._dtype, memory_format=self._format)

    def _in_turn(self, views: Sequence[Tensor]) -> list[Tensor]:
        """Every lane after the one before."""
        return [net(view) for net, view in zip(self._nets, views, strict=True)]

    def _in_parallel(self, views: Sequence[Tensor]) -> list[Tensor]:
        """Every lane on a stream of its own; views and outputs live until all have joined."""
        if self._streams is None:
            self._streams = [
                torch.cuda.Stream(view.device)  # type: ignore[no-untyped-call]
                for view in views
            ]
        main = torch.cuda.current_stream(views[0].device)
        outputs = []
        for net, view, stream in zip(self._nets, views, self._streams, strict=True):
            stream.wait_stream(main)
            with torch.cuda.stream(stream):
                outputs.append(net(view))
        for stream in self._streams:
            main.wait_stream(stream)
        return outputs


def grouped_net(nets: Sequence[nn.Module]) -> nn.Module:
    """One network that computes several of one architecture side by side.

    Args:
        nets: k networks, BatchNorm folded, in which only convolutions have weights.

    Returns:
        For input [B, 3k, S, S] their outputs [B, k * F], in order; the net itself for k = 1.

    Raises:
        TypeError: a layer with weights that is no convolution.
    """
    if len(nets) == 1:
        return nets[0]
    joined = copy.deepcopy(nets[0])
    for name, module in list(joined.named_modules()):
        if isinstance(module, nn.Conv2d):
            parent, _, child = name.rpartition(".")
            parts = [net.get_submodule(name) for net in nets]
            setattr(joined.get_submodule(parent), child, _grouped_convolution(module, parts))
        elif next(module.parameters(recurse=False), None) is not None:
            raise TypeError(f"{name} is a {type(module).__name__}, only convolutions are grouped")
    return joined


def _grouped_convolution(like: nn.Conv2d, parts: Sequence[nn.Module]) -> nn.Conv2d:
    """A convolution whose groups are those of `parts`, one after the other."""
    count = len(parts)
    wide = nn.Conv2d(
        like.in_channels * count,
        like.out_channels * count,
        like.kernel_size,  # type: ignore[arg-type]
        stride=like.stride,  # type: ignore[arg-type]
        padding=like.padding,  # type: ignore[arg-type]
        dilation=like.dilation,  # type: ignore[arg-type]
        groups=like.groups * count,
        bias=like.bias is not None,
    )
    for name, target in wide.named_parameters():
        target.data = torch.cat([part.get_parameter(name).data for part in parts])
    return wide.requires_grad_(requires_grad=False)
