"""What a benchmark found, in sentences: what is faster by how much, and whether a target was met.

In: a record. Out: one finding for each ratio that a reader must see first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.measure.rounds import Ratio, Series, in_words
from mtml_deploy.text import percent

_UNASKED: Final = 3
"""Ratios that are told where no target was set; a table has all of them."""


@dataclass(frozen=True)
class Finding:
    """One sentence on a ratio.

    Attributes:
        text: what is how much faster, smaller or better.
        target: what was asked for; empty where nothing was.
        reached: whether it was reached; None where nothing was asked.
    """

    text: str
    target: str
    reached: bool | None


def findings(series: Sequence[Series], ratios: Sequence[Ratio]) -> tuple[Finding, ...]:
    """What to say first: missed targets, then reached ones, or the first ratios where none is set.

    Args:
        series: of a record.
        ratios: made of them.

    Returns:
        None or more.
    """
    asked = sorted((item for item in ratios if item.reached is not None), key=_is_reached)
    return tuple(_finding(item, series) for item in asked or ratios[:_UNASKED])


def target_text(ratio: Ratio) -> str:
    """What was asked of a ratio, and whether it is there; empty where nothing was."""
    if ratio.at_least is None:
        return ""
    return f"at least {percent(ratio.at_least)} %: {'reached' if ratio.reached else 'missed'}"


def _is_reached(ratio: Ratio) -> bool:
    return ratio.reached is True


def _finding(ratio: Ratio, series: Sequence[Series]) -> Finding:
    """The sentence; a ratio that is not of two series is told by its name."""
    pair = next(
        ((above, below) for above in series for below in series
         if f"{above.key}/{below.key}" == ratio.key and above.unit == below.unit),
        None,
    )  # fmt: skip
    text = f"{ratio.title}: {percent(ratio.value)} %" if pair is None else _compared(ratio, *pair)
    return Finding(text, target_text(ratio), ratio.reached)


def _compared(ratio: Ratio, above: Series, below: Series) -> str:
    """How one series compares with another."""
    value = ratio.value
    if above.unit == "B":
        words = f"needs {value:.2f} times the memory of"
    elif above.unit == "s":
        faster = value < 1
        words = f"is {1 / value:.2f} times as fast as" if faster else f"takes {value:.2f} times"
        words += "" if faster else " as long as"
    elif value >= 1:
        words = f"is {value:.2f} times as fast as"
    else:
        words = f"reaches {percent(value)} % of"
    return (
        f"{above.title} {words} {below.title} "
        f"({in_words(above.median, above)}, {in_words(below.median, below)})"
    )
