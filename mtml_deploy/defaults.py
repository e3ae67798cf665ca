"""Defaults that the library and the command line share, each once.

Kept apart from the code that uses them because `--help` shows them and must not import NumPy.
"""

from __future__ import annotations

from typing import Final

BATCH_SIZE: Final = 32
"""Images per run; larger batches are not faster on a CPU."""

DEVICE: Final = "cpu"
"""Where models run unless told otherwise; a GPU is never taken unasked."""

TOP_K: Final = 10
"""Places of a rank list."""

PAGE_QUERIES: Final = 50
"""Queries on a page of rank lists: about 2 MB of thumbnails."""

PROTOCOL: Final = "veri776"
"""Evaluation protocol; ranking uses "plain", which leaves nothing out."""

RERANK_K1: Final = 20
"""Neighbours that must be mutual in re-ranking; this and the next two are those of its paper."""

RERANK_K2: Final = 6
"""Nearest images whose vectors re-ranking averages."""

RERANK_LAMBDA: Final = 0.3
"""Share of the original distance after re-ranking."""

EMBEDDINGS_SUFFIX: Final = ".npz"
"""How embeddings files are told from images and folders."""
