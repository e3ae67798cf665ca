"""What a user reads of a folder of images on the command line."""

import warnings
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers_artifact import write_artifact
from PIL import Image

from mtml_deploy.cli.console import prepare_streams
from mtml_deploy.cli.main import main
from mtml_deploy.data.batches import decode_image
from mtml_deploy.embed.embeddings import Embeddings


def test_a_folder_is_embedded_whole_and_the_rest_is_told(tmp_path: Path) -> None:
    write_artifact(tmp_path / "art")
    images = tmp_path / "images"
    images.mkdir()
    picture = Image.new("RGB", (8, 8), (200, 100, 50))
    for name, kind in (("a.jpg", "JPEG"), ("b.jfif", "JPEG"), ("c.jpe", "JPEG"), ("d.tif", "TIFF")):
        picture.save(images / name, kind)
    picture.save(images / "e.gif", "GIF")
    for name in ("n.txt", "m.txt", "l.json", ".DS_Store"):
        (images / name).touch()
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/link").symlink_to(images)
    for folder in ("images", "linked"):
        out = tmp_path / f"{folder}.npz"
        words = ["embed", tmp_path / "art", "--images", tmp_path / folder, "--out", out]
        result = CliRunner().invoke(main, list(map(str, words)))
        assert result.exit_code == 0, result.output
        assert len(Embeddings.load(out)) == 5
        assert "left out: 3 files (.txt 2, .json 1), 1 hidden\n" in result.stderr


@pytest.mark.parametrize("verbose", [False, True])
def test_remarks_of_pillow_do_not_reach_the_user(tmp_path: Path, verbose: bool) -> None:
    # EXIF data that promises nine entries and ends
    exif = b"Exif\0\0II*\0\x08\0\0\0\x09\0" + bytes(4)
    Image.new("RGB", (4, 4), (9, 9, 9)).save(tmp_path / "a.jpg", exif=exif)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        prepare_streams(verbose=verbose)
        assert decode_image(tmp_path / "a.jpg", height=2, width=2).shape == (2, 2, 3)
    assert not caught


def test_a_pattern_that_the_shell_has_resolved(tmp_path: Path) -> None:
    names = [str(tmp_path / name) for name in ("art", "a.jpg", "b.jpg", "c.jpg")]
    for name in names:
        Path(name).touch()
    words = ["embed", names[0], "--images", *names[1:], "--out", str(tmp_path / "o.npz")]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2
    assert f"2 names too many ({names[2]}, {names[3]}): an option takes one value" in result.stderr
    assert "ls PATTERN > LIST.txt" in result.stderr
    # words that are no files are what click says of them
    result = CliRunner().invoke(main, [*words, "--threads", "1", "nonsense"])
    assert "Got unexpected extra arguments" in result.stderr


def test_several_names_in_one_source(tmp_path: Path) -> None:
    write_artifact(tmp_path / "art")
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).touch()
    source = f"{tmp_path}/a.jpg, {tmp_path}/b.jpg"
    words = ["embed", str(tmp_path / "art"), "--images", source, "--out", str(tmp_path / "o.npz")]
    result = CliRunner().invoke(main, words)
    assert "names 2 files or folders, expected one source; write a list" in result.stderr
