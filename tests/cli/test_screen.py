"""Tables for people: no wider than the terminal, never cut off, never coloured."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from mtml_deploy.cli.screen import table_lines

ROWS = [("a model with a long name, re-ranked", "32.4", "100.0"), ("[bold]b", "1.0", "2.0")]
TITLES = ("percent", "mAP", "CMC@10")


def test_a_column_of_text_is_broken_and_numbers_are_not() -> None:
    assert table_lines(TITLES, ROWS, align="lrr", width=80) == [
        "percent                               mAP  CMC@10",
        "a model with a long name, re-ranked  32.4   100.0",
        "[bold]b                               1.0     2.0",
    ]
    narrow = table_lines(TITLES, ROWS, align="lrr", width=40)
    assert max(map(len, narrow)) <= 40
    assert [line.split()[-1] for line in narrow if "." in line] == ["100.0", "2.0"]
    assert " ".join(line[:26].strip() for line in narrow[1:3]) == ROWS[0][0]


def test_numbers_are_whole_where_nothing_fits() -> None:
    lines = table_lines(TITLES, ROWS, align="lrr", width=10)
    assert any("32.4   100.0" in line for line in lines)


def test_control_characters_of_names_are_escaped() -> None:
    (line,) = table_lines(("", ""), [("name", "a\x1b[2Jb")], align="ll", width=80, titled=False)
    assert line == "name  a\\x1b[2Jb"


@pytest.mark.parametrize("columns", [80, 120])
def test_a_terminal_gets_lines_of_its_width_and_no_colours(columns: int) -> None:
    code = """
from mtml_deploy.cli.screen import Screen
screen = Screen()
screen.facts([("name", "word " * 60)])
screen.prose("word " * 60)
screen.table(("a", "b"), [("word " * 60, "1.0")], align="lr")
"""
    ours, theirs = pty.openpty()
    size = {"COLUMNS": str(columns), "TERM": "xterm-256color", "FORCE_COLOR": "1"}
    done = subprocess.Popen([sys.executable, "-c", code], stdout=theirs,
                            env={**os.environ, **size})  # fmt: skip
    assert done.wait(timeout=60) == 0
    os.close(theirs)
    text = os.read(ours, 1 << 16).decode()
    os.close(ours)
    lines = text.splitlines()
    assert columns - 10 < max(map(len, lines)) <= columns
    assert "\x1b" not in text


def test_a_note_stands_above_the_bar_that_is_being_drawn() -> None:
    code = """
from mtml_deploy.cli.console import progress_bar, write_note
with progress_bar("embedding", unit="images") as show:
    write_note("note: [bold]a :car: " + "word " * 30)
    show(1, 2)
write_note("note: behind it")
"""
    ours, theirs = pty.openpty()
    size = {"COLUMNS": "80", "TERM": "xterm-256color"}
    done = subprocess.Popen([sys.executable, "-c", code], stderr=theirs,
                            env={**os.environ, **size})  # fmt: skip
    assert done.wait(timeout=60) == 0
    os.close(theirs)
    text = os.read(ours, 1 << 16).decode()
    os.close(ours)
    before, _, after = text.partition("note: [bold]a :car: word")
    assert before.endswith("\r\x1b[2K")  # the line of the bar is cleared first
    assert "embedding" in before and "embedding" in after  # and drawn again below
    assert text.count("note: behind it") == 1 and text.endswith("note: behind it\r\n")
