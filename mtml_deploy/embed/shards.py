"""A set of images embedded by many workers: each writes its own part, whole or not at all.

In: what embeds, an `ImageSet` and which part of how many. Out: `FOLDER/part-00003-of-00010.npz`, an
embeddings file like any other, and `FOLDER/shards.json`, which says what all parts are of. Workers
need nothing of each other but the folder: a worker that is killed is started again with the same
command, and goes on where it was.

Parts are runs of whole batches in the order of the set, so that the parts together are what one
process writes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from dataclasses import replace as replaced
from pathlib import Path
from typing import Final

from mtml_deploy.data.records import ImageSet
from mtml_deploy.embed.embed import Embedder
from mtml_deploy.embed.embed_to import EmbedSummary, embed_to, images_sha256
from mtml_deploy.embed.embeddings import Embeddings
from mtml_deploy.embed.shard_plan import PLAN_FILE, ShardPlan, agree, read_plan
from mtml_deploy.errors import EmbeddingsError
from mtml_deploy.text import printable

_SHARD: Final = re.compile(r"(\d{1,6})/(\d{1,6})")
_SHOWN: Final = 10
"""Missing parts that an error names."""


@dataclass(frozen=True)
class Shard:
    """One part of a set.

    Attributes:
        number: which, from 1.
        of: how many there are.
    """

    number: int
    of: int

    def __post_init__(self) -> None:
        """Refuse a part that there is not.

        Raises:
            ValueError: the number is outside 1 to `of`.
        """
        if not 1 <= self.number <= self.of:
            raise ValueError(f"a shard is 1/N to N/N, found {self.number}/{self.of}")

    @classmethod
    def of_text(cls, text: str) -> Shard:
        """The part that a text such as 3/10 names.

        Raises:
            ValueError: it names none.
        """
        found = _SHARD.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"{text!r} names no shard, expected I/N such as 3/10")
        return cls(int(found[1]), int(found[2]))

    def rows(self, images: int, batch_size: int) -> range:
        """The images of this part: whole batches, the last one of the set excepted.

        Raises:
            EmbeddingsError: there are fewer batches than parts.
        """
        batches = -(-images // batch_size)
        if self.of > batches:
            raise EmbeddingsError(
                f"{images:,} images in batches of {batch_size} are {batches:,} batches, and "
                f"{self.of:,} shards were asked for; ask for at most {batches:,}, or for a smaller "
                "--batch-size"
            )
        first, last = (batches * n // self.of for n in (self.number - 1, self.number))
        return range(first * batch_size, min(last * batch_size, images))

    def path(self, folder: Path) -> Path:
        """The file of this part."""
        return folder / f"part-{self.number:05d}-of-{self.of:05d}.npz"


def embed_shard(
    model: Embedder,
    images: ImageSet,
    folder: Path,
    shard: Shard,
    *,
    batch_size: int,
    threads: int = 0,
    skip_bad: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> EmbedSummary | None:
    """Embed one part of a set into its file, going on where a killed worker was.

    Args:
        model: what embeds.
        images: all images, of every part.
        folder: of the parts; made where it is not there.
        shard: which part.
        batch_size: images per run; all workers say the same.
        threads: decoding threads; 0 means one per CPU.
        skip_bad: leave out images that cannot be used.
        progress: called with (images dealt with, images of the part).

    Returns:
        What was done; None where the part is there already.

    Raises:
        EmbeddingsError: the folder holds parts of other images, of another model or another
            number of them; or see `embed_to`.
        OutputBusyError: another worker is at this part.
        MtmlError: what `embed_to` raises.
    """
    plan = plan_of(model, images, shard.of, batch_size=batch_size)
    agree(folder, plan)
    return embed_part(
        model,
        images,
        folder,
        shard,
        plan,
        threads=threads,
        skip_bad=skip_bad,
        progress=progress,
    )


def plan_of(model: Embedder, images: ImageSet, shards: int, *, batch_size: int) -> ShardPlan:
    """What a worker is about to embed; arguments as of `embed_shard`.

    Raises:
        EmbeddingsError: there are fewer batches than parts.
    """
    Shard(1, shards).rows(len(images.records), batch_size)
    return ShardPlan(
        shards=shards,
        images=len(images.records),
        images_sha256=images_sha256(images),
        batch_size=batch_size,
        source=images.source,
        model=model.identity,
    )


def embed_part(
    model: Embedder,
    images: ImageSet,
    folder: Path,
    shard: Shard,
    plan: ShardPlan,
    *,
    threads: int = 0,
    skip_bad: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> EmbedSummary | None:
    """`embed_shard` where all workers agreed on the plan already."""
    out = shard.path(folder)
    if out.exists():
        return None
    return embed_to(
        model,
        images.take(shard.rows(plan.images, plan.batch_size)),
        out,
        batch_size=plan.batch_size,
        threads=threads,
        skip_bad=skip_bad,
        resume=True,
        progress=progress,
    )


def parts(folder: Path) -> Iterator[Embeddings]:
    """The parts of a folder in their order, one after the other in memory.

    Raises:
        EmbeddingsError: one is missing, damaged, or of another model or source.
    """
    plan = read_plan(folder)
    every = [Shard(number, plan.shards) for number in range(1, plan.shards + 1)]
    missing = [shard for shard in every if not shard.path(folder).is_file()]
    if missing:
        names = ", ".join(f"{shard.number}/{shard.of}" for shard in missing[:_SHOWN])
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise EmbeddingsError(
            f"{folder} lacks {len(missing)} of {plan.shards} parts: {names}{more}; embed them, "
            f"with --shard {missing[0].number}/{plan.shards} and so on"
        )
    for shard in every:
        part = Embeddings.load(shard.path(folder))
        found = part.model.difference(plan.model)
        if not found and part.source != plan.source:
            found = f"source is {printable(part.source)} and {printable(plan.source)}"
        expected = len(shard.rows(plan.images, plan.batch_size))
        if not found and len(part) > expected:
            found = f"{len(part)} rows, where at most {expected} images belong"
        if found:
            raise EmbeddingsError(
                f"{shard.path(folder)} is of something else than {PLAN_FILE} beside it says: "
                f"{found}; remove it and embed it again"
            )
        yield part


def merged(folder: Path) -> Embeddings:
    """The parts of a folder as one set: what one process would have written.

    Raises:
        EmbeddingsError: see `parts`.
    """
    rows = Embeddings.concat(list(parts(folder)))
    return replaced(rows, source=read_plan(folder).source)
