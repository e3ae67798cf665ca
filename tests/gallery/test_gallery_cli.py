"""`mtml-deploy gallery ...` and `mtml-deploy search`, end to end with a tiny model."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from helpers_artifact import tiny_manifest, write_artifact, write_images
from helpers_cli import ok, run

from mtml_deploy.embed.embeddings import Embeddings
from mtml_deploy.gallery.folder.vectors import HEAD_BYTES, segment_path
from mtml_deploy.gallery.open import open_gallery
from mtml_deploy.search.rank import rank

DATA = Path(__file__).parents[3] / "shared" / "data" / "gims08"


def refused(*words: object, text: str) -> None:
    result = run(*words)
    assert result.exit_code == 1, result.output
    assert result.stderr.splitlines()[-1].startswith("error: ")
    assert text in result.stderr
    assert "Traceback" not in result.output


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """`art`; `cars`, 12 labelled images of 4 vehicles before 3 cameras; an empty gallery `g`."""
    write_artifact(tmp_path / "art")
    paths = write_images(tmp_path / "cars", 12, seed=1)
    rows = [f"{path.name},{i % 4},{i // 4}" for i, path in enumerate(paths)]
    table = "\n".join(["path,vehicle_id,camera_id", *rows])
    (tmp_path / "cars" / "labels.csv").write_text(table + "\n")
    ok("gallery", "create", tmp_path / "g", tmp_path / "art")
    return tmp_path


def add(place: Path, *words: object) -> Result:
    source = f"csv:{place / 'cars' / 'labels.csv'}"
    return ok("gallery", "add", place / "g", place / "art", "--images", source, *words)


def test_search_equals_rank_on_the_same_images(place: Path) -> None:
    assert "12 added, 0 there already, 0 skipped" in add(place, "--batch-size", 5).stderr
    queries = place / "queries"
    write_images(queries, 3, seed=2)
    ok("embed", place / "art", "--images", queries, "--out", place / "q.npz")
    source = f"csv:{place / 'cars' / 'labels.csv'}"
    ok("embed", place / "art", "--images", source, "--out", place / "cars.npz")
    expected = rank(
        Embeddings.load(place / "q.npz").features,
        Embeddings.load(place / "cars.npz").features,
        top_k=12,
    )
    words = ("--gallery", place / "g", "--top-k", 12)
    for i, query in enumerate((queries, place / "q.npz")):
        out = place / f"{i}.json"
        result = ok("search", *words, place / "art", "--query", query, "--json", out)
        found = json.loads(out.read_text())
        rows = [[hit["row"] - 1 for hit in query["ranks"]] for query in found["queries"]]
        assert rows == expected.rows.tolist()
        assert result.stdout.startswith("0000.png\n    1 ")
        refused("search", *words, "--query", place / "q.npz", "--json", out, text="--overwrite")
    # the exported rows are those of the embeddings file
    ok("gallery", "export", place / "g", "--out", place / "e.npz")
    left, right = Embeddings.load(place / "e.npz"), Embeddings.load(place / "cars.npz")
    assert np.array_equal(left.features, right.features)
    assert (left.names, left.root) == (right.names, right.root)
    assert left.vehicle_ids.tolist() == right.vehicle_ids.tolist()


def test_adding_again_and_after_an_interruption(place: Path) -> None:
    bad = place / "cars" / "0007.png"
    good = bad.read_bytes()
    bad.write_bytes(good[:50])
    words = ("gallery", "add", place / "g", place / "art", "--images", place / "cars")
    refused(*words, "--batch-size", 3, text="0007.png")  # two batches are added before it
    bad.write_bytes(good)
    assert "6 added, 6 there already, 0 skipped" in ok(*words).stderr
    assert "0 added, 12 there already, 0 skipped" in ok(*words).stderr
    # the same bytes under another name
    (place / "cars" / "copy.png").write_bytes(good)
    assert "0 added, 13 there already, 0 skipped" in ok(*words).stderr
    (place / "cars" / "broken.png").write_bytes(b"no image")
    result = ok(*words, "--skip-bad")
    assert "0 added, 13 there already, 1 skipped" in result.stderr
    assert "skipped " in result.stderr
    assert "broken.png" in result.stderr


def test_embeddings_can_be_added(place: Path) -> None:
    ok("embed", place / "art", "--images", place / "cars", "--out", place / "cars.npz")
    words = ("gallery", "add", place / "g", "--embeddings", place / "cars.npz", "--camera", 5)
    assert "12 added" in ok(*words).stderr
    assert "0 added, 12 there already" in ok(*words).stderr
    with open_gallery(str(place / "g")) as gallery:
        records = [stored.record for stored in gallery.rows()]
    assert {record.camera_id for record in records} == {5}
    assert records[0].path == str(place / "cars" / "0000.png")


def test_times_cameras_and_what_is_filtered(place: Path) -> None:
    table = place / "times.csv"
    table.write_text("path,time\n0000.png,100\n0004.png,200\n0008.png,1970-01-01T00:05\nno.png,1\n")
    result = add(place, "--times", table, "--time", "50")
    assert "1 of 4 times name no image here" in result.stderr
    query = place / "cars" / "0000.png"
    words = ("search", "--gallery", place / "g", place / "art", "--query", query)
    for i, (options, rows) in enumerate(
        (
            (("--since", 100), {1, 5, 9}),
            (("--since", 100, "--until", "1970-01-01T00:05:00Z"), {1, 5}),
            (("--camera", 1), {5, 6, 7, 8}),
            (("--camera", 1, "--camera", 2, "--since", 51), {5, 9}),
            (("--exclude-camera", 1, "--exclude-camera", 2), {1, 2, 3, 4}),
            (("--orientation", 3), set()),
        )
    ):
        out = place / f"{i}.json"
        ok(*words, *options, "--top-k", 12, "--json", out)
        (found,) = json.loads(out.read_text())["queries"]
        assert {hit["row"] for hit in found["ranks"]} == rows, options
    assert "no row passes the filter" in ok(*words, "--orientation", 3).stdout
    line = ok(*words, "--top-k", 1).stdout.splitlines()[1]
    assert line.split()[:4] == ["1", "0", "row", "1"]
    assert line.endswith("0000.png   vehicle 0, camera 0, 1970-01-01T00:01:40+00:00")
    refused(*words, "--since", "noon", text="is not a time")
    table.write_text("path,time\nelsewhere/1.png,100\n")
    refused(
        "gallery", "add", place / "g", place / "art", "--images", place / "cars",
        "--times", table, text="none of the 1 paths",
    )  # fmt: skip


def test_predicted_orientations_are_kept(tmp_path: Path) -> None:
    write_artifact(
        tmp_path / "art", tiny_manifest(with_orientation=True), with_orientation=True
    )  # fmt: skip
    write_images(tmp_path / "cars", 2)
    ok("gallery", "create", tmp_path / "g", tmp_path / "art")
    words = ("gallery", "add", tmp_path / "g", tmp_path / "art", "--images")
    ok(*words, tmp_path / "cars" / "0000.png")
    (tmp_path / "one.csv").write_text("path,orientation\ncars/0001.png,5\n")
    ok(*words, f"csv:{tmp_path / 'one.csv'}")
    with open_gallery(str(tmp_path / "g")) as gallery:
        # the tiny model finds all eight equally probable: the first; a label is left as it is
        assert [stored.record.orientation for stored in gallery.rows()] == [0, 5]


@pytest.mark.parametrize(
    ("learnt", "why"),
    [
        ({"images_with_orientation": 0}, "no image it was trained on had one"),
        ({}, "its manifest does not tell whether it ever learnt one"),
    ],
)
def test_orientations_that_are_made_up_are_not_kept(
    tmp_path: Path, learnt: dict[str, int], why: str
) -> None:
    manifest = tiny_manifest(with_orientation=True, training={"images": 12, **learnt})
    write_artifact(tmp_path / "art", manifest, with_orientation=True)
    write_images(tmp_path / "cars", 2)
    model = (tmp_path / "art",)
    ok("gallery", "create", tmp_path / "g", *model)
    added = ok("gallery", "add", tmp_path / "g", *model, "--images", tmp_path / "cars")
    assert f"orientations that the model tells are not kept: {why}" in added.stderr
    assert "0 rows of known orientation" in ok("gallery", "info", tmp_path / "g").stdout
    query = ("--query", tmp_path / "cars" / "0001.png")
    found = ok("search", "--gallery", tmp_path / "g", *model, *query, "--orientation", 0)
    assert "has a known orientation, so --orientation finds none; leave it out" in found.stderr
    (tmp_path / "one.csv").write_text("path,orientation\ncars/0001.png,5\n")
    ok("gallery", "remove", tmp_path / "g", "--row", 2)
    ok("gallery", "add", tmp_path / "g", *model, "--images", f"csv:{tmp_path / 'one.csv'}")
    assert "1 rows of known orientation" in ok("gallery", "info", tmp_path / "g").stdout
    # one row has a label: a search that finds none is no matter of labels
    found = ok("search", "--gallery", tmp_path / "g", *model, *query, "--orientation", 0)
    assert "known orientation" not in found.stderr


def test_remove_info_compact(place: Path) -> None:
    add(place, "--time", "2024-05-01")
    assert "1 rows removed" in ok(
        "gallery", "remove", place / "g", "--path", place / "cars" / "0003.png"
    ).stderr  # fmt: skip
    assert "4 rows removed" in ok(
        "gallery", "remove", place / "g", "--vehicle", 1, "--row", 1
    ).stderr  # fmt: skip
    refused("gallery", "remove", place / "g", "--row", 1, text="nothing was changed")
    assert run("gallery", "remove", place / "g").exit_code == 2
    info = json.loads(ok("gallery", "info", place / "g", "--json", "-").stdout)
    assert (info["rows"], info["removed"], info["vehicles"]) == (7, 5, 3)
    assert info["cameras"] == [0, 1, 2]
    assert info["first_time"] == info["last_time"] == "2024-05-01T00:00:00+00:00"
    assert "5 removed rows dropped, 7 rows kept" in ok("gallery", "compact", place / "g").stderr
    assert ok("gallery", "info", place / "g").stdout.startswith("rows      7 (0 removed")
    assert "7 rows, no fault" in ok("gallery", "verify", place / "g").stderr


def test_verify_names_a_corrupted_row_and_ends_with_1(place: Path) -> None:
    add(place)
    path = segment_path(place / "g", 1)
    content = bytearray(path.read_bytes())
    content[HEAD_BYTES + 4 * 6 * 4] ^= 0x40  # row 5 of 6 float32
    path.write_bytes(content)
    result = run("gallery", "verify", place / "g")
    assert result.exit_code == 1
    assert result.stdout == "corrupted row 5: its bytes in vector file 1 were changed\n"
    assert "1 faults in 12 rows" in result.stderr
    refused("gallery", "export", place / "g", "--out", place / "e.npz", text="row 5")


def test_refusals(place: Path) -> None:
    write_artifact(place / "other", tiny_manifest(), seed=9)
    image = place / "cars" / "0000.png"
    other = (place / "other",)
    text = "cannot be used with this gallery: model_sha256"
    refused("search", "--gallery", place / "g", *other, "--query", image, text=text)
    refused("gallery", "add", place / "g", *other, "--images", image, text=text)
    ok("embed", place / "other", "--images", image, "--out", place / "other.npz")
    refused("gallery", "add", place / "g", "--embeddings", place / "other.npz", text=text)
    refused("search", "--gallery", place / "g", "--query", place / "other.npz", text=text)
    refused("search", "--gallery", place / "g", "--query", image, text="give MODEL")
    refused("search", "--gallery", place / "no", "--query", image, text="is not a gallery")
    for words in (("create", place / "art"), ("info",), ("verify",), ("compact",)):
        name = "other://host/cars"
        refused("gallery", words[0], name, *words[1:], text="of the kind 'other'")
    refused("gallery", "create", place / "g", place / "art", text="exists already")
    refused("gallery", "export", place / "g", "--out", place / "e.txt", text="does not end in .npz")
    assert run("gallery", "add", place / "g").exit_code == 2
    assert run("gallery", "add", place / "g", "--images", image).exit_code == 2


def test_a_float16_gallery_of_before_says_how_it_is_kept(place: Path) -> None:
    add(place)
    manifest = place / "g" / "gallery.json"
    today = manifest.read_text()
    manifest.write_text(today.replace('"dtype": "float32"', '"dtype": "float16"'))
    result = run("gallery", "info", place / "g")
    assert result.exit_code == 1
    assert result.stderr == (
        f"error: {place / 'g'} holds float16 vectors, which are no longer read, expected float32 "
        "or int8; with the previous release run: mtml-deploy gallery export "
        f"{place / 'g'} --out rows.npz, then with this one: mtml-deploy gallery create NEW "
        "MODEL, and: mtml-deploy gallery add NEW --embeddings rows.npz (times are not in that "
        "file; give them with --times)\n"
    )
    # the commands of the text; the previous release's export is that of today
    manifest.write_text(today)
    ok("gallery", "export", place / "g", "--out", place / "rows.npz")
    ok("gallery", "create", place / "new", place / "art")
    added = ok("gallery", "add", place / "new", "--embeddings", place / "rows.npz")
    assert "12 added" in added.stderr
    assert run("gallery", "create", place / "h", place / "art", "--dtype", "float16").exit_code == 2


def test_real_cars(place: Path) -> None:
    if not DATA.is_dir():
        pytest.skip(f"needs the real images in {DATA}")
    words = ("gallery", "add", place / "g", place / "art", "--images")
    result = ok(*words, f"veri:{DATA}#gallery")
    assert "1120 added, 0 there already" in result.stderr
    ok("gallery", "verify", place / "g")
    ok("gallery", "export", place / "g", "--out", place / "gallery.npz")
    ok("embed", place / "art", "--images", f"veri:{DATA}#query", "--out", place / "query.npz")
    ok("search", "--gallery", place / "g", "--query", place / "query.npz",
       "--json", place / "hits.json")  # fmt: skip
    gallery = Embeddings.load(place / "gallery.npz")
    expected = rank(Embeddings.load(place / "query.npz").features, gallery.features, top_k=10)
    found = json.loads((place / "hits.json").read_text())["queries"]
    assert len(found) == 80
    for query, rows in zip(found, expected.rows.tolist(), strict=True):
        assert [hit["row"] - 1 for hit in query["ranks"]] == rows
        assert [hit["vehicle_id"] for hit in query["ranks"]] == gallery.vehicle_ids[rows].tolist()


def test_other_labels_of_images_that_are_there_are_told(place: Path) -> None:
    assert "another label" not in add(place).stderr
    assert "another label" not in add(place).stderr  # nothing else is told
    table = place / "cars" / "labels.csv"
    lines = table.read_text().splitlines()
    name, vehicle, camera = lines[1].split(",")
    lines[1] = f"{name},{int(vehicle) + 100},{camera}"  # another vehicle
    name, vehicle, camera = lines[2].split(",")
    lines[2] = f"{name},{vehicle},{int(camera) + 100}"  # another camera
    name, vehicle, camera = lines[3].split(",")
    lines[3] = f"{name},,"  # nothing is told of it any more
    table.write_text("\n".join(lines) + "\n")
    result = add(place)
    assert "0 added, 12 there already" in result.stderr
    assert "note: 2 of those there already have another label, camera or time" in result.stderr
    ok("embed", place / "art", "--images", f"csv:{table}", "--out", place / "rows.npz")
    words = ("gallery", "add", place / "g", "--embeddings", place / "rows.npz")
    assert "12 added" in ok(*words).stderr  # rows of vectors are other contents than files
    table.write_text("\n".join([lines[0], *(f"{line}9" for line in lines[1:])]) + "\n")
    ok("embed", place / "art", "--images", f"csv:{table}", "--out", place / "other.npz")
    words = ("gallery", "add", place / "g", "--embeddings", place / "other.npz")
    assert "note: 12 of those there already have another label" in ok(*words).stderr
    # the hint: removed and added again, the new labels are kept
    path = place / "cars" / lines[1].partition(",")[0]
    ok("gallery", "remove", place / "g", "--path", path)
    assert "1 added, 11 there already" in add(place).stderr


def test_rounded_vectors_are_kept_only_if_the_gate_passed_them(place: Path) -> None:
    openvino = pytest.importorskip("openvino", reason="openvino is not installed")
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU does not compute in bf16")
    model = (place / "art", "--backend", "openvino", "--execution-precision", "bf16")
    source = f"csv:{place / 'cars' / 'labels.csv'}"
    add_rounded = ("gallery", "add", place / "g", *model, "--images", source)
    refused(*add_rounded, text="no passed parity verdict lay beside the model for bf16")
    assert "0 rows" in ok("gallery", "info", place / "g").output
    gate = ("parity", place / "art", "--reference", place / "art", "--data", source)
    bounds = place / "bounds.toml"
    bounds.write_text(
        "[bf16]\nmin_cosine = 0.9\nmax_map_change = 1\nmax_row_difference = 1\nmin_spread = 0\n"
    )
    where = ("--backend", "openvino", "--execution-precision", "bf16")
    ok(*gate, "--gallery", source, "--protocol", "plain", "--thresholds", bounds, *where)
    assert (place / "art" / "parity" / "openvino-cpu-bf16.json").is_file()
    assert "12 added" in ok(*add_rounded).stderr
    result = ok("search", "--gallery", place / "g", place / "art", "--query", source)
    assert "cannot be" not in result.output
