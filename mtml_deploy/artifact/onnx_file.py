"""A model file read with the `onnx` library, which is imported when a graph is looked at.

In: the path of an ONNX file. Out: its model in memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from mtml_deploy.errors import ArtifactError, MissingExtraError

if TYPE_CHECKING:
    import onnx

EXPORT_AGAIN: Final = "export it again: mtml-export RUN --out MODEL"
"""What to do about a model file that cannot be used."""


def load_model(path: Path) -> onnx.ModelProto:
    """The model in an ONNX file.

    Args:
        path: the file.

    Returns:
        The model; weights in other files are not read, an artifact has none.

    Raises:
        MissingExtraError: onnx is not installed.
        ArtifactError: not an ONNX file.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise MissingExtraError("reading a model's graph needs onnx", "onnx") from error
    try:
        # a name in the file must not make us read another file
        return onnx.load_model(path, load_external_data=False)
    except DecodeError as error:
        raise ArtifactError(f"{path} is not an ONNX model ({error}); {EXPORT_AGAIN}") from error
