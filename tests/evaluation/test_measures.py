"""Measures: how each number is taken, and that no two have one name."""

from dataclasses import replace

from helpers_report import METRICS

from mtml_deploy.evaluation.measures import DEFINITIONS, LISTED, MEANS, RATES


def test_numbers_are_taken_as_fractions():
    assert [measure.take(METRICS) for measure in LISTED] == [
        0.64608, 0.641, 0.25, 0.923, 0.957, 0.957,
    ]  # fmt: skip
    assert [rate.take(METRICS) for rate in RATES] == [None, 0.25, 0.75]
    assert {rate.take(replace(METRICS, verification=None)) for rate in RATES} == {None}


def test_every_name_is_of_one_measure():
    measures = (*LISTED, *RATES)
    for names in (
        {measure.key for measure in measures},
        {measure.title for measure in measures},
        {measure.tag for measure in measures},
    ):
        assert len(names) == len(measures)
    assert [measure.tag for measure in LISTED] == [
        "mAP", "mAP_trapezoid", "mINP", "CMC@1", "CMC@5", "CMC@10",
    ]  # fmt: skip


def test_every_rule_is_stated():
    stated = {rule for _, _, rule in DEFINITIONS}
    assert {measure.rule for measure in (*MEANS, *RATES)} <= stated
