"""Boxes of detectors as images: each format tells the same crops, equal to those cut by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers_artifact import write_artifact
from PIL import Image

from mtml_deploy.data.clock import read_time
from mtml_deploy.data.ids import NamedId
from mtml_deploy.data.records import require_files
from mtml_deploy.data.source import absolute_source, load_source, parse_source, source_paths
from mtml_deploy.data.thumbnails import make_thumbnail
from mtml_deploy.embed.embeddings import Embeddings
from mtml_deploy.errors import DataError, ImageError
from mtml_deploy.model import open_model
from mtml_train.config import TrainConfig
from mtml_train.run_data import load_run_data

WIDTH, HEIGHT = 80, 60
BOXES = ((1, 4, 5, 30, 25), (1, 40, 10.5, 20, 30.2), (2, 6, 5, 30, 25), (3, -9, 20, 30, 90))
"""Number of the frame from 1, and x, y, w, h with the first pixel at 0."""
CUT = ((4, 5, 34, 30), (40, 10, 60, 41), (6, 5, 36, 30), (0, 20, 21, 60))
"""What a hand would cut: every pixel that the box touches, within the frame."""
TRACKS = (7, 8, 7, 9)


@pytest.fixture
def frames(tmp_path):
    place = tmp_path / "frames"
    place.mkdir()
    for number in (1, 2, 3):
        pixels = np.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        Image.fromarray(pixels).save(place / f"{number:06d}.png")
    return place


@pytest.fixture
def by_hand(frames, tmp_path):
    """The crops as files, in a folder of their own."""
    place = tmp_path / "by hand"
    place.mkdir()
    for n, ((number, *_), box) in enumerate(zip(BOXES, CUT, strict=True)):
        Image.open(frames / f"{number:06d}.png").crop(box).save(place / f"{n}.png")
    return place


def mot(folder):
    lines = [f"{f},{t},{x + 1},{y + 1},{w},{h},0.9,-1,-1,-1"
             for (f, x, y, w, h), t in zip(BOXES, TRACKS, strict=True)]  # fmt: skip
    (folder / "det.txt").write_text("\n".join(lines))
    return "det.txt"


def aicity(folder):
    lines = [f"41 {t} {f} {x} {y} {w} {h} -1 -1"
             for (f, x, y, w, h), t in zip(BOXES, TRACKS, strict=True)]  # fmt: skip
    (folder / "track1.txt").write_text("\n".join(lines))
    return "track1.txt"


def coco(folder):
    rows = [
        {"image_id": f, "category_id": 3, "bbox": [x, y, w, h], "score": 0.9, "track_id": t}
        for (f, x, y, w, h), t in zip(BOXES, TRACKS, strict=True)
    ]
    (folder / "results.json").write_text(json.dumps(rows))
    return "results.json"


def coco_set(folder):
    name = coco(folder)
    rows = json.loads((folder / name).read_text())
    images = [{"id": f * 100, "file_name": f"{f:06d}.png"} for f in (1, 2, 3)]
    rows = [row | {"image_id": row["image_id"] * 100} for row in rows]
    (folder / name).write_text(json.dumps({"images": images, "annotations": rows}))
    return name


def yolo(folder):
    labels = folder / "labels"
    labels.mkdir()
    for (f, x, y, w, h), t in zip(BOXES, TRACKS, strict=True):
        shares = (x + w / 2) / WIDTH, (y + h / 2) / HEIGHT, w / WIDTH, h / HEIGHT
        with (labels / f"{f:06d}.txt").open("a") as file:
            file.write(f"3 {' '.join(f'{each:.6f}' for each in shares)} 0.9 {t}\n")
    return "labels"


def supervision_csv(folder):
    lines = ["x_min,y_min,x_max,y_max,class_id,confidence,tracker_id,frame_index"]
    lines += [f"{x},{y},{x + w},{y + h},3,0.9,{t},{f}"
              for (f, x, y, w, h), t in zip(BOXES, TRACKS, strict=True)]  # fmt: skip
    (folder / "sv.csv").write_text("\n".join(lines) + "\n")
    return "sv.csv"


def supervision_json(folder):
    rows = [
        {"x_min": x, "y_min": y, "x_max": x + w, "y_max": y + h, "class_id": "3",
         "confidence": "0.9", "tracker_id": str(t), "file_name": f"{f:06d}.png"}
        for (f, x, y, w, h), t in zip(BOXES, TRACKS, strict=True)
    ]  # fmt: skip
    (folder / "sv.json").write_text(json.dumps(rows))
    return "sv.json"


WRITERS = [mot, aicity, coco, coco_set, yolo, supervision_csv, supervision_json]


def source_of(writer, folder, frames, more=""):
    kind = writer.__name__.split("_")[0]
    return f"crops:{folder / writer(folder)}@frames={frames},format={kind}{more}"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    with open_model(write_artifact(tmp_path_factory.mktemp("model") / "art").folder) as opened:
        yield opened


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.__name__)
@pytest.mark.parametrize("threads", [1, 3])
def test_equal_to_crops_cut_by_hand(writer, threads, model, frames, by_hand, tmp_path):
    found = model.embed(source_of(writer, tmp_path, frames), threads=threads, batch_size=3)
    expected = model.embed(by_hand, batch_size=3)
    assert found.features.tobytes() == expected.features.tobytes()
    assert found.pixels.tolist() == expected.pixels.tolist()
    camera = "41/" if writer is aicity else ""
    tracks = [str(found.named(id_)) for id_ in found.tracklet_ids]
    assert tracks == [f"{camera}{track}" for track in TRACKS]


def test_camera_track_and_time(frames, tmp_path):
    more = ",camera=north gate,start=2024-05-01T08:00:00+02:00,fps=12.5"
    images = load_source(source_of(mot, tmp_path, frames, more))
    begin = read_time("2024-05-01T06:00:00")
    assert [record.time_us - begin for record in images.records] == [0, 0, 80_000, 160_000]
    assert {record.camera_id for record in images.records} == {NamedId("north gate")}
    assert images.records[3].tracklet_id == NamedId("north gate/9")
    assert {record.vehicle_id for record in images.records} == {-1}
    assert images.names()[1] == "000001.png#xywh=40,10,20,31" and images.root == frames
    ids = load_source(source_of(aicity, tmp_path, frames, ",ids=vehicle"))
    assert [record.vehicle_id for record in ids.records] == list(TRACKS)
    assert {record.camera_id for record in ids.records} == {41}


def test_a_folder_per_camera(frames, tmp_path):
    (tmp_path / "c041").mkdir()
    frames.rename(tmp_path / "c041" / "img")
    images = load_source(source_of(aicity, tmp_path, f"{tmp_path}/c{{camera:03d}}/img"))
    assert images.crops[0].path == tmp_path / "c041" / "img" / "000001.png"


def test_what_is_left_out_is_counted(frames, tmp_path):
    source = source_of(mot, tmp_path, frames)
    file = tmp_path / "det.txt"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines, lines[0], lines[1].replace("0.9", "0.2")]))
    images = load_source(source + ",min_score=0.5")
    assert len(images.records) == 4
    assert images.notes == (
        "boxes left out by min_score= or classes=: 1", "boxes told twice, taken once: 1",
    )  # fmt: skip
    with pytest.raises(DataError, match="tells no box, 6 were left out"):
        load_source(source + ",min_score=0.95")
    assert len(load_source(source_of(coco, tmp_path, frames, ",classes=2+3")).records) == 4


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("3,9,90,1,5,5,1", "outside the frame of 80 x 60"),
        ("3,9,5,5,0,9,1", "no area"),
        ("3,9,nan,5,5,9,1", "not finite"),
    ],
)
def test_a_bad_box_is_named_or_left_out(line, words, model, frames, tmp_path):
    source = source_of(mot, tmp_path, frames)
    with (tmp_path / "det.txt").open("a") as file:
        file.write("\n" + line)
    with pytest.raises(ImageError, match=words):
        model.embed(source)
    found = model.embed(source, skip_bad=True)
    assert len(found) == 4


@pytest.mark.parametrize(
    ("text", "more", "words"),
    [
        ("1,2,3", "", "line 1: 3 numbers, expected 6 or more"),
        ("1,2,x,3,4,5", "", "line 1: the box is 'x', expected a number"),
        ("9,1,2,3,4,5", "", r"no image of .* has the number 9, they have 1 to 3; say offset=N"),
        ("", "", "tells no box"),
        ("1,2,3,4,5,6", ",start=soon", "is not a time"),
        ("1,2,3,4,5,6", ",start=2024-05-01", "say fps=25"),
        ("1,2,3,4,5,6", ",fps=x,start=2024-05-01", "fps=x is no number"),
        ("1,2,3,4,5,6", ",ids=car", "ids=car is none"),
        ("1,2,3,4,5,6", ",first=0.5", "is no whole number"),
    ],
)
def test_what_cannot_be_read(text, more, words, frames, tmp_path):
    (tmp_path / "d.txt").write_text(text)
    with pytest.raises(DataError, match=words):
        load_source(f"crops:{tmp_path / 'd.txt'}@frames={frames},format=mot{more}")


COCO = {"image_id": "000001.png", "bbox": [1, 2, 9, 9], "score": 0.5, "category_id": 1}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"file_name": "x" * 5000}, "no image x{200}[.]{3} in"),
        ({"bbox": [1, 2, 10**400, 9]}, "bbox is 10{99}[.]{3}, expected a number"),
        ({"bbox": ["1_0", 2, 9, 9]}, "bbox is '1_0', expected a number"),
        ({"bbox": ["\u0663", 2, 9, 9]}, "expected a number"),
        ({"track_id": {"id": 3}}, "track_id is {'id': 3}, expected a name or number"),
        ({"category_id": True}, "category_id is True, expected a name or number"),
        ({"track_id": "x" * 201}, "is no id: more than 200 characters"),
        ({"track_id": "x" * 190}, "is no id: more than 200 characters"),  # with its camera
    ],
)
def test_records_that_nobody_writes(change, words, frames, tmp_path):
    row = COCO | change
    if "file_name" in change:
        row["image_id"] = row.pop("file_name")
    (tmp_path / "d.json").write_text(json.dumps([row]))
    source = f"crops:{tmp_path / 'd.json'}@frames={frames},format=coco,camera=the north gate"
    with pytest.raises(DataError, match=words):
        load_source(source)


def test_images_of_coco_without_a_usable_id_are_passed_over(frames, tmp_path):
    images = [{"id": [1], "file_name": "a.png"}, {"id": 1, "file_name": "000002.png"}]
    rows = [COCO | {"image_id": 1}]
    (tmp_path / "d.json").write_text(json.dumps({"images": images, "annotations": rows}))
    found = load_source(f"crops:{tmp_path / 'd.json'}@frames={frames},format=coco")
    assert [crop.path.name for crop in found.crops] == ["000002.png"]


@pytest.mark.parametrize("line", ["1,9,1e8,1,5,5,1", "1,9,1,1,1e300,5,1", "1,9,1,inf,5,5,1"])
def test_boxes_larger_than_any_frame(line, model, frames, tmp_path):
    (tmp_path / "det.txt").write_text(line)
    with pytest.raises(ImageError, match="not finite, or too large for any frame"):
        model.embed(f"crops:{tmp_path / 'det.txt'}@frames={frames},format=mot")
    (tmp_path / "000001.txt").write_text("0 0.5 0.5 1e307 1e307")  # its shares are finite
    with pytest.raises(ImageError, match="not finite, or too large for any frame"):
        model.embed(f"crops:{tmp_path / '000001.txt'}@frames={frames},format=yolo")


def test_a_time_that_no_calendar_has(frames, tmp_path):
    (tmp_path / "det.txt").write_text("99999999999999,1,2,3,4,5,1")
    one = frames / "000001.png"  # for every frame
    with pytest.raises(DataError, match=r"line 1: start=, fps= and .* outside the years 1 to 9999"):
        load_source(f"crops:{tmp_path / 'det.txt'}@frames={one},format=mot,start=0,fps=1")


def test_a_cell_that_no_table_has(frames, tmp_path):
    head = "x_min,y_min,x_max,y_max,frame_index"
    (tmp_path / "d.csv").write_text(f"{head}\n1,2,3,4,{'1' * 200_000}\n")
    with pytest.raises(DataError, match=r"not CSV \(field larger"):
        load_source(f"crops:{tmp_path / 'd.csv'}@frames={frames},format=supervision")


@pytest.mark.parametrize("camera", ["x" * 5000, "..", "a/b"])
def test_a_camera_that_is_no_folder(camera, frames, tmp_path):
    (tmp_path / "d.txt").write_text(f"{camera} 1 1 2 3 4 5 -1 -1")
    with pytest.raises(DataError, match=r"no frames at|holds no image"):
        load_source(f"crops:{tmp_path / 'd.txt'}@frames={frames}/{{camera}}/img,format=aicity")


def test_options(frames, tmp_path):
    text = "crops:a@b.txt@format=mot,frames=x,y/z,camera=c,1"
    source = parse_source(text)
    assert str(source.path) == "a@b.txt" and source.text() == text
    assert source.columns == {"format": "mot", "frames": "x,y/z", "camera": "c,1"}
    assert [path.name for path in source_paths(text)] == ["a@b.txt", "z"]
    assert parse_source(absolute_source(text)).columns["frames"].startswith("/")
    for bad, words in (
        ("crops:a", "says no frames="),
        ("crops:a@frames=x", "says no format="),
        ("crops:a@frames=x,format=csv", "format=csv is none"),
        ("crops:a@frames=x,frames=y", "twice or without a value"),
    ):
        with pytest.raises(DataError, match=words):
            load_source(bad)
    (tmp_path / "d.txt").write_text("1,2,3,4,5,6")
    with pytest.raises(DataError, match="no frames at"):
        load_source(f"crops:{tmp_path / 'd.txt'}@frames={tmp_path / 'none'},format=mot")


@pytest.mark.parametrize(
    ("cells", "track", "score"), [("0.25", "", 0.25), ("12", "12", None), ("1 12", "12", 1.0)]
)
def test_numbers_of_yolo_behind_the_box(cells, track, score, tmp_path):
    from mtml_deploy.data.detections.text_formats import read_yolo

    (tmp_path / "a.txt").write_text(f"0 0.5 0.5 0.2 0.2 {cells}\n")
    (found,) = read_yolo(tmp_path, 0)
    assert (found.track, found.score, found.frame) == (track, score, "a")


def test_a_number_of_yolo_that_may_be_either(tmp_path):
    from mtml_deploy.data.detections.text_formats import read_yolo

    (tmp_path / "a.txt").write_text("0 0.5 0.5 0.2 0.2 1\n")
    with pytest.raises(DataError, match="may be scores or ids"):
        list(read_yolo(tmp_path, 0))


def test_a_file_of_rows_and_a_gallery(model, frames, by_hand, tmp_path):
    import mtml_deploy as md
    from mtml_deploy.gallery.add import add_images

    source = source_of(mot, tmp_path, frames, ",camera=5,start=0,fps=1")
    out = model.embed_to(tmp_path / "rows.npz", source)
    rows = Embeddings.load(out)
    assert rows.camera_ids.tolist() == [5] * 4 and rows.times_us.tolist()[3] == 2_000_000
    md.create_gallery(tmp_path / "g", model.identity)
    with md.open_gallery(tmp_path / "g", write=True) as gallery:
        images = load_source(source)
        done = add_images(gallery, model.runtime, images, model=model.identity)
        assert (done.added, done.present) == (4, 0)
        again = add_images(gallery, model.runtime, images, model=model.identity)
        assert (again.added, again.present) == (0, 4)
        kept = [stored.record for stored in gallery.rows()]
    assert kept[1].path == f"{frames}/000001.png#xywh=40,10,20,31" and kept[2].time_us == 1_000_000
    from pathlib import Path

    picture = make_thumbnail(Path(kept[1].path), side=31)
    assert picture is not None and (picture.width, picture.height) == (20, 31)


def test_part_of_a_set_keeps_its_regions(frames, tmp_path):
    images = load_source(source_of(mot, tmp_path, frames))
    part = images.take([2, 0])
    assert [crop.box for crop in part.crops] == [(6, 5, 36, 30), (4, 5, 34, 30)]
    assert part.names() == ("000002.png#xywh=6,5,30,25", "000001.png#xywh=4,5,30,25")
    with pytest.raises(ValueError, match="4 pictures of 1 records"):
        replace(images, records=images.records[:1])


def test_training_needs_files(frames, tmp_path):
    source = source_of(mot, tmp_path, frames, ",ids=vehicle")
    with pytest.raises(DataError, match="holds regions of frames, and training needs a file"):
        require_files(load_source(source), "training")
    with pytest.raises(DataError, match="training needs a file"):
        load_run_data(TrainConfig(data=(source,)), report=lambda _: None, validates=False)


def test_a_video(model, tmp_path):
    av = pytest.importorskip("av", reason="PyAV is not installed")
    path = tmp_path / "drive.mkv"
    pixels = np.random.default_rng(0).integers(0, 256, (5, HEIGHT // 4, WIDTH // 4, 3), np.uint8)
    images = [Image.fromarray(each).resize((WIDTH, HEIGHT)) for each in pixels]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10, width=WIDTH, height=HEIGHT, pix_fmt="bgr0")
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_image(image).reformat(format="bgr0")))
        container.mux(stream.encode(None))
    (tmp_path / "det.txt").write_text("\n".join(
        f"{frame},1,{5 + frame},6,30,25,1" for frame in (5, 1, 3, 2)))  # fmt: skip
    source = f"crops:{tmp_path / 'det.txt'}@frames={path},format=mot,start=0"
    found = load_source(source)
    assert [record.time_us for record in found.records] == [400_000, 0, 200_000, 100_000]
    assert found.names()[0] == "drive.mkv#frame=4&xywh=9,5,30,25"
    rows = model.embed(source, threads=1)
    crops = [images[f - 1].crop((4 + f, 5, 34 + f, 30)) for f in (5, 1, 3, 2)]
    assert rows.features.tobytes() == model.embed(crops).features.tobytes()
    (tmp_path / "det.txt").write_text("6,1,5,6,30,25,1")
    with pytest.raises(ImageError, match="has 5 frames, and number 5, counted from 0"):
        model.embed(source)
