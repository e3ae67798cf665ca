"""Hints in texts: commands, flags, extras and make targets, compared with what there is.

In: a text of the sources (a placeholder is "{}") or code in a document. Out: what in it does not
exist, in words.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import click

ROOT = Path(__file__).parents[1]
PACKAGES = ("mtml_deploy", "mtml_train", "benchmarks")

PROGRAM = re.compile(
    r"(?<![\w./-])(mtml-deploy|mtml-train|mtml-export"
    r"|(?:python )?-m (?:benchmarks|mtml_train)"
    r"|(?:python -m )?pip|python3? -m \w+|python setup.py"
    r"|torchrun|tensorboard|git|docker)(?![\w./\]-])"
)
_OURS = ("mtml-deploy", "mtml-train", "mtml-export", "benchmarks", "mtml_train")
_FLAG = re.compile(r"(?<![\w$-])(--[a-z][a-z0-9-]*)(?![a-z0-9-])")
_EXTRAS = re.compile(r"(?:mtml-reid|\.)\[([a-z][a-z0-9,-]*)\]")
TARGET = re.compile(r"(?:`|\brun )make ([a-z][a-z-]*)(?![\w=])")
_END = re.compile(
    r"[;|`\n()]| #|&&|, | (?:or|and|for|to|with|of|in|where|when|as|reads|takes) |: |>"
)
_GIVEN = re.compile(r"(?:[:`$]|\brun|\bthen|\bexample) *$")
"""What stands before a command that is given to be run."""

_SUFFIXES = {
    "mtml-deploy embed": ".npz",
    "mtml-deploy gallery export": ".npz",
    "mtml-deploy tracklets": ".npz",
    "mtml-deploy calibrate choose": ".txt",
}
"""What --out must end in."""

_FOREIGN = frozenset({"--nproc-per-node", "--tool", "--leak-check"})
"""Of torchrun, where its name stands further away, and of compute-sanitizer."""

_LITERAL = re.compile(r"[a-z0-9][a-z0-9._-]*")


@dataclass(frozen=True)
class Text:
    """A text that may hold hints.

    Attributes:
        where: file and line, for the report.
        text: placeholders are "{}".
        command: the command in whose function it stands, None outside of one.
        runnable: commands in it are given to be run as they are.
    """

    where: str
    text: str
    command: click.Command | None = None
    runnable: bool = False


@cache
def programs() -> dict[str, click.Command]:
    """Name -> the command of each program."""
    from benchmarks.__main__ import main as benchmarks
    from mtml_deploy.cli.main import main as deploy
    from mtml_train.cli.export import export_main
    from mtml_train.cli.train import train_main

    return {
        "mtml-deploy": deploy, "mtml-train": train_main, "mtml_train": train_main,
        "mtml-export": export_main, "benchmarks": benchmarks,
    }  # fmt: skip


def commands() -> dict[str, click.Command]:
    """Words -> command, of every command and group."""
    found: dict[str, click.Command] = {}

    def walk(words: str, command: click.Command) -> None:
        found[words] = command
        if isinstance(command, click.Group):
            for name, inner in command.commands.items():
                walk(f"{words} {name}", inner)

    for name, command in programs().items():
        if name != "mtml_train":  # the same as mtml-train
            walk(name, command)
    return found


def flags(command: click.Command) -> dict[str, click.Option]:
    """Every spelling of an option of a command."""
    # not get_params(): it keeps a help option in the command, for the names of the first context
    return {
        name: option
        for option in command.params
        if isinstance(option, click.Option)
        for name in (*option.opts, *option.secondary_opts)
    } | dict.fromkeys(("-h", "--help"), click.Option(["--help"], is_flag=True))


def _called_so(word: str = "") -> Iterator[click.Command]:
    """Commands of a name."""
    return (command for words, command in commands().items() if words.split()[-1] == word)


@cache
def known_flags() -> frozenset[str]:
    """Flags of any command."""
    return frozenset(name for command in commands().values() for name in flags(command))


@cache
def extras() -> frozenset[str]:
    """Extras of the distribution."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return frozenset(project["optional-dependencies"])


@cache
def targets() -> frozenset[str]:
    """Targets of the Makefile."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return frozenset(re.findall(r"^([a-z][a-z-]*):", makefile, re.M))


def faults(text: Text) -> list[str]:
    """What a text names that does not exist.

    Args:
        text: of the sources or of a document.
    """
    found = [
        f"no extra {name}"
        for names in _EXTRAS.findall(text.text)
        for name in names.split(",")
        if name not in extras()
    ]
    found += [f"no target {name}" for name in TARGET.findall(text.text) if name not in targets()]
    free = text.text
    for program in PROGRAM.finditer(text.text):
        rest = text.text[program.end() :]
        end = _END.search(rest)
        words = rest[: end.start() if end else None]
        name = program[1].split()[-1]
        free = free.replace(program[0] + words, " ", 1)
        told = text.runnable and bool(_GIVEN.search(text.text[: program.start()]))
        if name in _OURS and (told or re.search(r"--|{}|[A-Z]{2}", words)):
            found += _command_faults(
                programs()[name], name, words.split(), runnable=text.runnable, told=told
            )
    if re.fullmatch(r"--\S*", free):  # an argument of a call, or the declaration of an option
        free = ""
    for match in _FLAG.finditer(free):
        flag = match[1]
        before = free[: match.start()].split()[-1:]
        if flag not in known_flags() | _FOREIGN:
            found.append(f"no command has {flag}")
        elif (
            text.command is not None
            and flag not in flags(text.command)
            and not any(flag in flags(command) for command in _called_so(*before))
        ):
            found.append(f"{text.command.name} has no {flag}")
    return [f"{text.where}: {fault}: {text.text.strip()[:160]}" for fault in found]


def _command_faults(
    command: click.Command, name: str, words: list[str], *, runnable: bool, told: bool
) -> Iterator[str]:
    """What is wrong with the words after a program."""
    known = flags(command)
    given: set[str] = set()
    arguments = 0
    rest = [word.strip("[]'\",.") for word in words]
    rest = [word for word in rest if word not in ("", "...", "\\")]
    while rest:
        word = rest.pop(0)
        if word.startswith("--"):
            flag, _, value = word.partition("=")
            if not re.fullmatch(r"--[a-z][a-z0-9-]*", flag):  # "--{}", "--$PRECISION"
                continue
            if flag not in known:
                yield f"{name} has no {flag}"
                continue
            option = known[flag]
            given.add(option.name or "")
            if not option.is_flag:
                value = value or (rest.pop(0) if rest and not rest[0].startswith("--") else "")
                yield from _value_faults(option, flag, value)
                suffix = _SUFFIXES.get(name, "") if flag == "--out" else ""
                if value.isupper() and not value.endswith(suffix.upper()) and runnable:
                    yield f"{flag} {value} does not end in {suffix}"
        elif word.startswith("-") and any(word in each.opts for each in command.params):
            continue  # a short flag, as in mtml-deploy -v
        elif isinstance(command, click.Group) and (inner := command.commands.get(word)):
            command, name, known = inner, f"{name} {word}", flags(inner)
            given, arguments = set(), 0
        elif isinstance(command, click.Group) and not command.invoke_without_command:
            if re.fullmatch(r"[a-z-]+", word):
                yield f"{name} has no command {word}"
            return
        else:
            arguments += 1
    if (told or (runnable and (given or arguments))) and not {"...", "--help", "-h"} & {*words}:
        needed = [parameter for parameter in command.params if parameter.required]
        missing = [
            parameter.opts[-1] for parameter in needed
            if isinstance(parameter, click.Option) and parameter.name not in given
        ]  # fmt: skip
        missing += [each.name or "" for each in needed if isinstance(each, click.Argument)][
            arguments:
        ]
        if missing:
            yield f"{name} needs {' and '.join(missing)}"


def _value_faults(option: click.Option, flag: str, value: str) -> Iterator[str]:
    """What is wrong with a value that is given literally."""
    if _LITERAL.fullmatch(value) and isinstance(
        option.type, click.Choice | click.types.IntParamType | click.types.FloatParamType
    ):
        try:
            option.type.convert(value, option, None)
        except click.BadParameter as error:
            yield f"{flag} {value}: {error.message}"


def parsed_line(line: str) -> click.Context:
    """A command line, read by the real command and not run; words in capitals stand as they are.

    Raises:
        click.UsageError: the program does not take it.
    """
    program, *rest = shlex.split(line)
    command, name = programs()[program], program
    while isinstance(command, click.Group) and rest and rest[0] in command.commands:
        name, command = f"{name} {rest[0]}", command.commands[rest.pop(0)]
    return command.make_context(name, rest)
