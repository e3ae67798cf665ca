"""Label files train_label.xml, test_label.xml, query_label.xml: ids and cameras by image name.

The published files declare encoding="gb2312", which Python's XML parser does not know. They are
decoded here by what they declare, then parsed as UTF-8. Document types and entities are refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from xml.parsers import expat

from mtml_deploy.data.records import UNKNOWN
from mtml_deploy.data.text_files import parse_id, read_bytes
from mtml_deploy.errors import DataError
from mtml_deploy.text import printable

_DECLARED: Final = re.compile(rb"""\s*<\?xml[^>]*?\sencoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")
_CODECS: Final = {
    "utf-8": "utf-8-sig",
    "us-ascii": "ascii",
    "ascii": "ascii",
    "iso-8859-1": "latin-1",
    # files that declare the small Chinese set often use the larger ones, which contain it
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "gb18030": "gb18030",
}


@dataclass(frozen=True)
class ItemLabel:
    """What a label file says of one image.

    Attributes:
        vehicle_id: -1 where the file does not tell (hidden test labels).
        camera_id: -1 where the file does not tell.
    """

    vehicle_id: int
    camera_id: int

    @property
    def words(self) -> str:
        """Vehicle and camera, for a sentence."""
        return f"vehicle {self.vehicle_id}, camera {self.camera_id}"


@dataclass(frozen=True)
class XmlLabels:
    """A label file.

    Attributes:
        by_name: labels by image name.
        repeats: entries that say again what an earlier one said.
    """

    by_name: Mapping[str, ItemLabel] = field(default_factory=dict)
    repeats: int = 0


def read_xml_labels(path: Path) -> XmlLabels:
    """The labels of a label file.

    Args:
        path: file of `<Item imageName="..." vehicleID="0001" cameraID="c001" />` elements, their
            words in upper or lower case; further attributes are ignored, vehicleID and cameraID
            may be absent.

    Returns:
        The labels; camera numbers as written ("c001" is 1).

    Raises:
        DataError: missing, not well-formed, an unknown encoding, a document type, no item, one
            without a name or with an id that is no number, or two items that contradict each other.
    """
    by_name: dict[str, ItemLabel] = {}
    others: dict[str, None] = {}
    repeats = 0
    # expat takes the encoding given here over the declared one
    parser = expat.ParserCreate("utf-8")

    def refuse(reason: str) -> DataError:
        return DataError(f"{printable(path)} line {parser.CurrentLineNumber}: {reason}")

    def refuse_doctype(name: str, *_: object) -> None:
        raise refuse("holds a DOCTYPE, expected plain items; remove it")

    def take_item(tag: str, attributes: dict[str, str]) -> None:
        nonlocal repeats
        if tag.lower() != "item":
            others.setdefault(tag)
            return
        attributes = {key.lower(): value for key, value in attributes.items()}
        name = attributes.get("imagename", "").strip()
        if not name:
            raise refuse("an Item has no imageName; add it or remove the line")
        try:
            label = ItemLabel(
                parse_id(attributes.get("vehicleid", str(UNKNOWN)).strip()),
                parse_id(attributes.get("cameraid", str(UNKNOWN)).strip().removeprefix("c")),
            )
        except ValueError as error:
            raise refuse(
                f"{name}: {error}, expected vehicleID as in 0001 and cameraID as in c001; "
                "correct the line"
            ) from error
        if (earlier := by_name.setdefault(name, label)) is not label:
            if earlier != label:
                raise refuse(
                    f"{name} is {label.words} here but {earlier.words} above; keep one of the two"
                )
            repeats += 1

    parser.StartElementHandler = take_item
    parser.StartDoctypeDeclHandler = refuse_doctype
    try:
        parser.Parse(_as_utf8(path), True)
    except expat.ExpatError as error:
        raise DataError(
            f"{printable(path)} line {error.lineno}: not well-formed "
            f"({expat.ErrorString(error.code)}); copy the file again"
        ) from error
    if not by_name:
        found = f"only {', '.join(list(others)[:3])}" if others else "nothing"
        raise DataError(
            f"{printable(path)} holds no Item element, found {found}; copy the file again, or "
            "remove it where ids are in the file names"
        )
    return XmlLabels(by_name, repeats)


def _as_utf8(path: Path) -> bytes:
    """The file's text by its declared encoding, as UTF-8."""
    data = read_bytes(path, what="the label file")
    declared = _DECLARED.match(data)
    name = declared[1].decode("ascii").lower() if declared else "utf-8"
    if name not in _CODECS:
        raise DataError(
            f"{printable(path)} declares the encoding {name!r}, expected one of "
            f"{', '.join(_CODECS)}; save it as UTF-8"
        )
    try:
        return data.decode(_CODECS[name]).encode("utf-8")
    except UnicodeDecodeError as error:
        line = 1 + data[: error.start].count(b"\n")
        raise DataError(
            f"{printable(path)} line {line}: byte 0x{data[error.start]:02x} is not {name}, which "
            "the file declares; save it as UTF-8 and declare that"
        ) from error
