"""Small runs and what is read back from them."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from helpers_warm import started
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.distributed import TCPStore

from mtml_deploy.data.records import ImageRecord, ImageSet
from mtml_train.cli.train import train_main
from mtml_train.config import TrainConfig

SIZE = 32
"""Image side, pixels: the smallest a run takes."""

TRAIN = [sys.executable, "-m", "mtml_train"]

LAUNCH_TWO = [
    *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
    *("-m", "mtml_train"),
]
"""`torchrun` as a user starts it; `run_two` does the same in seconds less."""

WIDTH = 8
"""Features of `tiny_network`."""


def tiny_network() -> nn.Sequential:
    """One convolution with BatchNorm, where a test needs a backbone and not a ResNet."""
    return nn.Sequential(
        nn.Conv2d(3, WIDTH, 5, stride=4, bias=False),
        nn.BatchNorm2d(WIDTH),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


def small_config(data: Path | str, /, **changes: object) -> TrainConfig:
    """The cheapest run on `veri:data`: two branches of ResNet-18 on images of 32 pixels."""
    config = TrainConfig(
        data=(f"veri:{data}",),
        variant="MTML-G",
        backbone="resnet18",
        weights="none",
        image_size=SIZE,
        consensus_dim=16,
        epochs=2,
        workers=0,
        device="cpu",
        log_every=1,
    )
    return replace(config, **changes)  # type: ignore[arg-type]


def flags(config: TrainConfig) -> list[str]:
    """The command line that gives `config`, as far as it differs from the recipe `paper`."""
    words: list[str] = []
    for name, default in vars(TrainConfig()).items():
        value = getattr(config, name)
        if name == "data":
            words += [word for source in value for word in ("--data", source)]
        elif value != default:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            words += ["--set", f"{name}={text}"]
    return words


def same_threads() -> dict[str, str]:
    """An environment in which a child adds in the same order: with as many threads as here."""
    return {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}


def train_command(*words: object) -> None:
    """`mtml-train` in this process."""
    train_main([*map(str, words)], prog_name="mtml-train")


def run_two(
    *words: object, work: Callable[..., object] = train_command, limit_s: float = 200
) -> tuple[list[int | None], str]:
    """Two processes of one run on the CPU, told of each other as `torchrun` does.

    Args:
        words: of the command.
        work: what each runs.
        limit_s: one that hangs so long fails the test, and is ended.

    Returns:
        Exit status of each, and what both said.
    """
    meeting = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    told = {
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(meeting.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": "0",
    }
    with TemporaryDirectory() as folder:
        log = Path(folder, "said")
        log.touch()  # also of processes that end before they speak
        processes = [
            started(work, *words, log=log, environment={**told, "RANK": rank, "LOCAL_RANK": rank})
            for rank in ("0", "1")
        ]
        for process in processes:
            process.join(limit_s)
        statuses = [process.exitcode for process in processes]
        for process in processes:
            process.kill()
            process.join()
        assert None not in statuses, f"still running after {limit_s} s:\n{log.read_text()}"
        return statuses, log.read_text()


def assert_equal_tensors(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> None:
    """Same names, same bits."""
    assert left.keys() == right.keys()
    different = [name for name in left if not torch.equal(left[name], right[name])]
    assert not different, f"{len(different)} of {len(left)} differ, first {different[0]}"


def board(run: Path, tag: str) -> dict[int, float]:
    """Step -> value of one TensorBoard scalar of a run."""
    return {event.step: event.value for event in _events(run).Scalars(tag)}


def board_tags(run: Path) -> list[str]:
    """Names of all scalars of a run."""
    return list(_events(run).Tags()["scalars"])


def _events(run: Path) -> EventAccumulator:
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    return events


def printed_totals(stderr: str) -> dict[int, float]:
    """Step -> total loss of the lines that a run prints."""
    lines = re.findall(r"step (\d+)/\d+ .*?total ([\d.]+)", stderr)
    return {int(step): float(loss) for step, loss in lines}


def random_images(count: int, *, seed: int = 0, size: int = SIZE) -> np.ndarray:
    """uint8 [count, size, size, 3]."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, size=(count, size, size, 3), dtype=np.uint8)


def coloured_set(
    folder: Path,
    labels: Sequence[tuple[int, int, int]],
    *,
    source: str = "",
    colours: Sequence[tuple[int, int, int]] = (),
) -> ImageSet:
    """One PNG of one colour per (vehicle, camera, orientation); without `colours` by number."""
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for number, (vehicle, camera, orientation) in enumerate(labels):
        path = folder / f"{number:03}.png"
        colour = colours[number] if colours else (number % 256, 255 - number % 256, 100)
        Image.new("RGB", (SIZE, SIZE), colour).save(path)
        records.append(ImageRecord(path, vehicle, camera, orientation))
    return ImageSet(source or str(folder), folder, tuple(records))
