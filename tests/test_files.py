"""Whole files or none: full disks, two writers, and what killed writers leave."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from mtml_deploy.errors import OutputBusyError
from mtml_deploy.files import atomic_file, atomic_folder, restore_folder, scratch_folder, write_text
from mtml_deploy.lock import one_writer
from mtml_deploy.write_error import WriteError, number_of

OLD = "what was there before"


@contextmanager
def largest_file(limit: int) -> Iterator[None]:
    """No file may be larger, as on a full disk: the write that comes to it fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def names(folder: Path) -> list[str]:
    """Everything in a folder."""
    return sorted(each.name for each in folder.iterdir())


# a machine that refuses


@pytest.mark.parametrize("limit", [0, 1, 5_000, 9_999])
def test_a_file_for_which_there_is_no_room_leaves_the_one_before(
    tmp_path: Path, limit: int
) -> None:
    path = tmp_path / "a.json"
    path.write_text(OLD)
    with pytest.raises(WriteError) as caught, largest_file(limit):
        write_text(path, "x" * 10_000)
    assert f"{path} cannot be written: File too large" in str(caught.value)
    assert "what was there before is as it was" in str(caught.value)
    assert "ulimit -f" in str(caught.value)
    assert caught.value.errno == errno.EFBIG
    assert (names(tmp_path), path.read_text()) == (["a.json"], OLD)


def test_a_library_that_tells_no_number_of_the_system_is_understood(tmp_path: Path) -> None:
    # NumPy says how much it wrote, and nothing else
    path = tmp_path / "a.npy"
    with (
        pytest.raises(WriteError, match=r"a\.npy cannot be written: .*make room there"),
        largest_file(5_000),
        atomic_file(path) as temporary,
        temporary.open("wb") as file,
    ):
        np.save(file, np.zeros(10_000))
    assert names(tmp_path) == []


def test_sqlite_without_room_leaves_no_folder(tmp_path: Path) -> None:
    with (
        pytest.raises(WriteError, match="gallery cannot be written: Input/output error"),
        largest_file(5_000),
        atomic_folder(tmp_path / "gallery") as temporary,
    ):
        database = sqlite3.connect(temporary / "rows.sqlite")
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("CREATE TABLE a (b)")
        finally:
            database.close()
    assert names(tmp_path) == []


def test_a_file_in_a_folder_is_told_by_the_name_of_the_folder(tmp_path: Path) -> None:
    with (
        pytest.raises(WriteError, match=r"/run\.part cannot be written: File too large") as caught,
        largest_file(5),
        atomic_folder(tmp_path / "run.part") as temporary,
    ):
        write_text(temporary / "header.json", "0123456789")
    assert ".tmp" not in str(caught.value)
    assert names(tmp_path) == []


def test_too_few_open_files_are_named(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    (tmp_path / "a").write_text(OLD)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        with pytest.raises(WriteError, match=r"Too many open files; .*ulimit -n"):
            write_text(tmp_path / "a", "x")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert (names(tmp_path), (tmp_path / "a").read_text()) == (["a"], OLD)


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (OSError(errno.ENOSPC, "x"), errno.ENOSPC),
        (RuntimeError("write error in a: 69955 != 160000 (File too large)"), errno.EFBIG),
        (Exception("I/O error: Space is gone (os error 28)"), errno.ENOSPC),
        (RuntimeError("shapes do not fit"), None),
    ],
)
def test_the_number_is_found_in_what_libraries_say(error: Exception, number: int | None) -> None:
    assert number_of(error) == number


def test_an_error_of_the_work_is_not_taken_for_one_of_writing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_folder(tmp_path / "a"):
        (tmp_path / "no image").read_bytes()
    with pytest.raises(ValueError, match="of the work"), atomic_file(tmp_path / "a"):
        raise ValueError("of the work")
    assert names(tmp_path) == []


def test_a_place_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text(OLD)
    with pytest.raises(WriteError, match=r"a cannot be written: (Not a directory|File exists)"):
        write_text(tmp_path / "file" / "a", "x")


# two writers


def child(code: str, *words: object) -> subprocess.Popen[str]:
    """A process that runs `code`; its words are sys.argv[1:]."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


HOLD = """
import sys
from pathlib import Path
from mtml_deploy.files import atomic_file, atomic_folder, scratch_folder
from mtml_deploy.lock import one_writer
kind = {"file": atomic_file, "folder": atomic_folder, "scratch": scratch_folder,
        "lock": one_writer}[sys.argv[2]]
with kind(Path(sys.argv[1])) as temporary:
    if sys.argv[2] in ("folder", "scratch"):
        (temporary / "inside").write_text("half")
    if sys.argv[2] == "file":
        temporary.write_text("theirs")
    print("ready", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def at_work(path: Path, kind: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that is writing `path` until it gets a line."""
    process = child(HOLD, path, kind)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_the_second_writer_of_a_folder_is_told_who_has_it(tmp_path: Path) -> None:
    path = tmp_path / "artifact"
    with at_work(path, "folder") as other:
        with (
            pytest.raises(OutputBusyError, match=f"another process .number {other.pid} on "),
            atomic_folder(path),
        ):
            raise AssertionError("not to be reached")
        other.communicate("go\n", timeout=60)
        assert other.returncode == 0
    assert (names(tmp_path), names(path)) == (["artifact"], ["inside"])


def test_of_two_writers_of_a_file_the_last_wins_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with at_work(path, "file") as other:
        write_text(path, "ours")  # sweeps, and leaves alone what is in work
        assert path.read_text() == "ours"
        other.communicate("go\n", timeout=60)
        assert other.returncode == 0
    assert (names(tmp_path), path.read_text()) == (["a.json"], "theirs")


def test_a_lock_ends_with_its_process_and_not_with_a_child_of_it(tmp_path: Path) -> None:
    path = tmp_path / "run"
    code = HOLD.replace(
        '    print("ready", flush=True)',
        "    import os, time\n"
        "    if not os.fork():\n"
        '        print("ready", flush=True)\n'
        "        time.sleep(20)\n"
        "        os._exit(0)",
    )
    process = child(code, path, "lock")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    with pytest.raises(OutputBusyError), one_writer(path):
        raise AssertionError("not to be reached")
    process.kill()
    process.wait()
    with one_writer(path) as certain:  # its child is alive still
        assert certain
    process.stdout.close()
    assert names(tmp_path) == []


# killed writers


@pytest.mark.parametrize("kind", ["file", "folder", "scratch"])
def test_what_a_killed_writer_leaves_is_removed_by_the_next(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a"
    with at_work(path, kind):
        pass  # killed
    left = [name for name in names(tmp_path) if name.endswith(".tmp")]
    assert len(left) == 1
    other = tmp_path / "b"
    write_text(other, "x")  # of another output: nothing of ours
    assert left[0] in names(tmp_path)
    write_text(path, "x")
    lock = [".a.lock"] if kind == "folder" else []  # locked by nobody
    assert names(tmp_path) == [*lock, "a", "b"]


def test_what_is_not_certainly_left_by_us_is_left_alone(tmp_path: Path) -> None:
    theirs = [
        ".a.12345678.tmp",
        ".a.mtml-1234567.tmp",
        ".a.mtml-12345678.tmpx",
    ]
    for name in theirs:
        (tmp_path / name).write_text(OLD)
    (tmp_path / ".a.mtml-linklink.tmp").symlink_to(tmp_path / theirs[0])
    write_text(tmp_path / "a", "x")
    assert set(theirs) < set(names(tmp_path))
    assert (tmp_path / theirs[0]).read_text() == OLD


def replace_and_die(path: Path, at: int) -> int:
    """Replace a folder in a process that is killed before its system call number `at`.

    Returns:
        How the process ended.
    """
    number = os.fork()
    if number == 0:
        calls = ("os.rename", "os.rmdir", "os.remove", "os.chmod", "os.mkdir", "fcntl.flock")
        count = 0

        def watched(event: str, _: object) -> None:
            nonlocal count
            if event in calls:
                if count == at:
                    os.kill(os.getpid(), signal.SIGKILL)
                count += 1

        try:
            sys.addaudithook(watched)
            with atomic_folder(path, allow=lambda _: None) as temporary:
                (temporary / "inside").write_text("new")
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


def test_a_folder_is_whole_whenever_its_writer_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "artifact"
    seen = set()
    for at in range(40):
        shutil.rmtree(tmp_path)
        path.mkdir(parents=True)
        (path / "inside").write_text("old")
        ended = replace_and_die(path, at)
        restore_folder(path)
        found = (path / "inside").read_text()
        seen.add(found)
        assert found in ("old", "new")
        assert names(path) == ["inside"]
        # and the next writer finds nothing in its way, and leaves nothing
        with atomic_folder(path, allow=lambda _: None) as temporary:
            (temporary / "inside").write_text("next")
        assert (names(tmp_path), (path / "inside").read_text()) == (["artifact"], "next")
        if ended == 0:
            break
        assert ended == -signal.SIGKILL
    assert ended == 0, "more system calls than were tried"
    assert seen == {"old", "new"}


def test_a_folder_in_the_middle_of_its_replacement_is_not_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "artifact"
    with at_work(path, "lock"):
        (tmp_path / ".artifact.mtml-12345678.old").mkdir()
        restore_folder(path)
        assert not path.exists()
    restore_folder(path)
    assert path.is_dir()


def test_folders_are_made_for_an_output_and_for_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "run"
    with pytest.raises(ValueError, match="of the work"), one_writer(path):
        raise ValueError("of the work")
    assert names(tmp_path) == []
    with one_writer(path):
        write_text(path, "x")
    assert path.read_text() == "x"


def test_nothing_is_kept_open(tmp_path: Path) -> None:
    before = len(names(Path("/proc/self/fd")))
    write_text(tmp_path / "a", "x")
    with atomic_folder(tmp_path / "b"), scratch_folder(tmp_path / "c"):
        pass
    assert len(names(Path("/proc/self/fd"))) == before
