"""Thumbnails: proportions, upright, and None for what cannot be shown."""

import base64
import io

import pytest
from PIL import Image

from mtml_deploy.data.thumbnails import make_thumbnail


def decoded(thumbnail):
    head, text = thumbnail.address.split(",")
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(text)))


@pytest.mark.parametrize(
    ("size", "expected"),
    [((400, 200), (112, 56)), ((60, 120), (56, 112)), ((3, 1000), (1, 112)), ((5, 5), (112, 112))],
)
def test_proportions_are_kept(tmp_path, size, expected):
    path = tmp_path / "image.png"
    Image.new("RGB", size, (200, 30, 30)).save(path)
    thumbnail = make_thumbnail(path, side=112)
    assert (thumbnail.width, thumbnail.height) == expected
    assert decoded(thumbnail).size == expected


def test_an_image_stored_on_its_side_is_shown_upright(tmp_path):
    path = tmp_path / "image.jpg"
    image = Image.new("RGB", (200, 100), "white")
    image.paste("black", (0, 0, 100, 100))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to see it: the left half becomes the upper half
    image.save(path, exif=exif)
    thumbnail = make_thumbnail(path, side=100)
    assert (thumbnail.width, thumbnail.height) == (50, 100)
    shown = decoded(thumbnail).convert("L")
    assert shown.getpixel((25, 10)) < 40
    assert shown.getpixel((25, 90)) > 215


@pytest.mark.parametrize("content", [None, b"", b"no image", b"\xff\xd8\xff\xe0cut"])
def test_what_cannot_be_shown(tmp_path, content):
    path = tmp_path / "image.jpg"
    if content is not None:
        path.write_bytes(content)
    assert make_thumbnail(path, side=112) is None


def test_an_orientation_that_is_no_number(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20)).save(tmp_path / "a.jpg", exif=exif)
    whole = (tmp_path / "a.jpg").read_bytes()
    # the type of the entry becomes text
    at = (
        whole.index(b"\x01\x12\x00\x03") + 3
        if b"\x01\x12\x00\x03" in whole
        else whole.index(b"\x12\x01\x03\x00") + 2
    )
    (tmp_path / "a.jpg").write_bytes(whole[:at] + b"\x07" + whole[at + 1 :])
    found = make_thumbnail(tmp_path / "a.jpg", side=30)
    assert found is not None and (found.width, found.height) == (30, 20)
