"""Whatever is in the way of an output: only an earlier output of the same command is replaced."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from helpers_artifact import write_artifact, write_images
from helpers_outputs import Writer, refused, tree
from helpers_precision import mini_artifact, write_pictures

from benchmarks.__main__ import main as benchmarks
from mtml_deploy.artifact.artifact import open_artifact
from mtml_deploy.cli.main import main
from mtml_deploy.embed.embeddings import Embeddings
from mtml_train.cli.train import train_main

PAIR = "--query {}/q.npz --gallery {}/g.npz"
SOURCE = "--images csv:{}/cars/labels.csv"
WRITERS = {
    "embed": Writer(main, f"embed {{}}/art {SOURCE}", "--out", "e.npz"),
    "tracklets": Writer(
        main, "tracklets {}/q.npz --by vehicle-camera", "--out", "t.npz", reads="q.npz"
    ),
    "centre": Writer(main, "centre {}/q.npz --means-of {}/g.npz", "--out", "c.npz", reads="q.npz"),
    "gallery export": Writer(main, "gallery export {}/store", "--out", "e.npz"),
    "rank json": Writer(main, f"rank {PAIR}", "--json", "r.json"),
    "rank html": Writer(main, f"rank {PAIR}", "--html", "r.html"),
    "search": Writer(main, "search --gallery {}/store --query {}/q.npz", "--json", "s.json"),
    "evaluate json": Writer(main, f"evaluate {PAIR}", "--json", "v.json"),
    "evaluate markdown": Writer(main, f"evaluate {PAIR}", "--markdown", "v.md"),
    "evaluate png": Writer(main, f"evaluate {PAIR}", "--plot", "v.png"),
    "evaluate svg": Writer(main, f"evaluate {PAIR}", "--plot", "v.svg"),
    "aicity write": Writer(main, f"aicity write {PAIR} --local", "--out", "track2.txt"),
    "compress": Writer(
        main, f"compress {{}}/art --dim 3 --train {{}}/g.npz {SOURCE}", "--out", "small",
        folder=True, reads="art",
    ),
    "convert": Writer(
        main, "convert {}/mini --fp16 --images {}/pictures", "--out", "half", folder=True,
        reads="mini",
    ),
    "demo": Writer(main, "demo", "--out", "demo", folder=True),
    "synthetic": Writer(
        train_main,
        "synthetic --train-vehicles 1 --test-vehicles 1 --images-per-vehicle 2 --longest-side 32 "
        "--cameras 2 --processes 1",
        "", "set", folder=True,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands read: artifacts, labelled images, embeddings and a gallery."""
    place = tmp_path_factory.mktemp("overwrite")
    write_artifact(place / "art")
    mini_artifact(place / "mini")
    write_pictures(place / "pictures", 4, seed=1)
    paths = write_images(place / "cars", 104, seed=2)
    rows = [f"{path.name},{n % 2},{n // 2 % 2}" for n, path in enumerate(paths)]
    (place / "cars" / "labels.csv").write_text("\n".join(["path,vehicle_id,camera_id", *rows]))
    source = f"csv:{place / 'cars' / 'labels.csv'}"
    ok("embed", place / "art", "--images", source, "--out", place / "g.npz")
    gallery = Embeddings.load(place / "g.npz")
    gallery[np.arange(4)].save(place / "q.npz")
    ok("gallery", "create", place / "store", place / "art")
    ok("gallery", "add", place / "store", place / "art", "--images", source)
    return place


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "place"))


def ok(*words: object) -> None:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output


@pytest.fixture(params=WRITERS)
def writer(request: pytest.FixtureRequest) -> Writer:
    return WRITERS[request.param]


def test_only_an_earlier_output_is_replaced(writer: Writer, place: Path) -> None:
    """One test for all, because each first output costs a run of the command."""
    out = place / writer.output
    # something of others
    if writer.folder:
        out.mkdir()
        (out / "notes.txt").write_text("mine")
    else:
        out.write_text("mine")
    for flags in ((), ("--overwrite",)):
        error = refused(place, lambda flags=flags: writer.run(place, *flags))
        assert str(out) in error and "another name" in error
    # of the other sort: a file for a folder, a folder for a file
    shutil.rmtree(out) if writer.folder else out.unlink()
    out.write_text("mine") if writer.folder else out.mkdir()
    refused(place, lambda: writer.run(place, "--overwrite"))
    out.unlink() if writer.folder else out.rmdir()
    # its own
    assert (done := writer.run(place)).exit_code == 0, done.output
    refused(place, lambda: writer.run(place), hint=True)
    assert (done := writer.run(place, "--overwrite")).exit_code == 0, done.output
    # a link to its own: neither the link nor what it leads to
    real = out.with_name(f"real-{out.name}")
    out.rename(real)
    out.symlink_to(real)
    for flags in ((), ("--overwrite",)):
        assert "is a link" in refused(place, lambda flags=flags: writer.run(place, *flags))
    out.unlink()
    real.rename(out)
    # with a file of others in it
    if writer.folder:
        (out / "notes.txt").write_text("mine")
        assert "notes.txt" in refused(place, lambda: writer.run(place, "--overwrite"))
    if writer.reads:
        given = place / writer.reads
        link = place / f"link{given.suffix}"
        link.symlink_to(given)
        for same in (given, given.parent / "cars" / ".." / given.name):
            for flags in ((), ("--overwrite",)):
                error = refused(
                    place, lambda same=same, flags=flags: writer.run(place, *flags, out=same)
                )
                assert "is what this command reads" in error
        refused(place, lambda: writer.run(place, "--overwrite", out=link))
        if writer.folder:
            error = refused(place, lambda: writer.run(place, out=given / "new"))
            assert "lies inside" in error


def test_an_output_of_another_command_is_not_replaced(place: Path) -> None:
    pairs = (
        ("rank json", "search"),
        ("search", "evaluate json"),
        ("evaluate json", "rank json"),
        ("rank html", "evaluate markdown"),
        ("evaluate markdown", "aicity write"),
        ("aicity write", "evaluate markdown"),
    )
    for name in sorted({other for _, other in pairs}):
        assert WRITERS[name].run(place).exit_code == 0
    for name, other in pairs:
        out = place / WRITERS[other].output
        error = refused(
            place, lambda name=name, out=out: WRITERS[name].run(place, "--overwrite", out=out)
        )
        assert f"{out} is " in error


def test_engines_and_verdicts_of_a_replaced_artifact_are_named(place: Path) -> None:
    writer = WRITERS["compress"]
    assert writer.run(place).exit_code == 0
    small = place / "small"
    for name in (
        "engines/a.engine",
        "engines/a.json",
        "parity/ort-cuda.json",
        "parity/ort-cpu.json",
    ):
        (small / name).parent.mkdir(exist_ok=True)
        (small / name).write_text("made later")
    done = writer.run(place, "--overwrite")
    assert done.exit_code == 0, done.output
    assert "held 1 TensorRT engine and 2 parity verdicts, which went with it" in done.stderr
    assert sorted(path.name for path in small.iterdir()) == ["manifest.json", "model.onnx"]
    open_artifact(small)
    # another damaged manifest: whose folder it is cannot be told
    (small / "manifest.json").write_text("{}")
    assert "manifest.json is not valid" in refused(place, lambda: writer.run(place, "--overwrite"))


def test_two_results_need_two_names(place: Path) -> None:
    words = ["rank", "--query", place / "q.npz", "--gallery", place / "g.npz"]
    words += ["--json", place / "x", "--html", place / "cars" / ".." / "x"]
    error = refused(place, lambda: CliRunner().invoke(main, list(map(str, words))))
    assert "is named for two results" in error


def test_a_split_leaves_lists_that_it_did_not_write(place: Path) -> None:
    labels = place / "cars" / "labels.csv"
    split = Writer(main, f"aicity split csv:{labels} --holdout 0.5", "--out", "local")
    local = place / "local"
    local.mkdir()
    # a table of one's own has the columns of such a list
    (local / "train.csv").write_bytes(labels.read_bytes())
    for flags in ((), ("--overwrite",)):
        refused(place, lambda flags=flags: split.run(place, *flags))
    (local / "train.csv").unlink()
    assert (done := split.run(place)).exit_code == 0, done.output
    refused(place, lambda: split.run(place), hint=True)
    assert split.run(place, "--overwrite").exit_code == 0
    # not the list that it is made from
    again = Writer(main, f"aicity split csv:{local / 'train.csv'} --holdout 0.5", "--out", "local")
    assert "is what this command reads" in refused(place, lambda: again.run(place, "--overwrite"))
    # an image that somebody took out
    lines = (local / "query.csv").read_text().splitlines()
    (local / "query.csv").write_text("\n".join(lines[:-1]))
    assert "query.csv" in refused(place, lambda: split.run(place, "--overwrite"))


def test_commands_without_the_flag_do_not_propose_it(place: Path) -> None:
    words = ["gallery", "create", str(place / "store"), str(place / "art")]
    error = refused(place, lambda: CliRunner().invoke(main, words))
    assert error.endswith("exists already and was left as it is; choose another name")


def test_a_report_replaces_nothing_of_others(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("mine")
    (tmp_path / "a.json").write_text("{}")
    before = tree(tmp_path)
    assert CliRunner().invoke(benchmarks, ["report", str(tmp_path)]).exit_code == 1
    assert tree(tmp_path) == before
