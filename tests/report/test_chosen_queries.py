"""Which queries a page shows."""

import numpy as np
import pytest
from test_rank_lists import model

from mtml_deploy.errors import ProtocolError
from mtml_deploy.report.chosen_queries import choose_queries, gains

FIVE = tuple("abcde")


@pytest.mark.parametrize(
    ("which", "limit", "expected"),
    [
        ("first", 2, [0, 1]),
        ("best", 3, [3, 0, 4]),
        ("worst", 3, [2, 0, 4]),
        ("best", 9, [3, 0, 4, 2, 1]),
        ("spread", 3, [3, 4, 1]),
        ("spread", 5, [3, 0, 4, 2, 1]),
    ],
)
def test_choice_of_queries(which, limit, expected):
    # row 1 does not count; rows 0 and 4 tie
    ranked = model([0.5, np.nan, 0.1, 0.9, 0.5], query_names=FIVE)
    assert choose_queries(ranked, which=which, limit=limit).tolist() == expected


def test_choice_without_ids():
    ranked = model(query_names=FIVE)
    assert choose_queries(ranked, which="spread", limit=3).tolist() == [0, 2, 4]
    assert choose_queries(ranked, which="first", limit=3).tolist() == [0, 1, 2]
    with pytest.raises(ProtocolError, match="the worst queries cannot be told"):
        choose_queries(ranked, which="worst", limit=3)
    with pytest.raises(ValueError, match="limit must be at least 1"):
        choose_queries(ranked, which="first", limit=0)


def test_gains_and_losses_by_their_size_then_from_gain_to_loss():
    ours = model([0.5, np.nan, 0.1, 0.9, 0.5], query_names=FIVE)
    other = model([0.7, 0.3, 0.1, 0.4, np.nan], query_names=FIVE)
    assert gains(ours, other) == pytest.approx([-0.2, np.nan, 0.0, 0.5, np.nan], nan_ok=True)

    def chosen(limit):
        return choose_queries(ours, which="gain", limit=limit, baseline=other).tolist()

    assert chosen(1) == [3]
    assert chosen(2) == [3, 0]  # the loss of 0.2 is larger than no change
    assert chosen(3) == [3, 2, 0]
    assert chosen(9) == [3, 2, 0, 1, 4]  # what does not count under both comes last


def test_equal_gains_keep_the_order_of_queries():
    ours = model([0.5, 0.5, 0.5, 0.5, 0.5], query_names=FIVE)
    other = model([0.25, 0.75, 0.25, 0.75, 0.5], query_names=FIVE)
    chosen = choose_queries(ours, which="gain", limit=3, baseline=other)
    assert chosen.tolist() == [0, 2, 1]


def test_gains_need_another_model_and_labels():
    ours, unlabelled = model([0.5] * 5, query_names=FIVE), model(query_names=FIVE)
    with pytest.raises(ProtocolError, match="name the other one with --compare"):
        choose_queries(ours, which="gain", limit=3)
    for pair in ((ours, unlabelled), (unlabelled, ours)):
        with pytest.raises(ProtocolError, match="gains cannot be told: vehicle ids are unknown"):
            choose_queries(pair[0], which="gain", limit=3, baseline=pair[1])
