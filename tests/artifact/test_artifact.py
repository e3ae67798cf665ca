import hashlib
import json
import os
from pathlib import Path

import pytest
from helpers_artifact import tiny_manifest, write_artifact
from helpers_records import check_json_reader
from msgspec.structs import replace

from mtml_deploy.artifact.artifact import embedded_record, file_sha256, open_artifact, save_manifest
from mtml_deploy.errors import ArtifactError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_artifact(tmp_path / "art").folder


def edit(folder: Path, **changes: object) -> None:
    path = folder / "manifest.json"
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in values.items() if value != "DROP"}))


def test_open_gives_back_what_was_saved(folder: Path) -> None:
    artifact = open_artifact(folder)
    digest = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    assert artifact.manifest == tiny_manifest(model_sha256=digest)
    assert artifact.model_path == folder / "model.onnx"


def test_manifest_file_is_sorted_and_indented(folder: Path) -> None:
    text = (folder / "manifest.json").read_text()
    assert text == json.dumps(json.loads(text), sort_keys=True, indent=2) + "\n"
    assert list(json.loads(text)) == sorted(json.loads(text))


def test_file_sha256_of_a_known_text(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")  # the example of FIPS 180-2, B.1
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_sha256(tmp_path / "abc") == expected


def test_embedded_record_is_the_manifest_without_the_hash() -> None:
    values = json.loads(embedded_record(tiny_manifest()))
    assert "model_sha256" not in values
    assert values["branches"] == ["identity", "scale", "gray", "orientation"]
    assert embedded_record(tiny_manifest()) == embedded_record(tiny_manifest(model_sha256="1" * 64))
    assert embedded_record(tiny_manifest()) != embedded_record(tiny_manifest(width=33))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema": 2}, "schema is 2"),
        ({"schema": "DROP"}, "schema is None"),
        ({"schema": True}, "schema is True, this version reads 1"),
        ({"dim": "6"}, "dim must be an integer"),
        ({"dim": 6.0}, "dim must be an integer"),
        ({"dim": True}, "dim must be an integer"),
        ({"dim": 0}, "dim must be an integer of 1 or more, found 0"),
        ({"height": -1}, "height"),
        ({"opset": None}, "opset"),
        ({"variant": 3}, "variant must be a string"),
        ({"branches": "identity"}, "branches must be a list"),
        ({"branches": []}, "branches"),
        ({"branches": ["identity", "identity"]}, "branches"),
        ({"branches": ["identity", "colour"]}, "colour"),
        ({"branches": [["identity"]]}, "branches"),
        ({"branches": {"identity": 1}}, "branches"),
        ({"embedding": "mean"}, "mean"),
        ({"branches": ["identity"], "embedding": "gray"}, "gray"),
        ({"precision": "bf16"}, "bf16"),
        ({"with_orientation": 1}, "with_orientation must be true or false"),
        ({"model_sha256": "0" * 63}, "model_sha256"),
        ({"checkpoint_sha256": "G" * 64}, "checkpoint_sha256"),
        ({"versions": {"torch": 2}}, "versions"),
        ({"versions": ["torch"]}, "versions"),
        ({"training": None}, "training"),
        ({"parity": "DROP"}, "lacks parity"),
        ({"licence": "DROP"}, "lacks licence"),
        ({"gpu": "none"}, "unknown gpu"),
        ({"compression": 3}, "compression must be an object"),
    ],
)
def test_wrong_field_is_refused_with_its_name_and_the_fix(
    folder: Path, changes: dict[str, object], words: str
) -> None:
    edit(folder, **changes)
    with pytest.raises(ArtifactError) as caught:
        open_artifact(folder)
    assert words in str(caught.value)
    # a hint never names what the user gave as what to write
    assert "mtml-export RUN --out NEW" in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"3", b"\xff\xfe", b'{"schema": NaN}', b"[" * 100_000],
)
def test_broken_manifest_is_refused(folder: Path, content: bytes) -> None:
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"manifest\.json"):
        open_artifact(folder)


@pytest.mark.parametrize("name", ["manifest.json", "model.onnx"])
def test_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match=f"lacks {name}"):
        open_artifact(folder)


def test_missing_folder_and_file_in_its_place(folder: Path) -> None:
    with pytest.raises(ArtifactError, match="does not exist"):
        open_artifact(folder / "nothing")
    with pytest.raises(ArtifactError, match=r"\(it is an ONNX model: give the folder"):
        open_artifact(folder / "model.onnx")


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty"])
def test_changed_model_is_refused(folder: Path, damage: str) -> None:
    model = folder / "model.onnx"
    content = bytearray(model.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    model.write_bytes({"flip": content, "truncate": content[:-1], "empty": b""}[damage])
    with pytest.raises(ArtifactError, match="sha256"):
        open_artifact(folder)


def test_manifest_of_a_caller_is_checked_too(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="dim"):
        tiny_manifest(dim=0)
    with pytest.raises(ValueError, match="parity must hold JSON values"):
        tiny_manifest(parity={"cosine": float("nan")})
    with pytest.raises(ValueError, match="training must hold JSON values"):
        tiny_manifest(training={"folder": Path("x")})
    save_manifest(tmp_path, tiny_manifest())
    assert json.loads((tmp_path / "manifest.json").read_text())["dim"] == 6


def test_only_a_compressed_model_has_a_compression(folder: Path) -> None:
    assert "compression" not in json.loads((folder / "manifest.json").read_text())
    assert "compression" not in json.loads(embedded_record(tiny_manifest()))
    compressed = tiny_manifest(compression={"parent": {"dim": 9}})
    save_manifest(folder, replace(compressed, model_sha256=file_sha256(folder / "model.onnx")))
    assert open_artifact(folder).manifest.compression == {"parent": {"dim": 9}}
    assert json.loads(embedded_record(compressed))["compression"] == {"parent": {"dim": 9}}
    with pytest.raises(ValueError, match="compression must hold JSON values"):
        tiny_manifest(compression={"share": float("nan")})


def test_replace_keeps_a_manifest_valid() -> None:
    assert replace(tiny_manifest(), precision="fp16").precision == "fp16"


def test_a_damaged_manifest_is_refused_in_words(folder: Path) -> None:
    changed = tiny_manifest(
        compression={"parent": {"dim": 9}}, model_sha256=file_sha256(folder / "model.onnx")
    )
    save_manifest(folder, changed)
    check_json_reader(
        folder / "manifest.json",
        lambda: open_artifact(folder),
        ArtifactError,
        optional=frozenset({"compression"}),
    )


def test_a_folder_whose_name_is_not_utf8(folder: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(folder.parent) + b"/mod\xe8le"))
    try:
        folder.rename(odd)
    except OSError:
        pytest.skip("this file system refuses names that are not UTF-8")
    with pytest.raises(ArtifactError, match=r"mod\\xe8le: the name of the folder, .* not UTF-8"):
        open_artifact(odd)
