"""Check a user's copy of a data set: against its own lists, its labels and the published counts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from mtml_deploy.data.data_sets import Counts, DataSet
from mtml_deploy.data.file_facts import FileFacts, decode_files, identical_files, read_files
from mtml_deploy.data.formats import suffixes
from mtml_deploy.data.records import UNKNOWN, ImageSet, require_files
from mtml_deploy.data.source import Source, load_source, parse_source
from mtml_deploy.data.text_files import Split, read_names, repeated
from mtml_deploy.errors import DataError
from mtml_deploy.text import printable
from mtml_train.data_check.report import DataCheck, SplitCheck

Progress = Callable[[int, int], None]


def check_data(
    source: str, *, decode: bool = True, threads: int = 0, progress: Progress | None = None
) -> DataCheck:
    """Everything that is wrong or remarkable in a copy of a data set.

    Every listed file is read (hash, first bytes) and, with `decode`, decoded. A list or label file
    that cannot be loaded is a finding, not an exception.

    Args:
        source: see `mtml_deploy.data.source`; all splits are checked unless it names one.
        decode: decode every image; without it only each file's first bytes are judged.
        threads: reading and decoding threads; 0 means one per CPU.
        progress: called with (steps done, steps in all); each file is one step, or two if decoded.

    Returns:
        What was found; `complete` and `as_published` sum it up, `render` gives the text.

    Raises:
        DataError: `source` is not a source, or its folder or file does not exist.
    """
    parsed = parse_source(source)
    if not parsed.path.exists():
        raise DataError(f"no such file or folder: {printable(parsed.path)}; check the name")
    data_set = parsed.data_set
    try:
        splits = (parsed.split,) if parsed.split else parsed.splits()
    except DataError:  # loading, below, fails on the same and says it
        splits = ()
    checks = {str(split): _check_part(parsed, split) for split in splits}
    if not splits:
        checks = {"images": _check_named(source, "images", labelled=parsed.kind != "path")}
    paths = sorted({path for _, present in checks.values() for path in present})
    total = len(paths) * (2 if decode else 1)

    def report(done: int) -> None:
        if progress is not None:
            progress(done, total)

    files = read_files(paths, threads=threads, done=report)
    faults = {path: file.fault for path, file in files.items() if file.fault}
    if decode:
        faults = decode_files(paths, threads=threads, done=lambda n: report(len(paths) + n))
    copies: dict[Path, Path] = {}
    if data_set is not None and data_set.queries_are_copies:
        query, gallery = (
            parsed.path / data_set.files[part].folder for part in ("query", "gallery")
        )
        copies = {path: gallery / path.name for path in files if path.parent == query}
    groups = identical_files([files[path] for path in paths if path not in faults], copies=copies)
    root = parsed.path if parsed.path.is_dir() else parsed.path.parent
    return DataCheck(
        source,
        tuple(_with_files(check, present, files, faults) for check, present in checks.values()),
        tuple(tuple(printable(os.path.relpath(p, root)) for p in group) for group in groups),
        decode,
    )


def _check_part(source: Source, split: Split) -> tuple[SplitCheck, list[Path]]:
    """One split of a data set and those of its files that are there."""
    data_set = source.data_set
    if data_set is not None and data_set.files[split].names:
        return _check_lists(data_set, source.path, split)
    check, present = _check_named(source.text(split), split, labelled=True)
    published = None if data_set is None else data_set.published.get(split)
    return replace(check, published=published), present


def _check_lists(data_set: DataSet, root: Path, split: Split) -> tuple[SplitCheck, list[Path]]:
    """A published layout's split and the listed files that are there."""
    layout = data_set.files[split]
    folder = root / layout.folder
    there = _file_names(folder)
    try:
        names = read_names(root / layout.names, what=f"the list of {layout.folder}")
    except DataError:
        names = ()  # loading, below, fails on the same and says it
    listed = dict.fromkeys(names)
    present = [folder / name for name in listed if name in there]
    missing = tuple(name for name in listed if name not in there)
    check = SplitCheck(
        split,
        Counts(images=len(present)),
        data_set.published.get(split),
        missing=missing,
        notes=_case_notes(missing, there),
        repeated=repeated(names),
        unlisted=tuple(printable(name) for name in sorted(there - listed.keys())),
    )
    try:
        images = data_set.load(root, split)
    except DataError as error:
        return replace(check, faults=(str(error),)), present
    return _with_labels(check, images, orientations=bool(layout.orientations)), present


def _check_named(source: str, split: str, *, labelled: bool) -> tuple[SplitCheck, list[Path]]:
    """The images that a source tells by itself, and those that are there."""
    try:
        images = load_source(source)
        require_files(images, "check-data")
    except DataError as error:
        return SplitCheck(split, Counts(), faults=(str(error),)), []
    present = [record.path for record in images.records if record.path.is_file()]
    there = set(present)
    check = SplitCheck(
        split,
        Counts(images=len(present)),
        missing=tuple(
            printable(name)
            for name, record in zip(images.names(), images.records, strict=True)
            if record.path not in there
        ),
    )
    # a folder promises no labels, so none is missed; most formats cannot hold an orientation
    told = any(record.orientation != UNKNOWN for record in images.records)
    told = told or source.startswith("csv:")
    return (_with_labels(check, images, orientations=told) if labelled else check), present


def _with_labels(check: SplitCheck, images: ImageSet, *, orientations: bool) -> SplitCheck:
    """The check with what the labels say; without `orientations` the format cannot hold them."""
    names = [printable(record.path.name) for record in images.records]
    vehicles = [record.vehicle_id for record in images.records]
    cameras = [record.camera_id for record in images.records]
    classes = [record.orientation for record in images.records]

    def unlabelled(labels: Iterable[int]) -> tuple[str, ...]:
        return tuple(name for name, label in zip(names, labels, strict=True) if label == UNKNOWN)

    return replace(
        check,
        found=Counts(
            check.found.images,
            *(len(set(labels) - {UNKNOWN}) for labels in (vehicles, cameras, classes)),
        ),
        without_id=unlabelled(vehicles),
        without_camera=unlabelled(cameras),
        without_orientation=unlabelled(classes) if orientations else (),
        notes=check.notes + images.notes,
    )


def _case_notes(missing: Iterable[str], there: Iterable[str]) -> tuple[str, ...]:
    """A sentence on missing images that are there under names of other case."""
    by_case = {name.casefold(): name for name in there}
    found = [by_case[name.casefold()] for name in missing if name.casefold() in by_case]
    if not found:
        return ()
    return (
        f"{len(found)} of the missing images are there under names that differ in upper and lower "
        f"case, such as {printable(found[0])}; rename the files, or correct the list",
    )


def _with_files(
    check: SplitCheck, present: list[Path], files: dict[Path, FileFacts], faults: dict[Path, str]
) -> SplitCheck:
    """The check with what reading its files showed."""
    wrong = []
    for path in present:
        name = files[path].format
        if name is not None and path.suffix.lower() not in suffixes()[name]:
            wrong.append(f"{printable(path.name)} holds a {name}")
    return replace(
        check,
        unreadable=tuple(f"{printable(p.name)}: {faults[p]}" for p in present if p in faults),
        wrong_suffix=tuple(wrong),
    )


def _file_names(folder: Path) -> set[str]:
    """Names of the files in a folder; none where there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_file()}
    except OSError:
        return set()
