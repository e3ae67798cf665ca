"""Local split: disjoint vehicles, a match for every query, the same for the same seed."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers_datasets import REAL
from hypothesis import given
from hypothesis import strategies as st

from mtml_deploy.data.holdout import split_by_id, split_lines
from mtml_deploy.data.records import ImageRecord, ImageSet
from mtml_deploy.data.source import load_source
from mtml_deploy.data.split_files import write_split
from mtml_deploy.errors import DataError, OutputExistsError


def image_set(labels: list[tuple[int, int]]) -> ImageSet:
    """Image n.jpg of (vehicle, camera) n."""
    root = Path("/data")
    records = tuple(
        ImageRecord(root / f"{n:06d}.jpg", vehicle_id=vehicle, camera_id=camera)
        for n, (vehicle, camera) in enumerate(labels)
    )
    return ImageSet("set", root, records)


@given(
    labels=st.lists(st.tuples(st.integers(-1, 8), st.integers(-1, 3)), min_size=10, max_size=80),
    seed=st.integers(-5, 5),
    share=st.sampled_from([0.1, 0.3, 0.5, 0.9]),
)
def test_rules_hold_for_any_set(labels: list[tuple[int, int]], seed: int, share: float) -> None:
    images = image_set(labels)
    try:
        split = split_by_id(images, seed=seed, test_share=share)
    except DataError:
        return
    vehicles = {v for v, _ in labels if v >= 0}
    trained = {record.vehicle_id for record in split.train}
    tested = {record.vehicle_id for record in (*split.query, *split.gallery)}
    assert trained | tested == vehicles and not trained & tested
    assert len(tested) == max(1, round(share * len(vehicles)))
    together = [*split.train, *split.query, *split.gallery]
    assert len({record.path for record in together}) == len(together)
    assert len(together) + split.unknown == len(images.records)
    assert split.unknown == sum(v == -1 for v, _ in labels)
    pairs = [(record.vehicle_id, record.camera_id) for record in split.query]
    assert pairs and len(set(pairs)) == len(pairs)
    for vehicle, camera in pairs:
        others = {r.camera_id for r in split.gallery if r.vehicle_id == vehicle} - {camera, -1}
        assert camera != -1 and others
    for part in split.parts().values():  # each in the order of the set
        assert list(part) == sorted(part, key=lambda record: record.path)


def test_by_hand() -> None:
    # vehicle 1: cameras 1 (two images) and 2 (one); vehicle 2: one camera; vehicle 3: trained on
    labels = [(1, 1), (1, 1), (1, 2), (2, 1), (2, 1), (3, 1), (3, 2), (-1, 1)]
    for seed in range(200):
        split = split_by_id(image_set(labels), seed=seed, test_share=0.67)
        if {record.vehicle_id for record in split.train} == {3}:
            break
    assert [record.path.name for record in split.query] in (["000000.jpg"], ["000001.jpg"])
    assert len(split.gallery) == 4
    assert split.unknown == 1
    assert split_lines(split) == [
        "train   2 images of 1 vehicles before 2 cameras",
        "query   1 images of 1 vehicles before 1 cameras",
        "gallery 4 images of 2 vehicles before 2 cameras",
        "1 images of unknown vehicle are in no list",
    ]


LABELS = [(v, c) for v in range(20) for c in range(3) for _ in range(4)]


def test_seed_alone_decides() -> None:
    images = image_set(LABELS)
    first = split_by_id(images, seed=7, test_share=0.25)
    assert first == split_by_id(images, seed=7, test_share=0.25)
    shuffled = [images.records[i] for i in np.random.default_rng(0).permutation(len(LABELS))]
    again = split_by_id(ImageSet("set", images.root, tuple(shuffled)), seed=7, test_share=0.25)
    for name, part in first.parts().items():
        assert set(again.parts()[name]) == set(part)
    drawn = {
        frozenset(r.vehicle_id for r in split_by_id(images, seed=s, test_share=0.25).query)
        for s in range(6)
    }
    assert len(drawn) > 1
    assert len(first.query) == 5 * 3 and len(first.gallery) == 5 * 9 and len(first.train) == 180


def test_sets_that_cannot_be_split() -> None:
    with pytest.raises(DataError, match="has 1 vehicles"):
        split_by_id(image_set([(1, 1), (1, 2)]), seed=0, test_share=0.5)
    with pytest.raises(DataError, match="none can be looked for"):
        split_by_id(image_set([(1, -1), (1, -1), (2, -1), (2, -1)]), seed=0, test_share=0.5)
    with pytest.raises(ValueError, match="between 0 and 1"):
        split_by_id(image_set(LABELS), seed=0, test_share=1.0)


def test_files_are_sources(tmp_path: Path) -> None:
    split = split_by_id(image_set(LABELS), seed=7, test_share=0.25)
    write_split(tmp_path / "local", split)
    for name, part in split.parts().items():
        assert load_source(f"csv:{tmp_path / 'local' / name}.csv").records == part
    record = json.loads((tmp_path / "local" / "split.json").read_text())
    assert record["query"] == {"images": 15, "vehicles": 5, "cameras": 3}
    assert record["test_vehicles"] == sorted({r.vehicle_id for r in split.gallery})
    assert (record["seed"], record["test_share"], record["source"]) == (7, 0.25, "set")
    (tmp_path / "local" / "train.csv").unlink()
    with pytest.raises(OutputExistsError):
        write_split(tmp_path / "local", split)
    assert not (tmp_path / "local" / "train.csv").exists()  # all or none
    write_split(tmp_path / "local", split, overwrite=True)
    assert (tmp_path / "local" / "train.csv").exists()


def test_real_training_set() -> None:
    if not (REAL / "gims08").is_dir():
        pytest.skip("the real images are not here")
    images = load_source(f"veri:{REAL / 'gims08'}#train")
    split = split_by_id(images, seed=0, test_share=0.3)
    # 10 cars, each before 8 cameras with more than one image
    assert len({record.vehicle_id for record in split.query}) == 3
    assert len(split.query) == 3 * 8
    assert len(split.train) + len(split.query) + len(split.gallery) == 1179
