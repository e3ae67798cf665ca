"""Rows of one collection through the client library.

Every call has a time limit, and the library's errors become ones that say what to do. A fresh read
sees what was written before it, the others what was written before the last fresh one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.gallery.milvus.address import MilvusAddress
from mtml_deploy.gallery.milvus.connect import connect, failure_of, reason, release
from mtml_deploy.gallery.milvus.entities import Entity
from mtml_deploy.gallery.values import GalleryError

if TYPE_CHECKING:
    from pymilvus import MilvusClient

MAX_CANDIDATES: Final = 16384
"""Most rows that Milvus returns for one search."""

RPC_BYTES: Final = 1 << 24
"""Data sent or asked for at once (16 MiB): a quarter of what one call to a server may carry."""

LEAST_VERSION: Final = 2, 3
"""Of a server: the first that replaces an entity and gives its vector with it."""

STRONG: Final = "Strong"
METRIC: Final = "L2"
CALL_S: Final = 30.0

_QUERIES: Final = 16
"""Most queries of one call: enough to share the wait for a server's newest writes."""


@dataclass(frozen=True)
class Proposal:
    """What a server found for one query.

    Attributes:
        entities: [n] nearest first, with the fields that were asked for.
        distances: float64 [n], its own squared distances.
    """

    entities: list[Entity]
    distances: NDArray[np.float64]


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
        self._moment: int | None = None
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
        with self.asking("asking for its version") as client:
            text = client.get_server_version(timeout=CALL_S)
        found = re.search(r"(\d+)\.(\d+)", text)
        # a service that tells no number keeps itself up to date
        if found and (int(found[1]), int(found[2])) < LEAST_VERSION:
            raise GalleryError(
                f"{self.name}: the server is Milvus {text}, expected "
                f"{'.'.join(map(str, LEAST_VERSION))} or newer; update it"
            )

    def count(self, expression: str, *, fresh: bool = True) -> int:
        """How many entities pass; `fresh` as of `query`."""
        with self.asking("counting rows") as client:
            found = client.query(
                self.address.collection,
                filter=expression,
                output_fields=["count(*)"],
                timeout=CALL_S,
                **self._as_of(client, fresh=fresh),
            )
        return int(found[0]["count(*)"])

    def query(
        self,
        expression: str,
        fields: Sequence[str],
        *,
        limit: int | None = None,
        fresh: bool = True,
    ) -> list[Entity]:
        """Entities that pass.

        Args:
            expression: which.
            fields: what is wanted of each.
            limit: most entities; None for all, of which the caller knows that they are few.
            fresh: see all that was written before this call; else before the last fresh one.

        Returns:
            The entities in ascending order of their rows, which are always among the fields.
        """
        with self.asking("reading rows") as client:
            found = client.query(
                self.address.collection,
                filter=expression,
                output_fields=[*{"row", *fields}],
                timeout=CALL_S,
                **self._as_of(client, fresh=fresh),
                **({} if limit is None else {"limit": limit}),
            )
        # by number: a server may give a row twice while it moves it
        entities: dict[int, Entity] = {entity["row"]: entity for entity in found}
        return [entities[row] for row in sorted(entities)]

    def queries_at_once(self, row_bytes: int, *, limit: int) -> int:
        """Queries that one search may hold, 1 to `_QUERIES`.

        Args:
            row_bytes: what is wanted of each hit.
            limit: hits of each query.
        """
        if self.address.folder is not None:
            return 1  # milvus-lite holds every difference of a batch in memory
        return min(_QUERIES, max(1, RPC_BYTES // (row_bytes * limit)))

    def search(
        self,
        points: NDArray[np.float32],
        expression: str,
        *,
        limit: int,
        fields: Sequence[str] = (),
        fresh: bool = True,
        ef: int | None = None,
    ) -> list[Proposal]:
        """Rows that are near some points, by the server's own float32 distances.

        Args:
            points: float32 [Q, D], Q at most `queries_at_once`.
            expression: which rows are looked at.
            limit: rows wanted for each, at most `MAX_CANDIDATES`.
            fields: what is wanted of each row beside its number.
            fresh: see all that was written before this call; else before the last fresh one.
            ef: candidates kept on the way through an approximate index, at least `limit`.

        Returns:
            [Q]; fewer than `limit` rows means all that pass.
        """
        with self.asking("searching") as client:
            lists = client.search(
                self.address.collection,
                data=list(points),
                anns_field="vector",
                filter=expression,
                limit=limit,
                search_params={
                    "metric_type": METRIC,
                    "params": {} if ef is None else {"ef": ef},
                },
                output_fields=["row", *fields],
                timeout=CALL_S,
                **self._as_of(client, fresh=fresh),
            )
            return [
                Proposal(
                    [hit["entity"] for hit in hits],
                    np.array([hit["distance"] for hit in hits], dtype=np.float64),
                )
                for hits in lists
            ]

    def insert(self, entities: Sequence[Entity]) -> None:
        """Add entities with new numbers; acknowledged by the server when this returns."""
        with self.asking("adding rows") as client:
            client.insert(self.address.collection, list(entities), timeout=CALL_S)

    def put(self, entities: Sequence[Entity]) -> None:
        """Add entities, or replace those with their numbers."""
        with self.asking("changing rows") as client:
            client.upsert(self.address.collection, list(entities), timeout=CALL_S)

    def delete(self, rows: Sequence[int]) -> None:
        """Delete entities by number."""
        with self.asking("removing rows") as client:
            client.delete(self.address.collection, ids=list(rows), timeout=CALL_S)

    def compact(self) -> None:
        """Ask the server to take deleted entities off its disks; it does so in the background."""
        with self.asking("compacting it") as client:
            client.compact(self.address.collection, timeout=CALL_S)

    def close(self) -> None:
        """Disconnect; closing twice is allowed."""
        client, self._client = self._client, None
        if client is not None:
            client.close()
            release(self.address)

    def _as_of(self, client: MilvusClient, *, fresh: bool) -> Mapping[str, object]:
        """The consistency of a read; waiting for the newest writes is what costs most of a call."""
        if self.address.folder is not None:
            return {"consistency_level": STRONG}
        if fresh or self._moment is None:
            # the library has it without a public name; 0 where a server does not tell
            self._moment = int(client._get_connection().alloc_timestamp(timeout=CALL_S))
        if not self._moment:
            return {"consistency_level": STRONG}
        # Strong is the same with the moment at which the call comes in
        return {"consistency_level": "Customized", "guarantee_timestamp": self._moment}

    @contextmanager
    def asking(self, what: str) -> Iterator[MilvusClient]:
        """The client; its errors inside become a `GalleryError`.

        Args:
            what: is being done, for the error.
        """
        import grpc
        from pymilvus.exceptions import MilvusException

        if self._client is None:
            raise ValueError(f"{self.name} was closed")
        try:
            yield self._client
        except (MilvusException, grpc.RpcError) as error:
            raise failure_of(error)(
                f"{self.name}: {what} failed: found {reason(error)}; check that the server runs, "
                "is not overloaded and allows this, then start the command again: what was "
                "acknowledged is kept"
            ) from error
