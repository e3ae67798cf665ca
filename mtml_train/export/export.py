"""Trained checkpoint to deployable artifact: one ONNX file and its manifest, or nothing.

The graph takes RGB bytes and does everything but decoding and resizing. It is compared with the
torch model on real images before the folder gets its name.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final, cast

import msgspec
import onnx
import torch
from msgspec.structs import replace
from torch import Tensor, nn

from mtml_deploy.artifact.artifact import Artifact, file_sha256, open_artifact, write_artifact
from mtml_deploy.artifact.artifact_folder import ARTIFACT
from mtml_deploy.artifact.manifest import (
    EMBEDDINGS_OUTPUT,
    INPUT_NAME,
    ORIENTATION_OUTPUT,
    Branch,
    Manifest,
    NeckSide,
    Normalised,
)
from mtml_deploy.data.source import source_paths
from mtml_deploy.errors import DataError
from mtml_deploy.outputs import output_folder, require_output
from mtml_deploy.parity.images import parity_images
from mtml_train.checkpoint import BEST, Checkpoint, load_model
from mtml_train.config import VARIANTS
from mtml_train.export.extractor import FusedExtractor
from mtml_train.export.fold import fold_batch_norm
from mtml_train.export.parity import check_branches, check_parity, torch_reference

OPSET: Final = 20
_FUSED_OUTPUT: Final = "fused"


@dataclass(frozen=True)
class ExportOptions:
    """What to export of a trained model.

    Attributes:
        embedding: "fused", "consensus" or one branch.
        branches: branches to keep; empty for all that were trained.
        with_orientation: add orientation probabilities as a second output.
        neck: where features are taken in a model that was trained with necks.
        normalised: what the graph scales to length 1, see `Manifest`.
        flip_averaged: average the features of each image and its mirror image.
        images: source of the images for the comparison with torch; empty for the training data.
        licence: terms of the weights, for the manifest.
    """

    embedding: str = "fused"
    branches: tuple[str, ...] = ()
    with_orientation: bool = False
    neck: NeckSide = "before"
    normalised: Normalised | None = None
    flip_averaged: bool = False
    images: str = ""
    licence: str = "not stated; the terms of the training data apply"


def export(
    checkpoint: Checkpoint,
    out: Path,
    options: ExportOptions,
    *,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Artifact:
    """Write the artifact of a checkpoint, after comparing it with torch.

    Args:
        checkpoint: as read.
        out: folder to make.
        options: what to export.
        overwrite: replace an artifact that is there, once the new one is complete.
        say: receives a line before each long stage.

    Returns:
        The artifact in `out`.

    Raises:
        DataError: the model has not what is asked for, or never learnt it.
        ParityError: the graph does not give what the model gives, or there are no images to
            compare on; nothing is written.
        OutputExistsError: `out` exists and `overwrite` is off, or it may not be replaced: it is
            no artifact, holds other files, or is read by this call.
    """
    inputs = (checkpoint.path, *source_paths(options.images))
    require_output(out, ARTIFACT, overwrite=overwrite, inputs=inputs)
    model = load_model(checkpoint)
    extractor = FusedExtractor(
        model,
        branches=options.branches or model.trunks.branches,
        embedding=options.embedding,
        with_orientation=options.with_orientation,
        after_neck=options.neck == "after",
        normalised=options.normalised,
        flip_averaged=options.flip_averaged,
    )
    if options.with_orientation and checkpoint.card.images_with_orientation == 0:
        raise DataError(
            f"{checkpoint.path} was trained on {checkpoint.card.train_images} images, none of them "
            "with an orientation, so what it tells of orientations is made up; leave "
            "--with-orientation out, or train with labels"
        )
    height, width = checkpoint.card.config.image_sides
    images = parity_images(options.images or checkpoint.card.sources[0], height=height, width=width)
    reference = torch_reference(extractor, images)
    fold_batch_norm(extractor)
    say(f"tracing {', '.join(extractor.branches)} to ONNX")
    graph = trace(extractor, height=height, width=width)
    say(f"comparing with torch on {len(images)} images")
    manifest = describe(checkpoint, extractor, options, dim=reference.embeddings.shape[1])
    with output_folder(out, ARTIFACT, overwrite=overwrite, inputs=inputs, say=say) as folder:
        # branches first: a fault is named by its branch
        parts = replace(manifest, embedding="fused", dim=reference.fused.shape[1], normalised=None)
        candidate = write_artifact(folder, fused_graph(graph, extractor), parts)
        branches = check_branches(candidate, reference, extractor.fused_branches)
        graph = without_fused_output(graph, extractor)
        candidate = write_artifact(folder, graph, manifest)
        parity = check_parity(candidate, reference) | {"branches": branches}
        write_artifact(folder, graph, replace(manifest, parity=parity))
    return open_artifact(out)


def trace(extractor: FusedExtractor, *, height: int, width: int) -> onnx.ModelProto:
    """The ONNX graph of an extractor: input `images` with a dynamic batch.

    Args:
        extractor: on the CPU, in evaluation mode.
        height: of the images, pixels.
        width: of the images, pixels.

    Returns:
        Outputs `embeddings`, `orientation` where the extractor has it, and last, where the
        embedding is more than the fused feature, that feature.
    """
    names = [EMBEDDINGS_OUTPUT]
    if extractor.orientation_head is not None:
        names.append(ORIENTATION_OUTPUT)
    if not extractor.gives_fused:
        names.append(_FUSED_OUTPUT)
    example = torch.zeros(2, height, width, 3, dtype=torch.uint8)
    # the exporter talks to stdout, which is for data, and warns of its own internals
    chatter = logging.getLogger("torch.onnx")
    level = chatter.level
    chatter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), torch.inference_mode(False):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                _Traced(extractor),
                (example,),
                input_names=[INPUT_NAME],
                output_names=names,
                dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    finally:
        chatter.setLevel(level)
    if program is None:
        raise RuntimeError("torch.onnx.export returned nothing")
    return _without_traces(program.model_proto)


class _Traced(nn.Module):
    """The extractor with the outputs in the order of `trace`."""

    def __init__(self, extractor: FusedExtractor) -> None:
        super().__init__()
        self.extractor = extractor

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        fused, embeddings, orientation = self.extractor.everything(images)
        outputs = (embeddings,) if orientation is None else (embeddings, orientation)
        return outputs if self.extractor.gives_fused else (*outputs, fused)


def _without_traces(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The graph without the exporter's notes, which name files of the machine it ran on."""
    for value in (*graph.graph.node, *graph.graph.initializer, *graph.graph.value_info):
        del value.metadata_props[:]
    return graph


def fused_graph(graph: onnx.ModelProto, extractor: FusedExtractor) -> onnx.ModelProto:
    """The graph with the fused feature as its embeddings, to look at each branch."""
    if extractor.gives_fused:
        return graph
    parts = onnx.ModelProto()
    parts.CopyFrom(graph)
    renamed = {EMBEDDINGS_OUTPUT: "final", _FUSED_OUTPUT: EMBEDDINGS_OUTPUT}
    for node in parts.graph.node:
        for names in (node.input, node.output):
            names[:] = [renamed.get(name, name) for name in names]
    kept = [value for value in parts.graph.output if value.name != EMBEDDINGS_OUTPUT]
    for value in kept:
        value.name = renamed.get(value.name, value.name)
    del parts.graph.output[:]
    parts.graph.output.extend(sorted(kept, key=lambda value: value.name))
    return parts


def without_fused_output(graph: onnx.ModelProto, extractor: FusedExtractor) -> onnx.ModelProto:
    """The graph as deployed: a fused feature that an embedding is made of stays inside."""
    if not extractor.gives_fused:
        kept = [value for value in graph.graph.output if value.name != _FUSED_OUTPUT]
        del graph.graph.output[:]
        graph.graph.output.extend(kept)
    return graph


def _chosen(checkpoint: Checkpoint) -> dict[str, str] | None:
    """What a best checkpoint was chosen by; None for weights that nothing chose."""
    config = checkpoint.card.config
    if checkpoint.path.name != BEST:
        return None
    return {"by": config.best_by, "queries": config.val, "protocol": config.val_protocol}


def describe(
    checkpoint: Checkpoint, extractor: FusedExtractor, options: ExportOptions, *, dim: int
) -> Manifest:
    """The manifest of an export, before its model has a hash and its parity is measured."""
    card, progress = checkpoint.card, checkpoint.progress
    trained = card.config.branches
    height, width = card.config.image_sides
    variant = next(name for name, branches in VARIANTS.items() if branches == trained)
    return Manifest(
        variant=variant,
        backbone=card.config.backbone,
        branches=cast("tuple[Branch, ...]", extractor.branches),
        embedding=options.embedding,
        dim=dim,
        height=height,
        width=width,
        precision="fp32",
        with_orientation=options.with_orientation,
        neck=None if card.config.neck == "none" else options.neck,
        normalised=options.normalised,
        flip_averaged=options.flip_averaged,
        model_sha256="0" * 64,
        checkpoint_sha256=file_sha256(checkpoint.path),
        opset=OPSET,
        versions={
            name: version(name)
            for name in ("mtml-reid", "torch", "torchvision", "onnx", "onnxscript")
        },
        training={
            "sources": list(card.sources),
            "images": card.train_images,
            "images_with_orientation": card.images_with_orientation,
            "sets": [
                {"images": each.images, "images_with_orientation": each.with_orientation}
                for each in card.sets
            ],
            "identities": len(card.identities),
            "recipe": card.recipe,
            "seed": card.config.seed,
            "steps": progress.step,
            "validation": dict(progress.validation or {}),
            "checkpoint": checkpoint.path.name,
            "chosen": _chosen(checkpoint),
            "started_from": None if card.origin is None else msgspec.to_builtins(card.origin),
        },
        parity={},
        licence=options.licence,
    )
