"""`mtml-deploy aicity`: from a local split to a score, and refusals."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers_artifact import write_artifact, write_images
from helpers_cli import ok, run
from helpers_datasets import write_list, write_xml

from mtml_deploy.embed.embeddings import Embeddings
from mtml_deploy.evaluation.metrics import evaluate
from mtml_deploy.evaluation.protocols import find_protocol

VEHICLES, CAMERAS, EACH = 8, 3, 12


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A labelled set, its local split, and the embeddings of query set and gallery."""
    folder = tmp_path_factory.mktemp("aicity")
    write_artifact(folder / "art")
    paths = write_images(folder / "images", VEHICLES * CAMERAS * EACH)
    rows = [f"{path.name},{n % VEHICLES},{n // VEHICLES % CAMERAS}" for n, path in enumerate(paths)]
    (folder / "images" / "all.csv").write_text(
        "\n".join(["path,vehicle_id,camera_id", *rows]) + "\n"
    )
    local = folder / "local"
    result = ok("aicity", "split", f"csv:{folder / 'images' / 'all.csv'}", "--out", local,
                "--holdout", "0.5", "--seed", "3")  # fmt: skip
    assert result.stdout.splitlines()[1:] == [
        "query   12 images of 4 vehicles before 3 cameras",
        "gallery 132 images of 4 vehicles before 3 cameras",
    ]
    for name in ("query", "gallery"):
        ok("embed", folder / "art", "--images", f"csv:{local / name}.csv",
           "--out", folder / f"{name}.npz")  # fmt: skip
    return folder


def sets(place: Path) -> tuple[object, ...]:
    return ("--query", place / "query.npz", "--gallery", place / "gallery.npz")


@pytest.mark.parametrize("extra", [(), ("--rerank", "--k1", "6", "--k2", "3")])
def test_write_check_score(place: Path, tmp_path: Path, extra: tuple[str, ...]) -> None:
    out = tmp_path / "track2.txt"
    written = ok("aicity", "write", *sets(place), "--out", out, "--local", *extra)
    assert written.stdout == ""
    assert "12 lines of 100 from 132 gallery images" in written.stderr
    checked = ok("aicity", "check", out, "--query-count", 12, "--gallery-count", 132)
    assert checked.stdout == "" and "no fault" in checked.stderr
    scored = ok("aicity", "score", out, *sets(place), "--json", tmp_path / "score.json")
    assert scored.stdout.startswith("aicity-top100: ")
    assert "\ntrack2.txt  " in scored.stdout and "mean over the matches" not in scored.stdout
    words = ("aicity", "score", out, *sets(place), "--json")
    assert run(*words, tmp_path / "score.json").stderr.strip().endswith("add --overwrite")
    ok(*words, tmp_path / "score.json", "--overwrite")
    refused = run(*words, out, "--overwrite")
    assert refused.exit_code == 1 and "is what this command reads" in refused.stderr
    record = json.loads((tmp_path / "score.json").read_text())
    local = place / "local"
    from_tables = ok("aicity", "score", out, "--query", f"csv:{local / 'query.csv'}",
                     "--gallery", f"csv:{local / 'gallery.csv'}")  # fmt: skip
    assert from_tables.stdout.splitlines()[3] == scored.stdout.splitlines()[3]
    if not extra:
        query, gallery = (Embeddings.load(place / f"{n}.npz") for n in ("query", "gallery"))
        expected = evaluate(query, gallery, find_protocol("aicity-top100"))
        assert record["mean_ap"] == expected.mean_ap
        assert record["cmc"] == expected.cmc.tolist()


def test_refusals(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "track2.txt"
    result = run("aicity", "write", *sets(place), "--out", out)
    assert result.exit_code == 1
    assert "expected 000001.jpg" in result.stderr and "--local" in result.stderr
    assert not out.exists()
    out.write_text("0 1\n")
    assert run("aicity", "write", *sets(place), "--out", out, "--local").exit_code == 1
    assert out.read_text() == "0 1\n"
    result = run("aicity", "check", out)
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "the file has 1 lines, expected 1052: one for each query, in the order of the queries",
        "the numbers are 0 to 1, expected 1 to 18290: they seem to count from 0; add 1 to each",
        "line 1: 2 numbers, expected 100",
    ]
    assert "3 faults" in result.stderr
    result = run("aicity", "score", out, *sets(place))
    assert result.exit_code == 1 and "aicity check" in result.stderr and result.stdout == ""
    assert run("aicity", "write", *sets(place), "--out", out, "--k1", "4").exit_code == 2
    assert np.array_equal(out.read_bytes(), b"0 1\n")


def test_split_takes_the_training_part_of_the_published_layout(tmp_path: Path) -> None:
    names = [f"{n:06d}.jpg" for n in range(1, 17)]
    items = [
        {"imageName": name, "vehicleID": f"{n % 2 + 1:04d}", "cameraID": f"c{n // 2 % 2 + 1:03d}"}
        for n, name in enumerate(names)
    ]
    (tmp_path / "image_train").mkdir()
    write_list(tmp_path / "name_train.txt", names)
    write_xml(tmp_path / "train_label.xml", items)
    result = ok("aicity", "split", f"cityflow:{tmp_path}", "--out", tmp_path / "local",
                "--holdout", "0.5")  # fmt: skip
    assert result.stdout.splitlines() == [
        "train   8 images of 1 vehicles before 2 cameras",
        "query   2 images of 1 vehicles before 2 cameras",
        "gallery 6 images of 1 vehicles before 2 cameras",
    ]
    assert "train_track.txt: absent" in result.stderr
    again = run("aicity", "split", f"cityflow:{tmp_path}", "--out", tmp_path / "local")
    assert again.exit_code == 1 and "--overwrite" in again.stderr
