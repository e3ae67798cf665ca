"""Lists that end where a distance does: what is farther away is another vehicle.

In: lists of hits and a distance. Out: shorter lists, and how that was found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mtml_deploy.artifact.threshold import Threshold
from mtml_deploy.gallery.values import Hit


@dataclass(frozen=True)
class Cut:
    """Where lists end.

    Attributes:
        distance: hits at this L2 distance and below are kept.
        record: where it was measured; None where the user gave it.
    """

    distance: float
    record: Threshold | None = None

    def in_words(self) -> str:
        """The distance and where it comes from."""
        where = "as given" if self.record is None else self.record.in_words()
        return f"{self.distance:.6g}, {where}"


def near_hits(lists: Sequence[Sequence[Hit]], most: float) -> tuple[tuple[Hit, ...], ...]:
    """Each list without the hits that are too far away, places counted anew.

    Args:
        lists: [Q] hits.
        most: largest L2 distance that is kept, whatever decided the order.
    """
    return tuple(
        tuple(
            replace(hit, rank=place)
            for place, hit in enumerate((one for one in hits if one.distance <= most), start=1)
        )
        for hits in lists
    )
