"""One language: an option means the same everywhere, and every command says how it is used."""

from __future__ import annotations

import logging
import shlex
from collections import defaultdict
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from helpers_hints import ROOT, commands, programs

from mtml_deploy.cli.command import SafeCommand
from mtml_deploy.cli.help import sections

EXCEPTIONS = {
    "--query": "a place: what the command looks for, in whatever form it reads",
    "--gallery": "a place: what the command looks in, in whatever form it reads",
    "--compare-gallery": "as --gallery, of the model that is compared",
    "--out": "a place: what the command makes",
    "--backbone": "a benchmark beside peers offers what all of them have",
    "--image-size": "a benchmark beside peers takes squares",
}
"""Options whose values differ between commands, and why that is one meaning all the same."""


def kind(option: click.Option, command: click.Command) -> str:
    """What a value of an option is, in words that can be compared."""
    if option.is_flag:
        return "flag"
    if isinstance(option.type, click.Choice):
        return "choice"
    number = {"integer range": "integer", "float range": "float"}
    name = number.get(option.type.name, option.type.name)
    return f"{name} {option.make_metavar(click.Context(command))}"


def test_an_option_means_the_same_everywhere() -> None:
    kinds: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    choices: dict[str, list[set[str]]] = defaultdict(list)
    for words, command in commands().items():
        for option in command.params:
            if isinstance(option, click.Option):
                for name in (*option.opts, *option.secondary_opts):
                    kinds[name][kind(option, command)].append(words)
                    if isinstance(option.type, click.Choice):
                        choices[name].append(set(option.type.choices))
    several = {name: dict(found) for name, found in kinds.items() if len(found) > 1}
    assert {name: found for name, found in several.items() if name not in EXCEPTIONS} == {}
    assert set(EXCEPTIONS) <= set(several), "an exception that is no longer one"
    for name, found in choices.items():  # one list of choices, of which some commands offer a part
        largest = max(found, key=len)
        assert all(each <= largest for each in found), name


def test_images_for_a_model_are_counted_and_computed_by_the_same_words() -> None:
    for words, command in commands().items():
        names = {option for each in command.params for option in each.opts}
        assert not names & {"--batch", "--artifact", "--model", "--decode-threads"}, words


@pytest.mark.parametrize("words", commands())
def test_values_have_words(words: str) -> None:
    command = commands()[words]
    context = click.Context(command)
    for parameter in command.params:
        metavar = parameter.make_metavar(context)
        assert not {*metavar.split()} & {"PATH", "INTEGER", "FLOAT", "ARTIFACT", "FOLDER"}
        assert metavar.isascii()


def parsed(example: str) -> click.Context:
    """A command line, read as the program would, and not run."""
    program, *rest = shlex.split(example.removeprefix("python -m "))
    if program == "torchrun":
        program, *rest = rest[rest.index("-m") + 1 :]
    command = programs()[program]
    while isinstance(command, click.Group) and rest and rest[0] in command.commands:
        command = command.commands[rest.pop(0)]
    return command.make_context(command.name, rest)


@pytest.mark.parametrize("words", commands())
def test_examples_are_commands_that_can_be_run(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = commands()[words]
    assert isinstance(command, SafeCommand)
    assert (ROOT / command.docs).is_file()
    if isinstance(command, click.Group) and not command.invoke_without_command:
        return
    assert len(command.examples) >= 2
    monkeypatch.chdir(tmp_path)
    for place in ("before", "after", "reports", "parts/1", "parts/2", "parts/3"):
        Path(place).mkdir(parents=True)  # which must be there
    for example in command.examples:
        with parsed(example) as context:
            assert context.command is command
    with pytest.raises(click.UsageError):
        parsed(f"{command.examples[0]} --no-such-option")


@pytest.mark.parametrize("words", commands())
def test_help_shows_every_option_once_and_the_examples(words: str) -> None:
    command = commands()[words]
    program, *rest = words.split()
    called = [*rest, "-h"]
    done = CliRunner().invoke(programs()[program], called, prog_name=program, terminal_width=80)
    assert done.exit_code == 0, done.output
    assert max(map(len, done.stdout.splitlines())) <= 80
    lines = [line.strip() for line in done.stdout.splitlines()]
    for title, options in sections(command.params).items():
        assert f"{title}:" in lines
        for option in options:
            starts = [line for line in lines if option.opts[-1] in line.split()[:2]]
            assert len(starts) >= 1, option.opts
    joined = done.stdout.replace(" \\\n     ", "")
    for example in command.examples:
        assert f"  {example}\n" in joined
    assert lines[-1] == f"Read on: {command.docs}"


def test_verbose_is_taken_before_and_behind_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    levels: list[int] = []
    program = programs()["mtml-deploy"]
    assert isinstance(program, click.Group)
    monkeypatch.setattr(
        program.commands["doctor"], "callback", lambda **_: levels.append(logging.root.level)
    )
    for words in (["doctor"], ["-v", "doctor"], ["doctor", "-v"]):
        assert CliRunner().invoke(program, words).exit_code == 0
    assert levels == [logging.WARNING, logging.INFO, logging.INFO]


def test_help_does_not_depend_on_what_was_asked_before() -> None:
    command = commands()["mtml-deploy info"]
    with pytest.raises(click.UsageError):
        command.make_context("info", [])
    assert CliRunner().invoke(command, ["-h"]).exit_code == 0
