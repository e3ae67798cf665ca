"""Decoding: exact small images, refusals that name the file, and batches decoded ahead."""

import threading
import time
import warnings
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from mtml_deploy.data import batches as images_module
from mtml_deploy.data.batches import decode_image, decode_images, iterate_batches
from mtml_deploy.data.decode import PIXEL_CAP
from mtml_deploy.errors import ImageError

# JPEG is lossy: a flat colour comes back within rounding of its YCbCr conversion
FLAT_JPEG_LEVELS = 3


def write_gray(path: Path, rows: list[list[int]], **save: object) -> Path:
    Image.fromarray(np.array(rows, dtype=np.uint8)).save(path, **save)
    return path


def write_flat(folder: Path, count: int, bad: set[int] | None = None) -> list[Path]:
    """PNG files 0.png, 1.png ... of one gray level each, equal to their number."""
    paths = []
    for number in range(count):
        path = folder / f"{number}.png"
        if number in (bad or ()):
            path.write_bytes(b"not an image")
        else:
            write_gray(path, [[number]])
        paths.append(path)
    return paths


def png_header(width: int, height: int, *, depth: int = 8, color: int = 0) -> bytes:
    """A PNG that promises a size and holds no pixels."""
    body = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big")
    body += bytes([depth, color, 0, 0, 0])
    chunk = (13).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    return b"\x89PNG\r\n\x1a\n" + chunk + b"\x00\x00\x00\x00IDAT" + zlib.crc32(b"IDAT").to_bytes(4)


def test_resize_is_the_antialiased_triangle_filter(tmp_path: Path) -> None:
    # 4 -> 2: weights 0.75 0.75 0.25 over 1.75, so 70 * 0.25 / 1.75 = 10 and
    # (140 * 0.75 + 70 * 0.75) / 1.75 = 90; without antialiasing it would be 0 and 105
    path = write_gray(tmp_path / "a.png", [[0, 0, 70, 140]])
    image = decode_image(path, height=1, width=2)
    assert image.dtype == np.uint8
    assert image.tolist() == [[[10] * 3, [90] * 3]]


def test_aspect_is_squashed_to_height_by_width(tmp_path: Path) -> None:
    path = write_gray(tmp_path / "a.png", [[0, 0, 70, 140]])
    assert decode_image(path, height=3, width=2)[:, :, 0].tolist() == [[10, 90]] * 3


@pytest.mark.parametrize(
    ("orientation", "upright"),
    # rows and columns as the EXIF standard words them: 6 = row 0 is the visual right side
    [
        (1, [[1, 2], [3, 4]]),
        (2, [[2, 1], [4, 3]]),
        (3, [[4, 3], [2, 1]]),
        (4, [[3, 4], [1, 2]]),
        (5, [[1, 3], [2, 4]]),
        (6, [[3, 1], [4, 2]]),
        (7, [[4, 2], [3, 1]]),
        (8, [[2, 4], [1, 3]]),
        (9, [[1, 2], [3, 4]]),
    ],
)
def test_exif_orientation(tmp_path: Path, orientation: int, upright: list[list[int]]) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path = write_gray(tmp_path / "a.png", [[1, 2], [3, 4]], exif=exif)
    assert decode_image(path, height=2, width=2)[:, :, 0].tolist() == upright


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_eight_bit_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (5, 4), (255, 255, 255)).convert(mode).save(path)
    assert (decode_image(path, height=2, width=3) == np.full((2, 3, 3), 255)).all()


@pytest.mark.parametrize(("suffix", "options"), [("jpg", {}), ("bmp", {}), ("webp", {})])
def test_formats_and_channel_order(tmp_path: Path, suffix: str, options: dict[str, int]) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.new("RGB", (16, 16), (200, 100, 50)).save(path, **options)
    image = decode_image(path, height=8, width=8).astype(int)
    assert np.abs(image - (200, 100, 50)).max() <= FLAT_JPEG_LEVELS


def test_cmyk_jpeg(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(path)  # red
    image = decode_image(path, height=4, width=4).astype(int)
    assert np.abs(image - (255, 0, 0)).max() <= FLAT_JPEG_LEVELS


def test_content_decides_not_the_name(tmp_path: Path) -> None:
    path = write_gray(tmp_path / "a.png", [[7]]).rename(tmp_path / "a.jpg")
    assert decode_image(path, height=1, width=1).tolist() == [[[7, 7, 7]]]


def test_a_name_that_is_utf8(tmp_path: Path) -> None:
    path = write_gray(tmp_path / "véhicule 车.png", [[7]])
    assert decode_image(path, height=1, width=1)[0, 0, 0] == 7


def refusal(path: Path) -> str:
    with pytest.raises(ImageError) as caught:
        decode_image(path, height=4, width=4)
    text = str(caught.value)
    text.encode("utf-8")  # a terminal can show it
    return text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "0 bytes"),
        (b"\x00" * 100, "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n" + b"\x00" * 50, "convert it to one of these"),
        (b"GIF89a" + b"\x00" * 50, "truncated or damaged"),
        (b"\xff\xd8\xff", "truncated or damaged"),
        (b"\x89PNG\r\n\x1a\n", "truncated or damaged"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "truncated or damaged"),
        (b"BM", "truncated or damaged"),
    ],
)
def test_not_an_image(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    text = refusal(path)
    assert words in text and str(path) in text


def test_truncated_jpeg(tmp_path: Path) -> None:
    whole = BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(whole, "JPEG")
    path = tmp_path / "a.jpg"
    path.write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    assert "truncated" in refusal(path) and "copy the file again" in refusal(path)


def test_missing_folder_pipe_and_impossible_names(tmp_path: Path) -> None:
    import os

    assert "no such file" in refusal(tmp_path / "none.jpg")
    assert "is a folder" in refusal(tmp_path)
    os.mkfifo(tmp_path / "pipe.jpg")
    assert "not a regular file" in refusal(tmp_path / "pipe.jpg")  # opening it would hang
    assert "cannot be opened" in refusal(tmp_path / ("n" * 300))
    assert "cannot be opened" in refusal(Path("nul\0byte.jpg"))


def test_name_that_is_not_utf8(tmp_path: Path) -> None:
    import os

    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    try:
        write_gray(path, [[7]])
    except OSError:
        pytest.skip("this file system refuses names that are not UTF-8")
    assert "caf\\xe9.png: file name is not UTF-8; rename the file" in refusal(path)
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/stra\xdfe"))
    folder.mkdir()
    write_gray(folder / "a.png", [[7]])
    text = refusal(folder / "a.png")
    assert "stra\\xdfe/a.png: the name of a folder above it is not UTF-8; rename that" in text


@pytest.mark.parametrize("color", [0, 2, 6])
def test_sixteen_bit_png_is_refused(tmp_path: Path, color: int) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png_header(4, 4, depth=16, color=color))
    assert "8 bits" in refusal(path)


def test_bomb_is_refused_from_its_header(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no warning may be needed to notice it
        for side in (4001, 10_000, 60_000):
            path.write_bytes(png_header(side, side))
            # the file holds no pixels: decoding would have ended in "truncated"
            assert f"{side * side:,} pixels, expected at most 16,000,000" in refusal(path)
    assert Image.MAX_IMAGE_PIXELS == 89_478_485  # Pillow's own default


@pytest.mark.parametrize("suffix", ["jpg", "bmp", "webp"])
def test_bomb_in_other_formats(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.new("L", (16_000, 1001)).save(path)
    assert "expected at most" in refusal(path)


def test_webp_larger_than_pillow_opens(tmp_path: Path) -> None:
    path = tmp_path / "a.webp"
    # extended header: canvas width - 1 and height - 1 in 24 bits each
    size = (16_382).to_bytes(3, "little") * 2
    path.write_bytes(b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0" + b"\0" * 4 + size)
    assert "pixels, expected at most 16,000,000" in refusal(path)


def test_pixel_cap_itself_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("1", (4000, PIXEL_CAP // 4000), 1).save(path)
    assert (decode_image(path, height=2, width=2) == 255).all()


def test_sizes_below_one_are_the_callers_mistake(tmp_path: Path) -> None:
    path = write_gray(tmp_path / "a.png", [[7]])
    with pytest.raises(ValueError, match="height is 1 or more"):
        decode_image(path, height=0, width=4)
    with pytest.raises(ValueError, match="batch_size"):
        iterate_batches([path], height=4, width=4, batch_size=0)
    with pytest.raises(ValueError, match="threads"):
        iterate_batches([path], height=4, width=4, batch_size=1, threads=-1)


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_load_images(tmp_path: Path, threads: int) -> None:
    images = decode_images(write_flat(tmp_path, 3), height=2, width=5, threads=threads)
    assert images.shape == (3, 2, 5, 3)
    assert images[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert decode_images([], height=2, width=5, threads=threads).shape == (0, 2, 5, 3)
    with pytest.raises(ImageError, match=r"1\.png: "):  # the first of the two
        decode_images(write_flat(tmp_path, 4, {1, 2}), height=2, width=5, threads=threads)
    with pytest.raises(ValueError, match="threads is 0"):
        decode_images([], height=2, width=5, threads=-1)


def decoded(paths: list[Path], **options: object) -> list[tuple[list[int], list[int], list[int]]]:
    """Indices, gray levels and bad indices of each batch."""
    return [
        (
            batch.indices.tolist(),
            batch.images[:, 0, 0, 0].tolist(),
            [bad.index for bad in batch.bad],
        )
        for batch in iterate_batches(paths, height=2, width=2, **options)
    ]


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_batches_keep_the_order(tmp_path: Path, threads: int) -> None:
    batches = decoded(write_flat(tmp_path, 7), batch_size=3, threads=threads)
    assert batches == [([0, 1, 2], [0, 1, 2], []), ([3, 4, 5], [3, 4, 5], []), ([6], [6], [])]


def test_no_paths_no_batches() -> None:
    assert decoded([], batch_size=3) == []


def test_skipped_images_leave_full_batches(tmp_path: Path) -> None:
    batches = decoded(write_flat(tmp_path, 8, {1, 4, 5}), batch_size=2, skip_bad=True, threads=2)
    good = [index for indices, _, _ in batches for index in indices]
    bad = [index for _, _, indices in batches for index in indices]
    assert good == [0, 2, 3, 6, 7] and bad == [1, 4, 5]
    assert [len(indices) for indices, _, _ in batches] == [2, 2, 1]
    assert all(indices == levels for indices, levels, _ in batches)


def test_batches_tell_the_pixels_of_the_files(tmp_path: Path) -> None:
    for number, size in enumerate([(5, 7), None, (1, 1), (30, 2), (4, 4)]):
        if size is None:
            (tmp_path / f"{number}.png").write_bytes(b"no image")
        else:
            Image.new("RGB", size).save(tmp_path / f"{number}.png")
    turned = Image.new("RGB", (6, 3))
    exif = turned.getexif()
    exif[ExifTags.Base.Orientation] = 6
    turned.save(tmp_path / "5.png", exif=exif)
    paths = [tmp_path / f"{number}.png" for number in range(6)]
    batches = list(iterate_batches(paths, height=2, width=2, batch_size=2, skip_bad=True))
    assert [batch.pixels.tolist() for batch in batches] == [[35, 1], [60, 16], [18]]
    assert all(batch.pixels.dtype == np.int32 for batch in batches)


def test_all_images_bad(tmp_path: Path) -> None:
    paths = write_flat(tmp_path, 3, {0, 1, 2})
    (batch,) = iterate_batches(paths, height=2, width=2, batch_size=2, skip_bad=True)
    assert batch.images.shape == (0, 2, 2, 3)
    assert [bad.path for bad in batch.bad] == paths
    assert "not an image" in batch.bad[0].reason and str(paths[0]) not in batch.bad[0].reason


def test_error_comes_after_the_batches_before_it(tmp_path: Path) -> None:
    paths = write_flat(tmp_path, 8, {5, 7})
    batches = iterate_batches(paths, height=2, width=2, batch_size=2, threads=4)
    assert [next(batches).indices.tolist(), next(batches).indices.tolist()] == [[0, 1], [2, 3]]
    with pytest.raises(ImageError, match=r"5\.png"):
        next(batches)


def decode_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("decode")]


def test_close_stops_the_threads(tmp_path: Path) -> None:
    batches = iterate_batches(write_flat(tmp_path, 50), height=2, width=2, batch_size=2, threads=3)
    next(batches)
    assert decode_threads()
    batches.close()  # type: ignore[attr-defined]
    assert not decode_threads()


def test_decoding_runs_ahead_and_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Path] = []
    decode = images_module.decode_into

    def counted(target: np.ndarray, path: Path) -> int:
        started.append(path)
        return decode(target, path)

    monkeypatch.setattr(images_module, "decode_into", counted)
    batches = iterate_batches(write_flat(tmp_path, 60), height=2, width=2, batch_size=2, threads=1)
    next(batches)
    deadline = time.monotonic() + 5
    while len(started) < 6 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    # the batch in hand and two ahead; all 60 would mean memory grows with the list
    assert len(started) == 6
    batches.close()  # type: ignore[attr-defined]


def test_threads_decode_at_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(2, timeout=10)

    def meet(target: np.ndarray, path: Path) -> int:
        together.wait()  # breaks, and fails the test, unless two threads are here at once
        target[...] = 0
        return 1

    monkeypatch.setattr(images_module, "decode_into", meet)
    paths = [tmp_path / "none"] * 4
    # batches of one: a pool must not wait for the consumer to fill it
    assert len(list(iterate_batches(paths, height=2, width=2, batch_size=1, threads=2))) == 4
