"""Which runs an ablation consists of; the record by which its folder is known again.

In: what the user asks for. Out: a `Plan`, and the settings of each run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from mtml_deploy.data.source import absolute_source
from mtml_deploy.errors import DataError, OutputExistsError
from mtml_deploy.files import write_text
from mtml_deploy.record_file import Count, Record, parse_json, record_json, shown
from mtml_deploy.regular_file import read_regular
from mtml_train.config import VARIANTS, TrainConfig
from mtml_train.prepare import placed
from mtml_train.settings import from_plain, to_plain

PLAN: Final = "ablation.json"

MACHINE: Final = frozenset({"device", "workers", "threads", "log_every", "save_every"})
"""Settings that change no number, so that an ablation goes on on another machine."""

_NAMED: Final = frozenset({"variant", "seed"})
"""Settings that differ between runs and have options of their own."""


class Plan(Record, frozen=True):
    """All that decides the numbers of an ablation.

    Attributes:
        schema: of this record.
        recipe: name of the recipe the settings started from.
        settings: of every run, but for what differs between them.
        variants: names, in the order of the table.
        seeds: one run of each for every variant and value.
        vary: setting -> its values.
        tests: sources of queries and gallery.
        protocols: one for each test.
        rerank: also judge re-ranked orders.
        checkpoint: which weights of a run are judged.
    """

    schema: Literal[1]
    recipe: str
    settings: dict[str, Any]
    variants: tuple[str, ...]
    seeds: tuple[Count, ...]
    vary: dict[str, tuple[Any, ...]]
    tests: tuple[str, ...]
    protocols: tuple[str, ...]
    rerank: bool
    checkpoint: Literal["best", "last"]


@dataclass(frozen=True)
class PlannedRun:
    """One run.

    Attributes:
        name: of its folder.
        row: of the table: variant and varied settings.
        variant: its branches.
        varied: whether a varied setting has another value than the recipe gives it.
        seed: of the run.
        config: all its settings.
    """

    name: str
    row: str
    variant: str
    varied: bool
    seed: int
    config: TrainConfig


def make_plan(
    config: TrainConfig,
    *,
    recipe: str,
    variants: Sequence[str],
    seeds: Sequence[int],
    vary: Mapping[str, Sequence[object]],
    tests: Sequence[str],
    protocols: Sequence[str],
    rerank: bool,
    checkpoint: Literal["best", "last"],
) -> Plan:
    """The plan of an ablation; see `Plan` for the arguments.

    Raises:
        DataError: something is named twice or missing, or the settings of a run do not work.
    """
    for what, values in (("--variants", variants), ("--seeds", seeds), ("--test", tests)):
        if not values:
            raise DataError(f"{what} names none, expected one or more")
        if len(set(values)) < len(values):
            raise DataError(f"{what} names one twice, expected each once")
    if fixed := sorted(_NAMED & vary.keys()):
        raise DataError(f"--vary {fixed[0]}: name these with --{fixed[0]}s")
    for name, varied in vary.items():
        if len(set(varied)) < len(varied):
            raise DataError(f"--vary {name} names a value twice, expected each once")
    if checkpoint == "best" and not config.val:
        raise DataError("--checkpoint best needs a validation; add --val holdout:0.1")
    settings = {
        name: value
        for name, value in to_plain(placed(config)).items()
        if name not in MACHINE | _NAMED | vary.keys()
    }
    plan = Plan(
        schema=1,
        recipe=recipe,
        settings=settings,
        variants=tuple(variants),
        seeds=tuple(seeds),
        vary={name: tuple(values) for name, values in vary.items()},
        tests=tuple(map(absolute_source, tests)),
        protocols=tuple(protocols),
        rerank=rerank,
        checkpoint=checkpoint,
    )
    list(planned_runs(plan, config))  # settings that do not work are told here
    return plan


def planned_runs(plan: Plan, machine: TrainConfig) -> Iterator[PlannedRun]:
    """The runs of a plan: all seeds of a row, then the next row.

    Args:
        plan: of the ablation.
        machine: gives device, workers and what else changes no number.

    Yields:
        Each run.

    Raises:
        DataError: its settings do not work.
    """
    same = {name: getattr(machine, name) for name in MACHINE}
    for variant in plan.variants:
        for values in product(*plan.vary.values()):
            changes = dict(zip(plan.vary, values, strict=True))
            words = [f"{name} = {value}" for name, value in changes.items()]
            given = from_plain({**plan.settings, **changes}, where=PLAN)
            try:
                base = replace(TrainConfig(), **given, **same, variant=variant)  # type: ignore[arg-type]
                configs = [replace(base, seed=seed) for seed in plan.seeds]
            except ValueError as error:
                raise DataError(f"{', '.join([variant, *words])}: {error}") from error
            varied = any(getattr(TrainConfig(), name) != value for name, value in changes.items())
            for config in configs:
                parts = [variant, *(f"{name}={value}" for name, value in changes.items())]
                name = "_".join([*parts, f"seed{config.seed}"]).replace("/", "-")
                row = ", ".join([variant, *words])
                yield PlannedRun(name, row, variant, varied, config.seed, config)


def read_plan(out: Path) -> Plan:
    """The plan that a folder was made for.

    Raises:
        DataError: its record cannot be read.
    """
    try:
        return parse_json(read_regular(out / PLAN), Plan)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {out / PLAN}: {error}; name another --out") from error


def claim(out: Path, plan: Plan) -> None:
    """Make the folder that of a plan, or see that it is.

    Args:
        out: folder of the ablation.
        plan: of the ablation.

    Raises:
        OutputExistsError: it is that of another plan, or holds something else.
        DataError: its record cannot be read.
    """
    if not (out / PLAN).is_file():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise OutputExistsError(
                f"{out} is no folder of an ablation (it lacks {PLAN}) and was left as it is; name "
                "a new folder with --out"
            )
        write_text(out / PLAN, record_json(plan, indent=1) + "\n")
        return
    before, now = (_flat(each) for each in (read_plan(out), plan))
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            raise OutputExistsError(
                f"{out} belongs to another ablation: {name} is {shown(before.get(name))} there and "
                f"{shown(now.get(name))} here; give what it was started with, or name another --out"
            )


def _flat(plan: Plan) -> dict[str, object]:
    """Fields of a plan with the settings among them, as JSON holds them."""
    values: dict[str, Any] = msgspec.json.decode(record_json(plan))
    return {**values.pop("settings"), **values, "variants": values["variants"]}


def variant_names(text: str) -> list[str]:
    """Variants by short names.

    Args:
        text: "all", or names such as "S,SG,MTML-OSG".

    Returns:
        Names of `VARIANTS`, as given.

    Raises:
        DataError: there is no such variant.
    """
    if text.strip() == "all":
        return list(VARIANTS)
    names = [f"MTML-{part.strip().removeprefix('MTML-')}" for part in text.split(",")]
    if unknown := [name for name in names if name not in VARIANTS]:
        raise DataError(
            f"no variant {unknown[0]}; there are {', '.join(VARIANTS)}, or all of them: all"
        )
    return names
