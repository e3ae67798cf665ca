"""What goes into a gallery, what is asked of it and what comes out.

Frozen values; the vectors are arrays row-aligned with their records.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.data.clock import FIRST_US, LAST_US, UNKNOWN_TIME, time_us
from mtml_deploy.data.ids import NamedId
from mtml_deploy.data.records import ORIENTATIONS, UNKNOWN
from mtml_deploy.embed.embeddings import ModelIdentity
from mtml_deploy.errors import MtmlError

FindingKind = Literal["missing", "corrupted", "foreign", "duplicate"]
"""What `verify` finds; "foreign" is a vector file of another model, size or type."""


class GalleryError(MtmlError):
    """A gallery is missing, damaged, in use, or cannot hold what it was given."""


class GalleryBusyError(GalleryError):
    """Another process is writing the gallery."""


class GalleryAwayError(GalleryError):
    """The server that a gallery is on does not answer."""


@dataclass(frozen=True, slots=True)
class RowRecord:
    """What is known of one image of a gallery.

    Attributes:
        path: the image's file or URI, as text.
        content: hash of what was added; of two rows with equal `content` a gallery keeps one.
        vehicle_id: 0 or more, or a `NamedId`; -1 unknown.
        camera_id: likewise.
        orientation: 0..7, index into `ORIENTATIONS`; -1 unknown.
        tracklet_id: as `vehicle_id`.
        time_us: microseconds since 1970-01-01 UTC; None unknown.
    """

    path: str
    content: str
    vehicle_id: int = UNKNOWN
    camera_id: int = UNKNOWN
    orientation: int = UNKNOWN
    tracklet_id: int = UNKNOWN
    time_us: int | None = None

    def __post_init__(self) -> None:
        """Refuse labels of another type or outside their range.

        Raises:
            ValueError: a label that is no integer, an id outside -1..2^31 - 1, an orientation
                outside -1..7, a time outside the years 1 to 9999, or no `content`.
        """
        for number in (self.vehicle_id, self.camera_id, self.tracklet_id, self.orientation):
            if not isinstance(number, int | np.integer):
                raise ValueError(
                    f"ids and orientations are integers, found {number!r} for {self.path}"
                )
        for number in (self.vehicle_id, self.camera_id, self.tracklet_id):
            if not UNKNOWN <= number < 1 << 31 and not isinstance(number, NamedId):
                raise ValueError(
                    f"ids are -1 (unknown) to 2^31 - 1, found {number} for {self.path}"
                )
        if not UNKNOWN <= self.orientation < len(ORIENTATIONS):
            raise ValueError(f"orientation is -1..7, found {self.orientation} for {self.path}")
        if not isinstance(self.time_us, int | np.integer | None):
            raise ValueError(
                f"time_us is an integer or None, found {self.time_us!r} for {self.path}"
            )
        if self.time_us is not None and not FIRST_US <= self.time_us <= LAST_US:
            raise ValueError(
                f"time_us is in the years 1 to 9999, found {self.time_us} for {self.path}"
            )
        if not self.content:
            raise ValueError(f"content of {self.path} is empty")


@dataclass(frozen=True)
class NewRows:
    """One batch to add, whole or not at all.

    Attributes:
        model: which model made the vectors.
        features: float32 [N, D].
        records: [N] what is known of each.
    """

    model: ModelIdentity
    features: NDArray[np.float32]
    records: tuple[RowRecord, ...]

    def __post_init__(self) -> None:
        """Refuse arrays that do not fit together.

        Raises:
            ValueError: wrong dtype or shape.
        """
        expected = (len(self.records), self.model.dim)
        if self.features.dtype != np.float32 or self.features.shape != expected:
            raise ValueError(
                f"features must be float32 {list(expected)}, "
                f"found {self.features.dtype} {list(self.features.shape)}"
            )


@dataclass(frozen=True)
class Added:
    """What became of a batch.

    Attributes:
        rows: int64 [N], the row of each record; of one that was there already, that row.
        is_new: bool [N], false where the content was in the gallery, or earlier in the batch.
    """

    rows: NDArray[np.int64]
    is_new: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class StoredRow:
    """One row of a gallery.

    Attributes:
        row: its number, 1 or more: never changed, never given to another row.
        record: what is known of it.
    """

    row: int
    record: RowRecord


@dataclass(frozen=True)
class Filter:
    """Which rows a search looks at; all that is given must hold.

    A row whose camera, time or orientation is unknown fails every test that asks for one. Times are
    easiest to give as `datetime`s: `Filter(cameras=(3, 4)).between(since, until)`.

    Attributes:
        cameras: only these cameras, numbers or what `read_id` gives for a text; empty allows all.
        not_cameras: none of these cameras; rows of unknown camera are kept.
        since_us: not before this time, microseconds since 1970 UTC; None allows all.
        until_us: before this time, not at it.
        orientations: only these orientations; empty allows all.
    """

    cameras: tuple[int, ...] = ()
    not_cameras: tuple[int, ...] = ()
    since_us: int | None = None
    until_us: int | None = None
    orientations: tuple[int, ...] = ()

    def passes(self, record: RowRecord) -> bool:
        """Whether a row is looked at."""
        time_us, timed = record.time_us, (self.since_us, self.until_us) != (None, None)
        return not (
            (self.cameras and record.camera_id not in self.cameras)
            or record.camera_id in self.not_cameras
            or (self.orientations and record.orientation not in self.orientations)
            or (timed and time_us is None)
            or (time_us is not None and self.since_us is not None and time_us < self.since_us)
            or (time_us is not None and self.until_us is not None and time_us >= self.until_us)
        )

    def between(self, since: datetime | None, until: datetime | None = None) -> Filter:
        """The same filter for rows of a span of time.

        Args:
            since: not before this moment, which is in UTC where it names no zone; None allows all.
            until: before this moment, not at it.
        """
        return replace(
            self,
            since_us=None if since is None else time_us(since),
            until_us=None if until is None else time_us(until),
        )


@dataclass(frozen=True)
class Selection:
    """Rows to remove: those that match any of the three.

    Attributes:
        rows: row numbers.
        paths: paths or URIs, exactly as stored.
        vehicles: vehicle ids, numbers or what `read_id` gives for a text.
    """

    rows: tuple[int, ...] = ()
    paths: tuple[str, ...] = ()
    vehicles: tuple[int, ...] = ()


@dataclass(frozen=True)
class NewLabels:
    """What is told anew of rows; None leaves as it is what is known.

    Attributes:
        vehicle_id: 0 or more, or what `read_id` gives for a text; -1 makes it unknown.
        camera_id: likewise.
        orientation: 0..7; -1 makes it unknown.
        tracklet_id: as `vehicle_id`.
        time_us: microseconds since 1970 UTC; `UNKNOWN_TIME` makes it unknown.
    """

    vehicle_id: int | None = None
    camera_id: int | None = None
    orientation: int | None = None
    tracklet_id: int | None = None
    time_us: int | None = None

    def of(self, record: RowRecord) -> RowRecord:
        """What is known of a row afterwards.

        Raises:
            ValueError: a label outside its range, see `RowRecord`.
        """
        return RowRecord(
            path=record.path,
            content=record.content,
            vehicle_id=record.vehicle_id if self.vehicle_id is None else self.vehicle_id,
            camera_id=record.camera_id if self.camera_id is None else self.camera_id,
            orientation=record.orientation if self.orientation is None else self.orientation,
            tracklet_id=record.tracklet_id if self.tracklet_id is None else self.tracklet_id,
            time_us=(
                record.time_us
                if self.time_us is None
                else None
                if self.time_us == UNKNOWN_TIME
                else self.time_us
            ),
        )


@dataclass(frozen=True)
class Hits:
    """The K nearest rows of Q queries.

    Attributes:
        rows: int64 [Q, K], row numbers, nearest first; ties by lower number.
        distances: float32 [Q, K], L2 distances.
    """

    rows: NDArray[np.int64]
    distances: NDArray[np.float32]


@dataclass(frozen=True)
class RerankedHits:
    """The K first places of Q queries after re-ranking.

    Attributes:
        hits: rows in their new order, each with its L2 distance, which does not ascend any more.
        reranked: float32 [Q, K], re-ranked distances, 0..1, nearest first; ties by lower row.
        places_before: int64 [Q, K], place of each row in the shortlist, from 1.
    """

    hits: Hits
    reranked: NDArray[np.float32]
    places_before: NDArray[np.int64]


@dataclass(frozen=True)
class Hit:
    """One place of a list.

    Attributes:
        rank: place, 1 is nearest.
        distance: L2 distance to the query.
        stored: the row.
        reranked: re-ranked distance, 0..1, which decides the rank; None without re-ranking.
        place_before: place by L2 distance; None without re-ranking.
    """

    rank: int
    distance: float
    stored: StoredRow
    reranked: float | None = None
    place_before: int | None = None

    @property
    def path(self) -> str:
        """The image's file or URI."""
        return self.stored.record.path


@dataclass(frozen=True)
class Compacted:
    """What a compaction did.

    Attributes:
        dropped: removed rows that are gone from the disk now; None where a server does it later.
        kept: rows that are left.
    """

    dropped: int | None
    kept: int


@dataclass(frozen=True)
class Finding:
    """One fault.

    Attributes:
        kind: which.
        row: the row; None where it is the record itself.
        text: what was found.
    """

    kind: FindingKind
    row: int | None
    text: str
