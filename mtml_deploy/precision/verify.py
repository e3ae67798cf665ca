"""Whether a converted model gives what the fp32 model gives, on real images.

In: the outputs of the fp32 model and a candidate artifact. Out: measures for the manifest, or a
`ParityError`. Measured twice: as ONNX Runtime runs the file here, and with every fp16 rounding
carried out (see `rounded`), as a GPU will. With a labelled source, the mAP of an artifact that is
not published yet, by the very code that ranks and evaluates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.artifact.artifact import Artifact
from mtml_deploy.artifact.manifest import EMBEDDINGS_OUTPUT, ORIENTATION_OUTPUT
from mtml_deploy.data.source import load_source
from mtml_deploy.errors import ParityError
from mtml_deploy.evaluation.metrics import evaluate
from mtml_deploy.evaluation.protocols import find_protocol
from mtml_deploy.model import Model
from mtml_deploy.parity.agreement import Agreement, agreement, require, row_difference, spread
from mtml_deploy.parity.thresholds import DEFAULT_THRESHOLDS
from mtml_deploy.precision.fp16 import rounded
from mtml_deploy.precision.network import Network
from mtml_deploy.precision.options import Conversion
from mtml_deploy.precision.session import GraphSession
from mtml_deploy.runtime.open import open_runtime

if TYPE_CHECKING:
    import onnx

ROW_IMAGES: Final = 3
"""Images that visit every row of a batch of as many."""

WHOLE: Final = "embedding"
"""Name of the whole embedding among the parts that are compared."""

Progress = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
"""Title -> progress callback for a piece of work."""


@dataclass(frozen=True)
class Outputs:
    """What a model gives for N images.

    Attributes:
        parts: branch -> pooled feature, and `WHOLE` -> embedding; float32 [N, ...] flattened.
        orientation: float32 [N, 8], or None.
    """

    parts: Mapping[str, NDArray[np.float32]]
    orientation: NDArray[np.float32] | None


def model_outputs(model: onnx.ModelProto, network: Network, images: NDArray[np.uint8]) -> Outputs:
    """Embeddings, branch features and orientation of a model.

    Args:
        model: the fp32 model of `network`, or one lowered from it: tensor names are kept.
        network: names the features.
        images: uint8 [N, H, W, 3].

    Returns:
        The outputs.
    """
    tensors = dict(network.features) | {WHOLE: EMBEDDINGS_OUTPUT}
    has_orientation = any(value.name == ORIENTATION_OUTPUT for value in model.graph.output)
    names = [*tensors.values(), *([ORIENTATION_OUTPUT] if has_orientation else [])]
    found = GraphSession(model, names, threads=network.threads).run(images)
    return Outputs(
        parts={part: found[name].reshape(len(images), -1) for part, name in tensors.items()},
        orientation=found[ORIENTATION_OUTPUT] if has_orientation else None,
    )


def compare(reference: Outputs, candidate: Outputs) -> dict[str, Agreement]:
    """Agreement of every part.

    Args:
        reference: of the fp32 model.
        candidate: of the same images.

    Returns:
        Part -> agreement.

    Raises:
        ParityError: the candidate gives a value that is not finite.
    """
    for part, values in candidate.parts.items():
        if not np.isfinite(values).all():
            raise ParityError(
                f"{part} of the converted model is not finite, expected finite values; keep the "
                "fp32 model, or train again with weight decay"
            )
    return {
        part: agreement(values, candidate.parts[part]) for part, values in reference.parts.items()
    }


def verify(
    candidate: Artifact,
    model: onnx.ModelProto,
    network: Network,
    reference: Outputs,
    images: NDArray[np.uint8],
) -> dict[str, object]:
    """Measure a candidate against the fp32 model and refuse it if it differs too much.

    Args:
        candidate: written, not yet published.
        model: its graph.
        network: the fp32 network it was made from.
        reference: outputs of the fp32 model for `images`.
        images: uint8 [N, H, W, 3], N >= 2.

    Returns:
        Measures by name, JSON-ready.

    Raises:
        ParityError: names the measure and its bound.
    """
    bounds = DEFAULT_THRESHOLDS[candidate.manifest.precision]
    emulated = model_outputs(rounded(model), network, images)
    parts = compare(reference, emulated)
    for part, found in parts.items():
        require(f"cosine to fp32 of {part}", found.cosine_min, at_least=bounds.min_cosine)
    with open_runtime(candidate, threads=network.threads) as runtime:
        outputs = runtime.run_all(images)
        rows = row_difference(runtime.run, images[:ROW_IMAGES])
    here = agreement(reference.parts[WHOLE], outputs.embeddings)
    require("cosine to fp32 in ONNX Runtime", here.cosine_min, at_least=bounds.min_cosine)
    require("difference between rows of a batch", rows, at_most=bounds.max_row_difference)
    closest = {part: spread(values, images) for part, values in emulated.parts.items()}
    for part, distance in closest.items():
        require(f"distance of images in {part}", distance, at_least=bounds.min_spread)
    branches = {
        part: asdict(found) | {"closest_images": closest[part]}
        for part, found in parts.items()
        if part != WHOLE
    }
    measures: dict[str, object] = {
        "reference": "fp32",
        "images": len(images),
        "embedding": asdict(here),
        "embedding_rounded": asdict(parts[WHOLE]),
        "branches": branches,
        "row_difference": rows,
        "closest_images": closest[WHOLE],
    }
    if reference.orientation is not None and emulated.orientation is not None:
        worst = float(np.abs(reference.orientation - emulated.orientation).max())
        measures["orientation_max_abs"] = worst
    return measures


def mean_ap(artifact: Artifact, conversion: Conversion, *, title: str, progress: Progress) -> float:
    """MAP (step) of a data set's queries against its gallery.

    Args:
        artifact: the model, run by ONNX Runtime on the CPU.
        conversion: names the data set and the protocol, and tells the threads.
        title: what the progress shows.
        progress: for a title, gives the progress callback.

    Returns:
        Fraction 0..1.

    Raises:
        MtmlError: what reading, embedding and evaluating raise.
    """
    rule = find_protocol(conversion.protocol)
    sets = [load_source(conversion.data, split=split) for split in ("query", "gallery")]
    found = []
    with Model.open(artifact, model_threads=conversion.model_threads) as model:
        for split, images in zip(("query", "gallery"), sets, strict=True):
            with progress(f"{title}: {split}") as report:
                found.append(model.embed(images, threads=conversion.threads, progress=report))
    return evaluate(found[0], found[1], rule).mean_ap
