"""`--max-distance`: a number, or the distance that an artifact keeps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Literal

import click

from mtml_deploy.cli.console import write_note

if TYPE_CHECKING:
    from mtml_deploy.artifact.artifact import Artifact
    from mtml_deploy.gallery.cut import Cut
    from mtml_deploy.gallery.values import Hit

Calibrated = Literal["calibrated"]
CALIBRATED: Final[Calibrated] = "calibrated"


class MaxDistance(click.ParamType[float | Calibrated]):
    """A distance of 0 or more, or the word."""

    name = "distance"

    def convert(
        self, value: str | float, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | Calibrated:
        """The number or the word."""
        if value == CALIBRATED:
            return CALIBRATED
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not 0 <= number < math.inf:
            self.fail(
                f"{value!r} is no distance, expected a number of 0 or more, or {CALIBRATED}",
                param,
                ctx,
            )
        return number


def chosen_cut(asked: float | Calibrated | None, artifact: Artifact | None) -> Cut | None:
    """Where lists end; None where the user did not ask.

    Args:
        asked: the option.
        artifact: the model; None where the user named none.

    Raises:
        ArtifactError: the model's distance was asked for and it has none, or a damaged one.
    """
    from mtml_deploy.artifact.threshold import require_calibrated
    from mtml_deploy.gallery.cut import Cut

    if asked is None:
        return None
    if asked != CALIBRATED:
        return Cut(asked)
    if artifact is None:
        raise click.UsageError(f"--max-distance {CALIBRATED} is kept with a model; give MODEL")
    record = require_calibrated(artifact)
    return Cut(record.distance, record)


def note_cut(cut: Cut, lists: Sequence[Sequence[Hit]], *, changed: bool) -> None:
    """Say on stderr how lists were cut, and which became empty.

    Args:
        cut: where they end.
        lists: what is left.
        changed: whether the queries are not images as embedded.
    """
    write_note(f"note: rows up to the distance {cut.in_words()}")
    if cut.record is not None and changed:
        write_note(
            "note: that distance was measured between single images; means and expanded queries "
            "are nearer to all rows"
        )
    empty = sum(not hits for hits in lists)
    if empty:
        write_note(f"note: {empty} of {len(lists)} lists are empty: no row is that near")
