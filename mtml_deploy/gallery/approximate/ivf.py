"""faiss behind typed functions: an inverted file of 8-bit codes, IVF-SQ8.

Of the kinds faiss has, this one is trained and filled in seconds per hundred thousand rows, keeps
one byte per value, takes filters, and its one setting, the lists looked at, trades time for recall
without building anew. Graphs (HNSW) keep every vector and its links in memory and take hours to
build at a million rows; product quantisation takes minutes to train and ranks too coarsely.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.errors import MissingExtraError
from mtml_deploy.gallery.values import GalleryError

if TYPE_CHECKING:
    import faiss

TRAINING_ROWS: Final = 64
"""Rows per list that training looks at; faiss asks for 39 or more."""


def require_faiss() -> None:
    """Refuse to go on without the library.

    Raises:
        MissingExtraError: faiss is not installed.
    """
    try:
        import faiss  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("an approximate index needs faiss", "faiss") from error


class InvertedFile:
    """Vectors in lists around trained centres, as 8-bit codes of their differences to these."""

    def __init__(self, index: faiss.IndexIVFScalarQuantizer) -> None:
        """Hold an index; see `trained` and `read`."""
        self._index = index

    @classmethod
    def trained(cls, sample: NDArray[np.float32], lists: int) -> InvertedFile:
        """An empty one whose centres suit a sample.

        Args:
            sample: float32 [n, D], n at least `lists`; changed by nobody.
            lists: how many centres, at least 1.
        """
        import faiss

        dim = sample.shape[1]
        index = faiss.IndexIVFScalarQuantizer(
            faiss.IndexFlatL2(dim), dim, lists, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_L2
        )
        index.cp.max_points_per_centroid = TRAINING_ROWS
        index.cp.min_points_per_centroid = 1  # small galleries are the caller's choice
        index.train(sample)
        return cls(index)

    @classmethod
    def read(cls, path: Path) -> InvertedFile:
        """One from a file of `write`.

        Raises:
            GalleryError: it is no such file.
        """
        import faiss

        try:
            index = faiss.read_index(str(path))
        except (RuntimeError, MemoryError) as error:  # the second: a size that was changed
            raise GalleryError(
                f"{path} cannot be read by this version of faiss ({error}); build it again: "
                "mtml-deploy gallery index GALLERY"
            ) from error
        if not isinstance(index, faiss.IndexIVFScalarQuantizer):
            raise GalleryError(
                f"{path} holds a {type(index).__name__}, expected an IVF-SQ8 index; build it "
                "again: mtml-deploy gallery index GALLERY"
            )
        return cls(index)

    def write(self, path: Path) -> None:
        """Write it to a file that exists or not."""
        import faiss

        # by Python's file: faiss's own does not tell that the last bytes found no room
        with path.open("wb") as file:
            faiss.write_index(self._index, faiss.PyCallbackIOWriter(file.write))  # type: ignore[attr-defined]

    def add(self, vectors: NDArray[np.float32], rows: NDArray[np.int64]) -> None:
        """Add vectors float32 [n, D] under their row numbers."""
        self._index.add_with_ids(np.ascontiguousarray(vectors), rows)

    @property
    def lists(self) -> int:
        """How many lists."""
        return int(self._index.nlist)

    @property
    def dim(self) -> int:
        """Values of a vector."""
        return int(self._index.d)

    @property
    def rows(self) -> int:
        """How many vectors."""
        return int(self._index.ntotal)

    def candidates(
        self,
        query: NDArray[np.float32],
        count: int,
        *,
        probes: int,
        allowed: NDArray[np.bool_] | None,
    ) -> NDArray[np.int64]:
        """Rows whose codes are nearest, in the lists nearest to each query.

        Args:
            query: float32 [Q, D].
            count: rows wanted for each.
            probes: lists looked at, 1..`lists`.
            allowed: bool [highest row + 1], which rows may come; None allows all.

        Returns:
            int64 [Q, count], -1 where the lists hold no more.
        """
        import faiss

        selector = None
        if allowed is not None:
            # faiss keeps a pointer: the array must live until the search is done
            bits = np.packbits(allowed, bitorder="little")
            selector = faiss.IDSelectorBitmap(len(allowed), faiss.swig_ptr(bits))
        parameters = faiss.SearchParametersIVF()
        parameters.nprobe = probes
        parameters.sel = selector
        _, rows = self._index.search(np.ascontiguousarray(query), count, params=parameters)
        return np.asarray(rows, dtype=np.int64)
