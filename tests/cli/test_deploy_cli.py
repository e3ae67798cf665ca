import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers_artifact import tiny_manifest, write_artifact, write_images
from helpers_cli import ok, run

from mtml_deploy.cli.console import exit_on_error
from mtml_deploy.embed.embed_to import partial_path
from mtml_deploy.embed.embeddings import Embeddings
from mtml_deploy.evaluation.metrics import evaluate
from mtml_deploy.evaluation.protocols import PROTOCOLS, find_protocol
from mtml_deploy.search.rank import rank

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data" / "gims08"
COMMAND = [
    sys.executable,
    "-c",
    "from mtml_deploy.cli.main import main; main(prog_name='mtml-deploy')",
]


def refused(*words: object, text: str) -> None:
    """One error line on stderr, nothing on stdout, no traceback, status 1."""
    result = run(*words)
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    assert result.stderr.splitlines()[-1].startswith("error: ")
    assert text in result.stderr
    assert "Traceback" not in result.output


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """`art`, and a labelled gallery and query set as CSV files: 4 vehicles before 2 cameras."""
    write_artifact(tmp_path / "art")
    for name, count, seed in (("gallery", 12, 1), ("query", 4, 2)):
        paths = write_images(tmp_path / name, count, seed=seed)
        rows = [f"{path.name},{i % 4},{i // 4 if name == 'gallery' else 0}"
                for i, path in enumerate(paths)]  # fmt: skip
        table = "\n".join(["path,vehicle_id,camera_id", *rows])
        (tmp_path / name / "labels.csv").write_text(table + "\n")
    return tmp_path


@pytest.fixture
def embedded(place: Path) -> Path:
    for name in ("gallery", "query"):
        source = f"csv:{place / name / 'labels.csv'}"
        ok("embed", place / "art", "--images", source, "--out", place / f"{name}.npz")
    return place


def test_embed_says_what_was_done_on_stderr_only(place: Path) -> None:
    source = f"csv:{place / 'gallery' / 'labels.csv'}"
    result = ok("embed", place / "art", "--images", source, "--out", place / "out.npz")
    assert result.stdout == ""
    assert f"{place / 'out.npz'}: 12 images, 0 skipped" in result.stderr
    assert "images/s" in result.stderr
    found = Embeddings.load(place / "out.npz")
    assert found.vehicle_ids.tolist() == [0, 1, 2, 3] * 3
    assert found.source == source


def test_embed_lists_what_was_skipped(place: Path) -> None:
    (place / "gallery" / "0003.png").write_bytes(b"no image")
    out = place / "out.npz"
    refused("embed", place / "art", "--images", place / "gallery", "--out", out, text="0003.png")
    assert not out.exists()
    result = ok(
        "embed", place / "art", "--images", place / "gallery", "--out", out, "--skip-bad"
    )  # fmt: skip
    assert "skipped " in result.stderr
    assert "0003.png" in result.stderr
    assert "11 images, 1 skipped" in result.stderr


def test_embed_stopped_by_a_bad_image_tells_how_to_go_on(place: Path) -> None:
    bad = place / "gallery" / "0009.png"
    good = bad.read_bytes()
    bad.write_bytes(good[:50])
    words = ("embed", place / "art", "--images", place / "gallery", "--out", place / "out.npz")
    result = run(*words, "--batch-size", 4)
    assert result.exit_code == 1
    assert "add --resume" in result.stderr
    refused(*words, text="--resume")
    bad.write_bytes(good)
    result = ok(*words, "--batch-size", 4, "--resume")
    assert "12 images (8 by an earlier run)" in result.stderr


def test_existing_outputs_are_left_alone(embedded: Path) -> None:
    gallery, query = embedded / "gallery.npz", embedded / "query.npz"
    before = gallery.read_bytes()
    refused(
        "embed", embedded / "art", "--images", embedded / "query", "--out", gallery,
        text="--overwrite",
    )  # fmt: skip
    assert gallery.read_bytes() == before
    for option, command in (("--json", "rank"), ("--html", "rank"), ("--json", "evaluate"),
                            ("--markdown", "evaluate"), ("--plot", "evaluate")):  # fmt: skip
        kept = embedded / "kept.png"
        kept.write_text("precious")
        words = (command, "--query", query, "--gallery", gallery, option, kept)
        for flag in ((), ("--overwrite",)):
            refused(*words, *flag, text="another name")
            assert kept.read_text() == "precious"


def test_evaluate_writes_what_the_library_measures(embedded: Path) -> None:
    query, gallery = embedded / "query.npz", embedded / "gallery.npz"
    result = ok(
        "evaluate", "--query", query, "--gallery", gallery, "--label", "tiny", "--explain",
        "--json", embedded / "m.json", "--markdown", embedded / "m.md",
    )  # fmt: skip
    expected = evaluate(Embeddings.load(query), Embeddings.load(gallery), find_protocol("veri776"))
    written = json.loads((embedded / "m.json").read_text())
    assert written["mean_ap"] == expected.mean_ap
    assert written["label"] == "tiny"
    assert written["protocol"]["name"] == "veri776"
    assert result.stdout == (embedded / "m.md").read_text()
    assert f"{100 * expected.mean_ap:.1f}" in result.stdout
    said = [line.split()[0] for line in result.stderr.splitlines()]
    assert said == ["wrote", "wrote", "next:"]


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_evaluate_plots(embedded: Path, suffix: str) -> None:
    pytest.importorskip("matplotlib")
    plot = embedded / f"cmc{suffix}"
    words = ("--query", embedded / "query.npz", "--gallery", embedded / "gallery.npz")
    ok("evaluate", *words, "--protocol", "plain", "--plot", plot)
    start = {".png": b"\x89PNG", ".svg": b"<?xml"}[suffix]
    assert plot.read_bytes().startswith(start)


def test_evaluate_refuses_what_cannot_be_compared(embedded: Path) -> None:
    write_artifact(embedded / "other", tiny_manifest(), seed=9)
    other = embedded / "other.npz"
    ok("embed", embedded / "other", "--images", embedded / "query", "--out", other)
    gallery = embedded / "gallery.npz"
    refused("evaluate", "--query", other, "--gallery", gallery, text="cannot be compared")
    refused("rank", "--query", other, "--gallery", gallery, text="cannot be compared")
    refused(
        "evaluate", "--query", embedded / "query.npz", "--gallery", gallery,
        "--protocol", "veri", text="veri776",
    )  # fmt: skip


def test_broken_files_are_one_line(embedded: Path) -> None:
    gallery = embedded / "gallery.npz"
    broken = embedded / "broken.npz"
    broken.write_bytes(gallery.read_bytes()[:-30])
    refused("evaluate", "--query", broken, "--gallery", gallery, text="corrupted")
    refused("rank", "--query", broken, "--gallery", gallery, text="corrupted")
    refused("rank", "--query", embedded / "no.npz", "--gallery", gallery, text="no embeddings file")
    refused("info", embedded / "nothing", text="does not exist")
    refused(
        "embed", embedded / "art", "--images", embedded / "nothing", "--out", embedded / "x.npz",
        text="nothing",
    )  # fmt: skip
    refused(
        "embed", embedded / "art", "--images", embedded / "query", "--out", embedded / "x.npz",
        "--device", "cuda:0", text="cuda:0",
    )  # fmt: skip
    (embedded / "art" / "manifest.json").write_text("{")
    for words in (
        ("info", embedded / "art"),
        ("embed", embedded / "art", "--images", embedded / "query", "--out", embedded / "x.npz"),
        ("rank", embedded / "art", "--query", gallery, "--gallery", gallery),
    ):
        refused(*words, text="is not a valid manifest")
    assert not (embedded / "x.npz").exists()
    assert not partial_path(embedded / "x.npz").exists()


def test_rank_gives_the_same_from_files_and_from_images(embedded: Path) -> None:
    files = ok(
        "rank", "--query", embedded / "query.npz", "--gallery", embedded / "gallery.npz",
        "--top-k", 3, "--json", embedded / "files.json",
    )  # fmt: skip
    images = ok(
        "rank", embedded / "art",
        "--query", f"csv:{embedded / 'query' / 'labels.csv'}",
        "--gallery", f"csv:{embedded / 'gallery' / 'labels.csv'}",
        "--top-k", 3, "--json", embedded / "images.json",
    )  # fmt: skip
    assert files.stdout == images.stdout
    left, right = (
        json.loads((embedded / name).read_text())["queries"]
        for name in ("files.json", "images.json")
    )
    assert left == right
    expected = rank(
        Embeddings.load(embedded / "query.npz").features,
        Embeddings.load(embedded / "gallery.npz").features,
        top_k=3,
    )
    assert [[place["row"] for place in query["ranks"]] for query in left] == expected.rows.tolist()


def test_rank_one_image_in_a_folder_finds_itself(embedded: Path) -> None:
    image = embedded / "gallery" / "0007.png"
    result = ok(
        "rank", embedded / "art", "--query", image,
        "--gallery", embedded / "gallery", "--top-k", 2,
    )  # fmt: skip
    lines = result.stdout.splitlines()
    assert lines[0] == "0007.png"
    assert lines[1].split() == ["1", "0", "0007.png"]
    assert len(lines) == 3


def test_rank_refuses_files_of_another_model_and_images_without_one(embedded: Path) -> None:
    write_artifact(embedded / "other", tiny_manifest(), seed=9)
    gallery = embedded / "gallery.npz"
    image = embedded / "query" / "0000.png"
    refused("rank", "--query", image, "--gallery", gallery, text="give MODEL")
    refused(
        "rank", embedded / "other", "--query", image, "--gallery", gallery,
        text="was not made by",
    )  # fmt: skip


def test_rank_leaves_out_what_the_protocol_says(embedded: Path) -> None:
    words = ("--query", embedded / "query.npz", "--gallery", embedded / "gallery.npz")
    lists = {}
    for protocol in ("plain", "veri776"):
        file = embedded / f"{protocol}.json"
        ok("rank", *words, "--top-k", 12, "--protocol", protocol, "--json", file)
        lists[protocol] = json.loads(file.read_text())["queries"]
    assert [len(query["ranks"]) for query in lists["plain"]] == [12] * 4
    # each query has one gallery image of its vehicle from its camera 0
    assert [len(query["ranks"]) for query in lists["veri776"]] == [11] * 4
    unlabelled = embedded / "unlabelled.npz"
    ok("embed", embedded / "art", "--images", embedded / "gallery", "--out", unlabelled)
    refused(
        "rank", "--query", unlabelled, "--gallery", unlabelled, "--protocol", "veri776",
        text="vehicle",
    )  # fmt: skip


def test_rank_without_a_match_still_lists(embedded: Path) -> None:
    rows = [f"{i:04d}.png,{90 + i}" for i in range(4)]
    (embedded / "query" / "strange.csv").write_text("\n".join(["path,vehicle_id", *rows]))
    result = ok(
        "rank", embedded / "art", "--query", f"csv:{embedded / 'query/strange.csv'}",
        "--gallery", embedded / "gallery.npz",
    )  # fmt: skip
    assert "note: no metrics" in result.stderr
    assert result.stdout


def test_page_shows_two_models(embedded: Path) -> None:
    write_artifact(embedded / "other", tiny_manifest(), seed=9)
    for name in ("gallery", "query"):
        source = f"csv:{embedded / name / 'labels.csv'}"
        out = embedded / f"{name}2.npz"
        ok("embed", embedded / "other", "--images", source, "--out", out)
    page = embedded / "page.html"
    words = (
        "rank", "--query", embedded / "query.npz", "--gallery", embedded / "gallery.npz",
        "--compare-query", embedded / "query2.npz",
    )  # fmt: skip
    second = ("--compare-gallery", embedded / "gallery2.npz")
    result = ok(
        *words, *second, "--html", page, "--label", "first <one>", "--label", "second",
        "--max-queries", 3,
    )  # fmt: skip
    text = page.read_text()
    assert "first &lt;one&gt;" in text
    assert "second" in text
    assert "<one>" not in text
    assert "3 of 4 queries" in result.stderr
    ok(*words, *second, "--html", page, "--show", "gain", "--overwrite")
    assert page.read_text().count('title="points of AP"') == 4
    alone = run(*words[:-2], "--html", embedded / "x.html", "--show", "gain")
    assert (alone.exit_code, "add --compare-query EMB" in alone.stderr) == (2, True)
    assert run(*words, "--html", embedded / "x.html").exit_code == 2
    assert run(*words, *second).exit_code == 2
    assert run(*words, *second, "--html", embedded / "x.html", "--label", "a").exit_code == 2
    # the other model's queries in the place of its gallery: not the same images
    wrong = ("--compare-gallery", embedded / "query2.npz")
    refused(*words, *wrong, "--html", embedded / "x.html", text="cannot be compared")


def test_info_prints_the_manifest(place: Path) -> None:
    text = ok("info", place / "art").stdout
    assert "branches    identity, scale, gray, orientation\n" in text
    assert "training    12 images\n" in text
    printed = ok("info", place / "art", "--json", "-").stdout
    assert json.loads(printed) == json.loads((place / "art" / "manifest.json").read_text())


def test_help_names_every_protocol() -> None:
    for command in ("rank", "evaluate"):
        words = ok(command, "--help").stdout.replace(",", " ").replace(".", " ").split()
        assert set(PROTOCOLS) <= set(words)


def test_full_disk_is_an_error_line() -> None:
    with pytest.raises(Exception, match="No space left") as caught, exit_on_error():
        raise OSError(28, "No space left on device", "out.npz")
    assert caught.value.exit_code == 1


def shell(*words: object, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*COMMAND, *(os.fsencode(str(word)) for word in words)],
        capture_output=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        timeout=60,
    )


def test_names_with_odd_bytes_never_break_printing(place: Path) -> None:
    odd = (b"\xff\xfe.png", b"\x1b[2J.png", "車.png".encode())
    source = place / "gallery" / "0000.png"
    for name in odd:
        try:
            shutil.copy(source, place / "gallery" / os.fsdecode(name))
        except OSError:
            pytest.skip("this file system refuses names that are not UTF-8")
    words = (place / "art", "--query", source, "--gallery", place / "gallery")
    for encoding in ("utf-8", "latin-1"):
        done = shell("rank", *words, "--skip-bad", "--top-k", 20, PYTHONIOENCODING=encoding)
        assert done.returncode == 0, done.stderr
        assert b"Traceback" not in done.stderr
        assert b"\x1b" not in done.stdout + done.stderr
        name = "車.png".encode() if encoding == "utf-8" else rb"\u8eca.png"
        assert name in done.stdout
        done = shell("rank", *words, PYTHONIOENCODING=encoding)
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].startswith(b"error: ")


def test_reader_that_goes_away_is_no_error(embedded: Path) -> None:
    words = ["rank", "--query", embedded / "query.npz", "--gallery", embedded / "gallery.npz"]
    child = subprocess.Popen(
        [*COMMAND, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.close()
    assert b"Traceback" not in child.stderr.read()
    child.stderr.close()
    child.wait(timeout=60)


def test_ctrl_c_ends_with_130_and_can_be_resumed(place: Path) -> None:
    many = place / "many"
    many.mkdir()
    content = (place / "gallery" / "0000.png").read_bytes()
    for index in range(3000):
        (many / f"{index:04d}.png").write_bytes(content)
    out = place / "out.npz"
    words = ["embed", str(place / "art"), "--images", str(many), "--out", str(out)]
    words += ["--batch-size", "1"]
    child = subprocess.Popen(
        [*COMMAND, *words],
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        # a test run in the background of a shell ignores Ctrl-C, and so would its children
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    lines = partial_path(out) / "batches.jsonl"
    deadline = time.monotonic() + 60
    while not (lines.exists() and lines.stat().st_size):
        assert child.poll() is None, "the command ended before it could be interrupted"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 130
    assert b"Traceback" not in errors
    assert b"add --resume" in errors
    result = ok(*words, "--resume")
    assert "by an earlier run" in result.stderr
    features = Embeddings.load(out).features
    assert features.shape[0] == 3000
    assert (np.ptp(features, axis=0) == 0).all()  # one picture, 3000 times


def test_real_cars(tmp_path: Path) -> None:
    if not DATA.is_dir():
        pytest.skip(f"needs the real images in {DATA}")
    write_artifact(tmp_path / "art")
    for split, count in (("query", 80), ("gallery", 1120)):
        out = tmp_path / f"{split}.npz"
        result = ok("embed", tmp_path / "art", "--images", f"veri:{DATA}#{split}", "--out", out)
        assert f"{count} images" in result.stderr
    words = ("--query", tmp_path / "query.npz", "--gallery", tmp_path / "gallery.npz")
    ok("evaluate", *words, "--json", tmp_path / "m.json")
    measured = json.loads((tmp_path / "m.json").read_text())
    assert measured["queries"]["all"] == 80
    # colour means already tell some cars on their own stages: far above chance, far from perfect
    assert 0.05 < measured["mean_ap"] < 0.95
    page = tmp_path / "page.html"
    result = ok("rank", *words, "--protocol", "veri776", "--html", page, "--max-queries", 5)
    assert page.read_text().count("<article") == 5
    assert "not found" not in result.stderr
