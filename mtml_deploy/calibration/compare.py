"""The calibrators side by side: each makes an int8 model, which is compared with the fp32 one.

In: an fp32 artifact and a `CalibrationSet`, whose held-out vehicles are compared on. Out: a
`Comparison`. Nothing is converted for good.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.artifact.artifact import Artifact
from mtml_deploy.data.batches import decode_images
from mtml_deploy.engine.graph_check import problems_of, refuse_problems
from mtml_deploy.errors import ArtifactError
from mtml_deploy.parity.agreement import Agreement
from mtml_deploy.parity.thresholds import DEFAULT_THRESHOLDS
from mtml_deploy.precision.calibration_list import CalibrationImage, CalibrationSet
from mtml_deploy.precision.convert import RANGE_IMAGES
from mtml_deploy.precision.fp16 import rounded
from mtml_deploy.precision.lowering import Plan, lowered
from mtml_deploy.precision.network import read_network
from mtml_deploy.precision.options import CALIBRATORS, Calibrator
from mtml_deploy.precision.ranges import (
    largest_magnitudes,
    measure_histograms,
    overflowing,
    quantisation_steps,
)
from mtml_deploy.precision.verify import compare, model_outputs

Progress = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]

MIN_COSINE: Final = DEFAULT_THRESHOLDS["int8"].min_cosine
"""What a conversion to int8 must reach on every image and in every part."""


@dataclass(frozen=True)
class Tried:
    """One calibrator.

    Attributes:
        calibrator: its name.
        parts: branch, and "embedding" for the whole -> agreement with fp32 on the held-out images.
        steps_s: time from histograms to quantisation steps, seconds.
        run_s: time to run the int8 model on the held-out images, seconds.
    """

    calibrator: Calibrator
    parts: Mapping[str, Agreement]
    steps_s: float
    run_s: float

    @property
    def worst(self) -> float:
        """Smallest cosine of any image in any part."""
        return min(found.cosine_min for found in self.parts.values())

    @property
    def worst_mean(self) -> float:
        """Mean cosine of the part where it is smallest."""
        return min(found.cosine_mean for found in self.parts.values())


@dataclass(frozen=True)
class Comparison:
    """All calibrators on one model and set.

    Attributes:
        artifact: the fp32 model.
        chosen: the set.
        tried: one entry per calibrator.
        layers: places that were quantised.
        kept_fp32: nodes that fp16 has no room for.
        measuring_s: time to measure the activations, which the calibrators share, seconds.
    """

    artifact: Artifact
    chosen: CalibrationSet
    tried: tuple[Tried, ...]
    layers: int
    kept_fp32: int
    measuring_s: float


@contextmanager
def _unseen(title: str) -> Iterator[Callable[[int, int], None]]:
    """Progress that nobody watches."""
    del title
    yield lambda done, total: None


def compare_calibrators(
    artifact: Artifact,
    chosen: CalibrationSet,
    *,
    threads: int = 0,
    model_threads: int = 0,
    say: Callable[[str], None] = lambda _: None,
    progress: Progress = _unseen,
) -> Comparison:
    """Quantise a model by each calibrator and compare it with fp32 on the held-out images.

    Every fp16 rounding of the int8 model is carried out, as a GPU does it.

    Args:
        artifact: fp32.
        chosen: images to calibrate on and images to compare on, checked before.
        threads: that decode images; 0 is one per CPU.
        model_threads: of the models; 0 leaves the number to the library.
        say: receives a line before each long stage.
        progress: for a title, gives the progress callback.

    Returns:
        The comparison.

    Raises:
        ArtifactError: not an fp32 artifact, or one whose graph cannot be converted.
        ImageError: an image cannot be decoded.
        ParityError: a model gives values that are not finite.
        MissingExtraError: onnx or onnxruntime is not installed.
    """
    if artifact.manifest.precision != "fp32":
        raise ArtifactError(
            f"{artifact.folder} is {artifact.manifest.precision}, expected an fp32 artifact; give "
            "the one it was made from"
        )
    network = read_network(artifact.model_path, threads=model_threads)
    refuse_problems(problems_of(network.model), artifact.model_path)
    images = _pixels(artifact, chosen.heldout, threads)
    say(f"fp32 on {len(images)} held-out images")
    reference = model_outputs(network.model, network, images)
    kept = overflowing(network, largest_magnitudes(network, images[:RANGE_IMAGES]))
    say(f"measuring the activations on {len(chosen.calibration)} images")
    started = time.perf_counter()
    with progress("measuring") as show:
        pixels = _pixels(artifact, chosen.calibration, threads)
        histograms = measure_histograms(network, pixels, progress=show)
    measuring_s = time.perf_counter() - started
    tried = []
    for name in CALIBRATORS:
        calibrator = cast(Calibrator, name)
        started = time.perf_counter()
        steps = quantisation_steps(histograms, calibrator)
        steps_s = time.perf_counter() - started
        say(f"{name}: int8 on {len(images)} held-out images")
        plan = Plan(kept_fp32=kept, quantised=network.layers, steps=steps)
        model = rounded(lowered(network, plan))
        started = time.perf_counter()
        outputs = model_outputs(model, network, images)
        run_s = time.perf_counter() - started
        tried.append(Tried(calibrator, compare(reference, outputs), steps_s, run_s))
    return Comparison(artifact, chosen, tuple(tried), len(network.layers), len(kept), measuring_s)


def recommended(tried: Sequence[Tried]) -> Tried:
    """The calibrator to use.

    Args:
        tried: one or more.

    Returns:
        The one whose worst cosine is largest, since that is what a conversion is judged by; of
        equal ones that with the largest mean in its worst part, then the first.
    """
    return max(tried, key=lambda each: (each.worst, each.worst_mean))


def _pixels(
    artifact: Artifact, images: Sequence[CalibrationImage], threads: int
) -> NDArray[np.uint8]:
    """uint8 [N, H, W, 3] of the model's size."""
    manifest = artifact.manifest
    paths = [image.record.path for image in images]
    return decode_images(paths, height=manifest.height, width=manifest.width, threads=threads)
