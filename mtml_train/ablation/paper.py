"""The paper's results (Tables 2, 3 and 4), to stand beside one's own. Fractions 0..1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mtml_deploy.data.source import parse_source

Numbers = tuple[float, float, float]
"""MAP, Rank-1 and Rank-5."""


@dataclass(frozen=True)
class PaperTable:
    """One column block of the paper.

    Attributes:
        title: which table, and what it was measured on.
        plain: variant -> numbers.
        reranked: variant -> numbers after k-reciprocal re-ranking.
    """

    title: str
    plain: Mapping[str, Numbers]
    reranked: Mapping[str, Numbers]


def _parts(**percent: tuple[float, float, float]) -> dict[str, Numbers]:
    """Numbers by variant, from percent as the paper prints them."""
    return {
        f"MTML-{name}": (values[0] / 100, values[1] / 100, values[2] / 100)
        for name, values in percent.items()
    }


_VERI: Final = PaperTable(
    "paper, Table 2: VeRi-776, 150 epochs",
    _parts(
        S=(59.4, 89.5, 94.9), O=(60.8, 90.2, 95.4), G=(62.8, 91.1, 95.8),
        SG=(63.7, 90.6, 95.8), OG=(63.5, 92.0, 96.4), OSG=(64.6, 92.3, 95.7),
    ),
    _parts(OSG=(68.3, 92.0, 94.2)),
)  # fmt: skip
_CITYFLOW: Final = PaperTable(
    "paper, Table 3: CityFlow",
    _parts(S=(17.0, 40.4, 53.3), G=(19.6, 44.5, 58.4), SG=(20.6, 44.1, 55.8)),
    _parts(SG=(25.7, 43.4, 47.2)),
)
_JOINT: Final = {
    "veri": PaperTable(
        "paper, Table 4: trained on CityFlow + VeRi-776, 100 epochs, tested on VeRi-776",
        _parts(
            S=(58.4, 88.5, 94.6), O=(59.2, 89.9, 94.9), G=(61.6, 89.7, 95.1),
            SG=(62.6, 90.8, 95.8), OG=(62.0, 91.2, 95.6), OSG=(62.6, 90.6, 95.5),
        ),
        _parts(OSG=(66.4, 91.5, 93.6)),
    ),
    "cityflow": PaperTable(
        "paper, Table 4: trained on CityFlow + VeRi-776, 100 epochs, tested on CityFlow",
        _parts(
            S=(18.9, 40.6, 53.3), O=(20.3, 44.3, 56.0), G=(21.6, 46.1, 57.5),
            SG=(22.1, 45.8, 56.5), OG=(22.9, 46.6, 58.2), OSG=(23.6, 48.9, 59.7),
        ),
        _parts(OSG=(29.2, 48.8, 50.7)),
    ),
}  # fmt: skip


def paper_table(data: Sequence[str], test: str) -> PaperTable | None:
    """What the paper measured with training data and a test set of these formats.

    Args:
        data: training sources.
        test: test source.

    Returns:
        The table; None where the paper has none.
    """
    trained = {parse_source(each).kind for each in data}
    tested = parse_source(test).kind
    if trained == {"veri", "cityflow"}:
        return _JOINT.get(tested)
    alone = {"veri": _VERI, "cityflow": _CITYFLOW}
    return alone.get(tested) if trained == {tested} else None
