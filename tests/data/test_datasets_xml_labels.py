"""Label files in XML, with the encoding the published ones declare."""

from pathlib import Path

import pytest
from helpers_datasets import write_xml

from mtml_deploy.data.labels.xml_items import ItemLabel, read_xml_labels
from mtml_deploy.errors import DataError

ITEM = {"imageName": "0001_c001_00000010_0.jpg", "vehicleID": "0001", "cameraID": "c012"}


@pytest.mark.parametrize("encoding", ["gb2312", "GBK", "utf-8", "us-ascii"])
def test_ids_whatever_encoding_is_declared(tmp_path: Path, encoding: str) -> None:
    path = write_xml(tmp_path / "train_label.xml", [ITEM], encoding=encoding)
    assert read_xml_labels(path).by_name == {ITEM["imageName"]: ItemLabel(1, 12)}


def test_chinese_text_in_the_declared_encoding(tmp_path: Path) -> None:
    path = write_xml(tmp_path / "train_label.xml", [ITEM | {"imageName": "车1.jpg"}])
    assert "车1.jpg".encode("gb2312") in path.read_bytes()  # else the test shows nothing
    assert read_xml_labels(path).by_name == {"车1.jpg": ItemLabel(1, 12)}


def test_hidden_ids_are_unknown(tmp_path: Path) -> None:
    path = write_xml(tmp_path / "a.xml", [{"imageName": "000001.jpg", "cameraID": "c034"}])
    assert read_xml_labels(path).by_name["000001.jpg"] == ItemLabel(-1, 34)


def test_words_in_any_case(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text('<items><item imagename="1.jpg" vehicleId="7" CAMERAID="c2"/></items>')
    assert read_xml_labels(path).by_name == {"1.jpg": ItemLabel(7, 2)}


def test_a_file_without_items(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    for text, found in (("<a><b/><c/></a>", "only a, b, c"), ("<Items/>", "only Items")):
        path.write_text(text)
        with pytest.raises(DataError, match=f"holds no Item element, found {found}; copy"):
            read_xml_labels(path)


def test_repeats_are_counted(tmp_path: Path) -> None:
    labels = read_xml_labels(write_xml(tmp_path / "a.xml", [ITEM, ITEM, ITEM]))
    assert (len(labels.by_name), labels.repeats) == (1, 2)


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"vehicleID": "0001"}, "line 5: an Item has no imageName"),
        (ITEM | {"vehicleID": "abc"}, "line 5: .*'abc' is not an integer"),
        (ITEM | {"cameraID": "cam1"}, "line 5: .*'am1' is not an integer"),
        (ITEM | {"vehicleID": "99999999999"}, "line 5: .*is not an integer"),
        (
            ITEM | {"vehicleID": "2"},
            "line 5: .*is vehicle 2, camera 12 here but vehicle 1, .* above",
        ),
    ],
)
def test_bad_items_name_the_line(tmp_path: Path, item: dict[str, str], words: str) -> None:
    # declaration, root and Items take three lines, the first item the fourth
    with pytest.raises(DataError, match=words):
        read_xml_labels(write_xml(tmp_path / "a.xml", [ITEM, item]))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not well-formed"),
        (b"<Items><Item imageName='a.jpg' />", "not well-formed"),
        (
            b"<?xml version='1.0' encoding='cp037'?><Items/>",
            "declares the encoding 'cp037'",
        ),
        (b"<?xml version='1.0' encoding='hex'?><Items/>", "declares the encoding 'hex'"),
        (b"<Items>\n<Item imageName='caf\xe9'/></Items>", "line 2: byte 0xe9 is not utf-8"),
        (b"<!DOCTYPE a [<!ENTITY b 'c'>]><Items/>", "DOCTYPE"),
        (b"<Items><Item imageName='&b;'/></Items>", "undefined entity"),
    ],
)
def test_broken_files(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "a.xml"
    path.write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_xml_labels(path)


def test_entity_bomb_is_not_expanded(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    layers = "".join(f"<!ENTITY e{n} '{f'&e{n - 1};' * 10}'>" for n in range(1, 20))
    path.write_text(f"<!DOCTYPE a [<!ENTITY e0 'x'>{layers}]><Items>&e19;</Items>")
    with pytest.raises(DataError, match="DOCTYPE"):
        read_xml_labels(path)
