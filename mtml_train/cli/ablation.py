"""`mtml-train ablation`: variants, seeds and values of a setting, trained and tested alike."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from mtml_deploy.cli.command import SafeCommand
from mtml_deploy.cli.console import write_data, write_note
from mtml_deploy.errors import DataError
from mtml_train.cli.requirements import require_libraries
from mtml_train.config import TrainConfig
from mtml_train.settings import RECIPES, build_config, parse_setting

if TYPE_CHECKING:
    from mtml_train.ablation.plan import Plan


@click.command(
    cls=SafeCommand,
    help="Train variants with several seeds, test them alike, and write one table.\n\n"
    "Each run is an ordinary run in OUT/runs. Started again, the command keeps what is done and "
    "goes on with the run that was stopped. OUT gets table.md, table.json and table.html in the "
    "layout of the paper's Tables 2 to 4, and a plot of the CMC curves.",
    docs="docs/training.md",
    examples=(
        "mtml-train ablation --data veri:VeRi --test veri:VeRi --out ablation",
        "mtml-train ablation --data veri:VeRi --test veri:VeRi --variants S,OSG --seeds 0,1,2 "
        "--vary consensus_weight=0,1 --out ablation",
    ),
)
@click.option("--data", multiple=True, required=True, metavar="SOURCE", help="Training source; "
              "repeat to join sets.")  # fmt: skip
@click.option("--test", "tests", multiple=True, required=True, metavar="SOURCE",
              help="Queries and gallery to test on; repeat for further tables.")  # fmt: skip
@click.option("--protocol", "protocols", multiple=True,
              help="Of the tests: one, or one for each.  [default: veri776]")  # fmt: skip
@click.option("--variants", default="all", show_default=True, help="Such as S,SG,OSG.")
@click.option("--seeds", default="0", show_default=True, help="Such as 0,1,2.")
@click.option("--vary", multiple=True, metavar="NAME=A,B",
              help="Values of a setting, each with every variant and seed.")  # fmt: skip
@click.option("--recipe", type=click.Choice(list(RECIPES)), default="paper", show_default=True,
              help="Named settings to start from.")  # fmt: skip
@click.option("--config", "file", type=click.Path(path_type=Path, exists=True, dir_okay=False),
              help="TOML file with settings.")  # fmt: skip
@click.option("--set", "extra", multiple=True, metavar="NAME=VALUE", help="Any setting.")
@click.option("--val", default=None, help="Validation of each run, such as holdout:0.1.")
@click.option("--checkpoint", type=click.Choice(["last", "best"]), default="last",
              show_default=True, help="Which weights of a run are tested.")  # fmt: skip
@click.option("--rerank", is_flag=True, help="Also test with k-reciprocal re-ranking.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
def ablation_command(
    *,
    data: tuple[str, ...],
    tests: tuple[str, ...],
    protocols: tuple[str, ...],
    variants: str,
    seeds: str,
    vary: tuple[str, ...],
    recipe: str,
    file: Path | None,
    extra: tuple[str, ...],
    val: str | None,
    checkpoint: Literal["best", "last"],
    rerank: bool,
    out: Path,
) -> None:
    """Train variants with several seeds, test them alike, and write one table."""
    needed = ("torch", "torchvision", "safetensors", "tensorboard")
    require_libraries("training", needed)
    from mtml_deploy.figure import require_plot

    require_plot(out / "cmc.svg")  # before hours of training
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise DataError(
            "an ablation trains one run per GPU by itself, found several processes; start it "
            "without torchrun"
        )
    from mtml_train.ablation.plan import claim, make_plan, variant_names
    from mtml_train.ablation.run import require_tests

    config = build_config(recipe, file, _flags(data, val, extra))
    plan = make_plan(
        config,
        recipe=recipe,
        variants=variant_names(variants),
        seeds=_seeds(seeds),
        vary=_varied(vary),
        tests=tests,
        protocols=_protocols(protocols, len(tests), config),
        rerank=rerank,
        checkpoint=checkpoint,
    )
    require_tests(plan)
    claim(out, plan)
    _go(plan, config, out)


def _go(plan: Plan, config: TrainConfig, out: Path) -> None:
    """Do the runs, and write the table whenever one is done."""
    import torch

    from mtml_train.ablation.plan import planned_runs
    from mtml_train.ablation.run import go_through, go_through_on, result_file
    from mtml_train.ablation.tables import write_tables
    from mtml_train.cli.progress import TrainDisplay
    from mtml_train.stop import Stopped

    runs = list(planned_runs(plan, config))

    def write() -> str:
        files = {run.name: result_file(out, run) for run in runs}
        there = {name: path for name, path in files.items() if path.is_file()}
        return write_tables(plan, runs, there, out) if there else ""

    def keep() -> None:
        write()

    gpus = torch.cuda.device_count() if config.device in ("auto", "cuda") else 0
    try:
        if gpus > 1:
            go_through_on(plan, config, out, [f"cuda:{number}" for number in range(gpus)])
        else:
            with TrainDisplay() as display:
                go_through(plan, config, out, report=display.show, after=keep)
    except Stopped as stopped:
        write_note("stopped; the same command goes on")
        raise click.exceptions.Exit(stopped.status) from None
    finally:
        page = write()
    write_data(page.rstrip("\n"))
    write_note(f"wrote {out / 'table.html'}")


def _flags(data: tuple[str, ...], val: str | None, extra: tuple[str, ...]) -> dict[str, object]:
    """Settings of every run that were given as options."""
    flags: dict[str, object] = {"data": data}
    if val is not None:
        flags["val"] = val
    for text in extra:
        (name, value), *_ = parse_setting(text).items()
        if name in ("variant", "seed"):
            raise click.UsageError(f"--set {text}: name these with --{name}s")
        if name in flags:
            raise click.UsageError(f"{name} is set twice, expected once; leave out --set {text}")
        flags[name] = value
    return flags


def _seeds(text: str) -> list[int]:
    """The seeds of a list such as "0,1,2"."""
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise click.UsageError(f"--seeds {text}: write numbers, for example 0,1,2") from error
    if min(found) < 0:
        raise click.UsageError(f"--seeds {text}: a seed is 0 or more")
    return found


def _varied(texts: tuple[str, ...]) -> dict[str, list[Any]]:
    """Setting -> values, from texts such as "consensus_weight=0,1"."""
    found: dict[str, list[Any]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        if not equals or not values:
            raise click.UsageError(f"--vary {text}: write NAME=A,B, such as consensus_weight=0,1")
        for value in values.split(","):
            ((setting, parsed),) = parse_setting(f"{name}={value}").items()
            found.setdefault(setting, []).append(parsed)
        if sum(other.partition("=")[0] == name for other in texts) > 1:
            raise click.UsageError(f"--vary {name} is given twice, expected all values in one")
    return found


def _protocols(given: tuple[str, ...], tests: int, config: TrainConfig) -> tuple[str, ...]:
    """A protocol for each test."""
    if len(given) not in (0, 1, tests):
        raise click.UsageError(
            f"--protocol is given {len(given)} times and --test {tests} times, expected once or as "
            "many"
        )
    return given if len(given) == tests else (given or (config.val_protocol,)) * tests
