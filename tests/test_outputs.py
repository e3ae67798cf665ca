"""Outputs replaced whole or not at all, and how what is there is told apart."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers_artifact import write_artifact

from mtml_deploy.artifact.artifact import open_artifact
from mtml_deploy.artifact.artifact_folder import ARTIFACT
from mtml_deploy.errors import OutputExistsError
from mtml_deploy.files import atomic_folder
from mtml_deploy.output_kind import FolderKind, json_kind, text_kind
from mtml_deploy.outputs import output_folder, require_output

LETTERS = FolderKind(
    "a folder of letters",
    lambda folder: (folder / "letters").read_text(),
    lambda folder: [path.name for path in folder.iterdir() if path.name != "letters"],
)
KILLED = """
import os, sys
from pathlib import Path
from mtml_deploy.files import atomic_folder

rename, done = Path.rename, []

def counted(self, target):
    if len(done) == int(sys.argv[2]):
        os._exit(9)
    done.append(target)
    return rename(self, target)

Path.rename = counted
with atomic_folder(Path(sys.argv[1]), allow=lambda path: None) as folder:
    (folder / "letters").write_text("new")
"""


def write(path: Path, text: str, *, overwrite: bool = True) -> None:
    with output_folder(path, LETTERS, overwrite=overwrite) as folder:
        (folder / "letters").write_text(text)


@pytest.mark.parametrize(("renames", "kept"), [(0, "old"), (1, "old"), (2, "new")])
def test_a_kill_leaves_the_old_folder_or_the_new_one(
    tmp_path: Path, renames: int, kept: str
) -> None:
    place = tmp_path / "a[b]*"
    write(place, "old")
    words = [sys.executable, "-c", KILLED, str(place), str(renames)]
    assert subprocess.run(words, check=False, timeout=60).returncode == 9
    # whoever asks next finds it
    with pytest.raises(OutputExistsError, match="add --overwrite"):
        require_output(place, LETTERS, overwrite=False)
    assert (place / "letters").read_text() == kept
    write(place, "newest")
    assert (place / "letters").read_text() == "newest"


def test_a_reader_finds_an_artifact_that_was_about_to_be_replaced(tmp_path: Path) -> None:
    manifest = write_artifact(tmp_path / "art").manifest
    (tmp_path / "art").rename(tmp_path / ".art.mtml-abcd1234.old")
    assert open_artifact(tmp_path / "art").manifest == manifest
    # and nobody else's
    (tmp_path / "art").rename(tmp_path / ".art2.mtml-abcd1234.old")
    assert not (tmp_path / "art").exists()
    with (
        pytest.raises(OutputExistsError),
        output_folder(tmp_path / ".art2.mtml-abcd1234.old", ARTIFACT, overwrite=False),
    ):
        pass


def test_an_error_leaves_the_old_folder(tmp_path: Path) -> None:
    write(tmp_path / "a", "old")
    with pytest.raises(RuntimeError), output_folder(tmp_path / "a", LETTERS, overwrite=True):
        raise RuntimeError
    assert (tmp_path / "a" / "letters").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_what_comes_during_the_work_is_not_replaced(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputExistsError, match="notes"),
        output_folder(tmp_path / "a", LETTERS, overwrite=True) as folder,
    ):
        (folder / "letters").write_text("new")
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "letters").write_text("somebody's")
        (tmp_path / "a" / "notes").write_text("mine")
    assert (tmp_path / "a" / "letters").read_text() == "somebody's"
    with pytest.raises(OutputExistsError), atomic_folder(tmp_path / "b"):
        (tmp_path / "b").mkdir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_inputs_are_found_however_they_are_written(tmp_path: Path) -> None:
    write(tmp_path / "a", "old")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    os.link(tmp_path / "a" / "letters", tmp_path / "hard")
    letters = text_kind("letters", "old")
    for out, given in (
        (tmp_path / "a", tmp_path / "link"),
        (tmp_path / "a", tmp_path / "link" / "letters"),
        (tmp_path / "link" / ".." / "a", tmp_path / "a"),
        (tmp_path / "a" / "new", tmp_path / "link"),
    ):
        with pytest.raises(OutputExistsError, match="this command reads"):
            require_output(out, LETTERS, overwrite=True, inputs=(given,))
    with pytest.raises(OutputExistsError, match="is what this command reads"):
        require_output(tmp_path / "hard", letters, overwrite=True,
                       inputs=(tmp_path / "link" / "letters",))  # fmt: skip
    # folders that writing would make
    with pytest.raises(OutputExistsError, match="this command reads"):
        require_output(tmp_path / "new" / ".." / "a", LETTERS, overwrite=True,
                       inputs=(tmp_path / "a" / "letters",))  # fmt: skip
    with pytest.raises(OutputExistsError, match="not a text"):
        require_output(
            tmp_path / "new" / ".." / "hard", text_kind("a text", "new"), overwrite=False
        )
    # a new file among the inputs is none of them
    require_output(tmp_path / "a" / "new", letters, overwrite=False, inputs=(tmp_path / "a",))
    require_output(tmp_path / "new", LETTERS, overwrite=False, inputs=(tmp_path,))


def test_an_empty_file_or_folder_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    kind = json_kind("numbers", "one")
    for path, each in ((tmp_path / "file", kind), (tmp_path / "folder", LETTERS)):
        with pytest.raises(OutputExistsError, match="add --overwrite"):
            require_output(path, each, overwrite=False)
        require_output(path, each, overwrite=True)
        with pytest.raises(OutputExistsError, match="not "):
            require_output(path, LETTERS if each is kind else kind, overwrite=True)


@pytest.mark.parametrize(
    "text", ["mine", "{", "[1]", '{"two": 2}', "[[[[", "\udcff", '{"one": NaN}']
)
def test_only_an_object_with_all_keys_is_such_a_record(tmp_path: Path, text: str) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    kind = json_kind("numbers", "one", "two")
    with pytest.raises(OutputExistsError, match="not numbers"):
        require_output(path, kind, overwrite=True)
    path.write_text('{"one": 1, "two": 2, "three": 3}')
    require_output(path, kind, overwrite=True)


def test_devices_and_pipes_are_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null")):
        for kind in (json_kind("numbers", "one"), text_kind("letters", ""), LETTERS):
            with pytest.raises(OutputExistsError, match="no regular file"):
                require_output(path, kind, overwrite=True)


def test_an_empty_list_is_nobody_s_unless_the_command_writes_such(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("[]")
    with pytest.raises(OutputExistsError, match="is a file, not numbers"):
        require_output(path, json_kind("numbers", "one"), overwrite=True)
    require_output(path, json_kind("numbers", "one", may_be_empty=True), overwrite=True)
