"""Artifacts made ready, for programs: other precisions, engines, the parity gate.

In: folders. Out: what the commands of the same names make.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mtml_deploy.artifact.artifact import Artifact, open_artifact
from mtml_deploy.defaults import PROTOCOL
from mtml_deploy.engine.here import build_here
from mtml_deploy.engine.library import Target
from mtml_deploy.engine.options import BatchProfile, BuildOptions
from mtml_deploy.precision.convert import convert as convert_artifact
from mtml_deploy.precision.options import Calibrator, Conversion, Precision
from mtml_deploy.user_path import user_path


def convert(
    folder: str | Path,
    out: str | Path,
    precision: Precision,
    *,
    images: str | Path = "",
    calibration: str | Path | None = None,
    calibrator: Calibrator = "entropy",
    max_map_drop: float | None = None,
    data: str | Path = "",
    protocol: str = PROTOCOL,
    threads: int = 0,
    model_threads: int = 0,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Artifact:
    """Write an fp32 artifact in fp16 or int8, after comparing it with the one it is made from.

    Args:
        folder: the fp32 artifact.
        out: the artifact to make.
        precision: "fp16" or "int8".
        images: source of the images to compare on; empty takes the training data.
        calibration: list of images that activations are measured on; int8 needs it.
        calibrator: "entropy", "percentile" or "minmax"; int8 only.
        max_map_drop: largest |mAP - mAP in fp32|, a fraction: the most sensitive layers stay fp16
            until it is kept; int8 only.
        data: labelled set with query and gallery that this mAP is measured on.
        protocol: of this mAP.
        threads: threads that decode images, 0 = one per CPU.
        model_threads: threads of the models that are compared, 0 = the library's own number.
        overwrite: replace an artifact that is there, once the new one is complete.
        say: told a line before each long stage.

    Returns:
        The artifact in `out`.

    Raises:
        ArtifactError: not an fp32 artifact, or one whose graph TensorRT cannot take.
        DataError: options that do not fit together, or a broken calibration list.
        ParityError: the result does not give what fp32 gives; nothing is written.
        OutputExistsError: `out` exists, or may not be replaced: it is no artifact, holds other
            files, or is `folder`.
        MissingExtraError: onnx or onnxruntime is not installed.
    """
    asked = Conversion(
        precision=precision,
        images=str(images),
        calibration=None if calibration is None else user_path(calibration),
        calibrator=calibrator,
        max_map_drop=max_map_drop,
        data=str(data),
        protocol=protocol,
        threads=threads,
        model_threads=model_threads,
    )
    return convert_artifact(
        open_artifact(user_path(folder)), user_path(out), asked, overwrite=overwrite, say=say
    )


def build_engine(
    folder: str | Path,
    *,
    target: Target | None = None,
    min_batch: int = 1,
    opt_batch: int = 16,
    max_batch: int = 64,
    sm: tuple[int, ...] = (),
    workspace_bytes: int = 0,
    optimization_level: int | None = None,
    aux_streams: int | None = None,
    timing_cache: str | Path | None = None,
    hardware_compatible: bool = False,
    gpu: int = 0,
    overwrite: bool = False,
) -> Path:
    """Build a TensorRT engine of an artifact, kept inside it; on the machine that will run it.

    Args:
        folder: the artifact; its model's precision is the engine's.
        target: "tensorrt" or "tensorrt-rtx"; None takes the one that is installed.
        min_batch: fewest images per run.
        opt_batch: images per run that it is tuned for.
        max_batch: most images per run; longer batches are cut.
        sm: compute capabilities without the dot (86); "tensorrt-rtx" only, which then needs no GPU.
        workspace_bytes: most device memory of one layer's scratch; 0 sets no limit.
        optimization_level: 0 builds fast, 5 runs fast; None is the library's default.
        aux_streams: streams on which branches may run side by side; None is the library's choice.
        timing_cache: file that keeps measured kernels between builds; "tensorrt" only.
        hardware_compatible: for every GPU since Ampere, slower; "tensorrt" only.
        gpu: number of the GPU to build on.
        overwrite: replace an engine of the same name.

    Returns:
        The engine's file.

    Raises:
        ArtifactError: no artifact, or a graph that cannot become an engine.
        BackendError: no TensorRT or no such GPU here, options that do not fit, a failed build.
        MissingExtraError: the library of `target` is not installed.
        OutputExistsError: there is one already.
        ValueError: options that no builder takes.
    """
    engine = build_here(
        open_artifact(user_path(folder)),
        BuildOptions(
            profile=BatchProfile(min_batch, opt_batch, max_batch),
            sm=tuple(sm),
            workspace_bytes=workspace_bytes,
            optimization_level=optimization_level,
            aux_streams=aux_streams,
            hardware_compatible=hardware_compatible,
        ),
        target=target,
        gpu=gpu,
        timing_cache=None if timing_cache is None else user_path(timing_cache),
        overwrite=overwrite,
    )
    return engine.path
