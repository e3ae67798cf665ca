"""The model whose layouts are compared: of a trained run, or of random weights, equally fast."""

from __future__ import annotations

from pathlib import Path

from benchmarks.report.record import Plain
from mtml_deploy.artifact.artifact import file_sha256
from mtml_train.checkpoint import build_model, load_checkpoint, load_model
from mtml_train.config import TrainConfig
from mtml_train.export.extractor import FusedExtractor
from mtml_train.image_size import ImageSize
from mtml_train.model import MTML

_IDENTITIES = 1
"""Classes of random weights; classifiers are not deployed."""

LayoutModel = tuple[FusedExtractor, tuple[int, int], dict[str, Plain]]
"""Extractor of the fused embedding, height and width of images in pixels, and what a record says of
the model."""


def trained_extractor(run: Path) -> LayoutModel:
    """The model of a run.

    Args:
        run: run folder or checkpoint.

    Raises:
        CheckpointError: it cannot be read.
    """
    checkpoint = load_checkpoint(run)
    config = checkpoint.card.config
    model: dict[str, Plain] = {
        "backbone": config.backbone,
        "variant": config.variant,
        "checkpoint_sha256": file_sha256(checkpoint.path),
    }
    return _extractor(load_model(checkpoint)), config.image_sides, model


def random_extractor(backbone: str, image_size: ImageSize) -> LayoutModel:
    """An untrained model of all branches.

    Args:
        backbone: as of mtml-train.
        image_size: of the images, pixels.

    Raises:
        DataError: no such backbone or size.
    """
    config = TrainConfig(backbone=backbone, image_size=image_size, weights="none", data=("none",))
    model: dict[str, Plain] = {
        "backbone": backbone, "variant": config.variant, "weights": "random",
    }  # fmt: skip
    return _extractor(build_model(config, _IDENTITIES)), config.image_sides, model


def _extractor(model: MTML) -> FusedExtractor:
    """The fused embedding of all branches."""
    return FusedExtractor(
        model.eval(), branches=model.trunks.branches, embedding="fused", with_orientation=False
    )
