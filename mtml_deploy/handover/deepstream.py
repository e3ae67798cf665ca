"""A model for NVIDIA DeepStream: a graph of float planes, and the two files that name it.

DeepStream feeds y = scale * (x - offset[c]) of 8-bit levels as float planes, with one scale for all
channels. So the graph takes levels, and mean and standard deviation stay inside it.

In: an fp32 artifact. Out: a folder with the model, its manifest, `nvinfer.txt` for a secondary
nvinfer and `nvtracker.yml` with the section ReID of nvtracker.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from mtml_deploy.artifact.artifact import MANIFEST_FILE, MODEL_FILE, Artifact, open_artifact
from mtml_deploy.artifact.input_form import InputForm
from mtml_deploy.artifact.manifest import EMBEDDINGS_OUTPUT, Manifest
from mtml_deploy.errors import ArtifactError
from mtml_deploy.files import write_text
from mtml_deploy.handover.variant import Variant, make_variant
from mtml_deploy.output_kind import FolderKind, left_behind
from mtml_deploy.outputs import output_folder

NVINFER_FILE: Final = "nvinfer.txt"
NVTRACKER_FILE: Final = "nvtracker.yml"

PLANES: Final = InputForm(layout="nchw-float", values="levels", channels="RGB")
"""What DeepStream feeds with scale 1 and offsets 0."""

EnginePrecision = Literal["fp32", "fp16"]
"""What TensorRT may compute the fp32 graph in."""

_NVINFER_MODE: Final[dict[EnginePrecision, int]] = {"fp32": 0, "fp16": 2}
"""network-mode of nvinfer: 0 FP32, 1 INT8, 2 FP16."""

_NVTRACKER_MODE: Final[dict[EnginePrecision, int]] = {"fp32": 0, "fp16": 1}
"""networkMode of nvtracker: 0 FP32, 1 FP16, 2 INT8. Not the numbers of nvinfer."""

_OWN: Final = re.compile(
    rf"({re.escape(MODEL_FILE)}(_[^/]*\.engine)?|{re.escape(MANIFEST_FILE)}|"
    rf"{re.escape(NVINFER_FILE)}|{re.escape(NVTRACKER_FILE)})\Z"
)


@dataclass(frozen=True)
class DeepstreamOptions:
    """How DeepStream runs the model.

    Attributes:
        batch: vehicles per run.
        precision: of the engine that DeepStream builds.
        classes: class ids of the primary detector to embed; empty for all.
        reid_type: of nvtracker: 1 NvDeepSORT, 2 re-association (NvDCF), 3 both.
        history: vectors that the tracker keeps of each track.
    """

    batch: int = 16
    precision: EnginePrecision = "fp32"
    classes: tuple[int, ...] = ()
    reid_type: Literal[1, 2, 3] = 2
    history: int = 100


def write_deepstream(
    artifact: Artifact, out: Path, options: DeepstreamOptions, *, overwrite: bool = False
) -> Artifact:
    """Write the folder.

    Args:
        artifact: fp32, of one output, taking bytes.
        out: folder to make.
        options: how DeepStream runs it.
        overwrite: replace such a folder.

    Returns:
        The artifact in `out`.

    Raises:
        ArtifactError: not fp32, or with orientations; see `make_variant`.
        ParityError: see `make_variant`.
        OutputExistsError: `out` may not be written.
    """
    manifest = artifact.manifest
    if manifest.precision != "fp32":
        raise ArtifactError(
            f"{artifact.folder} is {manifest.precision}, expected fp32, of which DeepStream builds "
            "an engine in fp32 or fp16 by itself; give the artifact it was made from"
        )
    if manifest.with_orientation:
        raise ArtifactError(
            f"{artifact.folder} has a second output, the orientation, and nvtracker takes one; "
            "export it without --with-orientation"
        )
    inputs = (artifact.folder,)
    with output_folder(out, DEEPSTREAM, overwrite=overwrite, inputs=inputs) as folder:
        make_variant(artifact, folder, Variant(PLANES))
        write_text(folder / NVINFER_FILE, nvinfer_text(manifest, options))
        write_text(folder / NVTRACKER_FILE, nvtracker_text(manifest, options))
    return open_artifact(out)


def nvinfer_text(manifest: Manifest, options: DeepstreamOptions) -> str:
    """The file of a secondary nvinfer that attaches embeddings to the boxes of a detector."""
    classes = ";".join(map(str, options.classes))
    lines = [
        "# a secondary nvinfer: embeddings as tensor meta, not scaled to length 1",
        "[property]",
        "gpu-id=0",
        "gie-unique-id=2",
        "operate-on-gie-id=1",
        *([f"operate-on-class-ids={classes}"] if classes else []),
        "process-mode=2",
        "# 100: no parser, the tensor itself is handed on",
        "network-type=100",
        "output-tensor-meta=1",
        f"output-blob-names={EMBEDDINGS_OUTPUT}",
        f"onnx-file={MODEL_FILE}",
        f"model-engine-file={_engine_name(options)}",
        f"batch-size={options.batch}",
        "# 0 FP32, 1 INT8, 2 FP16; nvtracker counts otherwise",
        f"network-mode={_NVINFER_MODE[options.precision]}",
        f"infer-dims=3;{manifest.height};{manifest.width}",
        "# levels 0..255 go in: mean and standard deviation are in the graph",
        "net-scale-factor=1",
        "offsets=0;0;0",
        "# 0: RGB",
        "model-color-format=0",
        "# the model was trained on crops stretched to its size",
        "maintain-aspect-ratio=0",
    ]
    return "\n".join(lines) + "\n"


def nvtracker_text(manifest: Manifest, options: DeepstreamOptions) -> str:
    """The section ReID of a file for nvtracker (ll-config-file)."""
    lines = [
        "# put this section into the tracker's own file, such as config_tracker_NvDCF_accuracy.yml",
        "ReID:",
        f"  reidType: {options.reid_type}  # 1 NvDeepSORT, 2 re-association, 3 both",
        f"  onnxFile: {MODEL_FILE}",
        f"  modelEngineFile: {_engine_name(options)}",
        f"  batchSize: {options.batch}",
        f"  reidFeatureSize: {manifest.dim}",
        f"  reidHistorySize: {options.history}",
        f"  inferDims: [3, {manifest.height}, {manifest.width}]",
        "  inputOrder: 0  # NCHW",
        "  colorFormat: 0  # RGB",
        f"  networkMode: {_NVTRACKER_MODE[options.precision]}  # 0 FP32, 1 FP16, 2 INT8",
        "  netScaleFactor: 1.0",
        "  offsets: [0.0, 0.0, 0.0]",
        "  keepAspc: 0  # crops were stretched in training",
        "  addFeatureNormalization: 1  # the tracker compares by cosine",
        "  outputReidTensor: 1  # else no embedding leaves the tracker",
    ]
    return "\n".join(lines) + "\n"


def _engine_name(options: DeepstreamOptions) -> str:
    """The name under which DeepStream keeps the engine that it builds."""
    return f"{MODEL_FILE}_b{options.batch}_gpu0_{options.precision}.engine"


def _require(folder: Path) -> None:
    """Raise where a folder is no such output."""
    for name in (MANIFEST_FILE, NVINFER_FILE, NVTRACKER_FILE):
        if not (folder / name).is_file():
            raise ValueError(f"it lacks {name}")


def _foreign(folder: Path) -> list[str]:
    """What neither this command nor DeepStream wrote there."""
    return [
        path.name
        for path in sorted(folder.iterdir())
        if path.is_symlink() or path.is_dir() or not (_OWN.match(path.name) or left_behind(path))
    ]


DEEPSTREAM: Final = FolderKind("a model for DeepStream", _require, _foreign)
