"""Options and texts that several subcommands share, each written once.

In: what a user may choose, and what the library tells. Out: options for `groups` and commands, and
remarks on stderr.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, get_args

import click

from mtml_deploy.cli.console import Progress, progress_bar, write_data, write_note
from mtml_deploy.data.ids import UNKNOWN, read_id
from mtml_deploy.defaults import (
    BACKEND,
    BATCH_SIZE,
    DEVICE,
    ENGINE,
    EXECUTION_PRECISION,
    STREAMS,
    Backend,
    EngineName,
    ExecutionPrecision,
)
from mtml_deploy.errors import BackendError
from mtml_deploy.path_kind import what_it_is
from mtml_deploy.runtime.triton_address import FORMS, TritonAddress, on_server
from mtml_deploy.search.memory import GIB

if TYPE_CHECKING:
    from mtml_deploy.artifact.artifact import Artifact
    from mtml_deploy.cli.source_reader import SourceReader
    from mtml_deploy.data.batches import BadImage
    from mtml_deploy.embed.embeddings import Embeddings
    from mtml_deploy.model import EmbedOptions, Model
    from mtml_deploy.search.rerank import RerankOptions

PROTOCOLS: Final = "veri776, market, aicity-top100, vehicleid or plain"


class _File(click.Path):
    """A file, there or not yet; a folder is named as what it is."""

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> str | bytes | os.PathLike[str]:
        """The path."""
        if (path := Path(value)).is_dir() and not (self.allow_dash and path == STDOUT):
            self.fail(f"{path} is a folder, expected a file{what_it_is(path)}", param, ctx)
        return super().convert(value, param, ctx)


class _BackendChoice(click.Choice[str]):
    """A backend by its name, or a server by its address."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name or the address."""
        if not on_server(value):
            return super().convert(value, param, ctx)
        try:
            TritonAddress.parse(value)
        except BackendError as error:
            self.fail(str(error), param, ctx)
        return value


FILE: Final = _File(path_type=Path, dir_okay=False)
FOLDER: Final = click.Path(path_type=Path)
STDOUT: Final = Path("-")
"""What --json is given to print."""

_SHOWN_SKIPPED: Final = 20
"""Left out images that are listed one by one."""

model = click.argument("model", type=FOLDER, metavar="MODEL")
a_model = click.argument("model", type=FOLDER, metavar="[MODEL]", required=False)
json_file = click.option(
    "--json",
    "json_file",
    type=_File(path_type=Path, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="Write all results as JSON; - prints them, and all other text goes to stderr.",
)
batch_size = click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=BATCH_SIZE,
    show_default=True,
    help="Images per run of the model.",
)
threads = click.option(
    "--threads",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Threads that decode images; 0 is one per CPU.",
)
skip_bad = click.option(
    "--skip-bad", is_flag=True, help="Leave out and list images that cannot be used."
)
device = click.option(
    "--device",
    default=DEVICE,
    show_default=True,
    help="cpu, cuda:N, or gpu:N for OpenVINO; never another one than asked for.",
)
backend = click.option(
    "--backend",
    type=_BackendChoice(get_args(Backend)),
    default=BACKEND,
    show_default=True,
    help=f"What runs the model, or a Triton server: {FORMS}; never another one than asked for.",
)
model_threads = click.option(
    "--model-threads",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Threads of the model on the CPU; 0 leaves the number to the library.",
)
execution_precision = click.option(
    "--execution-precision",
    "precision",
    type=click.Choice(get_args(ExecutionPrecision)),
    default=EXECUTION_PRECISION,
    show_default=True,
    help="What OpenVINO computes float32 values in; auto is the device's fastest.",
)
streams = click.option(
    "--streams",
    type=click.IntRange(min=1),
    default=STREAMS,
    show_default=True,
    help="Batches at work at once on OpenVINO, requests on a Triton server.",
)
engine = click.option(
    "--search-engine",
    "engine",
    type=click.Choice(get_args(EngineName)),
    default=ENGINE,
    show_default=True,
    help="What proposes the nearest images, never their order: ort is ONNX Runtime, on the "
    "--device.",
)
memory_gib = click.option(
    "--memory-gib",
    type=click.FloatRange(min=0, min_open=True),
    metavar="GIB",
    help="Most memory for ranking and metrics beside embeddings and lists; re-ranking says its "
    "own.",
)
leave_out_self = click.option(
    "--leave-out-self",
    is_flag=True,
    help="A query that is in the gallery itself does not find itself: its own copy takes no part.",
)
explain = click.option(
    "--explain",
    is_flag=True,
    help="Print the whole page in place of the numbers alone: every table, and what each measure "
    "means.",
)
overwrite = click.option(
    "--overwrite",
    is_flag=True,
    help="Replace an earlier output of this command; anything else is left alone.",
)


def an_id(text: str) -> int:
    """The id that an option tells, as a table writes it: a number or a text (a click type)."""
    try:
        found = read_id(text)
    except ValueError as error:
        raise click.BadParameter(
            f"{error}; give the number or the text that the images are labelled with"
        ) from error
    if found == UNKNOWN and text.strip() != str(UNKNOWN):
        raise click.BadParameter(f"{text!r} means that the id is unknown; give a number or a text")
    return found


def on_disk(json_file: Path | None) -> Path | None:
    """The file that JSON goes into; None where it is printed, or not asked for."""
    return None if json_file == STDOUT else json_file


def write_json(json_file: Path | None, text: Callable[[], str]) -> None:
    """Write or print JSON, where it is asked for.

    Args:
        json_file: what the user gave.
        text: makes it.
    """
    from mtml_deploy.files import write_text

    if json_file == STDOUT:
        write_data(text().rstrip("\n"))
    elif json_file is not None:
        write_text(json_file, text())
        write_note(f"wrote {json_file}")


def teller(json_file: Path | None) -> Callable[[str], None]:
    """What prints the text of a result: on stdout, or on stderr where stdout holds JSON."""
    return write_note if json_file == STDOUT else write_data


def memory_bytes(memory_gib: float | None) -> int | None:
    """The budget in bytes; None where the user set none."""
    return None if memory_gib is None else int(memory_gib * GIB)


def refuse_huge_images() -> None:
    """Make Pillow's warning of a decompression bomb an error.

    The filter belongs to the whole process, so the command line sets it and the library does not.
    """
    from PIL import Image

    warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


def note_skipped(skipped: Sequence[BadImage]) -> None:
    """List the images that were left out on stderr, the first ones by name.

    Args:
        skipped: the images.
    """
    for image in skipped[:_SHOWN_SKIPPED]:
        write_note(f"skipped {image.path}: {image.reason}")
    if len(skipped) > _SHOWN_SKIPPED:
        write_note(f"... and {len(skipped) - _SHOWN_SKIPPED} more skipped images")


def note_model(model: Model, how: EmbedOptions) -> None:
    """Say on stderr what a user must know of a model that was opened, once.

    That is: its retrieval quality was not compared or was found too low, and a faster way to run it
    is installed.
    """
    from mtml_deploy.runtime.cpu_ways import faster_way

    if model.warning:
        write_note(f"warning: {model.warning}")
    if faster := faster_way(
        model.artifact, backend=how.backend, device=how.device, precision=how.precision
    ):
        write_note(f"note: {faster}")


def open_reader(artifact: Artifact | None, how: EmbedOptions) -> SourceReader:
    """What reads and embeds the sources a user names; remarks go to stderr.

    Args:
        artifact: the model for images; None accepts embeddings files only.
        how: images are embedded.

    Returns:
        The reader, to be used in a `with` statement.
    """
    from mtml_deploy.cli.source_reader import SourceReader

    return SourceReader(
        artifact,
        how,
        note=lambda text: write_note(f"note: {text}"),
        opened=lambda model: note_model(model, how),
        skipped=note_skipped,
        progress=lambda title: progress_bar(title, unit="images"),
    )


@contextmanager
def watch_reranking(
    query: Embeddings, gallery: Embeddings, options: RerankOptions
) -> Iterator[Progress]:
    """Say how much memory re-ranking takes, then show a progress bar.

    Args:
        query: the query set.
        gallery: the gallery.
        options: parameters.

    Yields:
        Called with (blocks done, in total).
    """
    from mtml_deploy.search.rerank import estimate_bytes

    needed = estimate_bytes(len(query), len(gallery), query.model.dim, options=options)
    write_note(
        f"re-ranking {len(query) + len(gallery):,} images takes about {needed / 2**20:,.0f} MiB "
        f"beside their embeddings"
    )
    with progress_bar("comparing all images", unit="blocks") as progress:
        yield progress
