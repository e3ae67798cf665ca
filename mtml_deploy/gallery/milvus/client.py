"""One collection through the client library, which only this file and `connect.py` import.

Every call has a time limit, reads what was written before it (consistency level Strong) and turns
the library's errors into ones that say what to do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.gallery.milvus.address import MilvusAddress
from mtml_deploy.gallery.milvus.connect import connect, reason, release
from mtml_deploy.gallery.milvus.entities import FIELDS, LOOKED_UP, TEXT_BYTES, Entity
from mtml_deploy.gallery.values import GalleryError

if TYPE_CHECKING:
    from pymilvus import MilvusClient

MAX_CANDIDATES: Final = 16384
"""Most rows that Milvus returns for one search."""

RPC_BYTES: Final = 1 << 24
"""Data sent or asked for at once (16 MiB): a quarter of what one call to a server may carry."""

LEAST_VERSION: Final = 2, 3
"""Of a server: the first that replaces an entity and gives its vector with it."""

_STRONG: Final = "Strong"
_INDEX: Final = "FLAT"
_METRIC: Final = "L2"

_CALL_S: Final = 30.0
_LOAD_S: Final = 60.0
"""A server that was restarted reads the whole collection into memory first."""


class Collection:
    """An open connection to one collection, which need not exist; owned by one thread."""

    def __init__(self, address: MilvusAddress) -> None:
        """Connect.

        Raises:
            GalleryError: no server there, one that refuses this user, or a local folder that is in
                use.
            MissingExtraError: pymilvus or milvus-lite is not installed.
        """
        self.address = address
        self._client: MilvusClient | None = connect(address)
        if address.folder is None:
            try:
                self._require_version()
            except BaseException:
                self.close()
                raise

    @property
    def name(self) -> str:
        """As the user wrote it."""
        return self.address.text

    def _require_version(self) -> None:
        """Refuse a server that lacks what a gallery needs.

        Raises:
            GalleryError: it is too old.
        """
        with self._asking("asking for its version") as client:
            text = client.get_server_version(timeout=_CALL_S)
        found = re.search(r"(\d+)\.(\d+)", text)
        # a service that tells no number keeps itself up to date
        if found and (int(found[1]), int(found[2])) < LEAST_VERSION:
            raise GalleryError(
                f"{self.name}: the server is Milvus {text}, expected "
                f"{'.'.join(map(str, LEAST_VERSION))} or newer; update it"
            )

    def exists(self) -> bool:
        """Whether the server has it."""
        with self._asking("looking it up") as client:
            return bool(client.has_collection(self.address.collection, timeout=_CALL_S))

    def create(self, dim: int, description: str) -> None:
        """Make it, empty and ready, with an exact index.

        Args:
            dim: length of the vectors.
            description: a sentence for people who look at the server.
        """
        with self._asking("making it") as client:
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
            index.add_index("vector", index_type=_INDEX, metric_type=_METRIC, index_name="vector")
            # a server chooses what its version has for the type of a field; milvus-lite does not
            scalar = {} if self.address.folder is None else {"index_type": "INVERTED"}
            for field in LOOKED_UP:
                index.add_index(field, index_name=field, **scalar)
            name = self.address.collection
            client.create_collection(
                name, schema=schema, consistency_level=_STRONG, timeout=_CALL_S
            )  # fmt: skip
            # an index of nothing is made at once; the library would look again after half a second
            client.create_index(name, index, sync=False, timeout=_CALL_S)
            client.load_collection(name, timeout=_LOAD_S)

    def drop(self) -> None:
        """Delete it with all it holds."""
        with self._asking("deleting it") as client:
            client.drop_collection(self.address.collection, timeout=_CALL_S)

    def require_fields(self) -> None:
        """Refuse a collection that another program made, or whose index is not exact.

        Raises:
            GalleryError: it is one.
        """
        name = self.address.collection
        with self._asking("describing it") as client:
            from pymilvus import DataType

            fields = client.describe_collection(name, timeout=_CALL_S)["fields"]
            found = {field["name"]: DataType(field["type"]).name for field in fields}
            if found != FIELDS:
                wrong = sorted(
                    field
                    for field in found.keys() | FIELDS.keys()
                    if found.get(field) != FIELDS.get(field)
                )
                raise GalleryError(
                    f"{self.name} is not a gallery: found a collection whose field {wrong[0]!r} is "
                    f"{found.get(wrong[0], 'missing')}, expected "
                    f"{FIELDS.get(wrong[0], 'no such field')}; choose another name and make one "
                    "with mtml-deploy gallery create"
                )
            index = client.describe_index(name, "vector", timeout=_CALL_S) or {}
        kind = index.get("index_type"), index.get("metric_type")
        if kind != (_INDEX, _METRIC):
            raise GalleryError(
                f"the vectors of {self.name} have the index {kind[0]} {kind[1]}, expected "
                f"{_INDEX} {_METRIC}: another one does not find the nearest rows for certain; "
                "give the collection that index again"
            )

    def load(self) -> None:
        """Have the server bring it into memory, unless it is there."""
        with self._asking("loading it") as client:
            from pymilvus.client.types import LoadState

            name = self.address.collection
            # asked first: who may only read may not load
            if client.get_load_state(name, timeout=_CALL_S)["state"] != LoadState.Loaded:
                client.load_collection(name, timeout=_LOAD_S)

    def count(self, expression: str) -> int:
        """How many entities pass."""
        with self._asking("counting rows") as client:
            found = client.query(
                self.address.collection,
                filter=expression,
                output_fields=["count(*)"],
                consistency_level=_STRONG,
                timeout=_CALL_S,
            )
        return int(found[0]["count(*)"])

    def query(
        self, expression: str, fields: Sequence[str], *, limit: int | None = None
    ) -> list[Entity]:
        """Entities that pass.

        Args:
            expression: which.
            fields: what is wanted of each.
            limit: most entities; None for all, of which the caller knows that they are few.

        Returns:
            The entities in ascending order of their rows, which are always among the fields.
        """
        with self._asking("reading rows") as client:
            found = client.query(
                self.address.collection,
                filter=expression,
                output_fields=[*{"row", *fields}],
                consistency_level=_STRONG,
                timeout=_CALL_S,
                **({} if limit is None else {"limit": limit}),
            )
        # by number: a server may give a row twice while it moves it
        entities: dict[int, Entity] = {entity["row"]: entity for entity in found}
        return [entities[row] for row in sorted(entities)]

    def search(
        self, point: NDArray[np.float32], expression: str, *, limit: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Rows that are near a point, by the server's own float32 distances.

        Args:
            point: float32 [D].
            expression: which rows are looked at.
            limit: rows wanted, at most `MAX_CANDIDATES`.

        Returns:
            int64 [n] rows and float64 [n] squared distances; n < limit means all that pass.
        """
        with self._asking("searching") as client:
            # one query a call: milvus-lite holds every difference of a batch in memory
            (hits,) = client.search(
                self.address.collection,
                data=[point],
                anns_field="vector",
                filter=expression,
                limit=limit,
                search_params={"metric_type": _METRIC},
                output_fields=["row"],
                consistency_level=_STRONG,
                timeout=_CALL_S,
            )
        rows = np.array([hit["entity"]["row"] for hit in hits], dtype=np.int64)
        return rows, np.array([hit["distance"] for hit in hits], dtype=np.float64)

    def insert(self, entities: Sequence[Entity]) -> None:
        """Add entities with new numbers; acknowledged by the server when this returns."""
        with self._asking("adding rows") as client:
            client.insert(self.address.collection, list(entities), timeout=_CALL_S)

    def put(self, entity: Entity) -> None:
        """Add one entity, or replace the one with its number."""
        with self._asking("writing the card") as client:
            client.upsert(self.address.collection, [entity], timeout=_CALL_S)

    def delete(self, rows: Sequence[int]) -> None:
        """Delete entities by number."""
        with self._asking("removing rows") as client:
            client.delete(self.address.collection, ids=list(rows), timeout=_CALL_S)

    def compact(self) -> None:
        """Ask the server to take deleted entities off its disks; it does so in the background."""
        with self._asking("compacting it") as client:
            client.compact(self.address.collection, timeout=_CALL_S)

    def close(self) -> None:
        """Disconnect; closing twice is allowed."""
        client, self._client = self._client, None
        if client is not None:
            client.close()
            release(self.address)

    @contextmanager
    def _asking(self, what: str) -> Iterator[MilvusClient]:
        """The client; its errors inside become a `GalleryError`."""
        import grpc
        from pymilvus.exceptions import MilvusException

        if self._client is None:
            raise ValueError(f"{self.name} was closed")
        try:
            yield self._client
        except (MilvusException, grpc.RpcError) as error:
            raise GalleryError(
                f"{self.name}: {what} failed: found {reason(error)}; check that the server runs, "
                "is not overloaded and allows this, then start the command again: what was "
                "acknowledged is kept"
            ) from error
