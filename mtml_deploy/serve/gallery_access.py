"""The gallery of a service: threads that search it, each with a handle of its own, and one writer.

In: questions and changes. Out: what the gallery says, as the commands get it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from mtml_deploy.embed.embeddings import ModelIdentity
from mtml_deploy.gallery.checks import require_same_model
from mtml_deploy.gallery.gallery import Gallery
from mtml_deploy.gallery.open import gallery_folder, open_gallery
from mtml_deploy.gallery.values import GalleryAwayError, GalleryError
from mtml_deploy.serve.metrics import Metrics

Found = TypeVar("Found")


class GalleryAccess:
    """A gallery by its name; it may be replaced, removed and come back meanwhile."""

    def __init__(self, name: str, *, threads: int, metrics: Metrics) -> None:
        """Nothing is opened yet.

        Args:
            name: of the gallery.
            threads: that search.
            metrics: what is counted.
        """
        self.name, self._metrics = name, metrics
        self._local = threading.local()
        self._away: tuple[float, str] | None = None
        """When its server last did not answer, and in which words."""
        self._readers = ThreadPoolExecutor(threads, thread_name_prefix="search")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="write")

    async def read(self, model: ModelIdentity, ask: Callable[[Gallery], Found]) -> Found:
        """What a gallery says, asked in a thread that owns a handle of it.

        Args:
            model: of which it must be.
            ask: called with the open gallery.

        Raises:
            EmbeddingsError: it is one of another model.
            GalleryError: it is missing, damaged, or cannot be read.
        """
        return await asyncio.get_running_loop().run_in_executor(
            self._readers, self._read, model, ask, time.monotonic()
        )

    async def write(self, model: ModelIdentity, change: Callable[[Gallery], Found]) -> Found:
        """What a change gives, made by the one writing thread; on disk when this returns.

        The gallery is opened for each change, so that commands may write between them.

        Raises:
            GalleryBusyError: another process is writing.
            EmbeddingsError: it is one of another model.
            GalleryError: it is missing, damaged, or cannot be written.
        """
        return await asyncio.get_running_loop().run_in_executor(
            self._writer, self._write, model, change, time.monotonic()
        )

    def close(self) -> None:
        """End the threads; what they have begun is finished."""
        self._writer.shutdown(cancel_futures=True)
        self._readers.shutdown(cancel_futures=True)

    def _read(self, model: ModelIdentity, ask: Callable[[Gallery], Found], asked_s: float) -> Found:
        """In a reading thread."""
        started = time.monotonic()
        with self._answering(asked_s):
            gallery = self._handle()
            try:
                require_same_model(model, gallery.model, "this model")
                return ask(gallery)
            except GalleryError:  # what is there next time may be whole again
                self._drop()
                raise
            finally:
                self._metrics.search.observe(time.monotonic() - started)

    def _write(
        self, model: ModelIdentity, change: Callable[[Gallery], Found], asked_s: float
    ) -> Found:
        """In the writing thread."""
        with self._answering(asked_s), open_gallery(self.name, write=True) as gallery:
            require_same_model(model, gallery.model, "this model")
            return change(gallery)

    @contextmanager
    def _answering(self, asked_s: float) -> Iterator[None]:
        """Give who waited while another found the server away the same answer, at once.

        Else each would wait in its turn for as long, and the last of many for minutes.
        """
        if self._away is not None and self._away[0] >= asked_s:
            raise GalleryAwayError(self._away[1])
        try:
            yield
        except GalleryAwayError as error:
            self._away = time.monotonic(), str(error)
            raise

    def _handle(self) -> Gallery:
        """This thread's handle, of the gallery that has the name now."""
        place = _place(self.name)
        held: tuple[tuple[int, int], Gallery] | None = getattr(self._local, "held", None)
        if held is not None and held[0] == place:
            return held[1]
        self._drop()
        gallery = open_gallery(self.name)
        self._local.held = place, gallery
        return gallery

    def _drop(self) -> None:
        """Close this thread's handle."""
        held: tuple[tuple[int, int], Gallery] | None = getattr(self._local, "held", None)
        self._local.held = None
        if held is not None:
            held[1].close()


def _place(name: str) -> tuple[int, int]:
    """What tells the folder of a gallery from another one of its name; the same for a server's."""
    if "://" in name:
        return 0, 0
    try:
        found = gallery_folder(name).stat()
    except OSError as error:
        raise GalleryError(
            f"{name} cannot be opened ({error}), expected the gallery of this service; put it back"
        ) from error
    return found.st_dev, found.st_ino
