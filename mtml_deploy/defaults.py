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

EMBEDDINGS_SUFFIX: Final = ".npz"
"""How embeddings files are told from images and folders."""
