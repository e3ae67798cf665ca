"""Damaged files of every kind end in an error a user can fix, never in anything else."""

import json
import os
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from helpers_datasets import VERI_TEST, keypoint_line, write_veri
from helpers_embeddings import embedded
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mtml_deploy.data.batches import decode_image
from mtml_deploy.data.source import load_source
from mtml_deploy.embed.embeddings import Embeddings
from mtml_deploy.errors import EmbeddingsError, MtmlError

# each example overwrites one file; the folder may be shared between them
FUZZ = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@st.composite
def damage(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """Cut, flip some bytes, or put noise in the middle."""
    kind = draw(st.sampled_from(["cut", "flip", "insert"]))
    where = draw(st.floats(0, 1, exclude_max=True))
    if kind == "cut":
        return lambda data: data[: int(where * len(data))]
    if kind == "insert":
        noise = draw(st.binary(min_size=1, max_size=40))
        return lambda data: data[: int(where * len(data))] + noise + data[int(where * len(data)) :]
    flips = draw(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)),
                          min_size=1, max_size=8))  # fmt: skip
    # most flips in the first part, where the headers are
    squeeze = draw(st.sampled_from([1.0, 0.1, 0.02]))

    def flip(data: bytes) -> bytes:
        changed = bytearray(data)
        for position, mask in flips:
            changed[int(position * squeeze * len(data))] ^= mask
        return bytes(changed)

    return flip


def image_bytes(kind: str, **save: object) -> bytes:
    pixels = np.random.default_rng(3).integers(0, 256, (24, 20, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    file = BytesIO()
    Image.fromarray(pixels).save(file, kind, exif=exif, **save)
    return file.getvalue()


IMAGES = {
    "jpeg": image_bytes("JPEG"),
    "progressive": image_bytes("JPEG", progressive=True),
    "png": image_bytes("PNG"),
    "webp": image_bytes("WEBP", lossless=True),
    "bmp": image_bytes("BMP"),
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's remarks on damaged metadata
@pytest.mark.parametrize("kind", list(IMAGES))
@FUZZ
@given(change=damage())
def test_images(tmp_path: Path, kind: str, change: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(change(IMAGES[kind]))
    try:
        image = decode_image(path, height=8, width=8)
    except MtmlError as error:
        assert str(path) in str(error)
    else:
        assert image.shape == (8, 8, 3)  # damage that leaves a decodable image


@pytest.mark.parametrize("kind", list(IMAGES))
def test_every_cut_is_noticed(tmp_path: Path, kind: str) -> None:
    # the last bytes of JPEG and PNG are end markers and metadata, without a pixel
    spare = {"jpeg": 2, "progressive": 2, "png": 60}.get(kind, 0)
    path = tmp_path / "a.jpg"
    whole = IMAGES[kind]
    path.write_bytes(whole)
    decode_image(path, height=8, width=8)
    for length in range(0, len(whole) - spare, 7):
        path.write_bytes(whole[:length])
        with pytest.raises(MtmlError):
            decode_image(path, height=8, width=8)


def tiny_embeddings() -> Embeddings:
    return embedded(
        np.arange(12, dtype=np.float32).reshape(4, 3),
        np.arange(4, dtype=np.int32),
        np.arange(4, dtype=np.int32),
        names=("a", "b", "c", "é"),
        source="veri:/data#gallery",
        root="/data",
    )


@FUZZ
@given(change=damage())
def test_embeddings(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "a.npz"
    tiny_embeddings().save(path)
    whole = path.read_bytes()
    changed = change(whole)
    path.write_bytes(changed)
    try:
        Embeddings.load(path)
    except EmbeddingsError as error:
        assert str(path) in str(error) and "embed the images again" in str(error)
    # nothing is overwritten by reading
    assert path.read_bytes() == changed


def rewritten(path: Path, **changes: object) -> None:
    """An embeddings file with some of its arrays replaced."""
    tiny_embeddings().save(path)
    with np.load(path) as file:
        arrays = {name: file[name] for name in file}
    np.savez(path, **(arrays | changes))


def header(**changes: object) -> np.ndarray:
    model = {"model_sha256": "0" * 64, "precision": "fp32", "embedding": "fused", "dim": 3}
    base = {"schema": 2, "root": "/", "source": "x", "unit": "image", "model": model}
    return np.array(json.dumps(base | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"header": np.array("{")},
        {"header": np.array("[1]")},
        {"header": np.array("[" * 100_000)},
        {"header": header(schema=1)},
        {"header": header(unit="video")},
        {"pixels": np.zeros(4, dtype=np.int32)},
        {"pixels": np.ones(5, dtype=np.int32)},
        {"pixels": np.ones(4, dtype=np.int64)},
        {"header": header(model=None)},
        {"header": header(model={"dim": 3})},
        {"header": header(model={"model_sha256": 1, "precision": 2, "embedding": 3, "dim": "3"})},
        {"header": header(model=[1])},
        {"header": np.zeros(3)},
        {"features": np.zeros((4, 3), dtype=np.float64)},
        {"features": np.zeros((4, 2), dtype=np.float32)},
        {"features": np.full((4, 3), np.nan, dtype=np.float32)},
        {"features": np.float32(1)},
        {"vehicle_ids": np.zeros(5, dtype=np.int32)},
        {"names": np.array(["a", "b", "c"])},
        {"names": np.array("abcd")},
        {"names": np.arange(4)},
        {"names": np.array([["a"]] * 4)},
    ],
)
def test_crafted_embeddings(tmp_path: Path, changes: dict[str, object]) -> None:
    path = tmp_path / "a.npz"
    rewritten(path, **changes)
    with pytest.raises(EmbeddingsError, match="embed the images again"):
        Embeddings.load(path)


def test_what_is_no_embeddings_file(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(3))
    np.savez(tmp_path / "b.npz", features=np.zeros((1, 3)))
    (tmp_path / "c.npz").write_bytes(b"")
    (tmp_path / "d.npz").write_bytes(b"\x80\x04K\x01.")  # a pickle
    with zipfile.ZipFile(tmp_path / "e.npz", "w") as file:
        file.writestr("header.npy", "not an array")
    for path in [*sorted(tmp_path.iterdir()), tmp_path, tmp_path / "none.npz"]:
        with pytest.raises(EmbeddingsError):
            Embeddings.load(path)


TEXTS = ("name_test.txt", "test_label.xml", "keypoint_test.txt")


@pytest.mark.parametrize("name", TEXTS)
@FUZZ
@given(change=damage())
def test_label_files(
    tmp_path_factory: pytest.TempPathFactory, name: str, change: Callable[[bytes], bytes]
) -> None:
    root = tmp_path_factory.getbasetemp() / "fuzzed-veri"
    if not root.exists():
        write_veri(root)
    whole = (root / name).read_bytes()
    try:
        (root / name).write_bytes(change(whole))
        images = load_source(f"veri:{root}#gallery")
    except MtmlError as error:
        assert str(root) in str(error)
    else:
        assert images.records
    finally:
        (root / name).write_bytes(whole)


@FUZZ
@given(text=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_any_bytes_as_table_or_list(tmp_path: Path, text: bytes) -> None:
    header = b"path,vehicle_id,camera_id,orientation\n"
    every = b"path;plate;camera;orientation;track;split;time;is_query;is_gallery;more\n"
    sources = {
        "csv:a.csv": text, "csv:b.csv": header + text, "csv:c.csv": every + text,
        "csv:d.csv": every.replace(b";", b"\t") + b"a.jpg\t" + text, "a.txt": text,
    }  # fmt: skip
    for source, content in sources.items():
        kind, _, name = source.rpartition(":")
        path = tmp_path / name
        path.write_bytes(content)
        try:
            images = load_source(f"{kind}:{path}" if kind else str(path))
        except MtmlError:
            continue
        assert len(images.names()) == len(images.records) > 0


@pytest.mark.parametrize(
    ("source", "files"),
    [
        ("vehicleid", {"train_list.txt": b"0000001 5\n0000002 7\n"}),
        (
            "veriwild",
            {
                "train_list.txt": b"00001/000001.jpg 0 159\n00002/000002.jpg 1 7\n",
                "vehicle_info.txt": b"id/image;camera;time\n00001/000001;159;2018-03-17 09:57:56\n",
            },
        ),
    ],
)
@FUZZ
@given(change=damage(), text=st.text(max_size=40).map(str.encode))
def test_lists_of_other_data_sets(
    tmp_path_factory: pytest.TempPathFactory,
    source: str,
    files: dict[str, bytes],
    change: Callable[[bytes], bytes],
    text: bytes,
) -> None:
    root = tmp_path_factory.getbasetemp() / f"fuzzed-{source}"
    for folder in ("image", "images", "train_test_split"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for damaged, changed in ((damaged, each) for damaged in files for each in (change, None)):
        for name, whole in files.items():
            content = whole
            if name == damaged:
                content = whole + text if changed is None else changed(whole)
            (root / "train_test_split" / name).write_bytes(content)
        try:
            images = load_source(f"{source}:{root}#train")
        except MtmlError as error:
            assert str(root) in str(error)
            continue
        places = {os.path.normpath(record.path.parent.parent) for record in images.records}
        assert places <= {str(root), str(root / "images")} and images.records


def test_names_in_damaged_lists_never_leave_the_folder(tmp_path: Path) -> None:
    root = write_veri(tmp_path)
    (root / "name_test.txt").write_text(f"../secret.jpg\n{VERI_TEST[0]}\n")
    with pytest.raises(MtmlError, match="not a bare file name"):
        load_source(f"veri:{root}#gallery")
    # an orientation label for a path elsewhere is only its name
    (root / "name_test.txt").write_text(f"{VERI_TEST[0]}\n")
    (root / "keypoint_test.txt").write_text(keypoint_line(VERI_TEST[0], 3, "../../etc/") + "\n")
    assert load_source(f"veri:{root}#gallery").records[0].orientation == 3
