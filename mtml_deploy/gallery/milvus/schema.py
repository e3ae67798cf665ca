"""The collection as a whole: making it, what it must be like, its index, and loading it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from mtml_deploy.gallery.milvus.client import CALL_S, METRIC, STRONG, Collection
from mtml_deploy.gallery.milvus.entities import FIELDS, LOOKED_UP, TEXT_BYTES
from mtml_deploy.gallery.values import GalleryError

EXACT: Final = "FLAT"
"""The index that compares every vector; the only one of which a server makes no other meanwhile."""

APPROXIMATE: Final = "HNSW"
"""A graph: the fastest that a server has. A filter may cost it recall, which `tune.py` measures."""

MISSING: Final = "missing"
"""What `index_kind` tells where a change was cut off."""

_GRAPH: Final = {"M": 16, "efConstruction": 200}
"""Links of a row, and candidates while they are chosen."""

_LOOK_AGAIN_S: Final = 0.5

_BUILT_LOAD_S: Final = 600.0

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
        index.add_index("vector", index_type=EXACT, metric_type=METRIC, index_name="vector")
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
    """Refuse a collection that another program made.

    Raises:
        GalleryError: it is one, or its index is none of a gallery.
    """
    require_fields(collection)
    kind = index_kind(collection)
    if kind not in (EXACT, APPROXIMATE):
        raise GalleryError(
            f"the vectors of {collection.name} have the index {kind}, expected {EXACT} or "
            f"{APPROXIMATE} with the distance {METRIC}; make it again: "
            f"mtml-deploy gallery index {collection.name} --exact"
        )


def require_fields(collection: Collection) -> None:
    """Refuse a collection whose fields are not those of a gallery.

    Raises:
        GalleryError: they are not.
    """
    name = collection.address.collection
    with collection.asking("describing it") as client:
        from pymilvus import DataType

        fields = client.describe_collection(name, timeout=CALL_S)["fields"]
        found = {field["name"]: DataType(field["type"]).name for field in fields}
    if found != FIELDS:
        wrong = sorted(
            field for field in found.keys() | FIELDS.keys() if found.get(field) != FIELDS.get(field)
        )
        raise GalleryError(
            f"{collection.name} is not a gallery: found a collection whose field {wrong[0]!r} "
            f"is {found.get(wrong[0], 'missing')}, expected "
            f"{FIELDS.get(wrong[0], 'no such field')}; choose another name and make one "
            "with mtml-deploy gallery create"
        )


def index_kind(collection: Collection) -> str:
    """The index of the vectors, as the server tells now; `MISSING` where there is none."""
    with collection.asking("describing it") as client:
        index = client.describe_index(
            collection.address.collection, "vector", timeout=CALL_S
        )  # fmt: skip
    if not index:
        return MISSING
    kind, metric = str(index.get("index_type")), index.get("metric_type")
    return kind if metric == METRIC else f"{kind} {metric}"


def change_index(
    collection: Collection, kind: str, *, progress: Callable[[int, int], None] | None = None
) -> None:
    """Give the vectors another index; nobody can read the collection until it is done.

    Args:
        collection: a gallery.
        kind: `EXACT` or `APPROXIMATE`.
        progress: called with (rows in the index, rows).
    """
    name = collection.address.collection
    with collection.asking("changing its index") as client:
        client.flush(name, timeout=_LOAD_S)  # only what is flushed gets the index
        client.release_collection(name, timeout=CALL_S)
        if client.describe_index(name, "vector", timeout=CALL_S):
            client.drop_index(name, "vector", timeout=CALL_S)
        index = client.prepare_index_params()
        graph = _GRAPH if kind == APPROXIMATE else {}
        index.add_index(
            "vector", index_type=kind, metric_type=METRIC, index_name="vector", params=graph
        )
        client.create_index(name, index, sync=False, timeout=CALL_S)
        while True:
            state = client.describe_index(name, "vector", timeout=CALL_S)
            rows = int(state["total_rows"])
            done = rows - int(state["pending_index_rows"])
            if progress is not None:
                progress(done, rows)
            if state["state"] == "Finished" and done == rows:
                break
            time.sleep(_LOOK_AGAIN_S)
        client.load_collection(name, timeout=_BUILT_LOAD_S)


def load(collection: Collection) -> None:
    """Have the server bring it into memory, unless it is there."""
    with collection.asking("loading it") as client:
        from pymilvus.client.types import LoadState

        name = collection.address.collection
        # asked first: who may only read may not load
        if client.get_load_state(name, timeout=CALL_S)["state"] != LoadState.Loaded:
            client.load_collection(name, timeout=_LOAD_S)
