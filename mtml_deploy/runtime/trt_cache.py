"""What TensorRT-RTX compiles at a first run, kept beside the engine for the next process.

In: an engine file and the loaded engine. Out: `NAME.cache`, written when the engine is closed; it
may be deleted at any time.
"""

from __future__ import annotations

import logging
from pathlib import Path

from mtml_deploy.files import atomic_file
from mtml_deploy.regular_file import read_regular
from mtml_deploy.runtime.trt_engine import LoadedEngine

logger = logging.getLogger(__name__)

_MOST_BYTES = 1 << 30


class RuntimeCache:
    """The kernels of one engine on the GPU that runs it."""

    def __init__(self, engine: Path, loaded: LoadedEngine) -> None:
        """Nothing is read yet."""
        self._path = engine.with_suffix(".cache")
        self._loaded = loaded
        self._known = b""

    def load(self) -> None:
        """Take what an earlier process left; the library refuses that of another GPU or version."""
        try:
            content = read_regular(self._path, most_bytes=_MOST_BYTES)
        except (OSError, ValueError):
            return
        if self._loaded.load_cache(content):
            self._known = content
        else:
            logger.info("%s is of another GPU or version, or damaged: not used", self._path)

    def save(self) -> None:
        """Keep what this process compiled; a folder that cannot be written is left as it is."""
        try:
            content = self._loaded.saved_cache()
            if content and content != self._known:
                with atomic_file(self._path) as temporary:
                    temporary.write_bytes(content)
        except (OSError, RuntimeError) as error:
            logger.info("%s is not kept: %s", self._path, error)
