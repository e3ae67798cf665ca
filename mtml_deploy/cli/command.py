"""The commands of all programs: words are read once, errors are one line, help has sections.

In: what the user wrote. Out: a command that runs, or an error with an exit status.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, cast

import click

from mtml_deploy.cli.console import exit_on_error, prepare_streams
from mtml_deploy.cli.former import former_spelling
from mtml_deploy.cli.help import (
    HelpContext,
    command_sections,
    example_lines,
    name_kinds,
    sections,
    words_of,
)
from mtml_deploy.cli.streams import lasting_streams, lost_data, status_of_loss
from mtml_deploy.signals import ended_by_signals

_VERBOSE: Final = "mtml.verbose"
"""Key in what contexts of click share."""


class SafeCommand(click.Command):
    """A command whose errors are shown by `exit_on_error`, and that takes each option once.

    Its help has sections, examples and the page of the documents to read on.
    """

    context_class = HelpContext

    def __init__(
        self,
        *args: Any,  # noqa: ANN401 - click's own
        examples: Sequence[str] = (),
        docs: str = "",
        **settings: Any,  # noqa: ANN401 - click's own
    ) -> None:
        """As of click.

        Args:
            args: of click.
            examples: commands that can be run, for the help.
            docs: page of the documents, for the help.
            settings: of click.
        """
        super().__init__(*args, **settings)
        self.examples = tuple(examples)
        self.docs = docs
        # of every command, not of the programs alone: click keeps the first help option it makes
        self.context_settings.setdefault("help_option_names", ["-h", "--help"])
        self.params.append(_verbose())
        name_kinds(self.params)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options in sections."""
        for title, options in sections(self.get_params(ctx)).items():
            with formatter.section(title):
                records = [option.get_help_record(ctx) for option in options]
                formatter.write_dl([record for record in records if record is not None])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what is to be known beside the options, words, examples, and where to read on."""
        super().format_epilog(ctx, formatter)
        if words := words_of(self.params, ctx):
            with formatter.section("Words"):
                formatter.write_dl(words)
        if self.examples:
            with formatter.section("Examples"):
                indent = " " * formatter.current_indent
                for example in self.examples:
                    for line in example_lines(example, formatter.width - len(indent)):
                        formatter.write(f"{indent}{line}\n")
        if self.docs:
            formatter.write(f"\nRead on: {self.docs}\n")

    def main(  # type: ignore[override]  # click's own is overloaded by standalone_mode
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: object
    ) -> object:
        """Run the command line; what a signal or a lost stdout means is the exit status."""
        with lasting_streams(), ended_by_signals():
            try:
                result = super().main(args, prog_name, **extra)  # type: ignore[call-overload]
            except SystemExit as end:
                if not end.code and (lost := lost_data()) is not None:
                    raise SystemExit(status_of_loss(lost)) from None
                raise
            if not result and (lost := lost_data()) is not None:
                return status_of_loss(lost)
            return cast(object, result)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the words; click alone would drop all but the last value of an option.

        Raises:
            click.UsageError: an option that takes one value is given twice, or is written as it
                was in an earlier version.
        """
        if args and not ctx.resilient_parsing:
            try:
                _, rest, order = self.make_parser(ctx).parse_args(args=list(args))
            except (click.NoSuchOption, click.BadOptionUsage) as error:
                if text := former_spelling(ctx, error.option_name):
                    raise click.UsageError(text, ctx=ctx) from None
                raise
            for name, count in Counter(each.name for each in order if _takes_one(each)).items():
                if count > 1:
                    option = next(each for each in order if each.name == name)
                    raise click.UsageError(
                        f"{option.opts[-1]} is given {count} times, expected once: only the last "
                        "value would be used; leave out the others",
                        ctx=ctx,
                    )
            self._refuse_further(ctx, rest)
        return super().parse_args(ctx, args)

    def _refuse_further(self, ctx: click.Context, words: list[str]) -> None:
        """Refuse what a shell makes of `--images folder/*.jpg`: one value, and words behind it.

        Raises:
            click.UsageError: words that no argument takes, all of them names of files.
        """
        if words and not isinstance(self, click.Group) and all(map(os.path.lexists, words)):
            raise click.UsageError(
                f"{len(words)} names too many ({', '.join(words[:2])}): an option takes one value, "
                "and a shell makes many of a pattern; name the folder, or write a list: "
                "ls PATTERN > LIST.txt",
                ctx=ctx,
            )

    def invoke(self, ctx: click.Context) -> object:
        """Run the command."""
        prepare_streams(verbose=is_verbose(ctx))
        with exit_on_error():
            return super().invoke(ctx)


class SafeGroup(SafeCommand, click.Group):
    """A group of such commands."""

    command_class = SafeCommand

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first word names; one of a group below is told with its group."""
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:
            groups = [each for each in self.commands.values() if isinstance(each, click.Group)]
            inner = [group for group in groups if error.command_name in group.commands]
            if not inner:
                raise
            found = " or ".join(f"'{group.name} {error.command_name}'" for group in inner)
            raise click.UsageError(f"{error.message} Did you mean {found}?", ctx=ctx) from None

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, then the options."""
        for title, names in command_sections(self.list_commands(ctx)).items():
            with formatter.section(title):
                commands = [(name, self.get_command(ctx, name)) for name in names]
                formatter.write_dl(
                    [
                        (name, command.get_short_help_str(limit=formatter.width * 2))
                        for name, command in commands
                        if command is not None and not command.hidden
                    ]
                )
        super().format_options(ctx, formatter)


def _verbose() -> click.Option:
    """-v, which every command takes, behind its name or before it."""
    return click.Option(
        ["-v", "--verbose"],
        is_flag=True,
        expose_value=False,
        callback=_remember_verbose,
        help="Show what is being done, on stderr.",
    )


def _remember_verbose(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    """Keep it where the commands below find it."""
    if value:
        ctx.meta[_VERBOSE] = True


def is_verbose(ctx: click.Context) -> bool:
    """Whether -v was given to a command or to one above it."""
    return _VERBOSE in ctx.meta


def _takes_one(parameter: click.Parameter) -> bool:
    """Whether a parameter is an option of which a second value would drop the first."""
    if not isinstance(parameter, click.Option) or parameter.multiple or parameter.count:
        return False
    # a flag without an opposite says the same, however often it is given
    return not parameter.is_flag or bool(parameter.secondary_opts)
