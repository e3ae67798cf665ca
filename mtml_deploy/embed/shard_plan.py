"""What the parts of a set are of: `FOLDER/shards.json`, which the first worker writes.

In: what a worker is about to embed. Out: the same for all workers, or an error that says what they
do not share.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from mtml_deploy.embed.embeddings import ModelIdentity
from mtml_deploy.errors import EmbeddingsError
from mtml_deploy.files import write_text
from mtml_deploy.record_file import Positive, Record, Sha256, parse_json, record_json
from mtml_deploy.regular_file import RECORD_BYTES, read_regular
from mtml_deploy.text import printable
from mtml_deploy.write_error import writing

PLAN_FILE: Final = "shards.json"

_MOST_SHARDS: Final = 999_999
"""That the names of parts have room for."""

_MOST_SHOWN: Final = 100
"""Characters of a value that an error shows."""


class ShardPlan(Record, frozen=True, kw_only=True):
    """What the parts in a folder are of.

    Attributes:
        schema: version of this record.
        shards: how many parts.
        images: in all of them together.
        images_sha256: hash of the ordered names and labels of all images.
        batch_size: images per run of the model; parts begin where a batch does.
        source: what was asked for.
        model: which model embeds.
    """

    schema: Literal[1] = 1
    shards: Annotated[int, msgspec.Meta(ge=1, le=_MOST_SHARDS)]
    images: Positive
    images_sha256: Sha256
    batch_size: Positive
    source: str
    model: ModelIdentity

    def __post_init__(self) -> None:
        """Refuse numbers that do not fit together.

        Raises:
            ValueError: there are fewer batches than parts.
        """
        if self.shards > -(-self.images // self.batch_size):
            raise ValueError(
                f"{self.images} images in batches of {self.batch_size} have no {self.shards} parts"
            )


def agree(folder: Path, plan: ShardPlan) -> None:
    """See to it that all workers embed the same; of several that begin at once the first decides.

    Args:
        folder: of the parts; made where it is not there.
        plan: what this worker is about to embed.

    Raises:
        EmbeddingsError: the folder holds parts of something else, or what is there is no plan.
        WriteError: the machine refuses.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if not (folder / PLAN_FILE).exists():
        write_text(folder / PLAN_FILE, record_json(plan, indent=2) + "\n", keep_first=True)
    # also where this worker has just written: another one may have been faster
    if differing := list(_differences(read_plan(folder), plan)):
        raise EmbeddingsError(
            f"{folder} holds parts of something else: {'; '.join(differing)}, the second as asked "
            "for now, expected the same command of all workers but for I of --shard I/N; embed "
            "into a new folder, or give the command that the parts are of"
        )


def read_plan(folder: Path) -> ShardPlan:
    """What the parts in a folder are of.

    Raises:
        EmbeddingsError: it is no folder of parts.
    """
    path = folder / PLAN_FILE
    try:
        return parse_json(read_regular(path, most_bytes=RECORD_BYTES), ShardPlan)
    except FileNotFoundError as error:
        raise EmbeddingsError(
            f"{folder} is no folder of parts: it lacks {PLAN_FILE}; name the folder that "
            "workers wrote to with --shard"
        ) from error
    except (OSError, ValueError) as error:
        raise EmbeddingsError(
            f"{path} cannot be read ({error}); embed into a new folder"
        ) from error


def _differences(found: msgspec.Struct, wanted: msgspec.Struct, of: str = "") -> Iterator[str]:
    """What two records of one kind do not share, as "NAME is A and B"."""
    for name in found.__struct_fields__:
        one, other = getattr(found, name), getattr(wanted, name)
        if isinstance(one, msgspec.Struct):
            yield from _differences(one, other, f"{name}.")
        elif one != other:
            yield f"{of}{name} is {_short(one)} and {_short(other)}"


def _short(value: object) -> str:
    """A value of a plan as an error shows it."""
    text = printable(str(value))
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."
