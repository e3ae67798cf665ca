"""Engines that propose the nearest rows in float32; `rank` decides between their candidates.

In: a gallery. Out: an `Engine`, opened lazily, so that none of the optional libraries is needed to
import this package.
"""

from __future__ import annotations

from typing import get_args

from mtml_deploy.defaults import EngineName
from mtml_deploy.errors import BackendError
from mtml_deploy.search.candidates.engine import Engine
from mtml_deploy.search.prepared import PreparedGallery


def open_engine(
    name: EngineName,
    gallery: PreparedGallery,
    *,
    device: str,
    count: int,
    memory_bytes: int | None,
) -> Engine:
    """An engine over `gallery`.

    Args:
        name: which one.
        gallery: G at least 1; not copied on the host.
        device: where ONNX Runtime searches, "cpu" or "cuda:N"; the others only know "cpu".
        count: places wanted of each query at most.
        memory_bytes: what it and the decision on its candidates may take; None sets no limit.

    Returns:
        The engine.

    Raises:
        MissingExtraError: its library is not installed.
        BackendError: the device is not usable here, or not by this engine.
        MemoryBudgetError: too little memory.
        ValueError: no such engine.
    """
    if name not in get_args(EngineName):
        raise ValueError(f"engine is {name!r}, expected one of {', '.join(get_args(EngineName))}")
    if device != "cpu" and name != "ort":
        raise BackendError(
            f"engine {name} searches on the CPU, asked for {device}; ask for --search-engine ort, "
            f"or for --device cpu"
        )
    # the only place that reaches an engine: importing this package must not need its library
    if name == "numpy":
        from mtml_deploy.search.candidates.blas import BlasEngine

        return BlasEngine(gallery, memory_bytes=memory_bytes)
    from mtml_deploy.search.candidates.tiles import TiledEngine, TileLibrary

    library: TileLibrary
    if name == "faiss":
        from mtml_deploy.search.candidates.faiss_tiles import FaissTiles

        library = FaissTiles()
    else:
        from mtml_deploy.search.candidates.ort_tiles import OrtTiles

        library = OrtTiles(device)
    return TiledEngine(library, gallery, count=count, memory_bytes=memory_bytes)
