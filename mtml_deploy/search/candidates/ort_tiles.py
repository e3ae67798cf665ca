"""Nearest rows on ONNX Runtime: distance and top-k as a graph, on the CPU or on a CUDA GPU.

In: tiles of rows and blocks of queries. Out: the nearest rows of a tile. The library that runs the
model also searches; `onnx` is imported when the graph is built.

On a GPU the rows stay on the device; a block of queries goes there, and a short list comes back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.errors import BackendError, MissingExtraError
from mtml_deploy.runtime.ort_library import first_line, prepare_session, require_active
from mtml_deploy.search.distances import squared_norms

if TYPE_CHECKING:
    import onnxruntime

_QUERY: Final = "query"
"""float32 [b, D]."""

_ROWS: Final = "rows"
"""float32 [n, D]."""

_NORMS: Final = "norms"
"""float32 [n], squared norms of the rows."""

_COUNT: Final = "count"
"""int64 [1], rows wanted of each query, 1..n."""

_NEAR: Final = "near"
"""float32 [b, count], norms - 2 query . rows: squared distances less the query's squared norm."""

_FOUND: Final = "found"
"""int64 [b, count], rows."""

_OPSET: Final = 13
_IR: Final = 8
"""Old enough for every ONNX Runtime in use, new enough for its operators."""


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
            binding.bind_cpu_input(_QUERY, query)
            binding.bind_ortvalue_input(_ROWS, self._rows)
            binding.bind_ortvalue_input(_NORMS, self._norms)
            binding.bind_cpu_input(_COUNT, np.array([count], dtype=np.int64))
            binding.bind_output(_NEAR)
            binding.bind_output(_FOUND)
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
            _nearest_graph(), sess_options=options, providers=[provider], enable_fallback=0
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


def _nearest_graph() -> bytes:
    """The model, with every size left open.

    Returns:
        An ONNX model: a `Gemm`, which adds the norms to the product, and a `TopK`.

    Raises:
        MissingExtraError: onnx is not installed.
    """
    try:
        from onnx import TensorProto, helper
    except ImportError as error:
        raise MissingExtraError("searching with ONNX Runtime needs onnx", "onnx") from error
    nodes = [
        helper.make_node("Gemm", [_QUERY, _ROWS, _NORMS], ["all"], alpha=-2.0, beta=1.0, transB=1),
        helper.make_node("TopK", ["all", _COUNT], [_NEAR, _FOUND], axis=1, largest=0, sorted=0),
    ]
    graph = helper.make_graph(
        nodes,
        "nearest",
        [
            helper.make_tensor_value_info(_QUERY, TensorProto.FLOAT, ["b", "D"]),
            helper.make_tensor_value_info(_ROWS, TensorProto.FLOAT, ["n", "D"]),
            helper.make_tensor_value_info(_NORMS, TensorProto.FLOAT, ["n"]),
            helper.make_tensor_value_info(_COUNT, TensorProto.INT64, [1]),
        ],
        [
            helper.make_tensor_value_info(_NEAR, TensorProto.FLOAT, ["b", "count"]),
            helper.make_tensor_value_info(_FOUND, TensorProto.INT64, ["b", "count"]),
        ],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR
    )
    content: bytes = model.SerializeToString()
    return content


def _failed(what: str, error: Exception) -> BackendError:
    """The error that the library could not search."""
    return BackendError(
        f"ONNX Runtime failed to search with {what} on its device: {first_line(error)}; free "
        f"memory on the device, or search with --search-engine numpy"
    )
