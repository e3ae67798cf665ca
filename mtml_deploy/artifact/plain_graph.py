"""What a model file may hold: one plain graph, without loops, other files or foreign operators.

In: an ONNX file, looked at without the `onnx` library, which deployment need not have. Out:
nothing, or an error. What is refused here could run without end, read other files or call code of
others; no export writes it. Field numbers are those of onnx.proto.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mtml_deploy.errors import ArtifactError
from mtml_deploy.regular_file import open_regular

_DOMAINS: Final = (b"", b"ai.onnx")

# ModelProto
_GRAPH: Final = 7
_TRAINING: Final = 20
_FUNCTIONS: Final = 25
# GraphProto
_NODE: Final = 1
_INITIALIZER: Final = 5
_SPARSE_INITIALIZER: Final = 15
# NodeProto
_OP_TYPE: Final = 4
_ATTRIBUTE: Final = 5
_DOMAIN: Final = 7
# AttributeProto
_TENSOR: Final = 5
_TENSORS: Final = 10
_SUBGRAPHS: Final = (6, 11)
_SPARSE_TENSORS: Final = (22, 23)
# TensorProto
_EXTERNAL_DATA: Final = 13
_DATA_LOCATION: Final = 14

# of the encoding: how the value of a field is written
_VARINT: Final = 0
_BYTES: Final = 2
_FIXED: Final = {1: 8, 5: 4}


def require_plain_graph(path: Path) -> None:
    """Refuse a model file that does more than compute one graph of ONNX's own operators.

    Args:
        path: the file; its weights are not read.

    Raises:
        ArtifactError: it is not an ONNX file, or holds what no export writes.
        OSError: it is missing or may not be read.
    """
    try:
        with open_regular(path) as file:
            # mapped, because only a small part of the file is looked at
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        problem = next(_model(memoryview(content)), "")
    except ValueError as error:
        raise ArtifactError(
            f"{path} is not an ONNX model ({error}); export it again: mtml-export RUN --out MODEL"
        ) from error
    if problem:
        raise ArtifactError(
            f"{path} {problem}, expected one graph as mtml-export writes it; export it again: "
            "mtml-export RUN --out MODEL"
        )


def _model(view: memoryview) -> Iterator[str]:
    """What is wrong with a ModelProto."""
    for number, value in _fields(view):
        if number in (_TRAINING, _FUNCTIONS):
            yield "holds functions of its own"
        elif number == _GRAPH:
            yield from _graph(_message(value))


def _graph(view: memoryview) -> Iterator[str]:
    """What is wrong with a GraphProto."""
    for number, value in _fields(view):
        if number == _NODE:
            yield from _node(_message(value))
        elif number == _INITIALIZER:
            yield from _tensor(_message(value))
        elif number == _SPARSE_INITIALIZER:
            yield "holds sparse weights"


def _node(view: memoryview) -> Iterator[str]:
    """What is wrong with a NodeProto."""
    fields = list(_fields(view))
    kind = next((bytes(_message(value)) for number, value in fields if number == _OP_TYPE), b"")
    name = kind.decode("ascii", "backslashreplace")[:80]
    for number, value in fields:
        if number == _DOMAIN and bytes(_message(value)) not in _DOMAINS:
            yield f"has the node {name} of a foreign operator set"
        elif number == _ATTRIBUTE:
            for inner, setting in _fields(_message(value)):
                if inner in _SUBGRAPHS:
                    yield f"has the node {name} with a graph of its own, which may never end"
                elif inner in _SPARSE_TENSORS:
                    yield f"has the node {name} with sparse values"
                elif inner in (_TENSOR, _TENSORS):
                    yield from _tensor(_message(setting))


def _tensor(view: memoryview) -> Iterator[str]:
    """What is wrong with a TensorProto."""
    for number, value in _fields(view):
        if number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value != 0):
            yield "keeps weights in another file"


def _message(value: int | memoryview) -> memoryview:
    """The bytes of a field that has some."""
    if isinstance(value, int):
        raise ValueError("a number where a message belongs")
    return value


def _fields(view: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field of a message; 0 for a value of fixed length."""
    at = 0
    while at < len(view):
        key, at = _varint(view, at)
        number, kind = key >> 3, key & 7
        value: int | memoryview = 0
        if kind == _VARINT:
            value, at = _varint(view, at)
        elif kind == _BYTES:
            length, at = _varint(view, at)
            value = view[at : at + length]
            at += length
        elif kind in _FIXED:
            at += _FIXED[kind]
        else:
            raise ValueError(f"a field of kind {kind}")
        if at > len(view):
            raise ValueError("it ends inside a field")
        yield number, value


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where the next field is."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(view):
            raise ValueError("it ends inside a number")
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number without end")
