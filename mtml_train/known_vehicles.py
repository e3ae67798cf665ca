"""Vehicles that an own model was trained on, among those of a new run and its validation.

In: records of two runs. Out: which data sets are the same, and the classes of one vehicle in both.
An id names a vehicle within one data set: vehicle 41 of one is not vehicle 41 of another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mtml_deploy.data.records import UNKNOWN, ImageSet
from mtml_deploy.data.source import parse_source
from mtml_train.data.fingerprint import SetFingerprint
from mtml_train.resume import HOLDOUT
from mtml_train.run_card import RunCard


@dataclass(frozen=True)
class SharedSets:
    """Data sets of a new run that a model was trained on.

    Attributes:
        groups: number of a set now -> its number then.
        changed: whether one of them has other images or labels than then, in the same place.
    """

    groups: Mapping[int, int]
    changed: bool

    def rows(
        self, now: Sequence[tuple[int, int | str]], before: Sequence[tuple[int, int | str]]
    ) -> list[tuple[int, int]]:
        """(Class now, class then) of every vehicle that both know."""
        known = {identity: row for row, identity in enumerate(before)}
        pairs = (
            (row, known.get((self.groups.get(group, -1), vehicle)))
            for row, (group, vehicle) in enumerate(now)
        )
        return [(row, then) for row, then in pairs if then is not None]


def shared_sets(now: Sequence[SetFingerprint], before: Sequence[SetFingerprint]) -> SharedSets:
    """Which data sets are the same: those of equal names and labels, else those in one place.

    Args:
        now: of the new run.
        before: of the run that trained the model.
    """
    groups: dict[int, int] = {}
    changed = False
    for number, found in enumerate(now):
        equal = [then for then, was in enumerate(before) if _content(was) == _content(found)]
        there = [then for then, was in enumerate(before) if _place(was) == _place(found)]
        if match := [then for then in (*equal, *there) if then not in groups.values()]:
            groups[number] = match[0]
            changed |= not equal
    return SharedSets(groups, changed)


def remembered(card: RunCard, before: RunCard, val: str, val_sets: Sequence[ImageSet]) -> str:
    """What of a validation the model that a run starts from was trained on.

    Args:
        card: of the new run.
        before: of the run that trained the own model.
        val: the run's validation source.
        val_sets: query set and gallery.

    Returns:
        One sentence; empty where nothing is.
    """
    held_out = val.startswith(HOLDOUT)
    vehicles = {
        (None if held_out else _place_of(images.source), str(record.vehicle_id))
        for images in val_sets
        for record in images.records
        if record.vehicle_id != UNKNOWN
    }
    if held_out:
        # held-out vehicles are numbered anew: known are those that are no longer trained on
        found = shared_sets(card.sets, before.sets)
        kept = {then for _, then in found.rows(card.identities, before.identities)}
        lost = [
            row
            for row, (group, _) in enumerate(before.identities)
            if group in found.groups.values() and row not in kept
        ]
        count = min(len(lost), len(vehicles))
    else:
        known = {
            (_place_of(before.sources[group]), str(vehicle)) for group, vehicle in before.identities
        }
        count = len(vehicles & known)
    if not count:
        return ""
    return (
        f"validation: the model that this run starts from was trained on {count} of its "
        f"{len(vehicles)} vehicles, so its numbers tell in part how well they are remembered; take "
        "the hold-out and seed that the model had, or name other vehicles with --val"
    )


def _content(found: SetFingerprint) -> tuple[int, str, str]:
    """What makes a set the same wherever it lies."""
    return found.images, found.names_sha256, found.labels_sha256


def _place(found: SetFingerprint) -> tuple[str, Path, tuple[tuple[str, str], ...]]:
    """Where a set lies."""
    return _place_of(found.source)


def _place_of(text: str) -> tuple[str, Path, tuple[tuple[str, str], ...]]:
    """Where a source lies, whichever part of it is meant; a table's columns are part of it."""
    source = parse_source(text)
    return source.kind, source.path.resolve(), tuple(sorted(source.columns.items()))
