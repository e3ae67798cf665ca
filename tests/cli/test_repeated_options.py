"""An option that takes one value is refused when it is given twice, in every command."""

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from benchmarks.__main__ import main as benchmarks_main
from mtml_deploy.cli.command import SafeCommand
from mtml_deploy.cli.main import main
from mtml_train.cli.export import export_main
from mtml_train.cli.train import train_main

PROGRAMS = {
    "mtml-deploy": main,
    "mtml-train": train_main,
    "mtml-export": export_main,
    "benchmarks": benchmarks_main,
}


def commands(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    """A command and all its subcommands, by the words that call them."""
    yield name, command
    if isinstance(command, click.Group):
        for word, sub in sorted(command.commands.items()):
            yield from commands(f"{name} {word}", sub)


EVERY = {
    name: command for program, root in PROGRAMS.items() for name, command in commands(program, root)
}


def complaint(command: click.Command, words: list[str]) -> str:
    """What a command says of its words."""
    try:
        command.make_context("command", words)
    except click.ClickException as error:
        return error.format_message()
    return ""


@pytest.mark.parametrize("name", EVERY)
def test_no_value_is_dropped(name: str) -> None:
    command = EVERY[name]
    assert isinstance(command, SafeCommand)
    names = [parameter.name for parameter in command.params]
    assert len(names) == len(set(names)), "two options that overwrite each other's value"
    for option in command.params:
        if not isinstance(option, click.Option) or option.is_eager:
            continue
        # all its spellings in a row, each twice: the count must be of the option, not of a word
        spellings = [*option.opts, *option.secondary_opts]
        values = [] if option.is_flag or option.count else ["1"] * option.nargs
        words = [word for spelling in spellings * 2 for word in (spelling, *values)]
        plain_flag = option.is_flag and not option.secondary_opts
        harmless = option.multiple or option.count or plain_flag
        found = complaint(command, words)
        expected = f"{option.opts[-1]} is given {2 * len(spellings)} times, expected once"
        assert (expected in found) == (not harmless), f"{words}: {found}"


def test_the_walk_sees_all_programs() -> None:
    named = {"mtml-deploy gallery add", "mtml-deploy calibrate choose", "mtml-train check-data"}
    assert named <= set(EVERY)
    assert any(name.startswith("benchmarks ") for name in EVERY)


def test_what_the_user_reads() -> None:
    words = ["evaluate", "--gallery", "g.npz", "--protocol", "plain", "--protocol", "market"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2
    assert "Error: --protocol is given 2 times, expected once: only the last value" in result.stderr


def test_a_setting_is_given_by_a_flag_or_by_set() -> None:
    for words in (["--set", "lr=1", "--set", "lr=2"], ["--lr", "1", "--set", "lr=2"]):
        result = CliRunner().invoke(train_main, ["--out", "run", *words])
        assert result.exit_code == 2
        assert "lr is set twice, expected once; leave out --set lr=2" in result.stderr
