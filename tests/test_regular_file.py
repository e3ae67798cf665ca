"""Only regular files are read: nothing waits for the other end of a pipe, nothing never ends."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mtml_deploy.artifact.artifact import file_sha256
from mtml_deploy.data.decode import decode_whole
from mtml_deploy.data.text_files import read_text
from mtml_deploy.errors import DataError, ImageError, MtmlError
from mtml_deploy.gallery.folder.manifest import load_manifest
from mtml_deploy.gallery.times import load_times
from mtml_deploy.gallery.values import GalleryError
from mtml_deploy.regular_file import NotAFileError, open_regular, read_regular


def test_what_is_read(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "b").symlink_to("a")
    for name in "ab":
        assert read_regular(tmp_path / name) == b"abc"
        with open_regular(tmp_path / name) as file:
            assert (file.read(1), file.seek(0), file.read()) == (b"a", 0, b"abc")


@pytest.fixture(params=["pipe", "device", "folder", "socket", "loop", "nothing"])
def entry(request, tmp_path: Path, monkeypatch) -> Path:
    """A name that leads to no regular file."""
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    path = tmp_path / "entry"
    if request.param == "pipe":
        os.mkfifo(path)
    elif request.param == "device":
        path.symlink_to("/dev/zero")
    elif request.param == "folder":
        path.mkdir()
    elif request.param == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("entry")
    elif request.param == "loop":
        path.symlink_to("entry")
    return path


def test_everything_else_is_refused_at_once(entry: Path):
    readers = (open_regular, read_regular, file_sha256)
    for reader in readers:
        with pytest.raises(OSError):
            reader(entry)
    with pytest.raises(DataError):
        read_text(entry, what="the list")
    with pytest.raises(ImageError):
        decode_whole(entry)
    with pytest.raises(GalleryError):
        load_times(entry)


@pytest.mark.parametrize("kind", ["pipe", "device", "socket"])
def test_the_text_names_the_kind(tmp_path: Path, kind: str, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    path = tmp_path / "x"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("x")
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(NotAFileError, match=f"x is a {kind}, expected a regular file; name a file"):
        open_regular(path)


def test_too_large(tmp_path: Path):
    path = tmp_path / "x"
    path.touch()
    os.truncate(path, 1 << 40)  # a file of one hole, which takes no room
    with pytest.raises(NotAFileError, match=r"1,099,511,627,776 bytes, expected at most"):
        read_regular(path)
    path.write_bytes(b"12345")
    assert read_regular(path, most_bytes=5) == b"12345"
    with pytest.raises(MtmlError, match="expected at most 4;"):
        read_regular(path, most_bytes=4)


def test_the_record_of_a_gallery(tmp_path: Path):
    os.mkfifo(tmp_path / "gallery.json")
    with pytest.raises(MtmlError):
        load_manifest(tmp_path)


def test_an_image_behind_a_link(tmp_path: Path):
    Image.new("RGB", (2, 1), (10, 20, 30)).save(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to("a.png")
    assert np.array_equal(decode_whole(tmp_path / "b.png"), np.full((1, 2, 3), (10, 20, 30)))
