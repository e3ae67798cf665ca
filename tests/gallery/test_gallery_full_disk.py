"""A gallery on a disk without room: one error, the state before, and nothing half written."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from helpers_gallery import DIM, identity

from mtml_deploy.errors import MtmlError
from mtml_deploy.gallery.folder.gallery import FolderGallery, create_folder_gallery
from mtml_deploy.gallery.values import NewRows, RowRecord


@contextmanager
def largest_file(limit: int) -> Iterator[None]:
    """No file may be larger, as on a full disk: the write that comes to it fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def rows(first: int, count: int) -> NewRows:
    """New rows of vectors that differ."""
    numbers = range(first, first + count)
    features = np.array([[n, n % 7, 1] for n in numbers], np.float32)
    assert features.shape[1] == DIM
    return NewRows(identity(), features, tuple(RowRecord(f"{n}.jpg", str(n)) for n in numbers))


@pytest.mark.parametrize("limit", [0, 100, 5_000, 20_000])
def test_creating_leaves_nothing(tmp_path: Path, limit: int) -> None:
    words = r"cannot be written: .*(make room|ulimit)"
    with pytest.raises(MtmlError, match=words), largest_file(limit):
        create_folder_gallery(tmp_path / "g", identity())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("limit", [4_096, 5_000])
def test_adding_leaves_the_rows_before(tmp_path: Path, limit: int) -> None:
    create_folder_gallery(tmp_path / "g", identity())
    with FolderGallery(tmp_path / "g", write=True) as gallery:
        gallery.add_rows(rows(0, 3))
    with (
        pytest.raises(MtmlError, match=r"cannot be written: .* free|cannot be written: File too"),
        largest_file(limit),
        FolderGallery(tmp_path / "g", write=True) as gallery,
    ):
        gallery.add_rows(rows(3, 200))
    with FolderGallery(tmp_path / "g", write=True) as gallery:
        assert len(gallery) == 3
        assert gallery.verify() == ()
