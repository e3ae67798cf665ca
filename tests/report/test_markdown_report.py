"""Reports for people: the tables, the rules below them, and text that cannot break the page."""

from dataclasses import replace

import pytest
from helpers_report import EVALUATION, METRICS

from mtml_deploy.evaluation.ground_truth import GroundTruth, TruthFile
from mtml_deploy.evaluation.protocols import find_protocol
from mtml_deploy.report.metrics_markdown import metrics_markdown


def test_markdown_table_in_percent():
    lines = metrics_markdown([EVALUATION, replace(EVALUATION, label="a|b <i>")]).splitlines()
    assert lines[0] == "# Evaluation, protocol veri776"
    assert lines[2].startswith("| model | mAP (step) | mAP (trapezoid) | mINP | CMC@1 |")
    assert lines[4] == "| MTML-OSG | 64.6 | 64.1 | 25.0 | 92.3 | 95.7 | 95.7 |"
    assert lines[5].startswith("| a&#124;b &#60;i&#62; | 64.6")
    text = "\n".join(lines)
    assert find_protocol("veri776").rule in text
    assert "1 without a match, skipped in every mean; 1 queries with ties" in text
    assert "0123456789ab, fp16, fused, 8192 dimensions" in text


def test_protocols_are_not_mixed_in_one_table():
    other = replace(EVALUATION, metrics=replace(METRICS, protocol="plain"))
    with pytest.raises(ValueError, match="one protocol per table"):
        metrics_markdown([EVALUATION, other])
    with pytest.raises(ValueError, match="no evaluation"):
        metrics_markdown([])


def test_verification_has_a_table_of_its_own():
    lines = metrics_markdown([EVALUATION]).splitlines()
    assert lines[6] == (
        "| model | TPR@FPR 1e-4 | nearer than | TPR@FPR 1e-3 | nearer than | TPR@FPR 1e-2 "
        "| nearer than | matching pairs | other pairs |"
    )
    # a dash where there were too few other pairs
    assert lines[8] == "| MTML-OSG | – | – | 25.0 | 0.5 | 75.0 | 12.346 | 4 | 2000 |"
    without = replace(EVALUATION, metrics=replace(METRICS, verification=None))
    assert "| TPR@FPR" not in metrics_markdown([without])


def test_a_ground_truth_is_named_with_its_hash():
    files = (
        TruthFile("matches", "gt_image.txt", "ab" * 32),
        TruthFile("junk", "jk|.txt", "c" * 64),
    )
    truth = GroundTruth((), (), files, contradictions=0)
    text = metrics_markdown([replace(EVALUATION, truth=truth)])
    assert "Ground truth: matches gt_image.txt (abababababab), junk jk&#124;.txt (cccc" in text
    assert "in place of vehicle ids" in text
    assert "another vehicle id" not in text
    doubtful = replace(EVALUATION, truth=replace(truth, contradictions=7))
    assert "7 of these matches have another vehicle id" in metrics_markdown([doubtful])
    assert "Ground truth" not in metrics_markdown([EVALUATION])
