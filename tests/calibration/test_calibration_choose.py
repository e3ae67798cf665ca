"""Choosing calibration images: by vehicle, balanced, seeded, and nothing that is tested on."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from helpers_calibration import image
from helpers_datasets import REAL, write_list, write_veri
from hypothesis import given
from hypothesis import strategies as st

from mtml_deploy.calibration.candidates import Candidates, read_candidates, training_source
from mtml_deploy.calibration.choose import balanced, choose
from mtml_deploy.calibration.summary import set_markdown
from mtml_deploy.cli.calibrate import calibrate
from mtml_deploy.data.source import load_source
from mtml_deploy.errors import DataError
from mtml_deploy.precision.calibration_list import (
    CalibrationImage,
    CalibrationSet,
    read_calibration,
    require_unchanged,
    vehicles,
)

ROOT = Path(__file__).parents[2]


def unseen(done: int, total: int) -> None:
    """Progress that nobody watches."""


def candidates(*images: CalibrationImage) -> Candidates:
    return Candidates("veri:V", images, len(images), 0, 0, ())


def grid(vehicle_count: int, cameras: int, copies: int = 1) -> list[CalibrationImage]:
    """Every vehicle before every camera, orientation 0 or 1."""
    return [
        image(f"{v}-{c}-{o}-{n}.jpg", v, c, o)
        for v in range(vehicle_count)
        for c in range(cameras)
        for o in range(2)
        for n in range(copies)
    ]


def pairs(images: tuple[CalibrationImage, ...]) -> Counter[tuple[int, int]]:
    return Counter((each.record.camera_id, each.record.orientation) for each in images)


# --- balance -------------------------------------------------------------------------------------


def test_pairs_and_vehicles_give_evenly() -> None:
    # 6 vehicles x 3 cameras x 2 orientations; 12 = 2 of each of 6 pairs = 2 of each of 6 vehicles
    found = balanced(grid(6, 3), 12, seed=0)
    assert set(pairs(found).values()) == {2} and len(pairs(found)) == 6
    assert set(Counter(each.record.vehicle_id for each in found).values()) == {2}


def test_a_rare_pair_gives_all_it_has() -> None:
    many = [image(f"a{n}.jpg", n, 1, 0) for n in range(50)]
    few = [image(f"b{n}.jpg", n, 2, 0) for n in range(3)]
    found = balanced([*many, *few], 10, seed=0)
    assert pairs(found) == {(1, 0): 7, (2, 0): 3}


def test_of_equal_pairs_the_rarer_camera_and_orientation_gives() -> None:
    # camera 1 has three orientations, camera 2 one: after one of each pair camera 2 is behind
    images = [image(f"1-{o}-{n}.jpg", n, 1, o) for o in range(3) for n in range(5)]
    images += [image(f"2-0-{n}.jpg", n, 2, 3) for n in range(5)]
    for seed in range(5):
        found = balanced(images, 5, seed=seed)
        assert pairs(found)[2, 3] == 2


def test_unknown_labels_are_a_camera_and_an_orientation_of_their_own() -> None:
    images = [image(f"{n}.jpg", n) for n in range(9)] + [image("x.jpg", 1, 4, 2)]
    assert pairs(balanced(images, 4, seed=3)) == {(-1, -1): 3, (4, 2): 1}


def test_the_choice_does_not_depend_on_order_and_does_on_the_seed() -> None:
    images = grid(5, 2, copies=3)
    found = balanced(images, 20, seed=1)
    assert balanced(images[::-1], 20, seed=1) == found
    assert balanced(images, 7, seed=1) == found[:7]
    assert balanced(images, 20, seed=2) != found
    # within one pair and vehicle too
    frames = [image(f"{n}.jpg", 1, 1, 1) for n in range(20)]
    assert len({frozenset(balanced(frames, 3, seed=seed)) for seed in range(5)}) > 1


LABELS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(-1, 3), st.integers(-1, 2)), min_size=1, max_size=40
)


@given(LABELS, st.data())
def test_no_pair_is_short_that_has_more(labels, data) -> None:
    images = [image(f"{n}.jpg", *label) for n, label in enumerate(labels)]
    count = data.draw(st.integers(1, len(images)))
    found = balanced(images, count, seed=0)
    assert len(set(found)) == count and set(found) <= set(images)
    there, taken = pairs(tuple(images)), pairs(found)
    most = max(taken.values())
    assert all(taken[pair] >= min(there[pair], most - 1) for pair in there)


# --- the split by vehicle ------------------------------------------------------------------------


def test_vehicles_are_on_one_side() -> None:
    for seed in range(4):
        found = choose(candidates(*grid(10, 2)), count=16, heldout_fraction=0.3, seed=seed)
        assert (len(found.calibration), len(found.heldout)) == (16, 5)  # round(0.3 * 16)
        assert not vehicles(found.calibration) & vehicles(found.heldout)
        # 5 images, 3 vehicles held out; 16 images, 7 vehicles left
        assert (len(vehicles(found.calibration)), len(vehicles(found.heldout))) == (7, 3)
    assert len(choose(candidates(*grid(10, 2)), count=1, heldout_fraction=0.1, seed=0).heldout) == 1
    sides = {
        vehicles(choose(candidates(*grid(10, 2)), count=16, heldout_fraction=0.3, seed=s).heldout)
        for s in range(6)
    }
    assert len(sides) > 1


def test_too_few_are_an_error() -> None:
    with pytest.raises(DataError, match=r"has 1 vehicles .* 1 held out leave none"):
        choose(candidates(*grid(1, 2)), count=1, heldout_fraction=0.2, seed=0)
    with pytest.raises(DataError, match=r"^17 images to calibrate on .* veri:V has 16 of"):
        choose(candidates(*grid(5, 2)), count=17, heldout_fraction=0.2, seed=0)
    with pytest.raises(DataError, match=r"^5 images to hold out .* has 4 of .*lower --count"):
        # of five vehicles with 4 images round(1.45) = 1 is held out, for round(4.64) = 5 images
        choose(candidates(*grid(5, 2)), count=16, heldout_fraction=0.29, seed=0)
    with pytest.raises(ValueError, match="count >= 1"):
        choose(candidates(*grid(3, 2)), count=0, heldout_fraction=0.2, seed=0)


# --- sources -------------------------------------------------------------------------------------


def test_only_a_training_split_is_taken(tmp_path: Path) -> None:
    assert training_source("veri:V") == training_source("veri:V#train") == "veri:V"
    assert training_source("cityflow:C") == "cityflow:C"
    for text in ("veri:V#query", "cityflow:C#gallery"):
        with pytest.raises(DataError, match="tests too well"):
            training_source(text)
    for text in ("folder", "list.txt"):
        with pytest.raises(DataError, match="does not say which of its images are tested on"):
            training_source(text)
    table = tmp_path / "a.csv"
    for rows, words in (
        ("path\na.jpg\n", "tells no parts"),
        ("path,split\na.jpg,train\n", "only tells train"),
        ("path,split\na.jpg,test\n", "only tells query, gallery"),
    ):
        table.write_text(rows)
        with pytest.raises(DataError, match=words):
            training_source(f"csv:{table}")
    table.write_text("path,plate,part,split\na.jpg,A,x,train\nb.jpg,B,y,gallery\n")
    assert training_source(f"csv:{table}#train") == f"csv:{table}"
    chosen = f"csv:{table}@vehicle_id=plate"
    assert training_source(chosen) == chosen


def test_unknown_vehicles_and_copies_are_left_out(tmp_path: Path) -> None:
    root = write_veri(tmp_path / "V")
    names = (root / "name_train.txt").read_text().split()
    shutil.copy(root / "image_train" / names[0], root / "image_train" / "twin.jpg")
    shutil.copy(root / "image_train" / names[0], root / "image_train" / "0001_c001_9_0.jpg")
    write_list(root / "name_train.txt", [*names, "twin.jpg", "0001_c001_9_0.jpg"])
    found = read_candidates(f"veri:{root}", progress=unseen)
    assert (found.found, found.unknown, found.copies) == (5, 1, 1)
    assert [each.record.path.name for each in found.images] == names


# --- the commands --------------------------------------------------------------------------------


def run(*words: object) -> Result:
    return CliRunner().invoke(calibrate, [str(word) for word in words])


def ok(*words: object) -> Result:
    result = run(*words)
    assert result.exit_code == 0, result.output
    return result


def refused(*words: object, text: str) -> None:
    result = run(*words)
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    assert text in result.stderr and "Traceback" not in result.output


@pytest.fixture
def data(tmp_path: Path, tiny_set: Path) -> Path:
    """A copy of the tiny set that may be spoiled."""
    return Path(shutil.copytree(tiny_set, tmp_path / "data"))


def choose_words(data: Path, out: Path, *more: object) -> tuple[object, ...]:
    count = () if "--count" in more else ("--count", 8)
    return ("choose", "--data", f"veri:{data}", "--out", out, *count, *more)


def test_choose_and_check(tiny_set: Path, tmp_path: Path) -> None:
    out = tmp_path / "list.txt"
    result = ok(*choose_words(tiny_set, out))
    assert f"veri:{tiny_set}: 36 training images, 36 to choose from, 6 vehicles" in result.stderr
    assert "- calibration: 8 images, " in result.stdout
    assert "- held out: 2 images, 1 vehicles" in result.stdout
    found = read_calibration(out)
    training = {record.path: record for record in load_source(f"veri:{tiny_set}#train").records}
    for each in (*found.calibration, *found.heldout):
        assert training[each.record.path] == each.record  # labels too; no tracklets in training
    assert ok("check", out).stdout == result.stdout
    again = tmp_path / "again.txt"
    ok(*choose_words(tiny_set, again, "--seed", 0))
    assert again.read_bytes() == out.read_bytes()
    assert again.with_suffix(".json").read_bytes() == out.with_suffix(".json").read_bytes()
    refused(*choose_words(tiny_set, out), text="exists already")
    ok(*choose_words(tiny_set, out, "--seed", 1, "--overwrite"))
    assert again.read_bytes() != out.read_bytes()


def test_a_vehicle_that_is_tested_on_is_refused(data: Path, tmp_path: Path) -> None:
    test_vehicle = load_source(f"veri:{data}#gallery").records[0].vehicle_id
    labels = data / "train_label.xml"
    training = load_source(f"veri:{data}#train").records[0].vehicle_id
    text = labels.read_bytes()
    changed = text.replace(f'"{training:04}"'.encode(), f'"{test_vehicle:04}"'.encode())
    assert changed != text
    labels.write_bytes(changed)
    out = tmp_path / "list.txt"
    refused(*choose_words(data, out), text=f"the first is {test_vehicle}, expected none")
    assert not out.exists() and not out.with_suffix(".json").exists()


@pytest.mark.parametrize("split", ["query", "gallery"])
def test_bytes_that_are_tested_on_are_refused(data: Path, tmp_path: Path, split: str) -> None:
    source = load_source(f"veri:{data}#{split}").records[-1].path
    target = load_source(f"veri:{data}#train").records[3].path
    shutil.copy(source, target)
    refused(*choose_words(data, tmp_path / "list.txt"), text=f"1 images are also images that "
            f"veri:{data} is tested on, the first is {target} = ")  # fmt: skip
    assert not (tmp_path / "list.txt").exists()


def test_check_finds_what_changed(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "list.txt"
    ok(*choose_words(data, out))
    found = read_calibration(out)
    tested = load_source(f"veri:{data}#gallery").records[0].path
    # a held-out image is checked like the others
    path, before = found.heldout[0].record.path, found.heldout[0].record.path.read_bytes()
    path.write_bytes(before + b"\0")
    refused("check", out, text="are not the files that were chosen")
    path.write_bytes(before)
    ok("check", out)
    kept = tested.read_bytes()
    shutil.copy(path, tested)
    refused("check", out, text=f"{path} = {tested}")
    tested.write_bytes(kept)
    shutil.rmtree(data / "image_query")
    refused("check", out, text="no image folder")


def test_check_of_a_data_set_that_moved(data: Path, tmp_path: Path) -> None:
    out = data / "list.txt"
    ok(*choose_words(data, out))
    moved = data.rename(tmp_path / "moved")
    refused("check", moved / "list.txt", text="no such folder")
    ok("check", moved / "list.txt", "--data", f"veri:{moved}")
    refused("check", moved / "list.txt", "--data", f"veri:{moved}#query", text="tests too well")
    # what it tests on now is compared
    image_path = read_calibration(moved / "list.txt").calibration[0].record.path
    shutil.copy(image_path, load_source(f"veri:{moved}#gallery").records[0].path)
    refused("check", moved / "list.txt", "--data", f"veri:{moved}", text="is tested on")


def test_broken_images_are_found_while_choosing(data: Path, tmp_path: Path) -> None:
    for record in load_source(f"veri:{data}#train").records:
        record.path.write_bytes(record.path.read_bytes()[:-200])
    refused(*choose_words(data, tmp_path / "list.txt"),
            text="10 of the chosen images cannot be decoded")  # fmt: skip
    missing = load_source(f"veri:{data}#train").records[5].path
    missing.unlink()
    refused(*choose_words(data, tmp_path / "list.txt"),
            text=f"1 images of veri:{data} are of no use, the first is {missing}")  # fmt: skip
    assert not (tmp_path / "list.txt").exists()


def test_choices_that_cannot_be_kept(tiny_set: Path, tmp_path: Path) -> None:
    out = tmp_path / "list.txt"
    refused(*choose_words(tiny_set, out, "--count", 512), text="lower --count")
    refused(*choose_words(tiny_set, tmp_path / "LIST"), text="is a .txt file")
    assert run(*choose_words(tiny_set, out, "--holdout", 1)).exit_code == 2
    assert run(*choose_words(tiny_set, out, "--count", 0)).exit_code == 2
    assert not out.exists()


def test_the_summary_counts_every_pair() -> None:
    def labelled(*labels: tuple[int, int, int]) -> tuple[CalibrationImage, ...]:
        return tuple(image(f"{n}-{label}.jpg", *label) for n, label in enumerate(labels))

    found = set_markdown(
        CalibrationSet(
            source="veri:V", seed=0, heldout_fraction=0.5,
            calibration=labelled((1, 3, 0), (1, 3, 0), (2, 3, 7), (2, -1, -1)),
            heldout=labelled((3, 3, 0)),
        )
    )  # fmt: skip
    assert found.splitlines() == [
        "- calibration: 4 images, 2 vehicles, 1 cameras, 2 orientations",
        "- held out: 1 images, 1 vehicles, 1 cameras, 1 orientations",
        "",
        "| camera | unknown | front | right rear | all |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| unknown | 1 | 0 | 0 | 1 |",
        "| 3 | 0 | 2 | 1 | 3 |",
        "| all | 1 | 2 | 1 | 4 |",
    ]


@pytest.mark.parametrize("words", [[], ["choose"], ["check"], ["compare"]], ids=str)
def test_help_needs_no_library(words: list[str]) -> None:
    code = (
        "import sys\nfrom mtml_deploy.cli.main import main\n"
        f"main({['calibrate', *words, '--help']!r}, standalone_mode=False)\n"
        "heavy = {'numpy', 'torch', 'onnx', 'onnxruntime'} & set(sys.modules)\n"
        "sys.exit(f'help imports {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Usage:")


def test_real_images(tmp_path: Path) -> None:
    root = REAL / "gims08"
    if not root.is_dir():
        pytest.skip(f"no real images in {root}")
    out = tmp_path / "list.txt"
    ok("choose", "--data", f"veri:{root}", "--count", 64, "--out", out)
    found = read_calibration(out)
    # eight cameras with one orientation each: 64 = 8 of each pair = 8 of each of 8 vehicles
    assert pairs(found.calibration) == {(camera, camera - 1): 8 for camera in range(1, 9)}
    assert set(Counter(e.record.vehicle_id for e in found.calibration).values()) == {8}
    assert len(vehicles(found.heldout)) == 2 and len(found.heldout) == 13
    # cars 1 to 10 are the training split
    assert vehicles((*found.calibration, *found.heldout)) <= set(range(1, 11))
    require_unchanged(found.heldout, listing=out)
    assert json.loads(out.with_suffix(".json").read_text())["source"] == f"veri:{root}"
    ok("check", out)
