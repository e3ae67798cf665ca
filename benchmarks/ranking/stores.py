"""The stores that gallery search looks in, filled with the made-up embeddings."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure.process import Arrays, Entrant, Work
from benchmarks.ranking.data import load_labels, made_up_model
from mtml_deploy.gallery.open import create_gallery, open_gallery
from mtml_deploy.gallery.values import NewRows, RowRecord

STORE: Final = "gallery.store"
"""The toolkit's own gallery, beside the data."""

LANCE: Final = "gallery.lance"
"""The LanceDB database, beside the data."""

MILVUS_VARIABLE: Final = "MTML_BENCH_MILVUS"
"""Environment variable that names a collection, such as milvus://host:19530/bench, which is made,
measured, and left there; unset measures no server."""

TABLE: Final = "rows"
"""Its table, with columns `row` and `vector`."""

FILTER_US: Final = 1
"""Microseconds since 1970: the times of the rows of `filtered_rows` are before it, others not."""

_BATCH_ROWS: Final = 8192


def filtered_rows(count: int) -> NDArray[np.int64]:
    """The rows of a filter that leaves one of a hundred: int64 [n], ascending, scattered.

    Args:
        count: rows of the gallery; of its store, these have a time before `FILTER_US`.
    """
    chosen = np.random.default_rng(0).permutation(count)[: max(1, count // 100)]
    return np.sort(chosen)


def store_entrants(folder: Path) -> tuple[Entrant, ...]:
    """What fills the stores; run once, not measured.

    Args:
        folder: data of `write_clustered`; the stores are made there.
    """
    own = str(folder / STORE)
    entrants = [Entrant("store", "filling the gallery", "", partial(_fill_ours, folder, own))]
    if server := os.environ.get(MILVUS_VARIABLE):
        fill = partial(_fill_ours, folder, server)
        entrants.append(Entrant("store_milvus", "filling the Milvus collection", "", fill))
    if find_spec("lancedb") is not None:
        fill = partial(_fill_lance, folder)
        entrants.append(Entrant("store_lancedb", "filling LanceDB", "", fill))
    return tuple(entrants)


def _batches(rows: NDArray[np.float32]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """First row and vectors of each part of the gallery."""
    for start in range(0, len(rows), _BATCH_ROWS):
        yield start, np.array(rows[start : start + _BATCH_ROWS])


def _fill_ours(folder: Path, name: str) -> Work:
    rows, labels = np.load(folder / "gallery.npy", mmap_mode="r"), load_labels(folder, "gallery")
    model = made_up_model(rows.shape[1])
    times = np.full(len(rows), FILTER_US)
    times[filtered_rows(len(rows))] = FILTER_US - 1

    def fill() -> Arrays:
        create_gallery(name, model)
        with open_gallery(name, write=True) as gallery:
            for start, vectors in _batches(rows):
                records = tuple(
                    RowRecord(
                        path=f"{row}.jpg",
                        content=str(row),
                        vehicle_id=int(labels.vehicle_ids[row]),
                        camera_id=int(labels.camera_ids[row]),
                        time_us=int(times[row]),
                    )
                    for row in range(start, start + len(vectors))
                )
                gallery.add_rows(NewRows(model, vectors, records))
        return {}

    return Work(lambda: None, (fill,))


def _fill_lance(folder: Path) -> Work:
    import lancedb
    import pyarrow as pa

    rows = np.load(folder / "gallery.npy", mmap_mode="r")

    def part(start: int, vectors: NDArray[np.float32]) -> pa.Table:
        flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
        return pa.table({"row": np.arange(start, start + len(vectors)), "vector": flat})

    def fill() -> Arrays:
        database = lancedb.connect(folder / LANCE)
        parts = (part(start, vectors) for start, vectors in _batches(rows))
        table = database.create_table(TABLE, next(parts))
        for more in parts:
            table.add(more)
        table.optimize()
        return {}

    return Work(lambda: None, (fill,))
