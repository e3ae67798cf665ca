"""Several processes of one run on one terminal: what they have to say is said once.

In: the environment that torchrun gives. Out: the first process speaks; of those that fail, the
first one.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NoReturn

import click

from mtml_deploy.cli.command import SafeGroup


class OneVoiceGroup(SafeGroup):
    """A group of commands that several processes may run together."""

    def main(  # type: ignore[override]  # click's own is overloaded by standalone_mode
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: object
    ) -> object:
        """Run the command and exit."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return super().main(args, prog_name, **extra)
        self._main_of_several(args, prog_name)

    def _main_of_several(self, args: Sequence[str] | None, prog_name: str | None) -> NoReturn:
        """Run the command in one of several processes, and exit."""
        from mtml_train.distributed import first_to_fail

        terminal = sys.stderr
        try:
            with ExitStack() as stack:
                if os.environ.get("RANK", "0") != "0":
                    nowhere = stack.enter_context(Path(os.devnull).open("w"))
                    stack.enter_context(redirect_stdout(nowhere))
                    stack.enter_context(redirect_stderr(nowhere))
                result = super().main(args, prog_name, standalone_mode=False)
                status = result if isinstance(result, int) else 0
        except click.ClickException as error:
            status = error.exit_code
            if first_to_fail():
                error.show(terminal)
        except Exception as error:  # as Python ends a program, but in one process
            status = 1
            if first_to_fail():
                traceback.print_exception(error, file=terminal)
        sys.exit(status)
