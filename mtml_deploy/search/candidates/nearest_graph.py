"""Distance and top-k as an ONNX graph, so that the library that runs the model also searches.

In: nothing. Out: the bytes of the model. `onnx` is imported when the graph is built.
"""

from __future__ import annotations

from typing import Final

from mtml_deploy.errors import MissingExtraError

QUERY: Final = "query"
"""float32 [b, D]."""

ROWS: Final = "rows"
"""float32 [n, D]."""

NORMS: Final = "norms"
"""float32 [n], squared norms of the rows."""

COUNT: Final = "count"
"""int64 [1], rows wanted of each query, 1..n."""

NEAR: Final = "near"
"""float32 [b, count], norms - 2 query . rows: squared distances less the query's squared norm."""

FOUND: Final = "found"
"""int64 [b, count], rows."""

_OPSET: Final = 13
_IR: Final = 8
"""Old enough for every ONNX Runtime in use, new enough for its operators."""


def nearest_graph() -> bytes:
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
        helper.make_node("Gemm", [QUERY, ROWS, NORMS], ["all"], alpha=-2.0, beta=1.0, transB=1),
        helper.make_node("TopK", ["all", COUNT], [NEAR, FOUND], axis=1, largest=0, sorted=0),
    ]
    graph = helper.make_graph(
        nodes,
        "nearest",
        [
            helper.make_tensor_value_info(QUERY, TensorProto.FLOAT, ["b", "D"]),
            helper.make_tensor_value_info(ROWS, TensorProto.FLOAT, ["n", "D"]),
            helper.make_tensor_value_info(NORMS, TensorProto.FLOAT, ["n"]),
            helper.make_tensor_value_info(COUNT, TensorProto.INT64, [1]),
        ],
        [
            helper.make_tensor_value_info(NEAR, TensorProto.FLOAT, ["b", "count"]),
            helper.make_tensor_value_info(FOUND, TensorProto.INT64, ["b", "count"]),
        ],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR
    )
    content: bytes = model.SerializeToString()
    return content
