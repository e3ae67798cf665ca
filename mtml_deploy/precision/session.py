"""Running a graph that is not an artifact yet, with inner tensors as outputs.

In: a model in memory and images. Out: any float32 tensors of it. With `runtime/ort.py` the only
importer of ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.artifact.manifest import INPUT_NAME
from mtml_deploy.errors import BackendError, MissingExtraError

if TYPE_CHECKING:
    import onnx

_ERRORS_ONLY: Final = 3

_BATCH: Final = 4
"""Images per run: inner tensors of a large network are kept for all of them."""


class GraphSession:
    """A model on ONNX Runtime's CPU provider, with chosen tensors as outputs."""

    def __init__(self, model: onnx.ModelProto, tensors: Sequence[str], *, threads: int = 0) -> None:
        """Load the model.

        Args:
            model: put back as it was before this returns.
            tensors: float32 tensors of the graph, outputs or not.
            threads: of one run; 0 = one per physical core.

        Raises:
            MissingExtraError: onnxruntime is not installed.
            BackendError: the library refuses the model.
        """
        from onnx import TensorProto, helper

        try:
            import onnxruntime as ort
        except ImportError as error:
            raise MissingExtraError(
                "measuring a converted model needs onnxruntime", "cpu"
            ) from error
        kept = [type(value).FromString(value.SerializeToString()) for value in model.graph.output]
        known = {value.name for value in kept}
        model.graph.output.extend(
            helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
            for name in tensors
            if name not in known
        )
        content = model.SerializeToString()
        del model.graph.output[:]
        model.graph.output.extend(kept)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = _ERRORS_ONLY
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # its own quantisation of biases multiplies two fp16 steps, which leaves no digits
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        try:
            self._session = ort.InferenceSession(
                content,
                sess_options=options,
                providers=["CPUExecutionProvider"],
                enable_fallback=0,
            )
        except Exception as error:  # the library's exceptions have no common base of their own
            first = (str(error) or type(error).__name__).splitlines()[0]
            raise BackendError(
                f"ONNX Runtime refuses the converted model ({first}), expected one it can run; "
                "install the versions of constraints.txt, or keep the fp32 model"
            ) from error
        self._tensors = tuple(tensors)

    def run(self, images: NDArray[np.uint8]) -> Mapping[str, NDArray[np.float32]]:
        """The chosen tensors for images.

        Args:
            images: uint8 [N, H, W, 3].

        Returns:
            Tensor -> float32 [N, ...].
        """
        parts = list(self.stream(images))
        return {
            name: np.concatenate([part[name] for part in parts]).astype(np.float32)
            for name in self._tensors
        }

    def stream(
        self, images: NDArray[np.uint8], *, batch: int = _BATCH
    ) -> Iterator[Mapping[str, NDArray[np.float32]]]:
        """The chosen tensors, a few images at a time.

        Args:
            images: uint8 [N, H, W, 3].
            batch: images per run.

        Yields:
            Tensor -> float32 [b, ...].
        """
        for start in range(0, len(images), batch):
            found = self._session.run(
                list(self._tensors), {INPUT_NAME: images[start : start + batch]}
            )
            yield dict(zip(self._tensors, found, strict=True))
