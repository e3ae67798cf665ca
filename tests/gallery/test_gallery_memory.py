"""The memory a search may take."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from helpers_gallery import batch, identity, new_gallery

from mtml_deploy.errors import MemoryBudgetError
from mtml_deploy.gallery.folder.gallery import FolderGallery

DIM = 8
ROWS = 40_000
QUERY = np.random.default_rng(1).normal(size=(400, DIM)).astype(np.float32)

RESULT = 400 * 5 * (12 + 16)
"""Rows and distances of 400 lists, twice while they are put together."""


@pytest.fixture(scope="module", params=["float32", "int8"])
def folder(request, tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("memory") / "g"
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(ROWS, DIM)).astype(np.float32)
    with new_gallery(place, dtype=request.param, dim=DIM) as gallery:
        gallery.add_rows(batch(vectors, contents=[str(i) for i in range(ROWS)], dim=DIM))
    return place


def peak(gallery: FolderGallery, memory_bytes: int) -> int:
    """Most bytes that a search of 400 queries holds; mapped files do not count."""
    tracemalloc.start()
    try:
        gallery.search(QUERY, model=gallery.model, top_k=5, memory_bytes=memory_bytes)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_the_bound_holds(folder):
    # 400 queries at once would hold 64 MB of products
    budget = 40 << 20
    with FolderGallery(folder) as gallery:
        gallery.search(QUERY[:1], model=gallery.model, top_k=5)  # loads the record of rows
        assert peak(gallery, budget) <= budget + RESULT
        assert peak(gallery, 1 << 30) > budget + RESULT  # or the line above could not fail


def test_results_do_not_depend_on_it_and_too_little_is_an_error(folder):
    query = QUERY[:60]
    with FolderGallery(folder) as gallery:
        free = gallery.search(query, model=identity(dim=DIM), top_k=5)
        bound = gallery.search(query, model=identity(dim=DIM), top_k=5, memory_bytes=36 << 20)
        assert np.array_equal(free.rows, bound.rows)
        assert np.array_equal(free.distances, bound.distances)
        with pytest.raises(MemoryBudgetError, match=r"needs at least 0\.0\d\d GiB"):
            gallery.search(query, model=identity(dim=DIM), top_k=5, memory_bytes=1 << 20)
