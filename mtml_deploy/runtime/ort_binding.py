"""A session on a GPU with buffers that stay there: batches are cut and padded to a few sizes.

In: a session of ONNX Runtime and images. Out: its outputs. Nothing is allocated after the first run
of a batch size, and a batch size may be one CUDA graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.artifact.manifest import INPUT_NAME
from mtml_deploy.runtime.batching import cut
from mtml_deploy.runtime.ort_provider import PROFILE

if TYPE_CHECKING:
    import onnxruntime


class BoundSession:
    """A session whose inputs and outputs are bound to its device."""

    def __init__(
        self,
        library: ModuleType,
        session: onnxruntime.InferenceSession,
        widths: Mapping[str, int],
        *,
        device: str,
        cuda_graphs: bool,
    ) -> None:
        """Bind nothing yet.

        Args:
            library: the onnxruntime module.
            session: on that device.
            widths: output name -> values per image, float32.
            device: "cuda:N"; "cpu" works as well.
            cuda_graphs: whether the session was opened with them.
        """
        self._library = library
        self._session = session
        self._widths = dict(widths)
        self._kind, _, number = device.partition(":")
        self._number = int(number or 0)
        self._cuda_graphs = cuda_graphs
        self._buckets: dict[int, _Bucket] = {}

    def run(self, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Every output for images.

        Args:
            images: uint8 [B, H, W, 3], C-contiguous, B >= 1.

        Returns:
            Output name -> float32 [B, width].

        Raises:
            Exception: what the library raises; it has no base of its own.
        """
        results = {
            name: np.empty((len(images), width), dtype=np.float32)
            for name, width in self._widths.items()
        }
        for piece in cut(len(images), PROFILE):
            part = images[piece.start : piece.start + piece.count]
            if piece.count < piece.bucket:
                padded = np.zeros((piece.bucket, *images.shape[1:]), dtype=np.uint8)
                padded[: piece.count] = part
                part = padded
            if piece.bucket not in self._buckets:
                self._buckets[piece.bucket] = self._bind(part.shape)
            found = self._buckets[piece.bucket].run(self._session, part)
            for name, values in found.items():
                results[name][piece.start : piece.start + piece.count] = values[: piece.count]
        return results

    def _bind(self, shape: tuple[int, ...]) -> _Bucket:
        """Buffers on the device for one shape of the input."""
        make = self._library.OrtValue.ortvalue_from_shape_and_type
        images = make(list(shape), np.uint8, self._kind, self._number)
        outputs = {
            name: make([shape[0], width], np.float32, self._kind, self._number)
            for name, width in self._widths.items()
        }
        binding = self._session.io_binding()
        binding.bind_ortvalue_input(INPUT_NAME, images)
        for name, value in outputs.items():
            binding.bind_ortvalue_output(name, value)
        options = self._library.RunOptions()
        if self._cuda_graphs:
            # a graph per batch size; the library records it in the first run
            options.add_run_config_entry("gpu_graph_id", str(shape[0]))
        return _Bucket(binding, options, images, outputs)


class _Bucket:
    """One batch size: its buffers and their binding."""

    def __init__(
        self,
        binding: onnxruntime.IOBinding,
        options: onnxruntime.RunOptions,
        images: onnxruntime.OrtValue,
        outputs: Mapping[str, onnxruntime.OrtValue],
    ) -> None:
        """From `BoundSession`."""
        self._binding = binding
        self._options = options
        self._images = images
        self._outputs = outputs

    def run(
        self, session: onnxruntime.InferenceSession, images: NDArray[np.uint8]
    ) -> dict[str, NDArray[np.float32]]:
        """Outputs of exactly as many images as the bucket holds."""
        self._images.update_inplace(images)
        session.run_with_iobinding(self._binding, self._options)
        self._binding.synchronize_outputs()
        return {name: value.numpy() for name, value in self._outputs.items()}
