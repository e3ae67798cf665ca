"""Whether an exported graph gives what the trained torch model gives, on real images.

In: an artifact not yet published and the torch model's outputs. Out: the measures for the manifest,
or a `ParityError`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from mtml_deploy.artifact.artifact import Artifact
from mtml_deploy.parity.agreement import (
    MAX_RELATIVE_FP32,
    MAX_ROW_DIFFERENCE,
    MIN_COSINE_FP32,
    MIN_SPREAD,
    agreement,
    branch_slices,
    require,
    row_difference,
    spread,
)
from mtml_deploy.runtime.open import open_runtime
from mtml_train.export.extractor import FusedExtractor

ROW_IMAGES: Final = 4
"""Images that visit every row of a batch of as many."""

_MAX_PROBABILITY_DIFFERENCE: Final = 1e-3
"""Follows from the relative bound on features at logits of ordinary size."""


@dataclass(frozen=True)
class Reference:
    """What the torch model gives for the parity images.

    Attributes:
        images: uint8 [N, H, W, 3].
        embeddings: float32 [N, D].
        fused: float32 [N, R * F], the pooled features that the embedding is made of.
        orientation: float32 [N, 8], or None.
    """

    images: NDArray[np.uint8]
    embeddings: NDArray[np.float32]
    fused: NDArray[np.float32]
    orientation: NDArray[np.float32] | None


@torch.inference_mode()
def torch_reference(extractor: FusedExtractor, images: NDArray[np.uint8]) -> Reference:
    """Outputs of the torch model, one image at a time.

    Args:
        extractor: with its BatchNorm still unfolded: the trained model as it is.
        images: uint8 [N, H, W, 3].

    Returns:
        The reference.
    """
    rows = [extractor.everything(torch.from_numpy(images[i : i + 1])) for i in range(len(images))]
    fused, embeddings, orientation = zip(*rows, strict=True)
    known = [probabilities for probabilities in orientation if probabilities is not None]
    return Reference(
        images=images,
        embeddings=torch.cat(embeddings).numpy(),
        fused=torch.cat(fused).numpy(),
        orientation=torch.cat(known).numpy() if known else None,
    )


def check_parity(artifact: Artifact, reference: Reference) -> dict[str, object]:
    """Measure `artifact` against torch and refuse it if it differs.

    Args:
        artifact: the exported graph.
        reference: torch's outputs.

    Returns:
        Measures by name, JSON-ready.

    Raises:
        ParityError: names the measure and its bound.
    """
    images = reference.images
    with open_runtime(artifact) as runtime:
        outputs = runtime.run_all(images)
        rows = row_difference(runtime.run, images[:ROW_IMAGES])
    overall = agreement(reference.embeddings, outputs.embeddings)
    closest = spread(outputs.embeddings, images)
    name = artifact.manifest.embedding
    require(f"cosine to torch of {name}", overall.cosine_min, at_least=MIN_COSINE_FP32)
    require(f"difference to torch of {name}", overall.max_relative, at_most=MAX_RELATIVE_FP32)
    require("difference between rows of a batch", rows, at_most=MAX_ROW_DIFFERENCE)
    require("distance of different images", closest, at_least=MIN_SPREAD)
    measures: dict[str, object] = {
        "reference": "torch",
        "images": len(images),
        "embedding": asdict(overall),
        "row_difference": rows,
        "closest_images": closest,
    }
    if reference.orientation is not None and outputs.orientation is not None:
        worst = float(np.abs(reference.orientation - outputs.orientation).max())
        require("orientation probability", worst, at_most=_MAX_PROBABILITY_DIFFERENCE)
        measures["orientation_max_abs"] = worst
    return measures


def check_branches(
    artifact: Artifact, reference: Reference, branches: tuple[str, ...]
) -> dict[str, object]:
    """Measure each branch on its own, so that a dead or swapped one cannot hide in the whole.

    Args:
        artifact: gives the fused feature of `branches`.
        reference: torch's outputs.
        branches: in the order of the fused feature.

    Returns:
        Branch -> measures, JSON-ready.

    Raises:
        ParityError: names the branch.
    """
    with open_runtime(artifact) as runtime:
        fused = runtime.run(reference.images)
    measures: dict[str, object] = {}
    for name, part in branch_slices(branches, fused.shape[1]).items():
        found = agreement(reference.fused[:, part], fused[:, part])
        closest = spread(np.ascontiguousarray(fused[:, part]), reference.images)
        require(f"cosine to torch of branch {name}", found.cosine_min, at_least=MIN_COSINE_FP32)
        require(f"distance of images in branch {name}", closest, at_least=MIN_SPREAD)
        measures[name] = asdict(found) | {"closest_images": closest}
    return measures
