"""Synthetic vehicles: label files, determinism, twins, and the geometry of orientations."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import replace
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mtml_deploy.data.records import FLIPPED_ORIENTATION, ORIENTATIONS
from mtml_deploy.errors import BackendError, OutputExistsError
from mtml_train.synthetic import SyntheticSpec, render_image, write_synthetic
from mtml_train.synthetic.camera import Camera, Ground, draw_camera
from mtml_train.synthetic.car_models import PLANS, draw_model, twin_group
from mtml_train.synthetic.marks import Identity
from mtml_train.synthetic.mesh import SOLID, MeshBuilder, Part
from mtml_train.synthetic.painter import paint
from mtml_train.synthetic.render import draw_crop, render_shot
from mtml_train.synthetic.shot_plan import plan_shots
from mtml_train.synthetic.vehicle import KEYPOINT_PAIRS, Vehicle, assemble, build_vehicle
from mtml_train.synthetic.view import JITTER_DEG, ORIENTATION_AZIMUTH_DEG, View

SPEC = SyntheticSpec(
    train_vehicles=3,
    test_vehicles=4,
    images_per_vehicle=9,
    cameras=3,
    image_size=64,
    queries_per_vehicle=2,
    seed=7,
)
NAME = re.compile(r"(\d{4})_c(\d{3})_(\d{8})_(\d)\.jpg")
SEEN = 24
"""Least difference of one colour channel (of 255) that counts as seen: more than three times the
standard deviation of the noisiest camera (0.028 * 255 = 7)."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    target = tmp_path_factory.mktemp("synthetic") / "set"
    calls = []
    summary = write_synthetic(target, SPEC, progress=lambda *counts: calls.append(counts))
    assert calls == [(9 * done, 63) for done in range(1, 8)]
    assert (summary.train_images, summary.query_images, summary.gallery_images) == (27, 8, 36)
    assert (summary.train_vehicles, summary.test_vehicles, summary.cameras) == (3, 4, 3)
    return target


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def test_every_list_names_exactly_the_files_of_its_folder(folder):
    for split, count in (("train", 27), ("query", 8), ("test", 36)):
        names = lines(folder / f"name_{split}.txt")
        files = {path.name for path in (folder / f"image_{split}").iterdir()}
        assert len(names) == len(set(names)) == count
        assert set(names) == files
        assert all(NAME.fullmatch(name) for name in names)
    assert len(list(folder.iterdir())) == 3 + 3 + 2 + 2 + 2 + 1


def test_train_and_test_vehicles_are_disjoint(folder):
    train = {name[:4] for name in lines(folder / "name_train.txt")}
    test = {name[:4] for name in lines(folder / "name_test.txt")}
    assert train == {"0001", "0002", "0003"}
    assert test == {"0004", "0005", "0006", "0007"}


def test_queries_are_the_same_files_in_the_gallery(folder):
    for name in lines(folder / "name_query.txt"):
        query = (folder / "image_query" / name).read_bytes()
        assert query == (folder / "image_test" / name).read_bytes()


@pytest.mark.parametrize(("split", "title"), [("train", "Training"), ("test", "Testing")])
def test_xml_labels_repeat_what_the_names_say(folder, split, title):
    root = ElementTree.parse(folder / f"{split}_label.xml").getroot()
    assert root.tag == f"{title}Images"
    items = root.findall("./Items/Item")
    assert root.find("Items").get("number") == str(len(items))
    assert [item.get("imageName") for item in items] == lines(folder / f"name_{split}.txt")
    for item in items:
        vehicle, camera, _, _ = NAME.fullmatch(item.get("imageName")).groups()
        assert item.get("vehicleID") == vehicle
        assert item.get("cameraID") == f"c{camera}"
        assert 1 <= int(item.get("colorID")) <= 10
        assert 1 <= int(item.get("typeID")) <= 9


@pytest.mark.parametrize("split", ["train", "test"])
def test_keypoint_lines_hold_42_fields_inside_the_image(folder, split):
    rows = [line.split(" ") for line in lines(folder / f"keypoint_{split}.txt")]
    names = [f"VeRi/image_{split}/{name}" for name in lines(folder / f"name_{split}.txt")]
    assert [row[0] for row in rows] == names
    seen_points = 0
    for row in rows:
        assert len(row) == 42
        values = [int(value) for value in row[1:]]
        assert 0 <= values[-1] <= 7
        with Image.open(folder / f"image_{split}" / Path(row[0]).name) as image:
            width, height = image.size
            assert image.mode == "RGB"
        for x, y in zip(values[:-1:2], values[1:-1:2], strict=True):
            assert (x, y) == (-1, -1) or (0 <= x < width and 0 <= y < height)
            seen_points += x >= 0
    # from every side at least roof corners and one end or one side's wheels are seen
    assert seen_points >= 5 * len(rows)


def test_every_orientation_occurs_for_every_vehicle(folder):
    by_vehicle: dict[str, set[str]] = {}
    for split in ("train", "test"):
        for line in lines(folder / f"keypoint_{split}.txt"):
            name, *_, orientation = line.split(" ")
            by_vehicle.setdefault(Path(name).name[:4], set()).add(orientation)
    assert all(found == set("01234567") for found in by_vehicle.values())


def test_ground_truth_and_junk_lines(folder):
    test = lines(folder / "name_test.txt")
    queries = lines(folder / "name_query.txt")
    matches, junk = lines(folder / "gt_image.txt"), lines(folder / "jk_image.txt")
    assert len(matches) == len(junk) == len(queries)
    cameras_asked = Counter(name[:9] for name in queries)
    assert set(cameras_asked.values()) == {1}  # one query of a vehicle by a camera
    for query, good, bad in zip(queries, matches, junk, strict=True):
        vehicle, camera = query[:4], query[5:9]
        expected_good = [
            str(number)
            for number, name in enumerate(test, start=1)
            if name[:4] == vehicle and name[5:9] != camera
        ]
        expected_bad = [
            str(number)
            for number, name in enumerate(test, start=1)
            if name[:4] == vehicle and name[5:9] == camera
        ]
        assert good.split() == expected_good != []
        assert bad.split() == expected_bad
        assert query in {test[int(number) - 1] for number in bad.split()}


def test_two_processes_write_the_same_bytes(folder, tmp_path):
    write_synthetic(tmp_path / "again", SPEC, processes=2)
    for path in sorted(folder.rglob("*.*")):
        assert (tmp_path / "again" / path.relative_to(folder)).read_bytes() == path.read_bytes()


def test_another_seed_gives_other_pictures():
    first = render_image(SPEC, 0, 2, 0, 0)
    second = render_image(replace(SPEC, seed=8), 0, 2, 0, 0)
    assert first.shape != second.shape or (first != second).mean() > 0.5


def test_an_existing_folder_is_refused_and_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "note").write_text("keep")
    small = replace(SPEC, train_vehicles=1, test_vehicles=1, images_per_vehicle=2)
    for overwrite in (False, True):
        with pytest.raises(OutputExistsError, match="mine is a folder, not a synthetic set"):
            write_synthetic(tmp_path / "mine", small, overwrite=overwrite)
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "note"]


def test_only_a_whole_set_of_ones_own_is_replaced(tmp_path):
    small = replace(SPEC, train_vehicles=1, test_vehicles=1, images_per_vehicle=2)
    folder = tmp_path / "set"
    write_synthetic(folder, small)
    with pytest.raises(OutputExistsError, match="add --overwrite"):
        write_synthetic(folder, small)
    larger = replace(small, images_per_vehicle=3)
    write_synthetic(folder, larger, overwrite=True)
    assert len(list((folder / "image_train").iterdir())) == 3
    # an image that the set does not have
    (folder / "image_test" / "0009_c001_00000000_0.jpg").write_bytes(b"mine")
    with pytest.raises(OutputExistsError, match=r"image_test/0009_c001_00000000_0\.jpg"):
        write_synthetic(folder, small, overwrite=True)
    assert len(list((folder / "image_train").iterdir())) == 3
    (folder / "image_test" / "0009_c001_00000000_0.jpg").unlink()
    # a copy of a data set of this layout is not known as one of these
    (folder / "synthetic.json").unlink()
    with pytest.raises(OutputExistsError, match=r"a data set, not a synthetic set \(it lacks"):
        write_synthetic(folder, small, overwrite=True)


def test_an_interrupted_run_leaves_nothing(tmp_path):
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    for processes in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            write_synthetic(tmp_path / "set", SPEC, processes=processes, progress=stop)
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("train_vehicles", 0),
        ("test_vehicles", 0),
        ("train_vehicles", 9996),  # with 4 test vehicles: 10,000 do not fit four digits
        ("images_per_vehicle", 1),
        ("cameras", 1),
        ("cameras", 1000),
        ("image_size", 31),
        ("twins", 0),
        ("queries_per_vehicle", 0),
        ("queries_per_vehicle", 4),  # three cameras: no four queries of different cameras
        ("seed", -1),
    ],
)
def test_settings_outside_their_range_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name}.*found"):
        replace(SPEC, **{name: value})


@pytest.mark.parametrize("arguments", [(7, 0, 0, 0), (-1, 0, 0, 0), (0, 8, 0, 0), (0, 0, 3, 0),
                                       (0, 0, 0, -1)])  # fmt: skip
def test_render_image_refuses_what_the_set_does_not_have(arguments):
    with pytest.raises(ValueError, match="found"):
        render_image(SPEC, *arguments)


def test_processes_below_one_are_refused(tmp_path):
    with pytest.raises(ValueError, match="processes"):
        write_synthetic(tmp_path / "set", SPEC, processes=0)


def test_a_rendering_process_that_is_killed_ends_the_command(tmp_path: Path) -> None:
    def kill(done: int, total: int) -> None:
        for worker in active_children():
            worker.kill()

    many = replace(SPEC, train_vehicles=40)
    with pytest.raises(BackendError, match=r"one of the 2 processes .* lower --processes"):
        write_synthetic(tmp_path / "set", many, processes=2, progress=kill)
    assert list(tmp_path.iterdir()) == []


def test_image_size_is_the_longest_side_before_scale_and_jitter():
    for size in (64, 200):
        spec = replace(SPEC, image_size=size)
        longest = [max(render_image(spec, 0, view, 0, 0).shape) for view in range(8)]
        # cameras scale by 0.75..1, shots by 0.88..1.08
        assert 0.75 * 0.88 * size - 1 <= min(longest) <= max(longest) <= 1.08 * size + 1


# --- identities ------------------------------------------------------------------------------


def test_twins_share_the_model_and_groups_never_cross_the_splits():
    spec = replace(SPEC, train_vehicles=5, test_vehicles=4, twins=2)
    groups = [twin_group(spec, vehicle)[:2] for vehicle in range(9)]
    assert groups == [(0, 0), (0, 0), (0, 1), (0, 1), (0, 2), (1, 0), (1, 0), (1, 1), (1, 1)]
    assert draw_model(spec, 0) == draw_model(spec, 1) != draw_model(spec, 2)
    assert draw_model(spec, 4) != draw_model(spec, 5)


def test_all_body_types_are_drawn():
    spec = replace(SPEC, train_vehicles=14)
    assert {draw_model(spec, vehicle).plan.name for vehicle in range(14)} == {
        plan.name for plan in PLANS
    }


def same_view(vehicles: tuple[Vehicle, Vehicle], camera: Camera, orientation: int, size: int):
    """Both vehicles painted in one view, crop and light, and where the first one's pixels are."""
    view = View(ORIENTATION_AZIMUTH_DEG[orientation], 15.0, 16.0, 0.0, 0.8)
    crop = draw_crop(view, vehicles[0].mesh, camera, np.random.default_rng(0), size=size)
    first, second = (
        np.asarray(paint(vehicle, camera, view, crop, np.random.default_rng(1)), dtype=np.int64)
        for vehicle in vehicles
    )
    return np.abs(first - second).max(axis=2) > SEEN


@pytest.mark.parametrize("orientation", range(8))
def test_twins_differ_in_few_pixels_and_others_in_many(orientation):
    # 28 vehicles in pairs: every body type is there twice over
    spec = replace(SPEC, train_vehicles=28, twins=2, image_size=64)
    camera = replace(draw_camera(spec, 0), occlusion=0.0)
    for first in range(0, 28, 2):
        pair = (build_vehicle(spec, first), build_vehicle(spec, first + 1))
        twin = same_view(pair, camera, orientation, 64)
        # at 64 pixels a mark of 5 x 5 is the least that a network can be asked to find
        assert twin.sum() >= 25
        # marks are small: the largest, a roof stripe seen from behind, is a fifth of the picture
        assert twin.mean() < 0.25
    other = (build_vehicle(spec, 0), build_vehicle(spec, 2))
    assert same_view(other, camera, orientation, 64).mean() > 0.4


def test_every_vehicle_has_a_mark_on_every_side():
    spec = replace(SPEC, train_vehicles=20, twins=4)
    for vehicle in range(20):
        panels = {mark.panel for mark in build_vehicle(spec, vehicle).identity.marks}
        assert {"left", "right"} <= panels
        assert panels & {"bonnet", "screen"}
        assert panels & {"hatch", "tail"}


def test_twins_never_share_the_kind_of_a_mark_on_one_side():
    spec = replace(SPEC, train_vehicles=14, twins=7)
    for side in ("left", "right"):
        kinds = [
            next(mark.shape for mark in build_vehicle(spec, vehicle).identity.marks
                 if mark.panel == side)
            for vehicle in range(7)
        ]  # fmt: skip
        assert len(set(kinds)) == 7


# --- orientation geometry ----------------------------------------------------------------------


def test_left_is_the_vehicles_own_left_side():
    """A car whose left side is looked at has its front at the left of the picture."""
    view = View(ORIENTATION_AZIMUTH_DEG[ORIENTATIONS.index("left")], 10.0, 20.0, 0.0, 0.7)
    front, rear = view.project(np.array([[2.0, 0.9, 0.5], [-2.0, 0.9, 0.5]]))
    assert front[0] < 0 < rear[0]
    # the camera stands at the left: +y
    assert view.position[1] > 19
    np.testing.assert_allclose(view.position[0], 0.0, atol=1e-9)  # cos 90 degrees in float64


def test_projection_of_a_point_by_hand():
    """From 10 m before the front, level: 1 m to the vehicle's left is 0.1 to the right."""
    view = View(0.0, 0.0, 10.0, 0.0, 1.0)
    image = view.project(np.array([[0.0, 1.0, 1.0], [0.0, 0.0, 3.0], [5.0, 1.0, 1.0]]))
    expected = [[0.1, 0.0], [0.0, -0.2], [0.2, 0.0]]
    np.testing.assert_allclose(image, expected, atol=1e-12)  # a few roundings of float64


def test_flipping_the_camera_gives_the_class_of_the_records():
    for orientation, azimuth in enumerate(ORIENTATION_AZIMUTH_DEG):
        mirrored = (-azimuth) % 360
        assert ORIENTATION_AZIMUTH_DEG[FLIPPED_ORIENTATION[orientation]] == mirrored
    # classes must not overlap: 45 degrees from middle to middle
    assert 2 * JITTER_DEG < 45


@pytest.mark.parametrize("kind", range(len(PLANS)))
def test_a_flipped_picture_is_the_picture_of_the_flipped_class(kind):
    """Without marks a vehicle is symmetric: its flipped picture is that of the mirrored view."""
    spec = replace(SPEC, train_vehicles=14)
    model = next(
        draw_model(spec, vehicle)
        for vehicle in range(14)
        if draw_model(spec, vehicle).plan.name == PLANS[kind].name
    )
    plain = assemble(model, Identity((), "bare", (), None, (1.0, 0.0, 0.0)))
    grey = (0.5, 0.5, 0.5)
    bare_ground = Ground(grey, grey, grey, 1e6, 3.0, grey, 0.0, 1e9, 0.0)
    camera = replace(
        draw_camera(spec, 0), sun_azimuth_deg=0.0, occlusion=0.0, looseness=0.05, ground=bare_ground
    )

    def picture(azimuth: float):
        view = View(azimuth, 14.0, 18.0, 0.0, 0.8)
        # an even margin: with its jitter taken away the crop is symmetric too
        crop = draw_crop(view, plain.mesh, camera, EvenMargins(), size=96)
        pixels = np.asarray(paint(plain, camera, view, crop, np.random.default_rng(0)), np.float64)
        keypoints = crop.to_pixels(view.project(plain.keypoints.points))
        return pixels, keypoints, crop.width

    for orientation in range(8):
        azimuth = ORIENTATION_AZIMUTH_DEG[orientation] + 7.0
        seen, points, width = picture(azimuth)
        mirror_class = FLIPPED_ORIENTATION[orientation]
        mirrored, mirrored_points, _ = picture(ORIENTATION_AZIMUTH_DEG[mirror_class] - 7.0)
        # ImageDraw's edges are not symmetric to half a painted pixel, hence not exactly 0
        assert np.abs(seen[:, ::-1] - mirrored).mean() < 4.0
        assert np.abs(seen - mirrored).mean() > 8.0  # and an unflipped picture is another one
        swapped = points.copy()
        for left, right in KEYPOINT_PAIRS:
            swapped[[left, right]] = points[[right, left]]
        expected = swapped * (-1, 1) + (width, 0)
        # the crop's width is rounded to whole pixels, so its middle may be half a pixel off
        np.testing.assert_allclose(mirrored_points, expected, atol=1.0)


class EvenMargins(np.random.Generator):
    """A generator whose uniform numbers are the middle of their range."""

    def __init__(self) -> None:
        super().__init__(np.random.PCG64(0))

    def uniform(self, low=0.0, high=1.0, size=None):
        return np.full(size, (low + high) / 2)


def test_keypoints_show_what_the_orientation_shows():
    left_wheels, right_wheels, front_plate, rear_plate = (0, 1), (2, 3), 9, 19
    spec = replace(SPEC, train_vehicles=14, image_size=128)
    for vehicle in range(14):
        for orientation, name in enumerate(ORIENTATIONS):
            seen = render_shot(spec, vehicle, orientation, 0, vehicle).keypoints[:, 0] >= 0
            if "left" in name:
                assert seen[list(left_wheels)].all()
                assert not seen[list(right_wheels)].any()
            if "right" in name:
                assert seen[list(right_wheels)].all()
                assert not seen[list(left_wheels)].any()
            if "front" in name:
                assert seen[front_plate]
                assert not seen[rear_plate]
            if "rear" in name:
                assert seen[rear_plate]
                assert not seen[front_plate]


# --- parts -------------------------------------------------------------------------------------


def test_a_box_has_outward_normals():
    builder = MeshBuilder()
    group = builder.group((0.0, 0.0, 0.0))
    part = Part(SOLID, group, 0, (0.0, 0.0, 0.0))
    builder.box(part, (-1.0, -2.0, -3.0), (1.0, 2.0, 3.0), (1.0, 1.0, 1.0))
    mesh = builder.build()
    expected = {(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)}
    assert {tuple(normal.round().astype(int).tolist()) for normal in mesh.normals} == expected
    # the box is around the origin, so a face's centre lies in the direction of its normal
    assert ((mesh.normals * mesh.centres).sum(axis=1) > 0).all()


def test_plans_are_dealt_evenly_and_queries_come_from_different_cameras():
    spec = SyntheticSpec(images_per_vehicle=16, cameras=6, queries_per_vehicle=4)
    train, test = plan_shots(spec, 0), plan_shots(spec, spec.train_vehicles)
    for shots in (train, test):
        assert sorted(Counter(shot.camera for shot in shots).values()) == [2, 2, 3, 3, 3, 3]
        assert set(Counter(shot.orientation for shot in shots).values()) == {2}
        assert len({shot.name for shot in shots}) == len({shot.shot for shot in shots}) == 16
    assert not any(shot.query for shot in train)
    queries = [shot.camera for shot in test if shot.query]
    assert len(queries) == len(set(queries)) == 4
