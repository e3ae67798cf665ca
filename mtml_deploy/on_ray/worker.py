"""One worker on a Ray cluster: a process with one opened model, which embeds parts of a set.

In: a job, and numbers of parts. Out: the files of these parts, and a few words on each.
"""

from __future__ import annotations

import socket
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from mtml_deploy.artifact.artifact import open_artifact
from mtml_deploy.data.batches import BadImage
from mtml_deploy.data.records import ImageSet
from mtml_deploy.data.source import load_source
from mtml_deploy.embed.shard_plan import ShardPlan, agree
from mtml_deploy.embed.shards import Shard, embed_part, plan_of
from mtml_deploy.errors import BackendError, MtmlError, OutputBusyError
from mtml_deploy.model import EmbedOptions, Model
from mtml_deploy.version import __version__

_BUSY_S: Final = 2.0
"""Until a part is tried again that another process is writing: one that was given up for lost."""


@dataclass(frozen=True)
class RayJob:
    """What every worker is told.

    Attributes:
        artifact: folder of the model, absolute.
        images: the source, absolute.
        source: what the rows say of it: what a single process would say.
        out: folder of the parts, absolute.
        shards: how many parts.
        how: images are embedded.
        version: of this distribution.
    """

    artifact: str
    images: str
    source: str
    out: str
    shards: int
    how: EmbedOptions
    version: str = __version__


@dataclass(frozen=True)
class Told:
    """What a worker answers; an error goes as text, as not every error survives the way.

    Attributes:
        error: text of an `MtmlError`; "" where there was none.
        busy: whether it is that another process is writing the part.
        warning: of the model.
        written: whether the part was not there before.
        images: rows of it.
        skipped: images left out.
        node: name of the worker's machine.
    """

    error: str = ""
    busy: bool = False
    warning: str = ""
    written: bool = False
    images: int = 0
    skipped: tuple[BadImage, ...] = ()
    node: str = ""


class Worker:
    """One actor: a process with one opened model."""

    def __init__(self, job: RayJob) -> None:
        self._job = job
        self._model: Model | None = None
        self._images: ImageSet | None = None
        self._plan: ShardPlan | None = None

    def open(self) -> Told:
        """Load model and list of images, and agree with the other workers."""
        return self._telling(self._open)

    def embed(self, number: int) -> Told:
        """Embed one part."""
        return self._telling(lambda: self._embed(number))

    def _open(self) -> Told:
        job = self._job
        if job.version != __version__:
            raise BackendError(
                f"mtml-reid is {__version__} here and {job.version} where the command runs; "
                "install the same version on every machine"
            )
        from PIL import Image

        warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
        images = load_source(job.images)
        self._images = replace(images, source=job.source)
        self._model = job.how.open(open_artifact(Path(job.artifact)))
        self._plan = plan_of(self._model, self._images, job.shards, batch_size=job.how.batch_size)
        agree(Path(job.out), self._plan)
        return Told(warning=self._model.warning)

    def _embed(self, number: int) -> Told:
        job, plan = self._job, self._plan
        if self._model is None or self._images is None or plan is None:
            raise ValueError("the worker was not opened")
        done = embed_part(
            self._model,
            self._images,
            Path(job.out),
            Shard(number, job.shards),
            plan,
            threads=job.how.threads,
            skip_bad=job.how.skip_bad,
        )
        if done is None:
            return Told()
        return Told(written=True, images=done.images, skipped=done.skipped)

    @staticmethod
    def _telling(work: Callable[[], Told]) -> Told:
        """What the work gives, with the name of this machine."""
        try:
            return replace(work(), node=socket.gethostname())
        except OutputBusyError as error:
            time.sleep(_BUSY_S)
            return Told(error=str(error), busy=True, node=socket.gethostname())
        except MtmlError as error:
            return Told(error=str(error), node=socket.gethostname())
