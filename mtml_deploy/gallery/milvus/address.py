"""Where a collection is: the text a user writes, in parts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from mtml_deploy.gallery.values import GalleryError

SCHEMES: Final = ("milvus", "milvuss", "milvus-lite")
"""Without and with TLS, and a local folder."""

TOKEN_VARIABLE: Final = "MTML_MILVUS_TOKEN"
"""Environment variable that holds "user:password" or an API key."""

_PORT: Final = 19530
_SUFFIX: Final = ".db"
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}", re.ASCII)
"""What Milvus takes as the name of a collection or a database."""

_FORMS: Final = (
    "milvus://HOST:PORT/COLLECTION, milvus://HOST:PORT/DATABASE/COLLECTION, milvuss://... for TLS, "
    "or milvus-lite:///FOLDER.db/COLLECTION"
)


@dataclass(frozen=True)
class MilvusAddress:
    """One collection.

    Attributes:
        text: as the user wrote it, without secrets.
        uri: what the client library takes, for example "http://host:19530"; for a local one the
            path of its folder.
        database: name of the database; empty for the server's default.
        collection: name of the collection.
    """

    text: str
    uri: str
    database: str
    collection: str

    @property
    def folder(self) -> Path | None:
        """The folder of a local one, None for a server."""
        return Path(self.uri) if self.uri.endswith(_SUFFIX) else None


def parse_address(text: str) -> MilvusAddress:
    """The parts of a text that begins with one of `SCHEMES` and "://".

    Args:
        text: what names the gallery.

    Returns:
        The address; nothing is contacted.

    Raises:
        GalleryError: not one of the forms, a name Milvus refuses, or a password in the text.
    """
    scheme, _, rest = text.partition("://")
    if scheme.lower() == "milvus-lite":
        folder, _, collection = rest.rpartition("/")
        if not folder.endswith(_SUFFIX):
            raise GalleryError(
                f"{text!r} lacks a local folder that ends in {_SUFFIX}, expected for example "
                "milvus-lite:///data/test.db/cars"
            )
        return MilvusAddress(text, folder, "", _name(collection, text))
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port or _PORT
    except ValueError as error:
        raise GalleryError(f"an address is malformed ({error}), expected {_FORMS}") from error
    if parts.username is not None:
        # never repeated here: names of galleries end up in reports, logs and shell histories
        raise GalleryError(
            "the address holds a user or password, expected none: set the environment variable "
            f"{TOKEN_VARIABLE} to user:password or an API key, and leave them out of the address"
        )
    names = parts.path.strip("/").split("/")
    if host is None or len(names) > 2 or parts.query or parts.fragment:
        raise GalleryError(f"{text!r} does not name a collection, expected {_FORMS}")
    shown = f"[{host}]" if ":" in host else host  # IPv6
    return MilvusAddress(
        text=text,
        uri=f"{'https' if scheme.lower() == 'milvuss' else 'http'}://{shown}:{port}",
        database=_name(names[0], text) if len(names) == 2 else "",
        collection=_name(names[-1], text),
    )


def _name(name: str, text: str) -> str:
    """A name that Milvus takes."""
    if not _NAME.fullmatch(name):
        raise GalleryError(
            f"{text!r} names {name!r}, expected letters, digits and underscores, at most 255, not "
            f"beginning with a digit; the forms are {_FORMS}"
        )
    return name
