"""Data sets as image sets: what the user wrote in, records in the data set's own order out.

A source is one of
    NAME:DIR[#train|query|gallery]       a published data set of `DATA_SETS`, such as veri:DIR
    csv:FILE                             table with path and optional labels
    DIR                                  every image below a folder, no labels
    LIST.txt                             one path per line, no labels
    IMAGE                                one file
Image files are named, not opened; `mtml-train check-data` opens them all. Nothing here needs NumPy,
so that help texts can tell the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final, cast

from mtml_deploy.data import cityflow, veri
from mtml_deploy.data.csv_table import load_table
from mtml_deploy.data.folder import load_folder, load_list, load_single
from mtml_deploy.data.records import ImageSet
from mtml_deploy.data.text_files import SPLITS, Split, SplitFiles
from mtml_deploy.errors import DataError


@dataclass(frozen=True)
class Counts:
    """How much a split holds.

    Attributes:
        images: listed images whose file is there.
        ids: distinct known vehicle ids.
        cameras: distinct known cameras.
        orientations: distinct known orientation classes.

    None means not published, or (where found) that the labels could not be read.
    """

    images: int | None = None
    ids: int | None = None
    cameras: int | None = None
    orientations: int | None = None


@dataclass(frozen=True)
class DataSet:
    """A published data set; all that the project knows of it beside its loader.

    Attributes:
        name: what the user types before the colon.
        load: its folder and a split -> the images of the split.
        files: where each of its splits keeps its files.
        published: counts that its authors tell.
        queries_are_copies: every query image is in the gallery too, under the same file name.
    """

    name: str
    load: Callable[[Path, Split], ImageSet]
    files: Mapping[Split, SplitFiles]
    published: Mapping[Split, Counts]
    queries_are_copies: bool = False


_ALL: Final = (
    DataSet(
        "veri",
        veri.load_veri,
        veri.FILES,
        {
            # Kanaci et al. 2019, Table 1; cameras per split are not in it
            "train": Counts(images=37_778, ids=576, orientations=8),
            "query": Counts(images=1_678, ids=200),
            "gallery": Counts(images=11_579, ids=200),
        },
        queries_are_copies=True,
    ),
    DataSet(
        "cityflow",
        cityflow.load_cityflow,
        cityflow.FILES,
        {
            # the ids of the test part exist, but the organisers keep them
            "train": Counts(images=36_935, ids=333),
            "query": Counts(images=1_052),
            "gallery": Counts(images=18_290),
        },
    ),
)

DATA_SETS: Final[Mapping[str, DataSet]] = MappingProxyType({each.name: each for each in _ALL})
"""Every published data set by name; a new one is a loader and a row of this table."""

DATA_SET_FORMS: Final = " or ".join(f"{name}:DIR" for name in DATA_SETS)
"""How a published data set is written, for help texts and errors."""

FORMS: Final = ", ".join(
    [
        *(f"{each.name}:DIR[#{'|'.join(each.files)}]" for each in _ALL),
        "csv:FILE",
        "a folder",
        "a LIST.txt or an image",
    ]
)
"""How every source is written."""

GRAMMAR: Final = f"a source is {FORMS}"
"""One line for errors."""


@dataclass(frozen=True)
class Source:
    """What a source text names.

    Attributes:
        kind: the format: a name of `DATA_SETS`, "csv", or "path" for a folder, a list or one image.
        path: the folder or file.
        split: the part asked for; None where the text names none or the format has none.
    """

    kind: str
    path: Path
    split: Split | None

    @property
    def data_set(self) -> DataSet | None:
        """The published data set; None for other formats, which have no splits."""
        return DATA_SETS.get(self.kind)


def parse_source(text: str) -> Source:
    """The parts of a source text.

    Args:
        text: see the module's list.

    Returns:
        The parts; nothing on disk is looked at.

    Raises:
        DataError: nothing after the colon, or an unknown split.
    """
    kind, colon, rest = text.partition(":")
    if not colon or kind not in (*DATA_SETS, "csv"):
        kind, rest = "path", text
    split: Split | None = None
    if kind in DATA_SETS and "#" in rest:
        rest, _, name = rest.rpartition("#")
        splits = DATA_SETS[kind].files
        if name not in splits:
            raise DataError(
                f"{text!r} names the split {name!r}, expected one of {', '.join(splits)}; {GRAMMAR}"
            )
        split = cast(Split, name)
    if not rest:
        raise DataError(f"{text!r} names no file or folder; {GRAMMAR}")
    path = Path(rest)
    # the shell expands ~ only at the start of a word, not behind the colon
    if rest == "~" or rest.startswith("~/"):
        path = path.expanduser()
    return Source(kind, path, split)


def absolute_source(text: str) -> str:
    """The same source, whatever the directory that a later command is started in.

    Args:
        text: see the module's list.

    Returns:
        `text` with an absolute path; links in it are kept.

    Raises:
        DataError: see `parse_source`.
    """
    source = parse_source(text)
    prefix = "" if source.kind == "path" else f"{source.kind}:"
    suffix = "" if source.split is None else f"#{source.split}"
    return f"{prefix}{source.path.absolute()}{suffix}"


def load_source(text: str, *, split: str = "") -> ImageSet:
    """The images a source text names, with what is known of them.

    Args:
        text: see the module's list.
        split: "train", "query" or "gallery": used where `text` names none; formats without splits
            ignore it.

    Returns:
        One or more records in the order of the data set's own list (a folder's: by name).

    Raises:
        DataError: no such file or folder, a list or label file that breaks its format, an empty
            set, or a data set with splits where neither `text` nor `split` names one.
        ValueError: `split` is none of the three.
    """
    if split not in ("", *SPLITS):
        raise ValueError(f"split is one of {SPLITS} or '', found {split!r}")
    source = parse_source(text)
    if source.kind == "csv":
        return load_table(source.path)
    if source.data_set is None:
        return _load_path(source.path, text)
    part = source.split or split
    if not part:
        raise DataError(f"{text!r} names no split; write {text}#train, #query or #gallery")
    return source.data_set.load(source.path, cast(Split, part))


def _load_path(path: Path, text: str) -> ImageSet:
    """The images of a folder, a list or one file."""
    if path.is_dir():
        return load_folder(path)
    if not path.is_file():
        raise DataError(f"no such file or folder: {text!r}; {GRAMMAR}")
    suffix = path.suffix.lower()
    if suffix == ".csv":
        raise DataError(f"{text!r} is a table; write csv:{text}")
    return load_list(path) if suffix == ".txt" else load_single(path)
