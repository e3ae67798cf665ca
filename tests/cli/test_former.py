"""Former spellings: an old word is an error that tells the new one, and never runs."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from helpers_artifact import write_artifact
from helpers_hints import Text, commands, faults, flags, programs

from mtml_deploy.cli.former import FORMER


def said(words: list[str]) -> str:
    """The last line of what a program says to words that it refuses."""
    program, *rest = words
    result = CliRunner().invoke(programs()[program], rest, prog_name=program)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    return result.stderr.splitlines()[-1]


@pytest.mark.parametrize("former", FORMER)
def test_an_old_spelling_is_answered_with_the_new_one(former: str) -> None:
    called, _, option = former.rpartition(" ")
    command = commands()[called]
    # --json is there, with another meaning: it takes a file
    assert (option in flags(command)) == (option == "--json")
    words = [
        *called.split(),
        *(["G"] if "gallery info" in called or called.endswith(" info") else []),
    ]
    line = said([*words, option, *([] if option == "--json" else ["x"])])
    assert line == f"Error: {option}{FORMER[former]}"
    named = re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", FORMER[former])
    # what it tells, the command has
    assert named == [name for name in named if name in flags(command)]
    program = called.split()[0]
    assert named or f"{program} " in line
    assert faults(Text("here", FORMER[former], command, runnable=True)) == []


def test_the_model_is_an_argument_of_every_command() -> None:
    for words, command in commands().items():
        assert not {"--model", "--artifact"} & set(flags(command)), words
        for argument in command.params:
            if isinstance(argument, click.Argument) and "MODEL" in (argument.metavar or ""):
                assert argument.name == "model"


def test_a_model_and_a_gallery_the_wrong_way_round(tmp_path: Path) -> None:
    write_artifact(tmp_path / "art")
    line = said(["mtml-deploy", "gallery", "create", str(tmp_path / "art"), str(tmp_path / "cars")])
    right = f"mtml-deploy gallery create {tmp_path / 'cars'} {tmp_path / 'art'}"
    assert line.endswith(f"is an exported model, expected the new gallery first: {right}")
    assert CliRunner().invoke(programs()["mtml-deploy"], right.split()[1:]).exit_code == 0


def test_an_option_that_never_was_is_answered_by_the_nearest_one() -> None:
    assert said(["mtml-deploy", "rank", "--top-q", "3"]) == (
        "Error: No such option '--top-q'. Did you mean '--top-k'?"
    )
    assert "Did you mean 'embed'?" in said(["mtml-deploy", "embd"])
    assert "Did you mean 'gallery add'?" in said(["mtml-deploy", "add", "cars"])
