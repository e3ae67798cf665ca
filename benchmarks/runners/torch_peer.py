"""The trained torch model as a peer of its own export: the same batches, the same embedding."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.measure.rounds import Contender, rate_of
from mtml_deploy.artifact.artifact import file_sha256
from mtml_deploy.artifact.manifest import Manifest
from mtml_deploy.errors import CheckpointError
from mtml_train.checkpoint import Checkpoint, load_model
from mtml_train.export.extractor import FusedExtractor

Batches = Sequence[NDArray[np.uint8]]
"""Images, uint8 [B, H, W, 3] each."""

_WHAT: Final = (
    "The same batches through the trained torch model, eager, inference mode, BatchNorm not folded,"
)


def torch_peer(checkpoint: Checkpoint, manifest: Manifest) -> FusedExtractor:
    """The trained model that `manifest` was exported from, as an extractor of the same embedding.

    Args:
        checkpoint: as read.
        manifest: of the exported model.

    Returns:
        In evaluation mode, its BatchNorm not folded.

    Raises:
        CheckpointError: another checkpoint.
    """
    found = file_sha256(checkpoint.path)
    if found != manifest.checkpoint_sha256:
        raise CheckpointError(
            f"{checkpoint.path} has sha256 {found[:12]}... but the artifact was exported from "
            f"{manifest.checkpoint_sha256[:12]}...; name the checkpoint it was exported from with "
            "--run, or export again"
        )
    return FusedExtractor(
        load_model(checkpoint),
        branches=manifest.branches,
        embedding=manifest.embedding,
        with_orientation=manifest.with_orientation,
        after_neck=manifest.neck == "after",
        normalised=manifest.normalised,
        flip_averaged=manifest.flip_averaged,
    )


def torch_contenders(extractor: FusedExtractor, batches: Batches) -> tuple[Contender, ...]:
    """Plain torch in both memory layouts.

    Args:
        extractor: on the CPU, in evaluation mode; not changed.
        batches: uint8 [B, H, W, 3] each.

    Returns:
        Weights in torch's default layout, and in channels_last.
    """
    last = copy.deepcopy(extractor).to(memory_format=torch.channels_last)
    layouts = (
        ("torch", "torch eager", extractor, "weights in the default layout"),
        ("torch_channels_last", "torch eager, channels last", last, "weights in channels_last"),
    )
    count = sum(map(len, batches))
    contenders = []
    for key, title, module, layout in layouts:
        _run_torch(module, batches[:1])  # warm-up
        measure = rate_of(count, partial(_run_torch, module, batches))
        contenders.append(Contender(key, title, f"{_WHAT} {layout}.", "images/s", measure))
    return tuple(contenders)


@torch.inference_mode()
def _run_torch(extractor: FusedExtractor, batches: Batches) -> None:
    """Embed every batch with torch."""
    for batch in batches:
        extractor(torch.from_numpy(batch))
