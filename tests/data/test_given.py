"""What a caller gives to embed: files, images in memory, boxes of one image."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mtml_deploy.data.batches import decode_image, iterate_batches
from mtml_deploy.data.given import image_set
from mtml_deploy.errors import DataError, ImageError

SIZE = 5


def pixels_of(images, **options):
    """What reaches a model, uint8 [N, 5, 5, 3]."""
    options.setdefault("batch_size", 2)
    batches = iterate_batches(images.pictures, height=SIZE, width=SIZE, **options)
    found = [batch.images for batch in batches]
    return np.concatenate(found) if found else np.empty((0, SIZE, SIZE, 3), np.uint8)


def coloured(height=7, width=11, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def test_an_array_gives_what_its_file_gives(tmp_path):
    array = coloured()
    Image.fromarray(array).save(tmp_path / "a.png")
    expected = decode_image(tmp_path / "a.png", height=SIZE, width=SIZE)
    for given in (
        array,
        [array],
        array[None],
        tmp_path / "a.png",
        str(tmp_path / "a.png"),
        [tmp_path / "a.png"],
        [str(tmp_path / "a.png")],
        (tmp_path / "a.png").read_bytes(),
        memoryview((tmp_path / "a.png").read_bytes()),
        Image.open(tmp_path / "a.png"),
        Image.fromarray(array),
    ):
        assert (pixels_of(image_set(given)) == expected[None]).all()
    reversed_order = array[:, :, ::-1].copy()  # as OpenCV reads the file
    assert (pixels_of(image_set(reversed_order, channels="BGR")) == expected).all()


EXIF_ROTATED = Image.Exif()
EXIF_ROTATED[0x0112] = 6  # Orientation: turn by 90 degrees to the right


@pytest.mark.parametrize(
    ("image", "kind", "options"),
    [
        (Image.fromarray(coloured()), "PNG", {"exif": EXIF_ROTATED}),
        (Image.fromarray(coloured()), "JPEG", {"exif": EXIF_ROTATED}),
        (Image.fromarray(coloured()).quantize(9), "PNG", {}),
        (Image.fromarray(coloured()).convert("RGBA"), "PNG", {}),
        (Image.fromarray(coloured()).convert("L"), "PNG", {}),
        (Image.fromarray(coloured()).convert("CMYK"), "JPEG", {}),
        (Image.fromarray(coloured()), "WEBP", {"lossless": True}),
        (Image.fromarray(coloured()), "BMP", {}),
    ],
)
def test_bytes_and_pillow_images_give_what_their_file_gives(tmp_path, image, kind, options):
    path = tmp_path / "a"
    path.write_bytes(encoded(image, kind, **options))
    expected = decode_image(path, height=SIZE, width=SIZE)
    for given in (path.read_bytes(), Image.open(path), [Image.open(path), path.read_bytes()]):
        assert (pixels_of(image_set(given)) == expected[None]).all()


def test_a_gray_array_gives_what_its_file_gives(tmp_path):
    array = coloured()[:, :, 0]
    Image.fromarray(array).save(tmp_path / "a.png")
    expected = decode_image(tmp_path / "a.png", height=SIZE, width=SIZE)
    assert (pixels_of(image_set(array, channels="GRAY")) == expected).all()


def test_images_of_mixed_sizes_keep_their_order():
    arrays = [np.full((3 + n, 9 - n, 3), 20 * n, np.uint8) for n in range(5)]
    images = image_set(arrays)
    assert pixels_of(images)[:, 0, 0, 0].tolist() == [0, 20, 40, 60, 80]
    assert images.names() == tuple(f"image {n}" for n in range(5))
    assert images.source == "5 images in memory"
    shared = Image.fromarray(arrays[1])
    assert pixels_of(image_set([shared] * 9), threads=3)[:, 0, 0, 0].tolist() == [20] * 9


def test_paths_are_named_relative_to_what_they_share(tmp_path):
    for name in ("a/1.png", "b/2.png"):
        (tmp_path / name).parent.mkdir()
        Image.fromarray(coloured()).save(tmp_path / name)
    images = image_set([tmp_path / "b/2.png", str(tmp_path / "a/1.png")])
    assert (images.root, images.names()) == (tmp_path, ("b/2.png", "a/1.png"))
    assert image_set(tmp_path).names() == ("a/1.png", "b/2.png")
    assert image_set(images) is images


def test_no_image_at_all():
    assert image_set([]).names() == ()
    assert image_set(np.empty((0, 4, 4, 3), np.uint8)).names() == ()


@pytest.mark.parametrize(
    ("given", "channels", "message"),
    [
        (np.zeros((4, 6, 3)), "RGB", r"image 0 is float64 \[4, 6, 3\].*\(image \* 255\)"),
        (np.zeros((4, 6, 3), np.int64), "RGB", r"int64.*pass image\.astype\(np\.uint8\)"),
        (np.zeros((3, 4, 6), np.uint8), "RGB", r"\[3, 4, 6\].*image\.transpose\(1, 2, 0\)"),
        (np.zeros((2, 3, 4, 6), np.uint8), "RGB", r"images\.transpose\(0, 2, 3, 1\)"),
        (np.zeros((4, 6), np.uint8), "RGB", r"uint8 \[4, 6\].*channels='GRAY'"),
        (np.zeros((4, 6), np.uint8), "BGR", r"channels='GRAY'"),
        (np.zeros((4, 6, 1), np.uint8), "RGB", r"image\[:, :, 0\] and channels='GRAY'"),
        (np.zeros((4, 6, 4), np.uint8), "RGB", r"image\[:, :, :3\]"),
        (np.zeros((4, 6, 3), np.uint8), "GRAY", r"expected \[H, W\] with channels='GRAY'"),
        (np.zeros((0, 6, 3), np.uint8), "RGB", "at least one pixel"),
        (np.zeros(5, np.uint8), "RGB", r"image 0 is uint8 \[5\], expected \[H, W, 3\]"),
        ([np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6, 3))], "RGB", "image 1 is float64"),
        ("x.png", "BGR", "channels='BGR' is for arrays; a str"),
        (b"x", "BGR", "channels='BGR' is for arrays; a bytes"),
        (np.zeros((4, 6, 3), np.uint8), "bgr", "channels is one of RGB, BGR, GRAY, found 'bgr'"),
    ],
)
def test_what_is_not_clear_is_refused(given, channels, message):
    with pytest.raises(ValueError, match=message):
        image_set(given, channels=channels)


@pytest.mark.parametrize("given", [7, None, [7], [[1, 2]], [Path("a"), np.zeros((1, 1, 3), "u1")]])
def test_what_is_no_image_is_refused(given):
    with pytest.raises(TypeError, match=r"expected a source text|one kind in a call"):
        image_set(given)


def test_a_source_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        image_set(tmp_path / "none")
    with pytest.raises(ImageError, match="no such file"):
        pixels_of(image_set([tmp_path / "none.png"]))


def test_a_broken_image_in_memory_is_named():
    good = encoded(Image.fromarray(coloured()))
    for bad, reason in ((b"no image", "known format"), (b"", "0 bytes"), (good[:60], "truncated")):
        with pytest.raises(ImageError, match=f"image 1: .*{reason}"):
            pixels_of(image_set([good, bad]))
    with pytest.raises(ImageError, match=r"image 0: .*8 bits"):
        pixels_of(image_set(Image.fromarray(np.zeros((2, 2), np.uint16))))
    with pytest.raises(ImageError, match=r"image 0: .*16,000,000"):
        pixels_of(image_set(Image.new("1", (5000, 4000))))


# boxes

FRAME = coloured(20, 30)


@pytest.mark.parametrize(
    ("box", "part"),
    [
        ([2, 3, 9, 8], FRAME[3:8, 2:9]),
        ([2.9, 3.9, 8.1, 7.1], FRAME[3:8, 2:9]),  # every pixel it touches
        ([-5, -5, 4, 6], FRAME[0:6, 0:4]),
        ([25, 15, 99, 1e9], FRAME[15:20, 25:30]),
        ([0.2, 0.2, 0.4, 0.4], FRAME[0:1, 0:1]),
        ([0, 0, 30, 20], FRAME),
    ],
)
def test_a_box_is_what_its_crop_is(box, part, tmp_path):
    Image.fromarray(part).save(tmp_path / "part.png")
    expected = decode_image(tmp_path / "part.png", height=SIZE, width=SIZE)
    file = tmp_path / "frame.png"
    Image.fromarray(FRAME).save(file)
    for frame in (FRAME, Image.fromarray(FRAME), file, str(file), file.read_bytes()):
        assert (pixels_of(image_set(frame, boxes=[box])) == expected).all()
    reversed_order = FRAME[:, :, ::-1]
    found = image_set(reversed_order, boxes=np.array([box], np.float32), channels="BGR")
    assert (pixels_of(found) == expected).all()
    gray = image_set(FRAME[:, :, 1], boxes=[box], channels="GRAY")
    assert (pixels_of(gray) == pixels_of(image_set(part[:, :, 1], channels="GRAY"))).all()


def test_boxes_are_named_and_keep_their_order():
    images = image_set(FRAME, boxes=[[0, 0, 4, 4], [4, 4, 9, 9], [0, 0, 4, 4]])
    assert images.names() == ("box 0", "box 1", "box 2")
    assert images.source == "3 boxes of an image in memory"
    found = pixels_of(images)
    assert (found[0] == found[2]).all() and (found[0] != found[1]).any()
    assert np.shares_memory(images.memory[1].content, FRAME)


@pytest.mark.parametrize("boxes", [[], np.empty((0, 4)), np.empty((0, 5), np.int64)])
def test_no_boxes_are_no_images(boxes):
    assert image_set(FRAME, boxes=boxes).names() == ()


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ([5, 5, 5, 9], r"\[5, 5, 5, 9\] has no area inside the image of 30 x 20 pixels"),
        ([9, 5, 5, 9], "no area"),
        ([5, 9, 9, 5], "no area"),
        ([30, 0, 40, 10], "no area"),
        ([-9, -9, 0, 0], "no area"),
        ([float("nan"), 0, 4, 4], r"\[nan, 0, 4, 4\] holds a value that is not finite"),
        ([0, 0, float("inf"), 4], "not finite"),
    ],
)
def test_a_box_that_shows_nothing_is_a_bad_image(box, reason):
    images = image_set(FRAME, boxes=[[0, 0, 4, 4], box, [4, 4, 9, 9]])
    with pytest.raises(ImageError, match=f"box 1: .*{reason}"):
        pixels_of(images)
    (batch,) = iterate_batches(
        images.pictures, height=SIZE, width=SIZE, batch_size=8, skip_bad=True
    )
    assert batch.indices.tolist() == [0, 2]
    assert [image.index for image in batch.bad] == [1]


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([1, 2, 3, 4], r"found \[4\]; pass \[box\] for one box"),
        ([[1, 2, 3]], r"found \[1, 3\]"),
        ([[1, 2, 3, 4], [1, 2]], "must be numbers"),
        ([["a", "b", "c", "d"]], "must be numbers"),
    ],
)
def test_boxes_of_another_shape_are_refused(boxes, message):
    with pytest.raises(ValueError, match=message):
        image_set(FRAME, boxes=boxes)


def test_boxes_are_of_one_image():
    with pytest.raises(ValueError, match="boxes are of one image, found a list"):
        image_set([FRAME, FRAME], boxes=[[0, 0, 4, 4]])
    with pytest.raises(ImageError, match=r"the image: .*known format"):
        image_set(b"no image", boxes=[[0, 0, 4, 4]])
