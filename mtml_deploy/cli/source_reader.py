"""Embeddings of whatever a user names: an embeddings file, or images embedded on the fly.

In: a source text and, for images, an artifact. Out: `Embeddings` of that artifact's model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeAlias

from mtml_deploy.artifact.artifact import Artifact
from mtml_deploy.closing import Closing
from mtml_deploy.data.batches import BadImage
from mtml_deploy.data.source import load_source
from mtml_deploy.defaults import EMBEDDINGS_SUFFIX
from mtml_deploy.embed.embed import embed, model_identity
from mtml_deploy.embed.embeddings import Embeddings
from mtml_deploy.errors import EmbeddingsError
from mtml_deploy.model import EmbedOptions, Model

Progress: TypeAlias = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
"""Title -> progress callback for a piece of work."""


class SourceReader(Closing):
    """Reads sources with one artifact, whose model is loaded at the first set of images.

    A context manager; leaving it frees the model.
    """

    def __init__(
        self,
        artifact: Artifact | None,
        options: EmbedOptions,
        *,
        note: Callable[[str], None],
        opened: Callable[[Model], None],
        skipped: Callable[[Sequence[BadImage]], None],
        progress: Progress,
    ) -> None:
        """Nothing is loaded yet.

        Args:
            artifact: the model for images, which embeddings files must come from as well; None
                accepts embeddings files only.
            options: how images are embedded.
            note: told each thing that was tolerated while reading a data set.
            opened: told the model when it is loaded.
            skipped: told the images that were left out.
            progress: gives the progress callback for a titled piece of work.
        """
        self._artifact = artifact
        self._options = options
        self._note = note
        self._opened = opened
        self._skipped = skipped
        self._progress = progress
        self._model: Model | None = None

    @property
    def model(self) -> Model | None:
        """What has embedded; None where only embeddings files were read."""
        return self._model

    def read(self, text: str, *, split: str) -> Embeddings:
        """Embeddings of one source.

        Args:
            text: an embeddings file (.npz), or any source of images.
            split: "query" or "gallery": the part of a data set where `text` names none.

        Returns:
            The embeddings.

        Raises:
            EmbeddingsError: a broken file, one of another model, or images without an artifact.
            MtmlError: what reading and embedding images raise.
        """
        if text.endswith(EMBEDDINGS_SUFFIX) and not Path(text).is_dir():
            embeddings = Embeddings.load(Path(text))
            self._require_same_model(embeddings, text)
            return embeddings
        return self._embed(text, split)

    def close(self) -> None:
        """Free the model."""
        if self._model is not None:
            self._model.close()
        self._model = None

    def _require_same_model(self, embeddings: Embeddings, text: str) -> None:
        """Refuse a file that another model than the artifact's made."""
        if self._artifact is None:
            return
        if found := embeddings.model.difference(model_identity(self._artifact.manifest)):
            raise EmbeddingsError(
                f"{text} was not made by {self._artifact.folder}: {found}; embed the images again: "
                f"mtml-deploy embed {self._artifact.folder} --images ... --out FILE.npz"
            )

    def _embed(self, text: str, split: str) -> Embeddings:
        """Embeddings of images."""
        images = load_source(text, split=split)
        if self._artifact is None:
            raise EmbeddingsError(
                f"{text} holds images, and no model was given to embed them; give MODEL as well, "
                f"or give an embeddings file ({EMBEDDINGS_SUFFIX})"
            )
        for sentence in images.notes:
            self._note(f"{images.source}: {sentence}")
        if self._model is None:
            self._model = self._options.open(self._artifact)
            self._opened(self._model)
        with self._progress(f"embedding the {split}") as progress:
            rows, skipped = embed(
                self._model,
                images,
                batch_size=self._options.batch_size,
                threads=self._options.threads,
                skip_bad=self._options.skip_bad,
                progress=progress,
            )
        self._skipped(skipped)
        return rows
