"""Reports for programs: what the JSON says."""

import json
from dataclasses import replace

from helpers_report import EVALUATION, METRICS

from mtml_deploy.evaluation.ground_truth import GroundTruth, TruthFile
from mtml_deploy.evaluation.measures import FPR_TEXTS
from mtml_deploy.evaluation.protocols import find_protocol
from mtml_deploy.report.metrics_json import metrics_json


def test_json_says_what_was_measured_how_and_on_what():
    record = json.loads(metrics_json(EVALUATION))
    assert record["schema"] == 1
    assert record["mean_ap"] == 0.64608
    assert record["mean_ap_trapezoid"] == 0.641
    assert record["mean_inp"] == 0.25
    assert record["cmc"] == [0.923, 0.94, 0.95, 0.956, 0.957]
    assert record["model"] == {
        "model_sha256": "0123456789abcdef" * 4, "precision": "fp16", "embedding": "fused",
        "dim": 8192,
    }  # fmt: skip
    assert record["protocol"]["rule"] == find_protocol("veri776").rule
    assert record["queries"] == {
        "all": 3, "valid": 2, "unmatched": 1, "unmatched_count_as": "skipped", "with_ties": 1,
    }  # fmt: skip
    assert record["gallery"] == {"source": "veri:D#gallery", "images": 5}
    assert "trapezoid" in record["definitions"]["mean_ap_trapezoid"]
    assert record["verification"] == {
        "positive_pairs": 4, "negative_pairs": 2000,
        "tpr_at_fpr": {"1e-4": None, "1e-3": 0.25, "1e-2": 0.75},
        "distance_at_fpr": {"1e-4": None, "1e-3": 0.5, "1e-2": 12.3456789},
    }  # fmt: skip
    assert "one threshold" in record["definitions"]["tpr_at_fpr"]
    assert record["ground_truth"] is None
    assert record["average_precision"] == [
        {"query": "a.jpg", "value": 0.5},
        {"query": "b.jpg", "value": None},
        {"query": "c.jpg", "value": 0.79216},
    ]


def test_json_says_where_a_ground_truth_came_from():
    truth = GroundTruth((), (), (TruthFile("matches", "gt.txt", "ab" * 32),), contradictions=2)
    record = json.loads(metrics_json(replace(EVALUATION, truth=truth)))
    assert record["ground_truth"]["files"] == [
        {"role": "matches", "path": "gt.txt", "sha256": "ab" * 32}
    ]
    assert record["ground_truth"]["contradictions"] == 2
    assert "in place of vehicle ids" in record["ground_truth"]["rule"]


def test_metrics_of_ranks_alone_have_no_verification():
    without = replace(EVALUATION, metrics=replace(METRICS, verification=None))
    assert json.loads(metrics_json(without))["verification"] is None


def test_names_of_false_positive_rates():
    assert FPR_TEXTS == ("1e-4", "1e-3", "1e-2")
