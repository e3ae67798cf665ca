"""What an approximate index was measured to miss, and the setting that was chosen by it."""

from __future__ import annotations

from mtml_deploy.record_file import Fraction, Positive, Record


class Measured(Record, frozen=True):
    """The recall of the chosen setting with one filter.

    Attributes:
        where: the filter in words; "all rows" without one.
        share: of the rows pass it; 0..1.
        recall: share of the exact nearest rows that were found; 0..1.
    """

    where: str
    share: Fraction
    recall: Fraction


class Tuning(Record, frozen=True):
    """A chosen setting.

    Attributes:
        ef: candidates that the server keeps while it walks its graph.
        recall: the worst of `measured`; 0..1.
        target: recall that was asked for.
        top_k: places of the lists that were compared.
        queries: how many queries.
        measured: with each filter.
    """

    ef: Positive
    recall: Fraction
    target: Fraction
    top_k: Positive
    queries: Positive
    measured: tuple[Measured, ...]
