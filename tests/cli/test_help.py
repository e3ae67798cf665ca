"""What -h prints, of every command: plain text, and lines that are kept as lines."""

import inspect
import re
import subprocess
import sys

import pytest
from click.testing import CliRunner
from helpers_hints import PROGRAM, ROOT, commands, programs

COLUMNS = 80


def help_of(words: str) -> str:
    program, *rest = words.split()
    done = CliRunner().invoke(
        programs()[program], [*rest, "-h"], prog_name=program, terminal_width=COLUMNS
    )
    assert done.exit_code == 0, done.output
    return done.stdout


def odd(text: str) -> list[str]:
    """Lines of a help text that no person wrote so."""
    return [
        line
        for line in text.splitlines()
        # the raw mark of click, Markdown, or two commands that were lines of their own
        if re.search(r"\\b|[\b`]|\*\*|\]\(|<!--|^#|mtml-\w+ -.*mtml-\w+ -", line)
        # a line that was not wrapped; nothing can be done about one long word
        or (len(line) > COLUMNS and len(line.split()) > 2)
        # spaces of a source that was laid out, between words that are no columns
        or re.search(r"[.;:,] {2,}[^\s\[]", line)
    ]  # fmt: skip


@pytest.mark.parametrize("words", commands())
def test_help_is_plain_text(words: str) -> None:
    text = help_of(words)
    assert odd(text) == []
    shown = [line.strip() for line in text.splitlines()]
    command = commands()[words]
    for written in (command.help, command.epilog):
        for line in inspect.cleandoc(written or "").splitlines():
            if re.match(rf"\s*(?:{PROGRAM.pattern})", line):  # an example stands on its own
                assert line.strip() in shown
            assert not re.match(r"\s*([-*+]|\d+\.) ", line), "a list loses its lines"


@pytest.mark.parametrize(
    "line",
    [
        r"  \b mtml-train --data veri:DIR",
        "  mtml-train --data A --out B mtml-train --out B --resume",
        "  Looks with `search` in it.",
        "  See [search](search.md).",
        "  One sentence.  Another, whose line was broken.",
        "  This line was not wrapped, although it is longer than the terminal that was asked for.",
    ],
)
def test_what_is_not_plain_is_found(line: str) -> None:
    assert odd(line) == [line]


@pytest.mark.parametrize("module", ["mtml_train.cli.train", "benchmarks.__main__"])
def test_settings_are_known_without_the_reader_of_records(module: str) -> None:
    """The settings are options, so that help imports them; it must answer at once."""
    code = f"import {module}, sys; print({{'msgspec', 'numpy', 'torch'}} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
