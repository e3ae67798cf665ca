"""Every format that is read: told by content, upright, 8 bits, its first frame."""

import logging
import struct
import warnings
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, ExifTags, Image

from mtml_deploy.data import decode
from mtml_deploy.data.batches import decode_image
from mtml_deploy.data.decode import RefusedImageError, decode_whole
from mtml_deploy.data.formats import READERS, content_format, image_suffixes, suffixes
from mtml_deploy.data.given import image_set

LOSSY_LEVELS = 4
"""A flat colour comes back within the rounding of its colour conversion."""

ORANGE = (200, 100, 50)
LOSSLESS = {"WEBP": {"lossless": True}, "AVIF": {"quality": 100}}


def encoded(name: str, image: Image.Image, **options: object) -> bytes:
    """A file of the format."""
    content = BytesIO()
    try:
        image.save(content, name, **options)
    except (OSError, KeyError):
        pytest.skip(f"this Pillow writes no {name}")
    return content.getvalue()


@pytest.mark.parametrize("name", READERS)
def test_content_tells_the_format(tmp_path: Path, name: str) -> None:
    content = encoded(name, Image.new("RGB", (16, 8), ORANGE))
    assert content_format(content) == name
    path = tmp_path / "a.bin"
    path.write_bytes(content)
    image = decode_image(path, height=4, width=4).astype(int)
    assert np.abs(image - ORANGE).max() <= LOSSY_LEVELS
    in_memory = decode_whole(image_set(content).pictures[0]).astype(int)
    assert in_memory.shape == (8, 16, 3) and np.abs(in_memory - ORANGE).max() <= LOSSY_LEVELS


def test_suffixes_are_those_of_pillow_for_these_formats() -> None:
    assert set(suffixes()) == set(READERS)
    for suffix, name in Image.registered_extensions().items():
        if name in READERS:
            assert suffix in suffixes()[name]
    assert {".jpg", ".jpeg", ".jfif", ".jpe", ".mpo"} <= set(suffixes()["JPEG"])
    # programs for other programs, no pictures, or without a mark at the start of the file
    assert not {".eps", ".ps", ".pdf", ".wmf", ".emf", ".h5", ".tga", ".heic"} & image_suffixes()


@pytest.mark.parametrize(
    "head",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        b"%PDF-1.7\n",
        b"\xd7\xcd\xc6\x9a\0\0",
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        b"\0\0\0\x18ftypisom\0\0\0\0isommp42",
        b"PK\3\4",
        b"P7\nWIDTH 1\n",
        b"Profile",
        b"<!doctype html>",
    ],
)
def test_what_is_not_read(head: bytes) -> None:
    assert content_format(head.ljust(32, b"\0")) is None


def test_an_avif_may_name_another_brand_first() -> None:
    assert content_format(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf") == "AVIF"


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_every_format_with_exif_is_turned_upright(name: str) -> None:
    sideways = Image.new("L", (32, 16), 40)
    sideways.paste(220, (16, 0, 32, 16))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 8
    content = encoded(name, sideways.convert("RGB"), exif=exif, **LOSSLESS.get(name, {}))
    pixels = decode_whole(image_set(content).pictures[0])[:, :, 0].astype(int)
    assert pixels.shape == (32, 16)
    # orientation 8: the first column of the file is the bottom of the picture
    assert np.abs(pixels[:12] - 220).max() <= LOSSY_LEVELS
    assert np.abs(pixels[20:] - 40).max() <= LOSSY_LEVELS


def deep_png() -> bytes:
    """A PNG of 2 x 1 pixels, 16 bits per colour."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4) + kind + body + zlib.crc32(kind + body).to_bytes(4)

    header = (2).to_bytes(4) + (1).to_bytes(4) + bytes([16, 2, 0, 0, 0])
    rows = zlib.compress(b"\0" + bytes(range(12)))
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def deep_tiff(*, apart: bool) -> bytes:
    """A TIFF of 1 x 1 pixel, 16 bits per colour, its channels together or apart."""
    # 10 entries from byte 8 end at 134; then depths, places and sizes of the strips, and pixels
    strips, places, sizes, plane = (3, 140, 152, 2) if apart else (1, 164, 6, 1)
    entries = [
        (256, 3, 1, 1), (257, 3, 1, 1), (258, 3, 3, 134), (259, 3, 1, 1), (262, 3, 1, 2),
        (273, 4, strips, places), (277, 3, 1, 3), (278, 3, 1, 1), (279, 4, strips, sizes),
        (284, 3, 1, plane),
    ]  # fmt: skip
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    values = struct.pack("<3H6I", 16, 16, 16, 164, 166, 168, 2, 2, 2)
    pixels = struct.pack("<3H", 0x1234, 0x5678, 0x9ABC)
    return struct.pack("<2sHIH", b"II", 42, 8, 10) + directory + bytes(4) + values + pixels


DEEP = {
    "png": deep_png(),
    "tiff": deep_tiff(apart=False),
    "tiff apart": deep_tiff(apart=True),
    "gray": encoded("TIFF", Image.new("I;16", (2, 2))),
    "float": encoded("TIFF", Image.new("F", (2, 2))),
}


@pytest.mark.parametrize("content", DEEP.values(), ids=DEEP)
def test_more_than_eight_bits_are_refused(content: bytes) -> None:
    # Pillow itself opens each of them, and of colours would give the high bytes
    given = [content, Image.open(BytesIO(content))]
    for picture in image_set(given).pictures:
        with pytest.raises(RefusedImageError, match="more than 8 bits per channel"):
            decode_whole(picture)


def test_a_depth_that_the_file_tells_is_scaled() -> None:
    # 512 of 1023 is 127.6 of 255
    content = b"P6 1 1 1023\n" + struct.pack(">3H", 0, 512, 1023)
    assert decode_whole(image_set(content).pictures[0]).tolist() == [[[0, 128, 255]]]


def test_palette_with_transparency_gives_its_colours_and_no_warning() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    content = encoded("PNG", image, transparency=bytes([128, 0]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for picture in image_set([content, Image.open(BytesIO(content))]).pictures:
            assert decode_whole(picture).tolist() == [[[10, 20, 30], [200, 100, 50]]]


@pytest.mark.parametrize("name", ["GIF", "TIFF", "WEBP", "PNG", "AVIF"])
def test_the_first_frame_is_taken_and_that_is_said_once(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(decode, "_FRAMES_TOLD", type(decode._FRAMES_TOLD)())
    frames = [Image.new("RGB", (16, 16), (level,) * 3) for level in (20, 120, 220)]
    content = encoded(name, frames[0], save_all=True, append_images=frames[1:])
    single = encoded(name, frames[0])
    with caplog.at_level(logging.WARNING):
        decode_whole(image_set(single).pictures[0])
        assert not caplog.records
        for picture in image_set([content, content]).pictures:
            assert np.abs(decode_whole(picture).astype(int) - 20).max() <= LOSSY_LEVELS
    assert [each.getMessage() for each in caplog.records] == [
        "image 0 holds several frames; of such files the first frame is taken"
    ]


def test_no_other_program_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def ghostscript(*_: object, **__: object) -> None:
        raise AssertionError("Ghostscript was asked")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", ghostscript)
    content = encoded("EPS", Image.new("RGB", (4, 4)))
    image = Image.open(BytesIO(content))
    with pytest.raises(RefusedImageError, match=r"of a EPS file.*pass image\.convert\('RGB'\)"):
        decode_whole(image_set(image).pictures[0])
    with pytest.raises(RefusedImageError, match="not an image of a known format"):
        decode_whole(image_set(content).pictures[0])
    # the way out that is named, for a format that Pillow decodes itself
    image = Image.open(BytesIO(encoded("TGA", Image.new("RGB", (1, 1), ORANGE))))
    with pytest.raises(RefusedImageError, match="of a TGA file"):
        decode_whole(image_set(image).pictures[0])
    assert decode_whole(image_set(image.convert("RGB")).pictures[0]).tolist() == [[[*ORANGE]]]
