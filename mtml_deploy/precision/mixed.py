"""The search for an int8 model whose bounds are kept: rank the layers, then keep more in fp16.

In: a network with calibrated steps. Out: the plan that passed and the report of the search.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from mtml_deploy.artifact.artifact import Artifact, write_artifact
from mtml_deploy.parity.thresholds import DEFAULT_THRESHOLDS
from mtml_deploy.precision.fp16 import rounded
from mtml_deploy.precision.lowering import Plan, lowered
from mtml_deploy.precision.network import Layer, Network
from mtml_deploy.precision.options import Conversion
from mtml_deploy.precision.sensitivity import (
    SENSITIVITY_IMAGES,
    LayerNoise,
    Quality,
    SensitivityReport,
    beyond,
    keep_until_passed,
    rank_layers,
)
from mtml_deploy.precision.verify import Outputs, Progress, compare, mean_ap, model_outputs

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class MixedSearch:
    """What every candidate of one conversion is judged with.

    Attributes:
        artifact: fp32.
        network: its graph.
        conversion: what is asked for.
        images: uint8 [N, H, W, 3] that cosines are measured on.
        reference: outputs of the fp32 model for them.
        progress: for a title, gives the progress callback.
    """

    artifact: Artifact
    network: Network
    conversion: Conversion
    images: NDArray[np.uint8]
    reference: Outputs
    progress: Progress


def mixed_plan(
    job: MixedSearch, plan: Plan, max_map_drop: float, say: Callable[[str], None]
) -> tuple[Plan, SensitivityReport]:
    """The plan with the most sensitive layers in fp16, as few as the bounds allow.

    Args:
        job: what candidates are judged with.
        plan: every layer in int8.
        max_map_drop: largest |mAP - mAP in fp32|, a fraction.
        say: receives a line before each long stage.

    Returns:
        The plan of the first candidate that keeps the bounds, and how it was found.

    Raises:
        ParityError: none does.
    """
    network, conversion = job.network, job.conversion
    noise_images = job.images[:SENSITIVITY_IMAGES]
    say(f"ranking {len(network.layers)} layers on {len(noise_images)} images")
    with job.progress("ranking layers") as show:
        ranking = rank_layers(network, plan.steps, noise_images, progress=show)
    # what overflows fp16 is fp32 whatever its rank, and nothing to choose
    ranking = tuple(each for each in ranking if each.layer.node not in plan.kept_fp32)
    min_cosine = DEFAULT_THRESHOLDS["int8"].min_cosine
    reference_map = None
    if conversion.data:
        say(f"measuring mAP of fp32 on {conversion.data}")
        reference_map = mean_ap(job.artifact, conversion, title="fp32", progress=job.progress)
    else:
        say("no --data: layers are kept by cosine alone, mAP is not measured")

    def judge(quantised: Sequence[LayerNoise], *, with_map: bool = True) -> Quality:
        kept = len(ranking) - len(quantised)
        say(f"trying int8 with {kept} of {len(ranking)} layers in fp16")
        chosen = replace(plan, quantised=_in_order(network, quantised))
        twin = rounded(lowered(network, chosen))
        parts = compare(job.reference, model_outputs(twin, network, job.images))
        cosines = {part: found.cosine_min for part, found in parts.items()}
        passed = min(cosines.values()) >= min_cosine
        # a model that already fails needs no minutes of embedding
        if not passed or reference_map is None or not with_map:
            return Quality(cosines, None, passed)
        score = _rounded_map(job, twin, title=f"{kept} layers in fp16")
        return Quality(cosines, score, abs(score - reference_map) <= max_map_drop)

    curve = keep_until_passed(ranking, judge)
    say(f"{curve[-1].kept} layers in fp16 are enough; measuring the rest of the curve by cosine")
    rest = beyond(ranking, curve[-1].kept, partial(judge, with_map=False))
    report = SensitivityReport(
        ranking=ranking,
        curve=curve,
        beyond=rest,
        min_cosine=min_cosine,
        max_map_drop=max_map_drop,
        reference_map=reference_map,
        data=conversion.data,
        protocol=conversion.protocol,
        images=len(job.images),
        noise_images=len(noise_images),
    )
    return replace(plan, quantised=_in_order(network, ranking[curve[-1].kept :])), report


def _in_order(network: Network, chosen: Sequence[LayerNoise]) -> tuple[Layer, ...]:
    """Layers in the order of the graph."""
    nodes = {each.layer.node for each in chosen}
    return tuple(layer for layer in network.layers if layer.node in nodes)


def _rounded_map(job: MixedSearch, twin: onnx.ModelProto, *, title: str) -> float:
    """MAP of a candidate with every fp16 rounding carried out."""
    manifest = msgspec.structs.replace(job.artifact.manifest, precision="int8")
    with tempfile.TemporaryDirectory(prefix="mtml-convert-") as folder:
        return mean_ap(
            write_artifact(Path(folder), twin, manifest),
            job.conversion,
            title=title,
            progress=job.progress,
        )
