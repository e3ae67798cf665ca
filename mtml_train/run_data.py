"""The images of a run: loaded, joined, and looked at before the first step.

In: settings. Out: the training set, and the query set and gallery to validate on. What would stop
the run hours later stops it here: a missing file, a damaged validation image, no match to find.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from mtml_deploy.data.batches import BadImage, iterate_batches
from mtml_deploy.data.listed_path import why_missing
from mtml_deploy.data.records import ImageRecord, ImageSet, require_files
from mtml_deploy.data.source import load_source
from mtml_deploy.errors import DataError
from mtml_deploy.text import printable
from mtml_train.config import VARIANTS, TrainConfig
from mtml_train.data.overlap import copies, require_disjoint, trained_on
from mtml_train.data.train_set import TrainSet, join_training_sets
from mtml_train.validate import require_protocol, split_validation

_WITHOUT_D: Final = ", ".join(
    name for name, branches in VARIANTS.items() if "orientation" not in branches
)
"""Variants without branch D."""

_SHOWN: Final = 3
"""Images that an error names."""


@dataclass(frozen=True)
class Checking:
    """How many images were opened before the first step."""

    done: int
    total: int


Report = Callable[[Checking | str], None]


def load_run_data(
    config: TrainConfig, report: Report, *, validates: bool
) -> tuple[TrainSet, tuple[ImageSet, ImageSet] | None]:
    """Training images of all sources, joined, and the validation sets.

    Of training images only the presence is looked at, unless `skip_bad` wants to know which cannot
    be decoded; `mtml-train check-data` decodes them all. Validation images are decoded.

    Args:
        config: uses data, val, val_protocol, seed, skip_bad.
        report: receives notes, and how far the checks are.
        validates: whether this process is the one that validates.

    Returns:
        The training set; query set and gallery, None without validation.

    Raises:
        MtmlError: a source does not load, an image is missing or damaged, or the validation could
            not be done.
    """
    if not config.data:
        raise DataError("no training data; name it with --data, for example --data veri:DIR")
    sets = [load_source(source, split="train") for source in config.data]
    for images in sets:
        require_files(images, "training")
    require_disjoint(sets)
    for note in copies(sets):
        report(note)
    sets, val_sets = split_validation(config, sets)
    if val_sets is not None and (note := trained_on(sets, val_sets)):
        report(note)
    if config.skip_bad:
        sets = [_without_bad(images, report, threads=config.threads) for images in sets]
    else:
        for images in sets:
            _require_present(images)
    for images in sets:
        for note in images.notes:
            report(f"{images.source}: {note}")
    train_set = join_training_sets(sets)
    labelled = sum(each.with_orientation for each in train_set.sets)
    report(
        f"{len(train_set)} training images of {len(train_set.identities)} vehicles, "
        f"{labelled} with orientation"
    )
    if labelled == 0 and "orientation" in config.branches:
        report(
            "no training image has an orientation, so branch orientation learns vehicles only and "
            f"can tell none later: give labels, or take a variant without it ({_WITHOUT_D})"
        )
    if val_sets is None:
        report("no validation: name query and gallery with --val, for example --val veri:DIR")
        return train_set, None
    require_protocol(*val_sets, config.val_protocol)
    if validates:
        query, gallery = (_usable(each, report, config) for each in val_sets)
        if config.skip_bad:  # the only match may have been left out
            require_protocol(query, gallery, config.val_protocol)
        val_sets = query, gallery
    return train_set, val_sets


def _require_present(images: ImageSet) -> None:
    """Refuse a set of which files are missing or empty."""
    absent = [each for each in images.records if not _is_there(each)]
    if absent:
        names = ", ".join(printable(each.path) for each in absent[:_SHOWN])
        first = absent[0].path
        why = "" if first.exists() else f" (the first: {why_missing(first)})"
        raise DataError(
            f"{_some(len(absent), len(images.records))} of {images.source} are missing or empty: "
            f"{names}{_more(absent)}{why}; copy the data set again (mtml-train check-data lists "
            "every fault of it), or leave them out with --skip-bad"
        )


def _is_there(record: ImageRecord) -> bool:
    """Whether an image is a file that is not empty."""
    try:
        return record.path.is_file() and record.path.stat().st_size > 0
    except (OSError, ValueError):
        return False


def _usable(images: ImageSet, report: Report, config: TrainConfig) -> ImageSet:
    """The set, every image of which can be decoded."""
    if config.skip_bad:
        return _without_bad(images, report, threads=config.threads)
    if bad := _bad_images(images, report, threads=config.threads):
        texts = "; ".join(f"{printable(each.path)}: {each.reason}" for each in bad[:_SHOWN])
        raise DataError(
            f"{_some(len(bad), len(images.records))} of {images.source}, which the run is to be "
            f"validated on, cannot be used: {texts}{_more(bad)}; --skip-bad leaves such images "
            "out"
        )
    return images


def _without_bad(images: ImageSet, report: Report, *, threads: int) -> ImageSet:
    """The set without images that cannot be decoded, each of them reported."""
    bad = _bad_images(images, report, threads=threads)
    for each in bad:
        report(f"left out {printable(each.path)}: {each.reason}")
    left_out = {each.index for each in bad}
    kept = [number for number in range(len(images.records)) if number not in left_out]
    if not kept:
        raise DataError(
            f"not one of the {len(bad)} images of {images.source} can be used; the first: "
            f"{bad[0].reason}"
        )
    return images.take(kept)


def _bad_images(images: ImageSet, report: Report, *, threads: int) -> list[BadImage]:
    """Images that cannot be decoded, in the order of the set."""
    bad: list[BadImage] = []
    total = len(images.records)
    for batch in iterate_batches(
        images.pictures, height=32, width=32, batch_size=64, threads=threads, skip_bad=True
    ):
        bad += batch.bad
        if len(batch.indices):
            report(Checking(int(batch.indices[-1]) + 1, total))
    return bad


def _some(count: int, total: int) -> str:
    """How many of a set."""
    return f"{count:,} of the {total:,} images"


def _more(found: Sequence[object]) -> str:
    """How many are not named."""
    return f" and {len(found) - _SHOWN:,} more" if len(found) > _SHOWN else ""
