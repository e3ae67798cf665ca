"""The command `training`: accuracy of the recipes beside peers' own."""

from __future__ import annotations

from pathlib import Path
from typing import Final, get_args

import click

from benchmarks.cli import options as command_options
from benchmarks.cli.options import COUNT, POSITIVE, finish, prepare
from mtml_deploy.cli import options
from mtml_deploy.cli.command import SafeCommand
from mtml_deploy.cli.console import write_note
from mtml_deploy.defaults import PROTOCOL
from mtml_train.config import Amp

_PEERS: Final = """\b
Peers lie beside the project, or are left out; what they need lies there too:
  git clone https://github.com/KaiyangZhou/deep-person-reid $PEERS/torchreid
  git clone https://github.com/JDAI-CV/fast-reid $PEERS/fastreid
  python -m pip install --target $PEERS/site yacs termcolor tabulate gdown \\
    scikit-learn opencv-python-headless h5py
Here python is the one that measures. Only copies of them are changed.
"""


@click.command(
    cls=SafeCommand,
    epilog=_PEERS,
    docs="benchmarks/README.md",
    examples=(
        "python -m benchmarks training --data veri:VeRi --test veri:VeRi --out reports",
        "python -m benchmarks training --data veri:VeRi --test veri:VeRi "
        "--entrant strong:MTML-OSG --entrant paper:single --seed 0 --out reports",
    ),
)
@click.option("--data", required=True, metavar="SOURCE", help="Training images, veri:DIR.")
@click.option("--test", "tests", multiple=True, required=True, metavar="SOURCE",
              help="Query and gallery, may be repeated.")  # fmt: skip
@command_options.out
@click.option("--entrant", "entrants", multiple=True, default=("strong:MTML-OSG",),
              show_default=True, metavar="RECIPE:VARIANT[:NAME=VALUE,...]",
              help="One of ours, may be repeated.")  # fmt: skip
@click.option("--peer-torchreid", type=options.FOLDER, help="Its checkout.")
@click.option("--peer-fast-reid", type=options.FOLDER, help="Its checkout.")
@click.option("--peer-site", type=options.FOLDER, help="Folder with what peers need.")
@click.option("--steps", type=POSITIVE, default=250, show_default=True)
@click.option("--seed", "seeds", type=COUNT, multiple=True, default=(0, 1), show_default=True,
              help="May be repeated.")  # fmt: skip
@click.option("--batch-size", type=POSITIVE, default=32, show_default=True)
@click.option("--image-size", type=click.IntRange(min=32), default=64, show_default=True)
@click.option("--backbone", type=click.Choice(["resnet18", "resnet34", "resnet50"]),
              default="resnet18", show_default=True)  # fmt: skip
@click.option("--amp", type=click.Choice(list(get_args(Amp))), default="none", show_default=True,
              help="Of ours; peers compute in float32.")  # fmt: skip
@click.option("--protocol", default=PROTOCOL, show_default=True, help=f"{options.PROTOCOLS}.")
@click.option(
    "--model-threads", type=POSITIVE, default=1, show_default=True, help="Of each training."
)
@options.overwrite
def training(
    *,
    data: str,
    tests: tuple[str, ...],
    out: Path,
    entrants: tuple[str, ...],
    peer_torchreid: Path | None,
    peer_fast_reid: Path | None,
    peer_site: Path | None,
    seeds: tuple[int, ...],
    steps: int,
    batch_size: int,
    image_size: int,
    backbone: str,
    amp: str,
    protocol: str,
    model_threads: int,
    overwrite: bool,
) -> None:
    """Accuracy of training: recipes beside peers', from random weights, on the same images.

    A training takes minutes. Finished ones stay in OUT/training-runs, and are not run again.
    """
    prepare(out, ("training",), overwrite=overwrite)
    from benchmarks.measure.machine import describe_environment
    from benchmarks.training.checkouts import mended_copy
    from benchmarks.training.entrants import peer_entrant, recipe_entrant
    from benchmarks.training.run import TrainingBench, load_tests, train_all
    from benchmarks.training.table import training_record
    from mtml_deploy.evaluation.protocols import find_protocol

    environment = describe_environment()
    rules = find_protocol(protocol)
    bench = TrainingBench(tuple(dict.fromkeys(seeds)), steps, batch_size, image_size, model_threads)
    found = load_tests(tests)
    site = () if peer_site is None else (peer_site.absolute(),)
    chosen = []
    if peer_torchreid is not None:
        copy = mended_copy("torchreid", peer_torchreid, out.absolute() / "torchreid")
        chosen.append(peer_entrant("torchreid", copy, backbone=backbone, site=site))
    if peer_fast_reid is not None:
        copy = mended_copy("fast-reid", peer_fast_reid, out.absolute() / "fast-reid")
        chosen.append(peer_entrant("fast-reid", copy, backbone=backbone, site=site))
    for entrant in dict.fromkeys(entrants):
        chosen.append(recipe_entrant(entrant, backbone=backbone, amp=amp))
    trained = train_all(chosen, data, found, out / "training-runs", bench=bench, say=write_note)
    record = training_record(
        trained, found, rules, environment=environment, bench=bench, data=data, backbone=backbone,
        say=write_note,
    )  # fmt: skip
    finish(out, record, overwrite=overwrite)
