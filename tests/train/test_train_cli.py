"""`mtml-train` and `mtml-export`: where settings come from, and what is refused in one line."""

from __future__ import annotations

import importlib.util
import re
import shutil
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from helpers_training import flags, small_config

from mtml_train.checkpoint import LAST, Checkpoint, save_checkpoint
from mtml_train.cli import train as cli
from mtml_train.cli.export import export_main
from mtml_train.cli.progress import by_branch, in_percent
from mtml_train.cli.train import train_main
from mtml_train.config import TrainConfig
from mtml_train.settings import RECIPES, build_config


def run(*words: object, command: click.Command = train_main) -> Result:
    return CliRunner().invoke(command, [str(word) for word in words])


def refused(*words: object, text: str, command: click.Command = train_main) -> None:
    """One error line on stderr, nothing on stdout, no traceback, status 1."""
    result = run(*words, command=command)
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.stdout == ""
    assert result.stderr.splitlines()[-1].startswith("error: ")
    assert text in result.stderr
    assert "Traceback" not in result.output


Started = list[tuple[TrainConfig, Path, str, Checkpoint | None]]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    """What would have been trained; nothing is."""
    calls: Started = []
    monkeypatch.setattr(cli, "_train", lambda *arguments: calls.append(arguments))
    return calls


def ok(started: Started, *words: object) -> TrainConfig:
    result = run(*words)
    assert result.exit_code == 0, result.output
    return started[-1][0]


# where settings come from


def test_a_flag_wins_over_the_file_and_the_file_over_the_recipe(
    started: Started, tmp_path: Path
) -> None:
    file = tmp_path / "run.toml"
    file.write_text('epochs = 7\nbatch_size = 32\nlr = 1e-3\ndata = ["veri:file"]\n')
    config = ok(
        started, "--recipe", "strong", "--config", file, "--batch-size", 16, "--set", "lr=0.002",
        "--data", "veri:a", "--data", "cityflow:b", "--out", tmp_path / "run",
    )  # fmt: skip
    assert config == build_config(
        "strong",
        None,
        {"epochs": 7, "batch_size": 16, "lr": 0.002, "data": ("veri:a", "cityflow:b")},
    )
    assert started[-1][1:] == (tmp_path / "run", "strong", None)


def test_every_named_flag_reaches_its_setting(started: Started, tmp_path: Path) -> None:
    config = ok(
        started, "--data", "veri:x", "--out", tmp_path / "run", "--variant", "MTML-SG",
        "--backbone", "resnet18", "--weights", "none", "--image-size", 64, "--batch-size", 16,
        "--epochs", 3, "--max-steps", 5, "--lr", 0.01, "--seed", 9, "--workers", 1, "--threads", 2,
        "--val", "holdout:0.2", "--skip-bad", "--set", "sampler=pk", "--set", "triplet_weight=0.5",
    )  # fmt: skip
    assert config == TrainConfig(
        data=("veri:x",), variant="MTML-SG", backbone="resnet18", weights="none", image_size=64,
        batch_size=16, epochs=3, max_steps=5, lr=0.01, seed=9, workers=1, threads=2,
        val="holdout:0.2", skip_bad=True, sampler="pk", triplet_weight=0.5,
    )  # fmt: skip


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_printed_settings_are_a_file_for_config(
    started: Started, tmp_path: Path, recipe: str
) -> None:
    result = run("settings", "--recipe", recipe)
    assert result.exit_code == 0
    assert tomllib.loads(result.stdout)["batch_size"] == build_config(recipe, None, {}).batch_size
    # with the words beside it in the code, and what other recipes have
    others = {name: build_config(name, None, {}).epochs for name in RECIPES if name != recipe}
    line = next(line for line in result.stdout.splitlines() if line.startswith("epochs = "))
    assert "100 when two data sets are joined" in line
    own = build_config(recipe, None, {}).epochs
    for name, epochs in others.items():
        assert (f"{name}: {epochs}" in line) is (epochs != own)
    (tmp_path / "all.toml").write_text(result.stdout)
    found = ok(started, "--config", tmp_path / "all.toml", "--out", tmp_path / "run")
    assert found == build_config(recipe, None, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rate = 1", "unknown setting 'learning_rate'"),
        ('epochs = "many"', "epochs must be an integer, found 'many'"),
        ("epochs = 0", "epochs is 1 or more, found 0"),
        ("epochs = ", "cannot read settings"),
    ],
)
def test_a_settings_file_with_a_fault(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "run.toml").write_text(text)
    refused("--config", tmp_path / "run.toml", "--out", tmp_path / "run", text=message)
    assert not (tmp_path / "run").exists()


def test_settings_on_the_command_line_with_a_fault(tmp_path: Path) -> None:
    out = ("--out", tmp_path / "run")
    refused("--set", "flop=1", *out, text="unknown setting 'flop'")
    refused("--set", "flip", *out, text="write NAME=VALUE")
    refused("--set", "flip=2", *out, text="flip is 0..1, found 2.0")
    refused("--lr", "nan", *out, text="lr must be a finite number")
    refused("--batch-size", 7, "--accumulate", 2, *out, text="not a multiple of accumulate")
    refused("--data", "veri:x", text="no run folder; name one with --out RUN")
    assert run("--variant", "MTML-X", *out).exit_code == 2  # click's own usage error


def test_no_data_and_data_that_is_not_there(tmp_path: Path) -> None:
    out = ("--out", tmp_path / "run")
    refused(*out, text="no training data; name it with --data")
    refused("--data", f"veri:{tmp_path / 'absent'}", *out, text="absent")
    assert not (tmp_path / "run").exists()


# runs that exist


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """The folder of a run that was stopped before its first step; no weights inside."""
    import torch

    from mtml_train.data.fingerprint import SetFingerprint
    from mtml_train.run_card import Progress, RunCard

    config = small_config("somewhere", max_steps=3, lr=3e-4)
    sets = (SetFingerprint("veri:somewhere", 8, 8, "0" * 64, "0" * 64),)
    card = RunCard(config, "strong", ((0, 1), (0, 2)), sets)
    save_checkpoint(tmp_path / "run" / LAST, card, Progress(), torch.nn.Linear(1, 1))
    return tmp_path / "run"


def test_a_run_is_not_trained_over(stopped: Path) -> None:
    before = (stopped / LAST).read_bytes()
    refused("--data", "veri:x", "--out", stopped, text="holds a run already and was left as it is")
    assert (stopped / LAST).read_bytes() == before
    refused("--data", "veri:x", "--out", stopped / LAST, text="is a file; name a folder")


def test_resuming_takes_the_settings_of_the_run(started: Started, stopped: Path) -> None:
    config = ok(started, "--out", stopped, "--resume")
    assert config == small_config("somewhere", max_steps=3, lr=3e-4)
    assert started[-1][2] == "strong"
    checkpoint = started[-1][3]
    assert checkpoint is not None
    assert checkpoint.path == stopped / LAST
    # what does not change a step may change, what is said again may be said
    config = ok(
        started, "--out", stopped, "--resume", "--max-steps", 9, "--workers", 0, "--lr", 3e-4,
        "--set", "log_every=5",
    )  # fmt: skip
    assert config == small_config("somewhere", max_steps=9, lr=3e-4, log_every=5)


def test_resuming_with_other_settings_is_refused(stopped: Path, tmp_path: Path) -> None:
    resume = ("--out", stopped, "--resume")
    refused("--lr", 1e-3, *resume, text="started with lr = 0.0003, --resume cannot change it to")
    refused("--set", "flip=0", *resume, text="was started with flip = 0.5")
    refused("--epochs", 1, *resume, text="to 1: a run is only made longer")
    refused("--recipe", "strong", *resume, text="leave --config and --recipe")
    (tmp_path / "run.toml").write_text("")
    refused("--config", tmp_path / "run.toml", *resume, text="leave --config and --recipe")
    refused("--workers", -1, *resume, text="workers is 0 or more, found -1")


def test_resuming_nothing_and_damage(stopped: Path, tmp_path: Path) -> None:
    refused("--out", tmp_path / "new", "--resume", text="nothing to resume in")
    assert not (tmp_path / "new").exists()
    whole = (stopped / LAST).read_bytes()
    (stopped / LAST).write_bytes(whole[:50])
    refused("--out", stopped, "--resume", text="is corrupted")
    assert (stopped / LAST).read_bytes() == whole[:50]


def test_ctrl_c_says_how_to_go_on(stopped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mtml_train import train as loop

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "train", interrupt)
    result = run("--out", stopped, "--resume")
    assert result.exit_code == 130
    assert f"mtml-train --out {stopped} --resume" in result.stderr
    assert "Traceback" not in result.output


# libraries


@pytest.mark.parametrize(
    ("command", "library", "extra", "words"),
    [
        (train_main, "torch", "train", ("--data", "veri:x", "--out", "run")),
        (train_main, "tensorboard", "train", ("--data", "veri:x", "--out", "run")),
        (export_main, "onnxscript", "train", ("run", "--out", "art")),
        # another extra brings it for GPUs, under the same name of a module
        (export_main, "onnxruntime", "cpu", ("run", "--out", "art")),
    ],
)
def test_a_missing_library_is_one_line_with_the_command(
    monkeypatch: pytest.MonkeyPatch,
    command: click.Command,
    library: str,
    extra: str,
    words: tuple[str, ...],
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == library else find(name)
    )
    text = f"needs {library}, which is not installed; run: pip install 'mtml-reid[{extra}]'"
    refused(*words, text=text, command=command)


# other commands


def test_check_data_tells_by_its_exit_status(tiny_set: Path, tmp_path: Path) -> None:
    result = run("check-data", f"veri:{tiny_set}")
    assert result.exit_code == 0, result.output
    assert "36" in result.stdout
    copy = tmp_path / "copy"
    shutil.copytree(tiny_set, copy)
    lost = sorted((copy / "image_train").iterdir())[0]
    lost.unlink()
    result = run("check-data", f"veri:{copy}", "--no-decode")
    assert result.exit_code == 1
    assert lost.name in result.stdout
    assert "Traceback" not in result.output
    refused("check-data", f"veri:{tmp_path / 'absent'}", text="no such file or folder")


def test_synthetic_writes_a_set_once(tmp_path: Path) -> None:
    words = (
        "synthetic", tmp_path / "set", "--train-vehicles", 2, "--test-vehicles", 2,
        "--images-per-vehicle", 2, "--cameras", 2, "--longest-side", 32,
        "--queries-per-vehicle", 1, "--processes", 1,
    )  # fmt: skip
    result = run(*words)
    assert result.exit_code == 0, result.output
    assert "4 training, 2 query and 4 gallery images of 2 + 2 vehicles" in result.stderr
    assert len(list((tmp_path / "set" / "image_train").iterdir())) == 4
    refused(*words, text="exists already")
    assert run(*words, "--overwrite").exit_code == 0
    refused("synthetic", tmp_path / "other", "--cameras", 1, text="cameras is 2 or more")
    assert not (tmp_path / "other").exists()


def test_export_refuses_in_one_line(untrained_run: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "art")
    refused(tmp_path / "absent", *out, text="no checkpoint at", command=export_main)
    (tmp_path / "x.safetensors").write_bytes(b"no checkpoint")
    refused(tmp_path / "x.safetensors", *out, text="is corrupted", command=export_main)
    refused(
        untrained_run, *out, "--branches", "gray,scale", text="no branch 'scale'",
        command=export_main,
    )  # fmt: skip
    refused(
        untrained_run, *out, "--images", tmp_path / "nowhere", text="name others with --images",
        command=export_main,
    )  # fmt: skip
    assert not (tmp_path / "art").exists()
    (tmp_path / "art").mkdir()
    refused(untrained_run, *out, text="exists already", command=export_main)
    assert list((tmp_path / "art").iterdir()) == []


@pytest.mark.parametrize("command", [train_main, export_main])
def test_help_names_the_settings(command: click.Command) -> None:
    result = run("--help", command=command)
    assert result.exit_code == 0
    names = ["--embedding", "--branches"] if command is export_main else ["--data", "--resume"]
    assert all(name in result.stdout for name in names)


# what a run shows


def test_losses_are_shown_per_branch() -> None:
    losses = {"total": 6.5, "gray/id": 2.0, "gray/mutual": 0.5, "consensus/id": 4.0}
    assert by_branch(losses) == "total 6.500  gray 2.500  consensus 4.000"


def test_metrics_are_shown_in_percent() -> None:
    assert in_percent({"mAP": 0.6124, "CMC@1": 1.0}) == "mAP 61.2 %  CMC@1 100.0 %"


def test_notes_of_a_run(tiny_set: Path, tmp_path: Path) -> None:
    words = flags(small_config(tiny_set, max_steps=1))
    result = run(*words, "--out", tmp_path / "run")
    shutil.rmtree(tmp_path / "run")  # a checkpoint is large
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert "36 training images of 6 vehicles, 36 with orientation" in result.stderr
    assert "no validation: name query and gallery with --val" in result.stderr
    assert re.search(r"step 1/1  epoch 1  [\d.]+ images/s  total [\d.]+  identity", result.stderr)
    assert f"1 steps, 8 images; weights in {tmp_path / 'run' / LAST}" in result.stderr
    assert f"next: mtml-export {tmp_path / 'run'} --out MODEL" in result.stderr
