"""The published data sets: their loaders, files and counts.

Nothing here needs NumPy, so that help texts can tell the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final

from mtml_deploy.data import cityflow, vehicleid, veri, veriwild
from mtml_deploy.data.records import ImageSet
from mtml_deploy.data.text_files import Split, SplitFiles


@dataclass(frozen=True)
class Counts:
    """How much a split holds.

    Attributes:
        images: listed images whose file is there.
        ids: distinct known vehicle ids.
        cameras: distinct known cameras.
        orientations: distinct known orientation classes.

    None means not published, or (where found) that the labels could not be read.
    """

    images: int | None = None
    ids: int | None = None
    cameras: int | None = None
    orientations: int | None = None


@dataclass(frozen=True)
class DataSet:
    """A published data set; all that the project knows of it beside its loader.

    Attributes:
        name: what the user types before the colon.
        load: its folder and a split -> the images of the split.
        files: where each of its splits keeps its files.
        published: counts that its authors tell.
        queries_are_copies: every query image is in the gallery too, under the same file name.
    """

    name: str
    load: Callable[[Path, Split], ImageSet]
    files: Mapping[Split, SplitFiles]
    published: Mapping[Split, Counts]
    queries_are_copies: bool = False


_ALL: Final = (
    DataSet(
        "veri",
        veri.load_veri,
        veri.FILES,
        {
            # Kanaci et al. 2019, Table 1; cameras per split are not in it
            "train": Counts(images=37_778, ids=576, orientations=8),
            "query": Counts(images=1_678, ids=200),
            "gallery": Counts(images=11_579, ids=200),
        },
        queries_are_copies=True,
    ),
    DataSet(
        "cityflow",
        cityflow.load_cityflow,
        cityflow.FILES,
        {
            # the ids of the test part exist, but the organisers keep them
            "train": Counts(images=36_935, ids=333),
            "query": Counts(images=1_052),
            "gallery": Counts(images=18_290),
        },
    ),
    *(
        DataSet(
            vehicleid.source_name(size),
            partial(vehicleid.load_vehicleid, size=size),
            vehicleid.FILES,
            # Liu et al. 2016; of the images of a list different numbers are told
            {"train": Counts(ids=13_164), "gallery": Counts(images=size, ids=size)},
        )
        for size in vehicleid.SIZES
    ),
    *(
        DataSet(
            veriwild.source_name(size),
            partial(veriwild.load_veriwild, size=size),
            veriwild.FILES,
            # Lou et al. 2019
            {
                "train": Counts(images=277_797, ids=30_671),
                "query": Counts(ids=size),
                "gallery": Counts(ids=size),
            },
        )
        for size in veriwild.SIZES
    ),
)

DATA_SETS: Final[Mapping[str, DataSet]] = MappingProxyType({each.name: each for each in _ALL})
"""Every published data set by name; a new one is a loader and a row of this table."""

_SIZES: Final = frozenset(
    name(size)
    for name, sizes in (
        (vehicleid.source_name, vehicleid.SIZES),
        (veriwild.source_name, veriwild.SIZES),
    )
    for size in sizes[1:]
)
NAMED: Final = tuple(name for name in DATA_SETS if name not in _SIZES)
"""Their names, those of further test lists of one data set left out."""
