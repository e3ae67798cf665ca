"""The command line `mtml-train`: training, and what leads to it.

In: sources of labelled images and settings. Out: run folders; results on stdout, everything else on
stderr. torch is imported only when a command really runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from mtml_deploy.cli import options
from mtml_deploy.cli.command import SafeCommand
from mtml_deploy.cli.console import progress_bar, write_data, write_next, write_note
from mtml_deploy.errors import CheckpointError, DataError, OutputExistsError
from mtml_deploy.version import __version__
from mtml_deploy.write_error import WriteError
from mtml_train.cli.ablation import ablation_command
from mtml_train.cli.curves import curves_command
from mtml_train.cli.processes import OneVoiceGroup
from mtml_train.cli.requirements import require_libraries
from mtml_train.cli.size_type import SizeType
from mtml_train.config import VARIANTS, Amp, BestBy, TrainConfig
from mtml_train.settings import RECIPES, build_config, parse_setting, setting_texts, to_plain

if TYPE_CHECKING:
    from mtml_train.checkpoint import Checkpoint


def _setting(name: str, kind: click.ParamType[Any] | type, text: str) -> click.Option:
    """An option for one field of `TrainConfig`; not given means the recipe's or file's value."""
    default = getattr(TrainConfig, name)
    return click.Option(
        [f"--{name.replace('_', '-')}"],
        type=kind,
        default=None,
        help=text if default == "" else f"{text}  [recipe paper: {default}]",
    )


_SETTINGS = (
    _setting("variant", click.Choice(list(VARIANTS)), "Which branches teach each other."),
    _setting("backbone", str, "A torchvision ResNet, resnet50_ibn_a, or timm:NAME."),
    _setting("weights", str, "Initial weights: none, imagenet, IMAGENET1K_V2, timm, or a file."),
    _setting("init", str, "Start from this run or checkpoint: a new run, other data or branches."),
    _setting("image_size", SizeType(), "Side of square images, or HEIGHT,WIDTH as in 256,128."),
    _setting("batch_size", int, "Images per optimiser step, over all processes."),
    _setting("accumulate", int, "Micro-batches per step and process."),
    _setting("epochs", int, "Passes over the training images."),
    _setting("max_steps", int, "Stop after so many steps; 0 writes untrained weights; -1 all."),
    _setting("lr", float, "Learning rate of Adam."),
    _setting("seed", int, "Decides weights, order and augmentation."),
    _setting("workers", int, "Data loading processes."),
    _setting("threads", int, "Threads that decode images of a validation; 0 is one per CPU."),
    _setting("amp", click.Choice(list(get_args(Amp))), "Mixed precision."),
    _setting("device", str, "auto, cpu, cuda or cuda:N."),
    _setting("val", str, "Source with query and gallery, or holdout:FRACTION; empty for none."),
    _setting("val_gallery", str, "Source of the gallery, where --val names the queries alone."),
    _setting("val_protocol", str, "Protocol of the validation."),
    _setting("val_every", int, "Epochs between validations."),
    _setting("best_by", click.Choice(list(get_args(BestBy))), "Measure that chooses the best."),
    _setting("patience", int, "End after so many validations without a better one; 0 never."),
    _setting("save_every", int, "Steps between checkpoints; 0 once per epoch."),
    _setting("log_every", int, "Steps between readings of the losses."),
)


class _TrainGroup(OneVoiceGroup):
    """`mtml-train` trains when no subcommand is named."""

    def __init__(
        self,
        *args: Any,  # noqa: ANN401 - click's own
        params: Sequence[click.Parameter] = (),
        **kwargs: Any,  # noqa: ANN401 - click's own
    ) -> None:
        super().__init__(*args, params=[*params, *_SETTINGS], **kwargs)


@click.group(
    "mtml-train",
    cls=_TrainGroup,
    invoke_without_command=True,
    docs="docs/training.md",
    examples=(
        "mtml-train --data veri:VeRi --val holdout:0.1 --out run",
        "mtml-train --out run --resume",
        "torchrun --nproc-per-node 4 -m mtml_train --data veri:VeRi --recipe strong --out run",
    ),
)
@click.version_option(__version__, prog_name="mtml-train")
@click.option("--data", multiple=True, help="Training source, e.g. veri:DIR; repeat to join sets.")
@click.option("--out", type=click.Path(path_type=Path), metavar="RUN", help="Folder of the run.")
@click.option(
    "--recipe", type=click.Choice(list(RECIPES)), default="paper", show_default=True,
    help="Named settings to start from.",
)  # fmt: skip
@click.option(
    "--config", "file", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="TOML file with settings; flags win over it.",
)  # fmt: skip
@click.option("--set", "extra", multiple=True, metavar="NAME=VALUE", help="Any other setting.")
@click.option("--resume", is_flag=True, help="Go on with the run in --out, exactly.")
@click.option("--skip-bad", is_flag=True, default=None, help="Leave out unreadable images.")
@click.pass_context
def train_main(
    ctx: click.Context,
    /,
    *,
    data: tuple[str, ...],
    out: Path | None,
    recipe: str,
    file: Path | None,
    extra: tuple[str, ...],
    resume: bool,
    skip_bad: bool | None,
    **settings: object,
) -> None:
    """Train MTML on labelled vehicle images.

    Settings without a flag of their own: --set NAME=VALUE, or a TOML file.
    """
    if ctx.invoked_subcommand is not None:
        return
    if out is None:
        raise DataError("no run folder; name one with --out RUN")
    require_libraries("training", ("torch", "torchvision", "safetensors", "tensorboard"))
    flags = {name: value for name, value in settings.items() if value is not None}
    if data:
        flags["data"] = data
    if skip_bad:
        flags["skip_bad"] = True
    for text in extra:
        setting = parse_setting(text)
        if twice := sorted(setting.keys() & flags.keys()):
            raise click.UsageError(
                f"{twice[0]} is set twice, expected once; leave out --set {text}"
            )
        flags |= setting
    checkpoint = None
    if resume:
        from mtml_train.resume import resumed_config

        if file is not None or recipe != "paper":
            raise DataError("--resume takes all settings from the run; leave --config and --recipe")
        checkpoint = _resumable(out)
        config = resumed_config(checkpoint.card.config, flags, out=out)
        recipe = checkpoint.card.recipe
    else:
        _refuse_existing_run(out)
        config = build_config(recipe, file, flags)
        if config.init:
            config = _shaped(config, recipe, file, flags)
    _train(config, out, recipe, checkpoint)


def _train(config: TrainConfig, out: Path, recipe: str, checkpoint: Checkpoint | None) -> None:
    """Run the loop with a display, and say at the end what there is now."""
    from mtml_train.checkpoint import BEST, LAST
    from mtml_train.cli.progress import TrainDisplay
    from mtml_train.stop import Stopped
    from mtml_train.train import train

    try:
        with TrainDisplay() as display:
            progress = train(config, out, recipe=recipe, resume=checkpoint, report=display.show)
    except Stopped as stopped:  # what was saved is told
        raise click.exceptions.Exit(stopped.status) from None
    except (KeyboardInterrupt, WriteError):
        if (out / LAST).exists():
            write_note(f"stopped; go on from the last checkpoint: mtml-train --out {out} --resume")
        raise
    write_note(f"{progress.step} steps, {progress.images} images; weights in {out / LAST}")
    if progress.validation is not None:
        write_note(f"best {config.best_by} {100 * progress.best:.1f} % in {out / BEST}")
    write_next("mtml-export", out, "--out", "MODEL")


def _shaped(
    config: TrainConfig, recipe: str, file: Path | None, flags: Mapping[str, object]
) -> TrainConfig:
    """The settings of a run that starts from an own model: of its shape, unless told otherwise."""
    from mtml_train.checkpoint import load_checkpoint
    from mtml_train.fine_tune import model_settings

    model = model_settings(load_checkpoint(Path(config.init)).card.config)
    shaped = build_config(recipe, file, flags, model=model)
    if shaped.image_size != model["image_size"] and shaped.scale_size == model["scale_size"]:
        # pixels of the scale branch belong to those of the images
        shaped = replace(shaped, scale_size=config.scale_size)
    others = [f"{name} = {getattr(shaped, name)}" for name in model
              if getattr(shaped, name) != getattr(config, name)]  # fmt: skip
    if others:
        write_note(f"as in {config.init}: {', '.join(others)}")
    return shaped


def _refuse_existing_run(out: Path) -> None:
    """Never train over an earlier run, nor over files of others."""
    from mtml_train.checkpoint import BEST, LAST
    from mtml_train.run_card import require_run_writable

    if out.exists() and not out.is_dir():
        raise OutputExistsError(f"{out} is a file; name a folder with --out")
    if any((out / name).exists() for name in (LAST, BEST)):
        raise OutputExistsError(
            f"{out} holds a run already and was left as it is; go on with it by --resume, or name "
            "another folder with --out"
        )
    require_run_writable(out)


def _resumable(out: Path) -> Checkpoint:
    """The last checkpoint of the run folder, with its optimiser."""
    from mtml_train.checkpoint import LAST, load_checkpoint

    if not (out / LAST).is_file():
        raise CheckpointError(
            f"nothing to resume in {out}: no {LAST} was written there yet; train without --resume"
        )
    return load_checkpoint(out / LAST, resume=True)


@train_main.command(
    "check-data",
    cls=SafeCommand,
    help="Compare a copy of a data set with the published counts, and list its faults.\n\n"
    "The exit status is 1 where something is missing, repeated or unreadable; a smaller set than "
    "the published one is no fault.",
    docs="docs/data.md",
    examples=(
        "mtml-train check-data veri:VeRi",
        "mtml-train check-data csv:cars.csv --no-decode",
    ),
)
@click.argument("source", metavar="SOURCE")
@click.option("--no-decode", is_flag=True, help="Do not decode the images, only look at files.")
@options.threads
def check_data_command(*, source: str, no_decode: bool, threads: int) -> None:
    """Compare a copy of a data set with the published counts, and list its faults."""
    from mtml_train.data_check.check import check_data
    from mtml_train.data_check.report import render

    with progress_bar("checking", unit="images") as progress:
        check = check_data(source, decode=not no_decode, threads=threads, progress=progress)
    write_data(render(check))
    if not check.complete:
        raise click.exceptions.Exit(1)
    write_next("mtml-train", "--data", source, "--out", "RUN")


@train_main.command(
    "synthetic",
    cls=SafeCommand,
    docs="docs/data.md",
    examples=(
        "mtml-train synthetic cars --train-vehicles 6 --test-vehicles 6 --images-per-vehicle 6",
        "mtml-train synthetic cars --longest-side 128 --seed 7 --overwrite",
    ),
)
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--train-vehicles", type=int, default=64, show_default=True)
@click.option("--test-vehicles", type=int, default=32, show_default=True)
@click.option("--images-per-vehicle", type=int, default=16, show_default=True)
@click.option("--cameras", type=int, default=6, show_default=True)
@click.option("--longest-side", "image_size", type=int, default=160, show_default=True,
              help="Of an image, pixels.")  # fmt: skip
@click.option("--twins", type=int, default=2, show_default=True, help="Vehicles that look alike.")
@click.option("--queries-per-vehicle", type=int, default=2, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--processes", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--overwrite", is_flag=True, help="Replace a synthetic set that is there.")
def synthetic_command(*, folder: Path, processes: int, overwrite: bool, **values: int) -> None:
    """Render vehicles of known identity, camera and orientation in VeRi-776 layout."""
    from mtml_train.synthetic import SyntheticSpec, write_synthetic

    try:
        spec = SyntheticSpec(**values)
    except ValueError as error:
        raise DataError(str(error)) from error
    with progress_bar("rendering", unit="images") as progress:
        summary = write_synthetic(
            folder, spec, processes=processes, overwrite=overwrite, progress=progress
        )
    write_note(
        f"wrote {summary.train_images} training, {summary.query_images} query and "
        f"{summary.gallery_images} gallery images of {summary.train_vehicles} + "
        f"{summary.test_vehicles} vehicles to {folder}"
    )
    source = f"veri:{folder}"
    write_next("mtml-train", "--data", source, "--val", source, "--out", "RUN")


@train_main.command(
    "settings",
    cls=SafeCommand,
    docs="docs/training.md",
    examples=(
        "mtml-train settings",
        "mtml-train settings --recipe strong",
    ),
)
@click.option("--recipe", type=click.Choice(list(RECIPES)), default="paper", show_default=True)
def settings_command(*, recipe: str) -> None:
    """Print every setting, what it is and its values in the recipes, as a TOML file."""
    values = {name: to_plain(build_config(name, None, {})) for name in RECIPES}
    for name, text in setting_texts().items():
        others = "; ".join(
            f"{other}: {json.dumps(plain[name])}"
            for other, plain in values.items()
            if plain[name] != values[recipe][name]
        )
        text += f" [{others}]" if others else ""
        write_data(f"{name} = {json.dumps(values[recipe][name])}" + (f"  # {text}" if text else ""))


train_main.add_command(ablation_command, "ablation")
train_main.add_command(curves_command, "curves")
