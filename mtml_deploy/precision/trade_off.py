"""int8 with as few layers kept in fp16 as the bounds allow.

In: layers ranked by sensitivity and a way to judge a candidate. Out: the trade-off curve, whose
last point is the first that keeps the bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mtml_deploy.errors import ParityError
from mtml_deploy.precision.sensitivity import LayerNoise


@dataclass(frozen=True)
class Quality:
    """How a candidate compares with the fp32 model.

    Attributes:
        cosine_min: part -> cosine of the worst image; the branches and "embedding".
        mean_ap: of the candidate; None where it was not measured.
        passed: whether every bound is kept.
    """

    cosine_min: Mapping[str, float]
    mean_ap: float | None
    passed: bool


@dataclass(frozen=True)
class TradeOff:
    """One point of the curve.

    Attributes:
        kept: the most sensitive layers, by number, that are fp16 instead of int8.
        quality: what that gives.
    """

    kept: int
    quality: Quality


def growing_counts(layers: int) -> Iterator[int]:
    """Numbers of layers to keep: 0, 1, 2, 4, ... and all but one, the last that is int8 at all."""
    yield 0
    count = 1
    while count < layers - 1:
        yield count
        count *= 2
    if layers > 1:
        yield layers - 1


def keep_until_passed(
    ranking: Sequence[LayerNoise], judge: Callable[[Sequence[LayerNoise]], Quality]
) -> tuple[TradeOff, ...]:
    """Keep more and more of the most sensitive layers in fp16 until the bounds are kept.

    Args:
        ranking: layers, the most sensitive first.
        judge: measures a model in which the given layers are int8.

    Returns:
        The curve; its last point passed.

    Raises:
        ParityError: no number of layers is enough.
    """
    curve: list[TradeOff] = []
    for kept in growing_counts(len(ranking)):
        curve.append(TradeOff(kept, judge(ranking[kept:])))
        if curve[-1].quality.passed:
            return tuple(curve)
    last = curve[-1]
    worst = min(last.quality.cosine_min.values())
    measured = "" if last.quality.mean_ap is None else f", mAP {last.quality.mean_ap:.4f}"
    raise ParityError(
        f"with {last.kept} of {len(ranking)} layers in fp16 the int8 model still breaks a bound "
        f"(cosine {worst:.6f}{measured}); nothing was written; export it with --fp16, or allow a "
        "larger --max-map-drop"
    )


def beyond(
    ranking: Sequence[LayerNoise],
    kept: int,
    judge: Callable[[Sequence[LayerNoise]], Quality],
) -> tuple[TradeOff, ...]:
    """The curve after its last point: what more layers in fp16 than needed would give.

    Args:
        ranking: layers, the most sensitive first.
        kept: layers in fp16 of the point that passed.
        judge: measures a model in which the given layers are int8.

    Returns:
        Points of more layers, ascending.
    """
    return tuple(
        TradeOff(more, judge(ranking[more:]))
        for more in growing_counts(len(ranking))
        if more > kept
    )
