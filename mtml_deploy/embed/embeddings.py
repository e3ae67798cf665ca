"""Embeddings of a set of images or tracklets with their labels.

In: float32 features and what is known of each row. Out: sets that can be saved, cut, joined and
pooled, and that say which model made them, so that those of different models are never compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, Self, cast, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mtml_deploy.data.clock import UNKNOWN_TIME
from mtml_deploy.data.ids import joined, texts_of, texts_of_names
from mtml_deploy.defaults import Grouping, Pool, Rounding
from mtml_deploy.embed.file import ARRAYS, OPTIONAL, FileContent, read_content, write_content
from mtml_deploy.embed.pooling import as_one, pool_tracklets
from mtml_deploy.embed.rows import IDS, LABELS, LabelledRows, Labels, Unit, id_array, time_array
from mtml_deploy.errors import EmbeddingsError
from mtml_deploy.record_file import Positive, Record
from mtml_deploy.user_path import user_path

Pooled = Literal["tracklets", "vehicle-cameras", "vehicles", "one"]
"""What `Embeddings.pool` makes one row of."""

_GROUPING: Final = {
    "tracklets": "tracklet",
    "vehicle-cameras": "vehicle-camera",
    "vehicles": "vehicle",
}


class ModelIdentity(Record, frozen=True, omit_defaults=True):
    """Which model made an embedding, and what it was computed in.

    Two embeddings are comparable only if one model file made them; where a backend rounded what
    the file says, only if the parity gate has passed that (see `difference`).

    Attributes:
        model_sha256: hash of the model file that ran, 64 hexadecimal digits.
        precision: "fp32", "fp16" or "int8".
        embedding: "fused", "consensus" or the name of one branch.
        dim: length of one embedding.
        computes_in: what the backend rounded float32 values to: "bf16" or "f16"; empty where it
            computed what the file says.
        gated: with `computes_in`: whether the parity gate had passed this model, backend and
            precision when the rows were made.
        camera_means: mark of the camera means that were taken off, see `camera_centring`; empty for
            rows as the model gave them.
    """

    model_sha256: str
    precision: str
    embedding: str
    dim: Positive
    computes_in: Rounding = ""
    gated: bool = False
    camera_means: str = ""

    @property
    def label(self) -> str:
        """A short name for a model the user gave none."""
        rounded = f" in {self.computes_in}" if self.computes_in else ""
        centred = ", cameras centred" if self.camera_means else ""
        return f"{self.embedding} {self.precision}{rounded} {self.model_sha256[:8]}{centred}"

    def difference(self, other: ModelIdentity) -> str:
        """Why rows of the two cannot be compared, empty if they can.

        Args:
            other: made the other rows.

        Returns:
            The field in words, "NAME is A and B"; a rounding that the gate has not passed names it.
        """
        if self.model_sha256 != other.model_sha256:  # as much of it as tells two files apart
            return f"model_sha256 is {self.model_sha256[:12]}... and {other.model_sha256[:12]}..."
        for name in ("precision", "embedding", "dim"):
            if getattr(self, name) != getattr(other, name):
                return f"{name} is {getattr(self, name)} and {getattr(other, name)}"
        if self.camera_means != other.camera_means:
            marks = (one.camera_means[:12] or "none" for one in (self, other))
            return f"camera means taken off are {' and '.join(marks)}"
        if self.computes_in == other.computes_in:
            return ""
        for one in (self, other):
            if one.computes_in and not one.gated:
                return (
                    f"computed in {self.computes_in or 'f32'} and {other.computes_in or 'f32'}, "
                    f"and no passed parity verdict lay beside the model for {one.computes_in}"
                )
        return ""


class EmbeddingsManifest(Record, frozen=True, kw_only=True):
    """What a file of embeddings says beside its arrays; fields as of `Embeddings`."""

    schema: Literal[2] = 2
    root: str
    source: str
    unit: Unit
    model: ModelIdentity


@dataclass(frozen=True, kw_only=True)
class Embeddings(LabelledRows):
    """Rows that one model made; see `LabelledRows` for what a row holds.

    `embeddings[rows]` takes some of them, see `take`.

    Attributes:
        model: which model made them.
    """

    model: ModelIdentity

    def __post_init__(self) -> None:
        """Refuse features of another size, and arrays that do not fit together.

        Raises:
            ValueError: see `LabelledRows`, or D is not the model's.
        """
        dim = self.features.shape[1] if self.features.ndim == 2 else -1
        if self.features.dtype != np.float32 or dim != self.model.dim:
            raise ValueError(
                f"features must be float32 [N, {self.model.dim}], "
                f"found {self.features.dtype} {list(self.features.shape)}"
            )
        super().__post_init__()

    @classmethod
    def of(
        cls,
        features: NDArray[np.float32],
        records: Sequence[Labels],
        *,
        names: Sequence[str],
        model: ModelIdentity,
        root: str = "",
        source: str = "",
        pixels: NDArray[np.int32] | None = None,
    ) -> Self:
        """Features of images with what is known of each.

        Args:
            features: float32 [N, D].
            records: [N] the labels, row-aligned.
            names: [N] paths relative to `root`.
            model: which model made them.
            root: folder of the images.
            source: what was embedded.
            pixels: int32 [N], see the class.

        Returns:
            The embeddings.

        Raises:
            ValueError: see the class.
            DataError: two ids that are different texts have one number.
        """
        return cls(
            features=features,
            vehicle_ids=id_array(record.vehicle_id for record in records),
            camera_ids=id_array(record.camera_id for record in records),
            orientations=np.array([record.orientation for record in records], dtype=np.int32),
            tracklet_ids=id_array(record.tracklet_id for record in records),
            names=tuple(names),
            root=root,
            source=source,
            model=model,
            pixels=pixels,
            times_us=time_array([record.time_us for record in records]),
            id_texts=texts_of(
                id_
                for record in records
                for id_ in (record.vehicle_id, record.camera_id, record.tracklet_id)
            ),
        )

    @classmethod
    def load(cls, file: str | Path) -> Self:
        """Embeddings read back from a file that `save` or `mtml-deploy embed` wrote.

        Args:
            file: the .npz file.

        Returns:
            The embeddings, checked.

        Raises:
            EmbeddingsError: no such file, not an embeddings file, truncated, or another schema.
        """
        return read_content(user_path(file), EmbeddingsManifest, cls._from_content)

    def save(self, file: str | Path) -> None:
        """Write a file (.npz), whole or not at all.

        Args:
            file: target, replaced if it exists.
        """
        manifest = EmbeddingsManifest(
            root=self.root, source=self.source, unit=self.unit, model=self.model
        )
        counted = [name for name in OPTIONAL if getattr(self, name) is not None]
        arrays = {name: getattr(self, name) for name in (*ARRAYS, *counted)}
        # rows may have been taken: what no row needs any more is not written
        arrays |= {name: id_array(arrays[name].tolist()) for name in IDS}
        texts: tuple[str, ...] = ()
        if self.id_texts:
            used = {number for name in IDS for number in np.unique(arrays[name]).tolist()}
            texts = tuple(sorted(self.id_texts[number] for number in used & self.id_texts.keys()))
        write_content(user_path(file), FileContent(manifest, arrays, self.names, texts))

    def take(self, rows: slice | ArrayLike) -> Self:
        """Some rows, in the order asked for; `embeddings[rows]` is the same.

        Args:
            rows: a slice, row numbers int [n], which may repeat, a mask bool [N], or one number.

        Returns:
            n rows; a slice shares the features where it can, row numbers copy them.

        Raises:
            IndexError: there is no such row, or the mask is of another length.
        """
        chosen = rows if isinstance(rows, slice) else np.asarray(rows)
        if not isinstance(chosen, slice) and not chosen.size:
            chosen = chosen.astype(np.int64)  # an empty list is of floats
        numbers = np.atleast_1d(np.arange(len(self))[chosen])  # [n]
        part = chosen if isinstance(chosen, slice) else numbers
        return replace(
            self,
            features=np.ascontiguousarray(self.features[part]),
            **{name: getattr(self, name)[part] for name in LABELS},
            names=tuple(self.names[number] for number in numbers.tolist()),
            pixels=None if self.pixels is None else self.pixels[part],
            times_us=None if self.times_us is None else self.times_us[part],
        )

    def __getitem__(self, rows: slice | ArrayLike) -> Self:
        """Some rows, see `take`."""
        return self.take(rows)

    @classmethod
    def concat(cls, sets: Sequence[Self]) -> Self:
        """The rows of all sets, one set after the other.

        Args:
            sets: one or more, of one model.

        Returns:
            All rows; names are absolute where the sets are of several folders.

        Raises:
            EmbeddingsError: different models, or images and tracklets.
            DataError: two ids that are different texts have one number.
            ValueError: no set.
        """
        if not sets:
            raise ValueError("at least one set is needed")
        first = sets[0]
        for other in sets[1:]:
            require_comparable(first, other)
            if other.unit != first.unit:
                raise EmbeddingsError(
                    f"{first.source} holds {first.unit}s and {other.source} {other.unit}s, "
                    "expected one kind; search with each in its own call"
                )
        if len(sets) == 1:
            return first
        one_root = len({images.root for images in sets}) == 1
        times: list[int | None] = []
        for images in sets:
            told = [None] * len(images) if images.times_us is None else images.times_us.tolist()
            times += [None if time == UNKNOWN_TIME else time for time in told]
        counted = [images.pixels for images in sets if images.pixels is not None]
        arrays: dict[str, Any] = {
            name: np.concatenate([getattr(images, name) for images in sets]) for name in ARRAYS
        }
        return replace(
            first,
            **arrays,
            names=tuple(
                name if one_root else f"{images.root}/{name}"
                for images in sets
                for name in images.names
            ),
            root=first.root if one_root else "",
            source=", ".join(images.source for images in sets),
            pixels=np.concatenate(counted) if len(counted) == len(sets) else None,
            times_us=time_array(times),
            id_texts=joined(images.id_texts for images in sets),
        )

    def pool(
        self, into: Pooled = "tracklets", *, weights: Pool = "mean", keep_single: bool = False
    ) -> Self:
        """One row for several images: the mean of their features; see `pool_tracklets`.

        Args:
            into: "tracklets" by tracklet id, "vehicle-cameras", "vehicles", or "one" row for all
                images, which are said to show one vehicle.
            weights: "mean", or "size" by the pixels of each image; "one" knows "mean" only.
            keep_single: let an image that is in no group be a row of its own.

        Returns:
            T rows, in the order of their first images.

        Raises:
            EmbeddingsError: the rows are tracklets already, or pixels are needed and not known.
            DataError: the labels do not tell the groups.
            ValueError: `into` is none of these, or "one" with other weights.
        """
        if into == "one":
            if weights != "mean":
                raise ValueError(f"one row for all images is their mean, found {weights!r}")
            return as_one(self)
        if into not in _GROUPING:
            raise ValueError(f"into is one of {', '.join(get_args(Pooled))}, found {into!r}")
        by = cast(Grouping, _GROUPING[into])
        return pool_tracklets(self, pool=weights, by=by, keep_single=keep_single)

    @classmethod
    def _from_content(cls, content: FileContent[EmbeddingsManifest]) -> Self:
        """Embeddings of what a file holds."""
        manifest = content.manifest
        return cls(
            **content.arrays,
            names=content.names,
            root=manifest.root,
            source=manifest.source,
            model=manifest.model,
            unit=manifest.unit,
            id_texts=texts_of_names(content.id_texts),
        )


def require_comparable(query: Embeddings, gallery: Embeddings) -> None:
    """Refuse to compare embeddings that different models made; images and tracklets may be mixed.

    Args:
        query: one set.
        gallery: the other.

    Raises:
        EmbeddingsError: model hash, precision, kind of embedding or dimension differ.
        DataError: two ids that are different texts have one number.
    """
    joined((query.id_texts, gallery.id_texts))
    if found := query.model.difference(gallery.model):
        raise EmbeddingsError(
            f"these embeddings cannot be compared: {found}, for {query.source} and "
            f"{gallery.source}; embed both with the same artifact and execution precision"
        )


def comparison_mode(query: Unit, gallery: Unit) -> str:
    """What is compared with what, as the literature names it: for example "image-to-track".

    Args:
        query: what a row of the query set stands for.
        gallery: the same of the gallery.
    """
    short = {"image": "image", "tracklet": "track"}
    return f"{short[query]}-to-{short[gallery]}"
