"""Data sets as image sets: what the user wrote in, records in the data set's own order out.

A source is one of
    veri:DIR[#train|query|gallery]       VeRi-776 as published
    cityflow:DIR[#train|query|gallery]   AI City 2019 Track 2 (CityFlow) as published
    csv:FILE                             table with path and optional labels
    DIR                                  every image below a folder, no labels
    LIST.txt                             one path per line, no labels
    IMAGE                                one file
Image files are named, not opened; `mtml-train check-data` opens them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, cast

from mtml_deploy.data.cityflow import load_cityflow
from mtml_deploy.data.csv_table import load_table
from mtml_deploy.data.folder import load_folder, load_list, load_single
from mtml_deploy.data.records import ImageSet
from mtml_deploy.data.text_files import SPLITS, Split
from mtml_deploy.data.veri import load_veri
from mtml_deploy.errors import DataError

__all__ = ["GRAMMAR", "SPLITS", "Source", "Split", "load_source", "parse_source"]

Kind = Literal["veri", "cityflow", "csv", "path"]

GRAMMAR: Final = (
    "a source is veri:DIR[#train|query|gallery], cityflow:DIR[#train|query|gallery], csv:FILE, "
    "a folder, a LIST.txt or an image"
)
"""One line for help texts and errors."""


@dataclass(frozen=True)
class Source:
    """What a source text names.

    Attributes:
        kind: the format; "path" is a folder, a list or one image.
        path: the folder or file.
        split: the part asked for; None where the text names none or the format has none.
    """

    kind: Kind
    path: Path
    split: Split | None


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
    if not colon or kind not in ("veri", "cityflow", "csv"):
        kind, rest = "path", text
    split: Split | None = None
    if kind in ("veri", "cityflow") and "#" in rest:
        rest, _, name = rest.rpartition("#")
        if name not in SPLITS:
            raise DataError(
                f"{text!r} names the split {name!r}, expected one of {', '.join(SPLITS)}; {GRAMMAR}"
            )
        split = name
    if not rest:
        raise DataError(f"{text!r} names no file or folder; {GRAMMAR}")
    path = Path(rest)
    # the shell expands ~ only at the start of a word, not behind the colon
    if rest == "~" or rest.startswith("~/"):
        path = path.expanduser()
    return Source(cast(Kind, kind), path, split)


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
    if source.kind == "path":
        return _load_path(source.path, text)
    part = source.split or split
    if not part:
        raise DataError(f"{text!r} names no split; write {text}#train, #query or #gallery")
    load = load_veri if source.kind == "veri" else load_cityflow
    return load(source.path, cast(Split, part))


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
