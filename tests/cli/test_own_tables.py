"""Tables of one's own through the commands: plates and camera names as ids, parts, times."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from helpers_artifact import write_artifact, write_images
from helpers_cli import ok, run

from mtml_deploy.gallery.open import open_gallery

VEHICLES = ("京A·12345", "AB-41CD", "7f9c2ba4-e88f-4a9b-9c1e-2b1c9d1e0001", "8589934592")
CAMERAS = ("north gate", "c002", "41")
HEADER = "Bild;Plate;cam;speed;split;time"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """`art`; 24 images of 4 vehicles before 3 cameras; tables of texts and the same of numbers."""
    write_artifact(tmp_path / "art")
    paths = write_images(tmp_path / "cars", 24, seed=3)
    rows = [(p.name, n % 4, n // 4 % 3, "query" if n < 8 else "gallery")
            for n, p in enumerate(paths)]  # fmt: skip
    texts = [f"{name};{VEHICLES[v]};{CAMERAS[c]};50;{split};{n}"
             for n, (name, v, c, split) in enumerate(rows)]  # fmt: skip
    (tmp_path / "cars" / "all.csv").write_text("\n".join([HEADER, *texts]), encoding="utf-8")
    for split in ("query", "gallery"):
        # two tables that know nothing of each other, the second in another order
        step = 1 if split == "query" else -1
        lines = [f"{name},{v},{c}" for name, v, c, part in rows if part == split][::step]
        numbers = "\n".join(["path,vehicle_id,camera_id", *lines])
        (tmp_path / "cars" / f"n-{split}.csv").write_text(numbers)
        lines = [f"{n},{VEHICLES[v]},{CAMERAS[c]}" for n, v, c, part in rows if part == split]
        texts = ["path,vehicle_id,camera_id", *lines[::step]]
        (tmp_path / "cars" / f"t-{split}.csv").write_text("\n".join(texts), encoding="utf-8")
    return tmp_path


def embed(place: Path, source: str, name: str) -> Result:
    return ok("embed", place / "art", "--images", source, "--out", place / f"{name}.npz")


def evaluated(place: Path, query: str, gallery: str) -> list[object]:
    file = place / f"{query}-{gallery}.json"
    ok("evaluate", "--query", place / f"{query}.npz", "--gallery", place / f"{gallery}.npz",
       "--json", file)  # fmt: skip
    found = json.loads(file.read_text())
    return [found["queries"]["valid"], found["mean_ap"], found["cmc"]]


def test_tables_embedded_apart_are_compared_by_their_texts(place: Path) -> None:
    for kind in "nt":
        for split in ("query", "gallery"):
            embed(place, f"csv:{place / 'cars' / f'{kind}-{split}.csv'}", f"{kind}{split}")
    numbers = evaluated(place, "nquery", "ngallery")
    assert evaluated(place, "tquery", "tgallery") == numbers and numbers[0] == 8
    with np.load(place / "nquery.npz") as file:
        assert "id_texts" not in file and file["vehicle_ids"].dtype == np.int32


def test_one_table_with_parts_and_names_of_ones_own(place: Path) -> None:
    table = f"csv:{place / 'cars' / 'all.csv'}@path=Bild,id=Plate"
    for split in ("query", "gallery"):
        embed(place, f"csv:{place / 'cars' / f't-{split}.csv'}", f"t{split}")
        result = embed(place, f"{table}#{split}", split)
        assert result.stderr.count("columns that are not used: speed\n") == 1
    # the gallery of the other table is in another order, and no two distances are equal
    assert evaluated(place, "query", "gallery") == evaluated(place, "tquery", "tgallery")
    ranks = place / "ranks.json"
    ok("rank", "--query", place / "query.npz", "--gallery", place / "gallery.npz",
       "--json", ranks, "--html", place / "page.html")  # fmt: skip
    first = json.loads(ranks.read_text())["queries"][0]
    assert (first["vehicle_id"], first["camera_id"]) == (VEHICLES[0], CAMERAS[0])
    assert {place["vehicle_id"] for place in first["ranks"]} <= set(VEHICLES)
    assert f"vehicle {VEHICLES[1]}" in (place / "page.html").read_text(encoding="utf-8")


def test_a_gallery_of_plates(place: Path) -> None:
    gallery = place / "g"
    table = f"csv:{place / 'cars' / 'all.csv'}@path=Bild,id=Plate"
    ok("gallery", "create", gallery, place / "art")
    ok("gallery", "add", gallery, place / "art", "--images", f"{table}#gallery")
    with open_gallery(str(gallery)) as opened:
        times = {Path(s.record.path).name: s.record.time_us for s in opened.rows()}
    assert sorted(times.values()) == [n * 1_000_000 for n in range(8, 24)]
    # the same by way of files: times travel with embeddings, and with an exported gallery
    embed(place, f"{table}#gallery", "rows")
    ok("gallery", "export", gallery, "--out", place / "exported.npz")
    for name in ("rows", "exported"):
        ok("gallery", "create", place / f"g-{name}", place / "art")
        ok("gallery", "add", place / f"g-{name}", "--embeddings", place / f"{name}.npz")
        with open_gallery(str(place / f"g-{name}")) as opened:
            found = {Path(s.record.path).name: s.record for s in opened.rows()}
        assert {image: record.time_us for image, record in found.items()} == times
        assert {str(record.vehicle_id) for record in found.values()} == set(VEHICLES)
    embed(place, f"{table}#query", "query")
    words = ("search", "--gallery", gallery, "--query", place / "query.npz", "--top-k", 16)
    ok(*words, "--camera", "north gate", "--json", place / "s.json")
    ranks = json.loads((place / "s.json").read_text())["queries"][0]["ranks"]
    assert {r["camera_id"] for r in ranks} == {"north gate"} and len(ranks) == 4
    assert "camera north gate" in ok(*words, "--camera", "north gate").stdout
    ok(*words, "--since", 20, "--json", place / "late.json")
    late = json.loads((place / "late.json").read_text())["queries"][0]["ranks"]
    assert len(late) == 4 and {r["vehicle_id"] for r in late} == set(VEHICLES)
    assert "4 rows removed" in ok("gallery", "remove", gallery, "--vehicle", VEHICLES[1]).stderr
    assert "cameras   41, c002, north gate" in ok("gallery", "info", gallery).stdout
    result = run("search", "--gallery", gallery, "--query", place / "query.npz", "--camera", "nan")
    assert result.exit_code == 2 and "give a number or a text" in result.stderr
