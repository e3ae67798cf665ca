"""ONNX Runtime: the provider asked for, or an error.

The library falls back to the CPU on its own and says so only in its log; here the active provider
is compared with the request. `onnxruntime` is imported when a model is loaded, not before.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from types import ModuleType, TracebackType
from typing import Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.artifact import Artifact
from mtml_deploy.errors import ArtifactError, BackendError, MissingExtraError
from mtml_deploy.manifest import (
    EMBEDDINGS_OUTPUT,
    INPUT_NAME,
    METADATA_KEY,
    ORIENTATION_OUTPUT,
    Manifest,
    embedded_record,
)
from mtml_deploy.records import ORIENTATIONS
from mtml_deploy.runtime import ModelOutputs, check_images

_ERRORS_ONLY: Final = 3
"""ONNX Runtime log severity: its warnings are about graph constants, of no use to a user."""

_Provider = tuple[str, dict[str, str]]
_TensorType = tuple[str, tuple[int, ...]]
"""ONNX Runtime's name of a type, and the sizes after the batch."""


class _Tensor(Protocol):
    """ONNX Runtime's description of one graph input or output."""

    name: str
    type: str
    shape: list[int | str | None]


class OrtRuntime:
    """An ONNX Runtime session for one artifact (see `mtml_deploy.runtime.Runtime`).

    A batch is run as it comes, never split: the caller chooses its size.
    """

    def __init__(self, artifact: Artifact, *, device: str = "cpu", threads: int = 0) -> None:
        """Load the model and check that it is what its manifest says.

        Args:
            artifact: the exported model.
            device: "cpu" or "cuda:N".
            threads: threads of one run on the CPU; 0 = one per physical core.

        Raises:
            MissingExtraError: onnxruntime is not installed.
            BackendError: unknown device, or its provider is not active here.
            ArtifactError: not a loadable model, or one that differs from its manifest.
            ValueError: negative `threads`.
        """
        if threads < 0:
            raise ValueError(f"threads must be 0 or more, found {threads}")
        provider = _provider(device)
        ort = _library(device)
        if provider[0] not in (available := ort.get_available_providers()):
            raise BackendError(_unavailable(device, provider[0], available))
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = _ERRORS_ONLY
        # idle workers that spin take the cores from the threads that decode the next batch
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            session = ort.InferenceSession(
                artifact.model_path, sess_options=options, providers=[provider]
            )
        except Exception as error:  # the library's exceptions have no common base of their own
            raise ArtifactError(
                f"ONNX Runtime cannot load {artifact.model_path}: {_first_line(error)}; "
                f"export it again: mtml-export RUN --out {artifact.folder}"
            ) from error
        if (active := session.get_providers())[0] != provider[0]:
            raise BackendError(_unavailable(device, provider[0], active))
        _check_record(session.get_modelmeta().custom_metadata_map, artifact)
        _check_graph(session.get_inputs(), session.get_outputs(), artifact)
        self._manifest = artifact.manifest
        self._session = session

    @property
    def manifest(self) -> Manifest:
        """What the loaded model is."""
        return self._manifest

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embeddings float32 [B, D] of uint8 [B, H, W, 3]; see `Runtime.run`."""
        return self._run((EMBEDDINGS_OUTPUT,), images)[0]

    def run_all(self, images: NDArray[np.uint8]) -> ModelOutputs:
        """Embeddings and orientation of uint8 [B, H, W, 3]; see `Runtime.run_all`."""
        if not self._manifest.with_orientation:
            return ModelOutputs(embeddings=self.run(images), orientation=None)
        embeddings, orientation = self._run((EMBEDDINGS_OUTPUT, ORIENTATION_OUTPUT), images)
        return ModelOutputs(embeddings=embeddings, orientation=orientation)

    def close(self) -> None:
        """Free the session."""
        self._session = None

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Free the session."""
        self.close()

    def _run(
        self, outputs: tuple[str, ...], images: NDArray[np.uint8]
    ) -> list[NDArray[np.float32]]:
        """The named outputs, float32 [B, D] or [B, 8]."""
        if self._session is None:
            raise ValueError("this runtime is closed; open it again with open_runtime")
        images = check_images(images, self._manifest)
        try:
            results = self._session.run(list(outputs), {INPUT_NAME: images})
        except Exception as error:  # the library's exceptions have no common base of their own
            raise BackendError(
                f"ONNX Runtime failed on a batch of {len(images)} images: {_first_line(error)}; "
                "try a smaller --batch-size"
            ) from error
        return [np.ascontiguousarray(result, dtype=np.float32) for result in results]


def _library(device: str) -> ModuleType:
    """The onnxruntime module."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError(
            "running a model on ONNX Runtime needs onnxruntime",
            "cpu" if device == "cpu" else "gpu",
        ) from error
    library: ModuleType = onnxruntime
    return library


def _provider(device: str) -> _Provider:
    """ONNX Runtime's provider and its options for `device`."""
    if device == "cpu":
        return "CPUExecutionProvider", {}
    if match := re.fullmatch(r"cuda:(\d{1,3})", device, flags=re.ASCII):
        return "CUDAExecutionProvider", {"device_id": match[1]}
    raise BackendError(f"device is {device!r}, expected cpu or cuda:N; say for example cuda:0")


def _unavailable(device: str, provider: str, found: list[str]) -> str:
    """Text of the error that `provider` is not among the `found` ones."""
    return (
        f"{device} was asked for but ONNX Runtime offers {', '.join(found)} here, not {provider}; "
        "ask for --device cpu, or check the GPU's driver and replace the CPU library: "
        "pip uninstall onnxruntime && pip install 'mtml-reid[gpu]'"
    )


def _check_record(metadata: dict[str, str], artifact: Artifact) -> None:
    """Refuse a model whose own record is not its manifest's."""
    fix = f"export it again: mtml-export RUN --out {artifact.folder}"
    if METADATA_KEY not in metadata:
        raise ArtifactError(
            f"{artifact.model_path} holds no record {METADATA_KEY}, it was not written by "
            f"mtml-export; {fix}"
        )
    try:
        inside = json.loads(metadata[METADATA_KEY])
    except ValueError as error:
        raise ArtifactError(
            f"the record {METADATA_KEY} in {artifact.model_path} is not JSON: {error}; {fix}"
        ) from error
    beside = json.loads(embedded_record(artifact.manifest))
    if inside == beside:
        return
    inside = inside if isinstance(inside, dict) else {}
    differing = sorted(
        key for key in inside.keys() | beside.keys() if inside.get(key) != beside.get(key)
    )
    raise ArtifactError(
        f"manifest.json in {artifact.folder} and the record inside its model differ in "
        f"{', '.join(differing)}: one of them was changed; {fix}"
    )


def _check_graph(inputs: list[_Tensor], outputs: list[_Tensor], artifact: Artifact) -> None:
    """Refuse a graph without the inputs and outputs that the manifest promises."""
    manifest = artifact.manifest
    size = (manifest.height, manifest.width, 3)
    _check_tensors("inputs", inputs, {INPUT_NAME: ("tensor(uint8)", size)}, artifact)
    expected: dict[str, _TensorType] = {EMBEDDINGS_OUTPUT: ("tensor(float)", (manifest.dim,))}
    if manifest.with_orientation:
        expected[ORIENTATION_OUTPUT] = ("tensor(float)", (len(ORIENTATIONS),))
    _check_tensors("outputs", outputs, expected, artifact)


def _check_tensors(
    role: str,
    found: list[_Tensor],
    expected: Mapping[str, _TensorType],
    artifact: Artifact,
) -> None:
    """Refuse other names, types or sizes; the batch, the first size, must be free."""
    fits = {tensor.name for tensor in found} == expected.keys() and all(
        tensor.type == expected[tensor.name][0]
        and tuple(tensor.shape[1:]) == expected[tensor.name][1]
        and not isinstance(tensor.shape[0], int)
        for tensor in found
    )
    if not fits:
        have = ", ".join(f"{tensor.name} {tensor.type} {tensor.shape}" for tensor in found)
        want = ", ".join(
            f"{name} {kind} {['B', *sizes]}" for name, (kind, sizes) in expected.items()
        )
        raise ArtifactError(
            f"the {role} of {artifact.model_path} are {have}, its manifest expects {want}; "
            f"export it again: mtml-export RUN --out {artifact.folder}"
        )


def _first_line(error: Exception) -> str:
    """First line of a library's message: the rest is its own call stack."""
    return (str(error) or type(error).__name__).splitlines()[0]
