"""ONNX Runtime: the provider asked for, or an error.

The library falls back to the CPU on its own and says so only in its log; here the active provider
is compared with the request. `onnxruntime` is imported when a model is loaded, not before.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.artifact.artifact import Artifact
from mtml_deploy.artifact.manifest import (
    EMBEDDINGS_OUTPUT,
    INPUT_NAME,
    Manifest,
)
from mtml_deploy.artifact.plain_input import require_plain
from mtml_deploy.engine.gpu import require_gpu
from mtml_deploy.engine.library import load_library
from mtml_deploy.errors import ArtifactError, BackendError, MissingExtraError
from mtml_deploy.runtime.graph_input import graph_input
from mtml_deploy.runtime.graph_record import check_graph, check_record
from mtml_deploy.runtime.ort_binding import BoundSession
from mtml_deploy.runtime.ort_library import (
    NO_FALLBACK,
    first_line,
    prepare_session,
    require_active,
    require_offered,
)
from mtml_deploy.runtime.ort_provider import TENSORRT, Provider, tensorrt_provider
from mtml_deploy.runtime.runtime import ModelOutputs, Runtime, check_images, closed, output_widths

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

logger = logging.getLogger(__name__)


class OrtRuntime(Runtime):
    """An ONNX Runtime session for one artifact (see `mtml_deploy.runtime.runtime.Runtime`).

    On the CPU a batch is run as it comes: the caller chooses its size. On a GPU it is cut and
    padded to the sizes of `ort_provider.PROFILE`, whose buffers stay on the device.
    """

    def __init__(
        self,
        artifact: Artifact,
        *,
        device: str = "cpu",
        threads: int = 0,
        tensorrt: bool = False,
        cuda_graphs: bool = False,
        nhwc: bool = False,
    ) -> None:
        """Load the model and check that it is what its manifest says.

        Args:
            artifact: the exported model.
            device: "cpu" or "cuda:N".
            threads: threads of one run on the CPU; 0 = one per physical core.
            tensorrt: let its TensorRT provider build and run an engine, on a GPU only.
            cuda_graphs: record each batch size as one CUDA graph, which saves time on small
                batches; on a GPU and without `tensorrt` only.
            nhwc: convolutions with channels last and with their bias, which spares tensor cores
                transposes; on a GPU and without `tensorrt` only. No default before it is measured:
                `python -m benchmarks latency --runner ort --runner ort-nhwc`.

        Raises:
            MissingExtraError: onnxruntime is not installed.
            BackendError: unknown device, or its provider is not active here.
            ArtifactError: not a loadable model, or one that differs from its manifest.
            ValueError: negative `threads`, or CUDA graphs or `nhwc` where there are none.
        """
        if tensorrt and (cuda_graphs or nhwc):
            raise ValueError("cuda_graphs and nhwc are for the CUDA provider, found tensorrt")
        if device != "cpu":
            require_plain(artifact.manifest, f"ONNX Runtime on {device}")
        ort, options, provider = prepare_session(
            device, threads=threads, cuda_graphs=cuda_graphs, nhwc=nhwc
        )
        providers = [provider]
        if tensorrt:
            # the nodes that TensorRT does not take run on CUDA
            providers.insert(0, _tensorrt(ort, device, artifact.manifest))
        # its own quantisation of an int8 model's biases multiplies two fp16 steps, which leaves no
        # digits
        options.add_session_config_entry("session.disable_quant_qdq", "1")

        def opened() -> InferenceSession:
            return ort.InferenceSession(
                artifact.model_path, sess_options=options, providers=providers, enable_fallback=0
            )

        try:
            session = opened()
            record = session.get_modelmeta().custom_metadata_map
            inputs, outputs = session.get_inputs(), session.get_outputs()
            for tensor in (*inputs, *outputs):  # one that is not UTF-8 fails when it is looked at
                logger.debug("%s %s %s", tensor.name, tensor.type, tensor.shape)
        except Exception as error:  # the library's exceptions have no common base of their own
            if device != "cpu" and "CPU EP" in str(error):
                options.add_session_config_entry(NO_FALLBACK, "0")
                require_active(opened().get_providers(), device, providers[0])
                raise BackendError(
                    f"{device} was asked for, and a part of the model has no kernel of "
                    f"{providers[0][0]} in this ONNX Runtime and would run on the CPU; update it: "
                    "pip install --upgrade onnxruntime-gpu"
                ) from error
            raise ArtifactError(
                f"ONNX Runtime cannot load {artifact.model_path}: {first_line(error)}; "
                "export it again under a new name: mtml-export RUN --out NEW"
            ) from error
        require_active(session.get_providers(), device, providers[0])
        check_record(record, artifact)
        check_graph(inputs, outputs, artifact)
        self.manifest = artifact.manifest
        self._session = session
        self._bound: BoundSession | None = None
        if device != "cpu":
            self._bound = BoundSession(
                ort, session, output_widths(self.manifest), device=device, cuda_graphs=cuda_graphs
            )

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embeddings float32 [B, D] of uint8 [B, H, W, 3]; see `Runtime.run`."""
        return self._run((EMBEDDINGS_OUTPUT,), images)[EMBEDDINGS_OUTPUT]

    def run_all(self, images: NDArray[np.uint8]) -> ModelOutputs:
        """Embeddings and orientation of uint8 [B, H, W, 3]; see `Runtime.run_all`."""
        return ModelOutputs.of(self._run(tuple(output_widths(self.manifest)), images))

    def stream(self, batches: Iterable[NDArray[np.uint8]]) -> Iterator[ModelOutputs]:
        """Outputs of each batch; the library runs one at a time. See `Runtime.stream`."""
        return map(self.run_all, batches)

    def close(self) -> None:
        """Free the session."""
        self._bound = None
        self._session = None

    def _run(
        self, outputs: tuple[str, ...], images: NDArray[np.uint8]
    ) -> dict[str, NDArray[np.float32]]:
        """The named outputs, float32 [B, D] or [B, 8]."""
        if self._session is None:
            raise closed()
        images = check_images(images, self.manifest)
        try:
            if self._bound is None:
                fed = graph_input(images, self.manifest)
                found = dict(
                    zip(outputs, self._session.run(outputs, {INPUT_NAME: fed}), strict=True)
                )
            else:
                found = self._bound.run(images)
        except Exception as error:  # the library's exceptions have no common base of their own
            raise BackendError(
                f"ONNX Runtime failed on a batch of {len(images)} images: {first_line(error)}; "
                "try smaller batches"
            ) from error
        return {name: np.ascontiguousarray(found[name], dtype=np.float32) for name in outputs}


def _tensorrt(library: ModuleType, device: str, manifest: Manifest) -> Provider:
    """The TensorRT provider for a model, its cache made.

    Raises:
        BackendError: no such GPU, or a library without the provider.
    """
    gpu = require_gpu(device, backend="ort-tensorrt")
    require_offered(library, device, TENSORRT)
    try:
        # brings the libraries that pip installed into the process
        load_library("tensorrt")
    except MissingExtraError:
        logger.info("no TensorRT package: its libraries must be where the linker looks")
    provider = tensorrt_provider(manifest, gpu, library=library.__version__)
    # an engine is executable code: nobody else may put one there
    Path(provider[1]["trt_engine_cache_path"]).mkdir(mode=0o700, parents=True, exist_ok=True)
    return provider
