"""What is no such file, named in place of each file of every command: an error in time, no trace.

A pipe would make a command wait, a link to /dev/zero would never end, a folder or a link to itself
has no bytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from fuzz_mutations import Entry, replace_entry, time_limit
from helpers_artifact import write_artifact, write_images

import mtml_deploy as md
from benchmarks.__main__ import main as benchmarks_main
from mtml_deploy.cli.main import main
from mtml_train.cli.export import export_main
from mtml_train.cli.train import train_main

PROGRAMS = {
    "mtml-deploy": main,
    "mtml-train": train_main,
    "mtml-export": export_main,
    "benchmarks": benchmarks_main,
}
SOURCES = frozenset({"images", "query", "gallery", "data", "source", "name", "compare", "val"})
"""Parameters of text that may name a file."""

JOINS = frozenset({"compare", "join", "report", "roofline", "training"})
"""Benchmarks that measure nothing before all was read; of others only the first thing is tried."""

EMBEDDINGS = frozenset({"out", "query", "gallery", "embeddings", "train"})
"""Parameters whose file ends in .npz in some command."""

OTHERS: tuple[Entry, ...] = ("device", "folder", "loop", "socket")
"""Beside a pipe, which every parameter is given; of these each gets one."""

LIMIT_S = 30
"""Far more than any of these needs, far less than for ever."""


def commands(
    words: tuple[str, ...], command: click.Command
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """A command and all its subcommands, by the words that call them."""
    if isinstance(command, click.Group):
        for word, sub in sorted(command.commands.items()):
            yield from commands((*words, word), sub)
    if not isinstance(command, click.Group) or command.invoke_without_command:
        yield words, command


def names_files(parameter: click.Parameter) -> bool:
    """Whether a parameter's value may be a file or folder."""
    return isinstance(parameter.type, click.Path) or parameter.name in SOURCES


EVERY = [
    (words, command, parameter)
    for program, root in PROGRAMS.items()
    for words, command in commands((program,), root)
    for parameter in command.params
    if names_files(parameter)
    and not (words[0] == "benchmarks" and words[-1] not in JOINS and parameter.name != "model")
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A value for every parameter that a command cannot do without."""
    folder = tmp_path_factory.mktemp("hostile")
    write_artifact(folder / "art")
    write_images(folder / "images", 4)
    rows = "".join(f"images/{i:04}.png,{i % 2},{i // 2}\n" for i in range(4))
    (folder / "t.csv").write_text("path,vehicle_id,camera_id\n" + rows)
    with md.open_model(folder / "art") as model:
        embedded = model.embed(f"csv:{folder / 't.csv'}")
    embedded.save(folder / "e.npz")
    md.create_gallery(folder / "kept", embedded.model)
    (folder / "track2.txt").write_text("1\n")
    (folder / "list.txt").write_text("images/0000.png\n")
    return folder


def good(name: str, place: Path, words: tuple[str, ...]) -> str:
    """A value that a command takes for a parameter, or one that lets it come to the others."""
    if words[:2] in (("mtml-deploy", "gallery"), ("mtml-deploy", "search")):
        own = {"name": "kept", "gallery": "kept"}
        if name in own:
            return str(place / own[name])
    values = {
        "model": "art", "reference": "art",
        "images": "images", "query": "e.npz", "gallery": "e.npz", "train": "e.npz",
        "embeddings": "e.npz", "file": "track2.txt", "listing": "list.txt", "list": "list.txt",
        "data": "images", "source": "images", "out": "new.npz", "folder": "new", "run": "no-run",
        "base": "art", "new": "art", "parts": "art",
    }  # fmt: skip
    return {"dim": "2"}.get(name) or str(place / values.get(name, "nothing"))


def words_of(
    command: click.Command, place: Path, words: tuple[str, ...], given: click.Parameter, value: str
) -> list[str]:
    """A whole command line in which one parameter has the value."""
    line = list(words[1:])
    arguments = []
    for parameter in command.params:
        needed = parameter.required or (parameter.name == "out" and words == ("mtml-train",))
        # either these two or --merge
        needed |= words[1:] == ("embed",) and parameter.name in ("model", "images")
        needed &= given.name != "merge" or parameter.name not in ("model", "images")
        if parameter is not given and not needed:
            continue
        text = value if parameter is given else good(parameter.name or "", place, words)
        if isinstance(parameter, click.Option):
            line += [parameter.opts[-1], text]
        else:
            arguments.append(text)
    return [*line, *arguments]


@pytest.mark.parametrize("turn", [0, 1])
@pytest.mark.parametrize(
    "at", range(len(EVERY)), ids=lambda at: f"{'-'.join(EVERY[at][0])}-{EVERY[at][2].name}"
)
def test_an_error_in_time(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, turn: int
) -> None:
    words, command, parameter = EVERY[at]
    monkeypatch.chdir(tmp_path)
    suffix = "npz" if parameter.name in EMBEDDINGS else "txt"
    hostile = tmp_path / f"h.{suffix}"
    entry: Entry = OTHERS[at % len(OTHERS)] if turn else "pipe"
    if entry == "folder" and (words[-1], parameter.name) == ("triton", "out"):
        entry = "loop"  # a folder is a model repository that has no model yet
    replace_entry(hostile, entry)
    line = words_of(command, place, words, parameter, str(hostile))
    with time_limit(LIMIT_S):
        result = CliRunner().invoke(PROGRAMS[words[0]], line)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    assert result.exit_code in (1, 2), (entry, line, result.output)
    assert "rror: " in result.output or "NOT complete" in result.output, (entry, line)
    assert "Traceback" not in result.output
    assert os.path.lexists(hostile)
