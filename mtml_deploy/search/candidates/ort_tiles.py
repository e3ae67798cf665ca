"""Nearest rows on ONNX Runtime: the search graph on the CPU or on a CUDA GPU.

On a GPU the rows stay on the device; a block of queries goes there, and a short list comes back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.errors import BackendError
from mtml_deploy.runtime.ort import first_line, prepare_session, require_active
from mtml_deploy.search.candidates.nearest_graph import (
    COUNT,
    FOUND,
    NEAR,
    NORMS,
    QUERY,
    ROWS,
    nearest_graph,
)
from mtml_deploy.search.distances import squared_norms

if TYPE_CHECKING:
    import onnxruntime


class OrtTile:
    """See `mtml_deploy.search.candidates.tiles.Tile`."""

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        rows: onnxruntime.OrtValue,
        norms: onnxruntime.OrtValue,
    ) -> None:
        """Rows and their squared norms, on the session's device."""
        self._session = session
        self._rows = rows
        self._norms = norms

    def nearest(
        self, query: NDArray[np.float32], count: int
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Distances and rows [b, count]; see `Tile.nearest`.

        Raises:
            BackendError: the library failed, for example out of memory.
        """
        try:
            binding = self._session.io_binding()
            binding.bind_cpu_input(QUERY, query)
            binding.bind_ortvalue_input(ROWS, self._rows)
            binding.bind_ortvalue_input(NORMS, self._norms)
            binding.bind_cpu_input(COUNT, np.array([count], dtype=np.int64))
            binding.bind_output(NEAR)
            binding.bind_output(FOUND)
            self._session.run_with_iobinding(binding)
            near, found = binding.copy_outputs_to_cpu()
        except Exception as error:  # the library's exceptions have no common base of their own
            raise _failed(f"{len(query)} queries", error) from error
        return near.astype(np.float64) + squared_norms(query)[:, None], found


class OrtTiles:
    """See `mtml_deploy.search.candidates.tiles.TileLibrary`."""

    def __init__(self, device: str) -> None:
        """Load the search graph.

        Args:
            device: "cpu" or "cuda:N".

        Raises:
            MissingExtraError: onnxruntime or onnx is not installed.
            BackendError: the device is not usable here.
        """
        library, options, provider = prepare_session(device)
        # an arena would keep the largest block for ever, rounded up to a power of two
        options.enable_cpu_mem_arena = False
        self._kind, _, number = device.partition(":")
        self._number = int(number or 0)
        self.keeps = self._kind != "cpu"
        self.pair_bytes = 0 if self.keeps else 8
        self._values = library.OrtValue
        self._session = library.InferenceSession(
            nearest_graph(), sess_options=options, providers=[provider]
        )
        require_active(self._session.get_providers(), device, provider)

    def load(self, tile: NDArray[np.float32]) -> OrtTile:
        """A tile of float32 [n, D] rows.

        Raises:
            BackendError: the device has no room for it.
        """
        norms = squared_norms(tile).astype(np.float32)
        try:
            rows, lengths = (
                self._values.ortvalue_from_numpy(values, self._kind, self._number)
                for values in (tile, norms)
            )
        except Exception as error:  # the library's exceptions have no common base of their own
            raise _failed(f"{len(tile)} gallery rows", error) from error
        return OrtTile(self._session, rows, lengths)


def _failed(what: str, error: Exception) -> BackendError:
    """The error that the library could not search."""
    return BackendError(
        f"ONNX Runtime failed to search with {what} on its device: {first_line(error)}; free "
        f"memory on the device, or search with --engine numpy"
    )
