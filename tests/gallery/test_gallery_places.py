"""Galleries where little may be written: locked, read-only, of others, with what is no file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from helpers_artifact import write_artifact, write_images
from helpers_gallery import batch, identity, new_gallery

from mtml_deploy.cli.main import main
from mtml_deploy.gallery.folder import sqlite
from mtml_deploy.gallery.folder.gallery import FolderGallery
from mtml_deploy.gallery.folder.lock import WriterLock
from mtml_deploy.gallery.open import open_gallery
from mtml_deploy.gallery.values import Filter, GalleryError, NewRows, RowRecord, Selection


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with new_gallery(tmp_path / "g") as gallery:
        gallery.add_rows(batch(np.eye(3), camera_id=[1, 2, -1]))
    return tmp_path / "g"


def found(folder: Path, where: Filter | None = None) -> list[int]:
    with FolderGallery(folder) as gallery:
        query = np.array([[1, 0.5, 0.25]], np.float32)
        return gallery.search(query, model=identity(), where=where or Filter()).rows[0].tolist()


def test_a_lock_says_who_holds_it(folder: Path):
    code = (
        "import sys; from pathlib import Path; from mtml_deploy.gallery.folder.lock import *; "
        f"lock = WriterLock(Path({str(folder / 'writer.lock')!r})); print('held', flush=True); "
        "sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert child.stdout is not None and child.stdout.readline() == "held\n"
    with pytest.raises(GalleryError, match=rf"\(number {child.pid} on .* did not wait") as refusal:
        FolderGallery(folder, write=True)
    assert "\n" not in str(refusal.value)
    assert found(folder) == [1, 2, 3]
    child.communicate("")
    FolderGallery(folder, write=True).close()


def test_what_a_lock_file_says_is_shown_safely(folder: Path):
    with WriterLockOf(folder):
        (folder / "writer.lock").write_bytes(b"\x1b[31m\xff\n" + b"x" * 10_000)
        with pytest.raises(GalleryError) as refusal:
            FolderGallery(folder, write=True)
        assert str(refusal.value).isprintable() and len(str(refusal.value)) < 1000


class WriterLockOf:
    """The lock of a gallery in a `with` statement."""

    def __init__(self, folder: Path) -> None:
        self._lock = WriterLock(folder / "writer.lock")

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        self._lock.close()


def test_a_read_only_file_system(folder: Path, monkeypatch):
    for path in folder.glob("rows.sqlite-*"):
        path.unlink()
    before = sorted(folder.iterdir())
    real = os.statvfs
    monkeypatch.setattr(
        sqlite.os,
        "statvfs",
        lambda path: SimpleNamespace(f_flag=real(path).f_flag | os.ST_RDONLY),
    )
    assert found(folder) == [1, 2, 3]
    assert sorted(folder.iterdir()) == before  # nothing was made
    (folder / "rows.sqlite-wal").write_bytes(b"x")
    with pytest.raises(GalleryError, match=r"-wal holds changes of a writer .* copy the gallery"):
        found(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_the_gallery_of_another_user(folder: Path):
    for path in folder.glob("rows.sqlite-*"):
        path.unlink()
    for path in (folder, *folder.parents):
        if path.owner() == Path("/root").owner() and path != Path("/"):
            path.chmod(0o755)
    code = f"""
import os, sys
from pathlib import Path
import helpers_gallery, numpy as np
from mtml_deploy.gallery.folder.gallery import FolderGallery
from mtml_deploy.gallery.values import GalleryError
os.setgid(65534); os.setuid(65534)
for write in (True, False):
    try:
        FolderGallery(Path({str(folder)!r}), write=write)
    except GalleryError as error:
        print(error)
"""
    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(root), str(root / "tests")])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
        check=True,
    )
    writing, reading = done.stdout.splitlines()
    assert "cannot be written" in writing and "check its permissions" in writing
    assert "that you may write" in reading and "copy the gallery to a folder of yours" in reading


@pytest.mark.parametrize("name", ["vectors", "index"])
def test_links_out_of_the_folder_are_not_followed(folder: Path, tmp_path: Path, name: str):
    """Opening for writing deletes vector files that no record names: never those of others."""
    (tmp_path / "mine").mkdir()
    kept = [tmp_path / "mine" / name for name in ("00000099.bin", "a.bin", "notes.txt")]
    for path in kept:
        path.write_text("mine")
    if name == "vectors":
        (folder / name).rename(tmp_path / "moved")
        (folder / name).symlink_to(tmp_path / "mine")
        with pytest.raises(GalleryError, match="is a link"):
            FolderGallery(folder, write=True)
    else:
        (folder / name).symlink_to(tmp_path / "mine")
        FolderGallery(folder, write=True).close()
    assert all(path.read_text() == "mine" for path in kept)


def test_files_of_others_in_the_folder_stay(folder: Path):
    (folder / "vectors" / "notes.bin").write_text("mine")
    (folder / "vectors" / "00000099.bin").write_bytes(b"left by a writer that was killed")
    FolderGallery(folder, write=True).close()
    names = {path.name for path in (folder / "vectors").iterdir()}
    assert names == {"00000001.bin", "notes.bin"}


def test_what_is_no_image_file_is_skipped(tmp_path: Path):
    write_artifact(tmp_path / "art")
    write_images(tmp_path / "in", 2, seed=1)
    os.mkfifo(tmp_path / "in" / "pipe.png")
    (tmp_path / "in" / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "in" / "gone.png").symlink_to("nowhere")
    table = ["path", *(f"in/{path.name}" for path in sorted((tmp_path / "in").iterdir()))]
    (tmp_path / "t.csv").write_text("\n".join(["path,vehicle_id", *(f"{x},1" for x in table[1:])]))
    runner = CliRunner()
    art, out = str(tmp_path / "art"), str(tmp_path / "g")
    assert runner.invoke(main, ["gallery", "create", out, art]).exit_code == 0
    words = ["gallery", "add", out, art, "--images", f"csv:{tmp_path / 't.csv'}"]
    result = runner.invoke(main, words)
    assert result.exit_code == 1 and "Traceback" not in result.output
    result = runner.invoke(main, [*words, "--skip-bad"])
    assert result.exit_code == 0, result.output
    assert "2 added, 0 there already, 3 skipped" in result.stderr


@pytest.mark.parametrize(
    "text",
    ["'; DROP TABLE rows; --", '"', "%", "_", "a' OR '1'='1", "", "\udcff", "x" * 100_000, "a\0b"],
)  # fmt: skip
def test_texts_are_never_statements(folder: Path, text: str):
    with FolderGallery(folder, write=True) as gallery:
        assert not gallery.holds([text])
        assert gallery.remove(Selection(paths=(text,))) == 0
        record = RowRecord(text, "new")
        if text == "\udcff" or len(text) > 99_999:
            with pytest.raises(GalleryError, match=r"not Unicode|has 100000 bytes"):
                gallery.add_rows(rows_of(record))
        else:
            gallery.add_rows(rows_of(record))
            assert [stored.record for stored in gallery.rows([4])] == [record]
            assert gallery.remove(Selection(paths=(text,))) == 1
        assert len(gallery) == 3
        assert gallery.verify() == ()


def rows_of(record: RowRecord) -> NewRows:
    return NewRows(identity(), np.ones((1, 3), np.float32), (record,))


@pytest.mark.parametrize("number", [2**31, 2**63, 2**70, -(2**70), 0, -2])
def test_numbers_that_no_row_has(folder: Path, number: int):
    with FolderGallery(folder, write=True) as gallery:
        assert list(gallery.rows([number])) == []
        assert gallery.remove(Selection(rows=(number,), vehicles=(number,))) == 0
        with pytest.raises(GalleryError, match="does not hold row"):
            gallery.vectors([number])
    assert found(folder, Filter(cameras=(number,))) == []
    assert found(folder, Filter(not_cameras=(number,))) == [1, 2, 3]
    assert found(folder, Filter(orientations=(number,))) == []


@pytest.mark.parametrize("value", [1.5, "1", None, 2**31, -2])
def test_labels_that_are_none(value: object):
    for name in ("vehicle_id", "camera_id", "tracklet_id", "orientation"):
        with pytest.raises(ValueError, match="found"):
            RowRecord("p", "c", **{name: value})  # type: ignore[arg-type]
    if value is not None and not isinstance(value, int):
        with pytest.raises(ValueError, match="time_us is an integer or None"):
            RowRecord("p", "c", time_us=value)  # type: ignore[arg-type]


def test_an_empty_name():
    with pytest.raises(GalleryError, match="the name of the gallery is empty"):
        open_gallery("")
    result = CliRunner().invoke(main, ["gallery", "info", ""])
    assert result.exit_code == 1 and "the name of the gallery is empty" in result.stderr
