"""Closed and full standard streams, and readers that go: the work is done, the status tells."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from helpers_embeddings import embedded

from mtml_deploy.cli.command import SafeCommand
from mtml_deploy.cli.streams import READER_GONE


def embeddings(path: Path, rows: int) -> Path:
    """Rows of two vehicles before two cameras."""
    ids = np.arange(rows, dtype=np.int32) % 2
    embedded(
        np.random.default_rng(rows).normal(size=(rows, 4)),
        ids,
        np.arange(rows, dtype=np.int32) // 2 % 2,
        names=(f"{row}.jpg" for row in range(rows)),
        source="a test",
        root=str(path.parent),
    ).save(path)
    return path


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The words of an evaluation that writes a file as well; the file's name comes last."""
    folder = tmp_path_factory.mktemp("rows")
    query, gallery = embeddings(folder / "q.npz", 4), embeddings(folder / "g.npz", 8)
    words = [sys.executable, "-c", "from mtml_deploy.cli.main import main; main()", "evaluate"]
    words += ["--query", str(query), "--gallery", str(gallery), "--protocol", "veri776", "--json"]
    return " ".join(f"'{word}'" for word in words)


@pytest.mark.parametrize(
    ("redirection", "status", "text"),
    [
        ("2>/dev/null | true; exit ${PIPESTATUS[0]}", READER_GONE, ""),
        ("| true; exit ${PIPESTATUS[0]}", READER_GONE, ""),
        (">&-", 1, "error: stdout cannot be written (Bad file descriptor)"),
        (">/dev/full", 1, "error: stdout cannot be written (No space left on device)"),
        ("2>&- >/dev/null", 0, ""),
        ("2>/dev/full >/dev/null", 0, ""),
        ("2>&- >&-", 1, ""),
        ("<&- >&- 2>&-", 1, ""),
        (">/dev/null", 0, ""),
    ],
)
def test_what_nobody_reads_ends_no_work(
    evaluation: str, tmp_path: Path, redirection: str, status: int, text: str
) -> None:
    file = tmp_path / "found.json"
    done = subprocess.run(
        ["bash", "-c", f"{evaluation} '{file}' {redirection}"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (status, "")
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    # a file that got the number of a closed stream would hold its texts
    assert "mean_ap" in json.dumps(json.loads(file.read_text()))


def test_help_to_a_full_disk_is_an_error() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", "from mtml_deploy.cli.main import main; main()", "--help"],
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=60,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("error: stdout cannot be written (No space left on device)")


def test_notes_to_a_reader_that_has_gone_end_nothing() -> None:
    # three notes, the reader gone after none of them, and then a result
    code = """
import click
from mtml_deploy.cli.command import SafeCommand
from mtml_deploy.cli.console import prepare_streams, write_data, write_note
import logging
def run():
    prepare_streams(verbose=True)
    for number in range(3):
        write_note("x" * 100_000)
        logging.getLogger("a").warning("y")
    write_data("the result")
SafeCommand("run", callback=run).main()
"""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as gone:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=gone, timeout=60
        )
    assert (done.returncode, done.stdout) == (0, b"the result\n")


def test_names_that_no_terminal_shows_are_escaped() -> None:
    code = """
from mtml_deploy.cli.command import SafeCommand
from mtml_deploy.cli.console import write_data
SafeCommand("run", callback=lambda: write_data("\\u0416")).main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, timeout=60,
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, b"\\u0416\n")


def test_a_thread_that_cannot_be_started_is_a_want_of_memory() -> None:
    def run() -> None:
        raise RuntimeError("can't start new thread")  # in Python's words

    done = CliRunner().invoke(SafeCommand("run", callback=run), [])
    assert done.exit_code == 1
    assert done.output.startswith("error: not enough memory: can't start new thread; expected")


def test_the_status_of_a_reader_that_has_gone_is_that_of_a_shell() -> None:
    assert READER_GONE == 128 + signal.SIGPIPE == 141
