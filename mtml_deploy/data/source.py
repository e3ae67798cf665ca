"""Data sets as image sets: what the user wrote in, records in the data set's own order out.

A source is one of
    NAME:DIR[#train|query|gallery]       a published data set of `DATA_SETS`, such as veri:DIR
    NAME:PLACE[#train|query|gallery]     images of one's own in a layout of `OWN_SETS`, which may
                                         tell parts: csv:FILE[@id=COLUMN,...], folders:DIR,
                                         market1501:DIR
    crops:FILE@frames=PLACE,format=FORMAT,...   boxes of a detector, cut out of frames or a video
    DIR                                  every image below a folder, no labels
    LIST.txt                             one path per line, no labels
    IMAGE                                one file
Image files are named, not opened; `mtml-train check-data` opens them all. Nothing here needs NumPy,
so that help texts can tell the table.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Final, cast

from mtml_deploy.data import csv_table, folders, market1501
from mtml_deploy.data.crop_options import NAMES, options_text, split_options
from mtml_deploy.data.csv_columns import choice_text, parse_choice
from mtml_deploy.data.data_sets import DATA_SETS, NAMED, DataSet
from mtml_deploy.data.folder import load_folder, load_list, load_single
from mtml_deploy.data.formats import HEAD_BYTES, content_format, image_suffixes
from mtml_deploy.data.listed_path import not_a_path, why_missing
from mtml_deploy.data.records import ImageSet
from mtml_deploy.data.text_files import SPLITS, Split
from mtml_deploy.errors import DataError
from mtml_deploy.path_kind import data_set_form, is_there, part_form, what_it_is
from mtml_deploy.regular_file import open_regular


@dataclass(frozen=True)
class OwnSet:
    """A layout of images of one's own, which may tell parts or not.

    Attributes:
        form: how it is written, behind its name and a colon.
        load: a source and the part to take where it tells parts and names none -> the images.
        splits: a source -> the parts that it tells.
    """

    form: str
    load: Callable[[Source, Split | None], ImageSet]
    splits: Callable[[Source], tuple[Split, ...]]


def _load_crops(source: Source, default: Split | None) -> ImageSet:
    """Boxes of frames; the reader of their files is loaded where there are such."""
    del default  # they tell no parts
    from mtml_deploy.data.crop_set import load_crops

    return load_crops(source.path, source.columns)


OWN_SETS: Final[Mapping[str, OwnSet]] = MappingProxyType(
    {
        "csv": OwnSet(
            "FILE[@id=COLUMN,...]",
            lambda source, default: csv_table.load_table(
                source.path, columns=source.columns, split=source.split, default=default
            ),
            lambda source: csv_table.splits_of(source.path, source.columns),
        ),
        "folders": OwnSet(
            "DIR",
            lambda source, default: folders.load_folders(
                source.path, split=source.split, default=default
            ),
            lambda source: folders.splits_of(source.path),
        ),
        "market1501": OwnSet(
            "DIR",
            lambda source, default: market1501.load_market1501(
                source.path, split=source.split, default=default
            ),
            lambda source: market1501.splits_of(source.path),
        ),
        "crops": OwnSet("FILE@frames=PLACE,format=FORMAT,...", _load_crops, lambda source: ()),
    }
)
"""Every layout of one's own by name."""

SPLIT_FORMS: Final = ", ".join(
    [
        *(f"{name}:DIR" for name in NAMED),
        "csv:FILE with a column split",
        *(f"{name}:DIR" for name in OWN_SETS if name not in ("csv", "crops")),
    ]
)
"""How sources that tell parts are written, for help texts and errors."""

FORMS: Final = ", ".join(
    [
        *(f"{name}:DIR" for name in NAMED),
        *(f"{name}:{each.form}" for name, each in OWN_SETS.items()),
        "all with #train, #query or #gallery where they tell parts",
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
        kind: the format: a name of `DATA_SETS` or `OWN_SETS`, or "path" for a folder, a list or one
            image.
        path: the folder or file.
        split: the part asked for; None where the text names none or the format has none.
        columns: of a table: what -> name of the column that holds it, where the text says so; of
            boxes: what is said behind @.
    """

    kind: str
    path: Path
    split: Split | None
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def data_set(self) -> DataSet | None:
        """The published data set; None for other formats."""
        return DATA_SETS.get(self.kind)

    def splits(self) -> tuple[Split, ...]:
        """The parts that it has: a published data set's, or those that one's own set tells.

        Raises:
            DataError: a table that cannot be read.
        """
        if self.data_set is not None:
            return tuple(self.data_set.files)
        return OWN_SETS[self.kind].splits(self) if self.kind in OWN_SETS else ()

    def text(self, split: Split | None = None) -> str:
        """The source text of one of its parts, or without any."""
        told = options_text if self.kind == "crops" else choice_text
        chosen = f"@{told(self.columns)}" if self.columns else ""
        kind = "" if self.kind == "path" else f"{self.kind}:"
        return f"{kind}{self.path}{chosen}{f'#{split}' if split else ''}"


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
    if not colon or kind not in (*DATA_SETS, *OWN_SETS):
        kind, rest = "path", text
    split: Split | None = None
    columns: Mapping[str, str] = {}
    before, sign, name = rest.rpartition("#")
    if kind in DATA_SETS and sign and name not in DATA_SETS[kind].files:
        raise DataError(
            f"{text!r} names the split {name!r}, expected one of "
            f"{', '.join(DATA_SETS[kind].files)}; {GRAMMAR}"
        )
    # a file or folder of one's own may have # and @ in its name
    if kind not in ("path", "crops") and sign and name in SPLITS:
        rest, split = before, name
    if kind == "crops":
        rest, told = split_options(rest)
        if told is None:
            raise DataError(
                f"{text!r} says an option twice or without a value, expected each of "
                f"{', '.join(NAMES)} once; correct it"
            )
        columns = told
    before, sign, name = rest.rpartition("@")
    if kind == "csv" and sign and "=" in name:
        choice = parse_choice(name)
        if choice is None:
            raise DataError(
                f"{text!r}: {name!r} names no columns, expected what and name such as "
                "@id=plate,camera=cam; what is one of id, path, camera, orientation, tracklet, "
                "split and time, each once"
            )
        rest, columns = before, choice
    if not rest:
        raise DataError(f"{text!r} names no file or folder; {GRAMMAR}")
    path = Path(rest)
    # the shell expands ~ only at the start of a word, not behind the colon
    if rest == "~" or rest.startswith("~/"):
        path = path.expanduser()
    return Source(kind, path, split, columns)


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
    columns = dict(source.columns)
    if source.kind == "crops" and "frames" in columns:
        columns["frames"] = str(Path(columns["frames"]).expanduser().absolute())
    return replace(source, path=source.path.absolute(), columns=columns).text(source.split)


def source_paths(*texts: str) -> tuple[Path, ...]:
    """The folders and files that sources name, of those texts that name one.

    Args:
        texts: see the module's list; nothing on disk is looked at.
    """
    paths = []
    for text in filter(None, texts):
        with suppress(DataError):  # who reads it says what is wrong
            source = parse_source(text)
            paths.append(source.path)
            if source.kind == "crops" and "frames" in source.columns:
                paths.append(Path(source.columns["frames"]).expanduser())
    return tuple(paths)


def load_source(text: str, *, split: str = "") -> ImageSet:
    """The images a source text names, with what is known of them.

    Args:
        text: see the module's list.
        split: "train", "query" or "gallery": used where `text` names none; sources that tell no
            parts ignore it.

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
    if source.kind in OWN_SETS:
        return OWN_SETS[source.kind].load(source, cast(Split, split) if split else None)
    if source.data_set is None:
        return _load_path(source.path, text)
    part = source.split or split
    if not part:
        raise DataError(f"{text!r} names no split; write {text}#train, #query or #gallery")
    try:
        return source.data_set.load(source.path, cast(Split, part))
    except DataError as error:
        form = data_set_form(source.path)
        if form is None or form.partition(":")[0] in source.kind:
            raise
        raise DataError(f"{error}; did you mean {form}#{part}") from error


def _load_path(path: Path, text: str) -> ImageSet:
    """The images of a folder, a list or one file."""
    if not is_there(path):
        raise DataError(_why_no_source(path, text))
    if path.is_dir():
        images = load_folder(path)
        form = data_set_form(path)
        meant = part_form(path) if form is None else f"{form}, or one part of it, {form}#gallery"
        if meant is None:
            return images
        note = f"these are images without labels; for those of the data set write {meant}"
        return replace(images, notes=(*images.notes, note))
    suffix = path.suffix.lower()
    if suffix == ".csv":
        raise DataError(f"{text!r} is a table; write csv:{text}")
    if suffix == ".txt":
        return load_list(path)
    if suffix not in image_suffixes() and path.is_file():
        with open_regular(path) as file:
            if content_format(file.read(HEAD_BYTES)) is None:
                raise DataError(
                    f"{text!r} is neither an image, by its content, nor a list, which ends in .txt"
                    f"{what_it_is(path) or '; rename a list to LIST.txt, or convert an image'}"
                )
    return load_single(path)


def _why_no_source(path: Path, text: str) -> str:
    """What is wrong with a text that names no file or folder."""
    nothing = f"no such file or folder: {text!r}"
    kind, colon, rest = text.partition(":")
    if reason := not_a_path(text):
        return f"{text!r} {reason}"
    folder, sign, split = text.rpartition("#")
    if sign and split in SPLITS and (form := data_set_form(Path(folder))):
        return f"{nothing}; did you mean {form}#{split}"
    parts = re.split("[,;]", text)
    if len(parts) > 1 and all(is_there(Path(part.strip())) for part in parts):
        return (
            f"{text!r} names {len(parts)} files or folders, expected one source; write a list of "
            "one path per line, LIST.txt"
        )
    known = (*DATA_SETS, *OWN_SETS)
    if colon and (near := get_close_matches(kind.strip().lower(), known, n=1)):
        return f"{nothing}, and no format is called {kind!r}; did you mean {near[0]}:{rest}"
    return f"{nothing}{why_missing(path).removeprefix('no such file')}; {GRAMMAR}"
