"""Embedding that is stopped, has no room, or meets another command with the same output."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers_artifact import write_artifact, write_images

from mtml_deploy.cli.main import main
from mtml_deploy.data.folder import load_folder
from mtml_deploy.embed.embed_to import embed_to
from mtml_deploy.embed.embeddings import Embeddings
from mtml_deploy.embed.resume import PartialRows
from mtml_deploy.errors import OutputBusyError
from mtml_deploy.model import Model
from mtml_deploy.write_error import WriteError

IMAGES = 11


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """An embedding of three batches into out.npz."""
    write_artifact(tmp_path / "art")
    write_images(tmp_path / "images", IMAGES)
    out = ["--out", str(tmp_path / "out.npz"), "--batch-size", "4"]
    return ["embed", str(tmp_path / "art"), "--images", str(tmp_path / "images"), *out]


def outputs(folder: Path) -> list[str]:
    """What lies there beside the inputs."""
    return sorted(path.name for path in folder.iterdir() if path.name not in ("art", "images"))


STOPPED = """
import signal, sys
from mtml_deploy.cli.main import main
from mtml_deploy.embed.resume import PartialRows

real = PartialRows.append

def append(rows, *args, **kwargs):
    real(rows, *args, **kwargs)
    signal.raise_signal(int(sys.argv[1]))

PartialRows.append = append
main(sys.argv[2:])
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_keeps_the_finished_rows_and_says_so(
    words: list[str], tmp_path: Path, number: signal.Signals
) -> None:
    # in a process of its own: what else signals the tests must not reach it, nor it the tests
    command = [sys.executable, "-c", STOPPED, str(int(number)), *words]
    stopped = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert stopped.returncode == 128 + number, stopped.stderr
    assert "the finished rows are kept; add --resume" in stopped.stderr
    assert outputs(tmp_path) == ["out.npz.part"]
    done = CliRunner().invoke(main, [*words, "--resume"])
    assert done.exit_code == 0, done.output
    assert "(4 by an earlier run)" in done.output
    assert len(Embeddings.load(tmp_path / "out.npz")) == IMAGES
    assert outputs(tmp_path) == ["out.npz"]


def test_rows_without_room_are_an_error_and_those_before_stay(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    real = PartialRows.append

    def append(rows: PartialRows, *args: object, **kwargs: object) -> None:
        if rows.count == 4:  # room for half of the second batch
            full = int(1.5 * (rows.folder / "rows.f32").stat().st_size)
            resource.setrlimit(resource.RLIMIT_FSIZE, (full, before[1]))
        real(rows, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(PartialRows, "append", append)
    try:
        done = CliRunner().invoke(main, words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert done.exit_code == 1, done.output
    assert "out.npz.part cannot be written: File too large" in done.output
    assert "the finished rows are kept; add --resume" in done.output
    monkeypatch.undo()
    assert CliRunner().invoke(main, [*words, "--resume"]).exit_code == 0
    assert len(Embeddings.load(tmp_path / "out.npz")) == IMAGES


@pytest.mark.parametrize("option", ["", "resume", "overwrite"])
def test_two_commands_with_one_output_do_not_mix(tmp_path: Path, option: str) -> None:
    images = write_images(tmp_path / "images", IMAGES)[0].parent
    out, met = tmp_path / "out.npz", []
    with Model.open(write_artifact(tmp_path / "art")) as model:

        def second(done: int, _: int) -> None:
            if done == 4:
                with pytest.raises(OutputBusyError, match=r"out\.npz is being written by another"):
                    embed_to(
                        model,
                        load_folder(images),
                        out,
                        resume=option == "resume",
                        overwrite=option == "overwrite",
                    )
                met.append(done)

        embed_to(model, load_folder(images), out, batch_size=4, progress=second)
    assert met == [4]
    assert len(Embeddings.load(out)) == IMAGES
    assert outputs(tmp_path) == ["out.npz"]


def test_a_file_without_room_leaves_the_one_before(words: list[str], tmp_path: Path) -> None:
    assert CliRunner().invoke(main, words).exit_code == 0
    out = tmp_path / "out.npz"
    rows, content = Embeddings.load(out), out.read_bytes()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (0, len(content) // 2, len(content) - 1):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        try:
            with pytest.raises(WriteError, match=r"out\.npz cannot be written"):
                rows.save(out)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert out.read_bytes() == content
    assert outputs(tmp_path) == ["out.npz"]
