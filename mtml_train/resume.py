"""What a resumed run may change, and what must be as it was for the run to go on exactly.

In: the record of a stopped run and what the user asks for now. Out: the settings to go on with, or
an error that says why they would make another run of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from mtml_deploy.data.source import parse_source
from mtml_deploy.errors import DataError
from mtml_train.config import TrainConfig
from mtml_train.run_card import RunCard

HOLDOUT: Final = "holdout:"
"""How a validation begins that takes vehicles out of the training data."""

FREE: Final = frozenset(
    # these alter no step; that `data` names the same images is asked when they are read
    {"data", "max_steps", "workers", "threads", "device", "save_every", "log_every", "skip_bad"}
    | {"val", "val_gallery", "val_every", "val_protocol", "best_by", "patience"}
    | {"epochs", "accumulate"}
)
"""Settings that a resumed run may change, four of them within bounds: `val`, `epochs` and, with the
number of processes, `accumulate`; and `data` may name another place of the same images."""

OF_MODEL: Final = "it is part of the model that was trained so far"
"""Why a setting stays that shapes the model."""

FIXED: Final[Mapping[str, str]] = {
    name: why
    for names, why in (
        (
            ("variant", "backbone", "image_size", "scale_size", "consensus_dim"),
            OF_MODEL,
        ),
        (("last_stride", "pooling", "neck"), OF_MODEL),
        (
            ("weights", "init"),
            "the run goes on with its own weights, not with those it started from",
        ),
        (
            ("auto_augment", "auto_augment_share", "erase_fill"),
            "it decides which images a step sees, and how",
        ),
        (
            ("batch_size", "sampler", "instances", "flip", "pad", "erase", "jitter", "seed"),
            "it decides which images a step sees, and how",
        ),
        (
            ("lr", "beta1", "beta2", "weight_decay", "schedule", "warmup_epochs"),
            "it decides how far a step moves the weights",
        ),
        (
            ("optimizer", "momentum", "head_lr", "warmup_steps", "freeze_steps", "max_grad_norm"),
            "it decides how far a step moves the weights",
        ),
        (("ema",), "it decides which weights are kept"),
        (
            (
                "consensus_weight",
                "temperature",
                "detach_consensus",
                "consensus_gradient",
                "label_smoothing",
            ),
            "it is part of the loss",
        ),
        (("identity_loss", "identity_scale", "identity_margin"), "it is part of the loss"),
        (
            ("triplet_weight", "triplet_on", "triplet_margin", "triplet_distance"),
            "it is part of the loss",
        ),
        (("amp", "sync_bn", "deterministic"), "it changes the numbers that a step computes"),
    )
    for name in names
}
"""Every other setting, and why it stays as it is."""


def resumed_config(config: TrainConfig, flags: Mapping[str, object], *, out: Path) -> TrainConfig:
    """Settings to go on with.

    Args:
        config: those of the run so far.
        flags: field name -> value that the user gave now.
        out: the run folder, for errors.

    Returns:
        The settings of the run, with those of the flags that alter no step.

    Raises:
        DataError: a flag would make another run of it, or a value is out of range.
    """
    for name, value in flags.items():
        was = getattr(config, name)
        if value != was and (why := _objection(name, was, value)):
            raise DataError(
                f"the run in {out} was started with {name} = {_shown(was)}, --resume cannot change "
                f"it to {_shown(value)}: {why}; leave it out, or start another run with another "
                "--out"
            )
    try:
        return replace(config, **flags)  # type: ignore[arg-type]  # checked by click
    except ValueError as error:
        raise DataError(f"these settings do not work: {error}") from error


def resume_command(out: Path, processes: int) -> str:
    """What goes on with a run, in as many processes as it had."""
    start = "mtml-train"
    if processes > 1:
        start = f"torchrun --nproc-per-node {processes} -m mtml_train"
    return f"{start} --out {out} --resume"


def require_same_data(before: RunCard, now: RunCard) -> None:
    """Refuse other training images or labels than those the run was started with.

    Args:
        before: the run as its checkpoint tells it.
        now: the run as its data are now.

    Raises:
        DataError: they differ; the text says in what.
    """
    if len(before.sets) != len(now.sets):
        raise DataError(
            f"the run was started with {len(before.sets)} data sets ({', '.join(before.sources)}), "
            f"found {len(now.sets)}; name all of them with --data, in this order"
        )
    for was, found in zip(before.sets, now.sets, strict=True):
        if was.images != found.images:
            what = f"holds {found.images} training images now, {was.images} when the run started"
        elif was.names_sha256 != found.names_sha256:
            what = (
                f"holds {found.images} training images as when the run started, but other ones, "
                "or in another order"
            )
        elif was.labels_sha256 != found.labels_sha256:
            what = (
                "holds the training images that the run started with, but with other vehicle ids, "
                "cameras or orientations"
            )
        else:
            continue
        raise DataError(
            f"{found.source} {what}; a run goes on exactly or not at all: put the data back as "
            "they were, or start another run with another --out"
        )


def require_same_share(before: RunCard, now: RunCard) -> None:
    """Refuse another number of images that are normalised, or compared in triplets, together.

    Args:
        before: the run as its checkpoint tells it.
        now: the run as it would go on.

    Raises:
        DataError: a step would compute something else.
    """
    batch = before.config.batch_size
    was, found = (_pieces(each, each.config.accumulate) for each in (before, now))
    if was == found:
        return
    fits = [micro for micro in range(1, batch + 1) if _pieces(now, micro) == was]
    fix = (
        f"add --accumulate {fits[0]}"
        if fits
        else f"start {before.processes} processes with --accumulate {before.config.accumulate}"
    )
    texts = [
        f"{each.processes} processes x {each.config.accumulate} micro-batches"
        for each in (before, now)
    ]
    raise DataError(
        f"the run was started with {texts[0]}, where BatchNorm takes {batch // was[0]} images "
        f"together, and {texts[1]} would take {batch // found[0]}, or compare others in triplets; "
        f"{fix}"
    )


def _pieces(card: RunCard, accumulate: int) -> tuple[int, int]:
    """Into how many pieces a step is cut for BatchNorm, and for the triplet loss (0 without)."""
    shared = card.config.sync_bn == "on"
    pieces = accumulate * card.processes
    triplets = pieces if card.config.triplet_weight > 0 else 0
    return accumulate if shared else pieces, triplets


def require_there(config: TrainConfig, *, out: Path) -> None:
    """Refuse to go on where the data are no longer in their place, and say how to name a new one.

    Args:
        config: settings of a resumed run.
        out: the run folder, for the text.

    Raises:
        DataError: a source is not there.
    """
    validation = () if not config.val or config.val.startswith(HOLDOUT) else (config.val,)
    for option, sources, otherwise in (
        ("--data", config.data, ""),
        ("--val", validation, ', or go on without validation: --val ""'),
        (
            "--val-gallery",
            (config.val_gallery,) if config.val_gallery else (),
            ', or go on without validation: --val "" --val-gallery ""',
        ),
    ):
        for text in sources:
            source = parse_source(text)
            if not source.path.exists():
                moved = replace(source, path=Path("NEW_PLACE")).text(source.split)
                each = " for each data set, in their order" if len(sources) > 1 else ""
                raise DataError(
                    f"{text} is not there any more; if it was moved, name its new place: "
                    f"mtml-train --out {out} --resume {option} {moved}{each}{otherwise}"
                )


def _objection(name: str, was: object, value: object) -> str:
    """Why a setting cannot change from `was` to `value`; empty where it can."""
    if name == "epochs" and isinstance(was, int) and isinstance(value, int) and value < was:
        return "a run is only made longer; stop it earlier with --max-steps"
    if name == "val" and any(str(each).startswith(HOLDOUT) for each in (was, value)):
        return "a hold-out takes vehicles out of the training images"
    return FIXED.get(name, "")


def _shown(value: object) -> str:
    """A value as it is written in a settings file."""
    return json.dumps(value, ensure_ascii=False)
