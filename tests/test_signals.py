"""Signals that ask a command to end: one exception, one status, and the second ends at once."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from mtml_deploy.cli.command import SafeCommand
from mtml_deploy.errors import MtmlError
from mtml_deploy.signals import SIGNALS, Interrupted, ended_by_signals, received


@pytest.fixture(autouse=True)
def handlers_come_back() -> Iterator[None]:
    before = [signal.getsignal(number) for number in SIGNALS]
    yield
    assert [signal.getsignal(number) for number in SIGNALS] == before


@pytest.mark.parametrize(
    ("number", "status", "text"),
    [
        (signal.SIGINT, 130, "interrupted\n"),
        (signal.SIGTERM, 143, "stopped by SIGTERM\n"),
        (signal.SIGHUP, 129, "stopped by SIGHUP\n"),
    ],
)
@pytest.mark.own_process
def test_a_command_tidies_up_and_says_which_signal_it_was(
    number: signal.Signals, status: int, text: str
) -> None:
    tidied = []

    def run() -> None:
        try:
            signal.raise_signal(number)
        finally:
            tidied.append(True)

    done = CliRunner().invoke(SafeCommand("run", callback=run), [])
    assert (done.exit_code, done.output, tidied) == (status, text, [True])


@pytest.mark.own_process
def test_an_error_that_a_library_makes_of_it_is_not_told() -> None:
    def run() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except BaseException:
            raise MtmlError("rows.sqlite is damaged") from None

    done = CliRunner().invoke(SafeCommand("run", callback=run), [])
    assert (done.exit_code, done.output) == (143, "stopped by SIGTERM\n")
    # of the next command nothing is known
    assert received() is None


@pytest.mark.own_process
def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    try:
        with ended_by_signals():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.own_process
def test_inside_of_each_other_there_is_one_handler() -> None:
    with pytest.raises(Interrupted) as caught, ended_by_signals():
        outer = signal.getsignal(signal.SIGTERM)
        with ended_by_signals():
            assert signal.getsignal(signal.SIGTERM) is outer
        signal.raise_signal(signal.SIGTERM)
    assert caught.value.status == 143


SLOW_TO_TIDY = """
import sys, time
from mtml_deploy.cli.command import SafeCommand
def run():
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        print("tidying", flush=True)
        time.sleep(60)
SafeCommand("run", callback=run).main()
"""


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once(second: signal.Signals) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", SLOW_TO_TIDY], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGTERM)
        assert child.stdout.readline() == "tidying\n"
        child.send_signal(second)
        _, said = child.communicate(timeout=30)
    finally:
        child.kill()
    assert (child.returncode, said) == (-second, "")


def test_a_forked_process_ends_without_a_word() -> None:
    code = """
import os, signal, time
from mtml_deploy.cli.command import SafeCommand
def run():
    ready, told = os.pipe()
    child = os.fork()
    if not child:
        os.write(told, b"x")  # a signal before this is lost: Python drops those of the parent
        while True:
            time.sleep(0.02)  # not pause(): the signal may come just before it
    os.read(ready, 1)
    os.kill(child, signal.SIGTERM)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
SafeCommand("run", callback=run).main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{-signal.SIGTERM}\n", "")
