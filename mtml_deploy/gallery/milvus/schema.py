"""The collection as a whole: making it, what it must be like, its index, and loading it."""

from __future__ import annotations

from typing import Final

from mtml_deploy.gallery.milvus.client import CALL_S, METRIC, STRONG, Collection
from mtml_deploy.gallery.milvus.entities import FIELDS, LOOKED_UP, TEXT_BYTES
from mtml_deploy.gallery.values import GalleryError

_INDEX: Final = "FLAT"

_LOAD_S: Final = 60.0
"""A server that was restarted reads the whole collection into memory first."""


def exists(collection: Collection) -> bool:
    """Whether the server has it."""
    with collection.asking("looking it up") as client:
        return bool(client.has_collection(collection.address.collection, timeout=CALL_S))


def make(collection: Collection, dim: int, description: str) -> None:
    """Make it, empty and ready, with an exact index.

    Args:
        collection: which does not exist.
        dim: length of the vectors.
        description: a sentence for people who look at the server.
    """
    with collection.asking("making it") as client:
        from pymilvus import DataType

        schema = client.create_schema(auto_id=False, description=description)
        index = client.prepare_index_params()
        for field, kind in FIELDS.items():
            schema.add_field(
                field,
                getattr(DataType, kind),
                is_primary=field == "row",
                **({"dim": dim} if field == "vector" else {}),
                **({"max_length": TEXT_BYTES[field]} if field in TEXT_BYTES else {}),
            )
        index.add_index("vector", index_type=_INDEX, metric_type=METRIC, index_name="vector")
        # a server chooses what its version has for the type of a field; milvus-lite does not
        scalar = {} if collection.address.folder is None else {"index_type": "INVERTED"}
        for field in LOOKED_UP:
            index.add_index(field, index_name=field, **scalar)
        name = collection.address.collection
        client.create_collection(name, schema=schema, consistency_level=STRONG, timeout=CALL_S)
        # an index of nothing is made at once; the library would look again after half a second
        client.create_index(name, index, sync=False, timeout=CALL_S)
        client.load_collection(name, timeout=_LOAD_S)


def drop(collection: Collection) -> None:
    """Delete it with all it holds."""
    with collection.asking("deleting it") as client:
        client.drop_collection(collection.address.collection, timeout=CALL_S)


def require_gallery(collection: Collection) -> None:
    """Refuse a collection that another program made, or whose index is not exact.

    Raises:
        GalleryError: it is one.
    """
    name = collection.address.collection
    with collection.asking("describing it") as client:
        from pymilvus import DataType

        fields = client.describe_collection(name, timeout=CALL_S)["fields"]
        found = {field["name"]: DataType(field["type"]).name for field in fields}
        if found != FIELDS:
            wrong = sorted(
                field
                for field in found.keys() | FIELDS.keys()
                if found.get(field) != FIELDS.get(field)
            )
            raise GalleryError(
                f"{collection.name} is not a gallery: found a collection whose field {wrong[0]!r} "
                f"is {found.get(wrong[0], 'missing')}, expected "
                f"{FIELDS.get(wrong[0], 'no such field')}; choose another name and make one "
                "with mtml-deploy gallery create"
            )
        index = client.describe_index(name, "vector", timeout=CALL_S) or {}
    kind = index.get("index_type"), index.get("metric_type")
    if kind != (_INDEX, METRIC):
        raise GalleryError(
            f"the vectors of {collection.name} have the index {kind[0]} {kind[1]}, expected "
            f"{_INDEX} {METRIC}: another one does not find the nearest rows for certain; "
            "give the collection that index again"
        )


def load(collection: Collection) -> None:
    """Have the server bring it into memory, unless it is there."""
    with collection.asking("loading it") as client:
        from pymilvus.client.types import LoadState

        name = collection.address.collection
        # asked first: who may only read may not load
        if client.get_load_state(name, timeout=CALL_S)["state"] != LoadState.Loaded:
            client.load_collection(name, timeout=_LOAD_S)
