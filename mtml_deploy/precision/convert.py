"""An fp32 artifact to an fp16 or int8 one: measured, converted, verified, written; or nothing.

In: an artifact and a `Conversion`. Out: a new artifact whose manifest says what was kept in which
precision and how it compares with fp32 on real images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from mtml_deploy.artifact.artifact import Artifact, file_sha256, open_artifact, write_artifact
from mtml_deploy.artifact.artifact_folder import ARTIFACT
from mtml_deploy.artifact.input_form import PLAIN
from mtml_deploy.artifact.manifest import Manifest
from mtml_deploy.data.batches import decode_images
from mtml_deploy.data.folder import load_list
from mtml_deploy.data.source import source_paths
from mtml_deploy.engine.graph_check import problems_of, refuse_problems
from mtml_deploy.errors import ArtifactError, DataError
from mtml_deploy.outputs import output_folder, require_output
from mtml_deploy.parity.images import parity_images
from mtml_deploy.precision.calibration_list import (
    manifest_path,
    read_calibration,
    require_unchanged,
)
from mtml_deploy.precision.lowering import Plan, lowered, readable_names
from mtml_deploy.precision.mixed import MixedSearch, mixed_plan
from mtml_deploy.precision.network import Network, read_network
from mtml_deploy.precision.options import Conversion
from mtml_deploy.precision.ranges import (
    largest_magnitudes,
    measure_histograms,
    overflowing,
    quantisation_steps,
)
from mtml_deploy.precision.sensitivity_report import write_report
from mtml_deploy.precision.verify import Progress, model_outputs, verify

RANGE_IMAGES: Final = 8
"""Images on which overflow is looked for; the comparison sees all, and fp16 keeps headroom."""


@contextmanager
def _unseen(title: str) -> Iterator[Callable[[int, int], None]]:
    """Progress that nobody watches."""
    del title
    yield lambda done, total: None


def convert(
    artifact: Artifact,
    out: Path,
    conversion: Conversion,
    *,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda _: None,
    progress: Progress = _unseen,
) -> Artifact:
    """Write an artifact in another precision, after comparing it with the one it is made from.

    Args:
        artifact: fp32.
        out: folder to make.
        conversion: what is asked for.
        overwrite: replace an artifact that is there, once the new one is complete.
        say: receives a line before each long stage.
        progress: for a title, gives the progress callback.

    Returns:
        The artifact in `out`.

    Raises:
        ArtifactError: not an fp32 artifact, or one whose graph TensorRT cannot take.
        DataError: the calibration list is broken.
        ParityError: the result does not give what fp32 gives, or there are no images to compare
            on; nothing is written.
        OutputExistsError: `out` exists and `overwrite` is off, or it may not be replaced: it is
            no artifact, holds other files, or is read by this call.
        MissingExtraError: onnx or onnxruntime is not installed.
    """
    inputs = (artifact.folder, *source_paths(conversion.images, conversion.data))
    inputs += () if conversion.calibration is None else (conversion.calibration,)
    require_output(out, ARTIFACT, overwrite=overwrite, inputs=inputs)
    manifest = artifact.manifest
    if manifest.precision != "fp32":
        raise ArtifactError(
            f"{artifact.folder} is {manifest.precision} already, expected an fp32 artifact; give "
            "the one it was made from"
        )
    if manifest.form != PLAIN:
        raise ArtifactError(
            f"{artifact.folder} takes {manifest.form}, expected {PLAIN}; convert while exporting: "
            "mtml-export RUN --out NEW --fp16 --input nchw-float"
        )
    network = read_network(artifact.model_path, threads=conversion.model_threads)
    refuse_problems(problems_of(network.model), artifact.model_path)
    if conversion.precision == "int8" and network.foreign:
        raise ArtifactError(
            f"{artifact.folder} has the backbone {manifest.backbone}, between whose convolutions "
            f"are {', '.join(network.foreign)}; int8 is for networks of convolutions and ReLU: "
            "keep it in fp32, or convert it with --fp16"
        )
    calibration = _calibration(conversion, manifest, say)
    images = parity_images(
        conversion.images or _training_source(manifest),
        height=manifest.height,
        width=manifest.width,
        excluded=calibration.paths,
        threads=conversion.threads,
    )
    say(f"measuring fp32 on {len(images)} images")
    reference = model_outputs(network.model, network, images)
    kept = overflowing(network, largest_magnitudes(network, images[:RANGE_IMAGES]))
    job = MixedSearch(artifact, network, conversion, images, reference, progress)
    plan, report = Plan(kept_fp32=kept), None
    if conversion.precision == "int8":
        say(f"calibrating on {len(calibration.images)} images, {conversion.calibrator}")
        with progress("calibrating") as show:
            histograms = measure_histograms(network, calibration.images, progress=show)
        steps = quantisation_steps(histograms, conversion.calibrator)
        plan = replace(plan, quantised=network.layers, steps=steps)
        if conversion.max_map_drop is not None:
            plan, report = mixed_plan(job, plan, conversion.max_map_drop, say)
    say(f"comparing {conversion.precision} with fp32 on {len(images)} images")
    described = msgspec.structs.replace(
        manifest,
        precision=conversion.precision,
        parity={},
        conversion=_record(artifact, network, plan, conversion, calibration),
    )
    model = lowered(network, plan)
    with output_folder(out, ARTIFACT, overwrite=overwrite, inputs=inputs, say=say) as folder:
        candidate = write_artifact(folder, model, described)
        refuse_problems(problems_of(model), candidate.model_path)
        parity = verify(candidate, model, network, reference, images)
        write_artifact(folder, model, msgspec.structs.replace(described, parity=parity))
        if report is not None:
            write_report(folder, report)
    return open_artifact(out)


@dataclass(frozen=True)
class _Calibration:
    """Calibration images: none for fp16.

    Attributes:
        paths: the files, resolved.
        images: uint8 [N, H, W, 3].
        sha256: of the list; empty without one.
        verified: a manifest beside the list has the hash of every image, and each was found right.
    """

    paths: frozenset[Path]
    images: NDArray[np.uint8]
    sha256: str
    verified: bool


def _calibration(
    conversion: Conversion, manifest: Manifest, say: Callable[[str], None]
) -> _Calibration:
    """The images of a calibration list, hashed again where a manifest beside it says how."""
    path = conversion.calibration
    if path is None:
        shape = (0, manifest.height, manifest.width, 3)
        return _Calibration(frozenset(), np.empty(shape, dtype=np.uint8), "", False)
    if not path.is_file():
        raise DataError(f"no calibration list {path}, expected a text file, one image a line")
    paths = [record.path for record in load_list(path).records]
    verified = manifest_path(path).is_file()
    if verified:
        require_unchanged(read_calibration(path).calibration, listing=path)
    else:
        say(f"{path} has no manifest beside it: whether its images are tested on is not known")
    images = decode_images(
        paths, height=manifest.height, width=manifest.width, threads=conversion.threads
    )
    resolved = frozenset(each.resolve() for each in paths)
    return _Calibration(resolved, images, file_sha256(path), verified)


def _training_source(manifest: Manifest) -> str:
    """The training data that the manifest names."""
    sources = manifest.training.get("sources")
    if not isinstance(sources, list | tuple) or not sources:
        raise DataError(
            "the manifest does not say which images the model was trained on, and a conversion is "
            "compared on real ones; name them with --images SOURCE"
        )
    return str(sources[0])


def _record(
    artifact: Artifact,
    network: Network,
    plan: Plan,
    conversion: Conversion,
    calibration: _Calibration,
) -> dict[str, object]:
    """What was done, for the manifest; JSON values."""
    record: dict[str, object] = {
        "from_sha256": artifact.manifest.model_sha256,
        "kept_fp32": readable_names(network, plan.kept_fp32),
        "versions": {name: version(name) for name in ("mtml-reid", "onnx")},
    }
    if conversion.precision == "int8":
        quantised = {layer.node for layer in plan.quantised} - set(plan.kept_fp32)
        record |= {
            "quantised": len(quantised),
            "kept_fp16": [each.name for each in network.layers if each.node not in quantised],
            "calibrator": conversion.calibrator,
            "calibration_images": len(calibration.images),
            "calibration_sha256": calibration.sha256,
            "calibration_verified": calibration.verified,
        }
    return record
