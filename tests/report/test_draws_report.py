"""Reports of drawn galleries: the spread, how they were drawn, and both results of re-ranking."""

import json
from dataclasses import replace

import numpy as np
import pytest

from mtml_deploy.embed.embeddings import Embeddings, ModelIdentity
from mtml_deploy.evaluation.metrics import RetrievalMetrics
from mtml_deploy.evaluation.protocols import find_protocol
from mtml_deploy.evaluation.random_galleries import DrawnMetrics, ImagePool
from mtml_deploy.evaluation.verification import Verification
from mtml_deploy.report.draws_report import DrawnEvaluation, drawn_json, drawn_markdown
from mtml_deploy.search.rerank import RerankOptions

LABELS = np.array([1, 1, 2], dtype=np.int32)
IMAGES = Embeddings(
    features=np.zeros((3, 1), dtype=np.float32),
    vehicle_ids=LABELS, camera_ids=LABELS, orientations=LABELS, tracklet_ids=LABELS,
    names=("a", "b", "c"), root="", source="all|images",
    model=ModelIdentity("ab" * 32, "fp32", "fused", 1),
)  # fmt: skip
FIRST = RetrievalMetrics(
    protocol="vehicleid", mean_ap=0.5, mean_ap_trapezoid=0.25, mean_inp=0.5,
    cmc=np.array([0.25, 0.75]), num_queries=1, num_valid=1, unmatched="skipped", ties=1,
    average_precision=np.array([0.5]),
    verification=Verification(
        positives=3, negatives=1000, tpr=(None, 0.25, 0.5), distances=(None, 1, 2)
    ),
)  # fmt: skip
SECOND = replace(
    FIRST, mean_ap=0.75, ties=2, verification=replace(FIRST.verification, tpr=(None, 0.5, 0.5))
)
EVALUATION = DrawnEvaluation(
    "M", DrawnMetrics("vehicleid", (FIRST, SECOND), seed=4, gallery_size=2),
    ImagePool(IMAGES, copies=5, unknown=6),
)  # fmt: skip
AFTER = replace(EVALUATION, label="M, re-ranked", reranking=RerankOptions(k1=9, k2=3, weight=0.2))
# of 0.5 and 0.75 with divisor 1
STD = 0.125 * 2**0.5


def test_json_has_the_spread_and_every_draw():
    record = json.loads(drawn_json(EVALUATION))
    assert record["mean_ap"] == {
        "mean": 0.625, "std": pytest.approx(STD), "low": 0.5, "high": 0.75,
    }  # fmt: skip
    assert record["cmc_at_1"] == {"mean": 0.25, "std": 0, "low": 0.25, "high": 0.25}
    # beyond a gallery of two nothing changes
    assert record["cmc_at_10"]["mean"] == 0.75
    assert record["tpr_at_fpr_1e-4"] is None
    assert record["tpr_at_fpr_1e-3"]["mean"] == 0.375
    assert record["draws"] == {"count": 2, "seed": 4}
    assert record["images"] == {
        "source": "all|images", "used": 3, "vehicles": 2, "copies_left_out": 5,
        "unknown_left_out": 6,
    }  # fmt: skip
    assert [draw["mean_ap"] for draw in record["per_draw"]] == [0.5, 0.75]
    assert record["per_draw"][0]["cmc"] == [0.25, 0.75]
    assert record["protocol"]["rule"] == find_protocol("vehicleid").rule
    assert "draws - 1" in record["definitions"]["spread"]
    assert "reranked" not in record
    after = json.loads(drawn_json(EVALUATION, reranked=AFTER))["reranked"]
    assert (after["k1"], after["k2"], after["lambda"]) == (9, 3, 0.2)
    assert after["mean_ap"]["mean"] == 0.625


def test_markdown_table_in_percent():
    lines = drawn_markdown([EVALUATION, AFTER]).splitlines()
    assert lines[0] == "# Evaluation, protocol vehicleid"
    assert lines[2] == "| model | measure | mean | std | min | max |"
    assert lines[4] == "| M | mAP (step) | 62.5 | 17.7 | 50.0 | 75.0 |"
    assert lines[7] == "| M | CMC@1 | 25.0 | 0.0 | 25.0 | 25.0 |"
    assert "| M | TPR@FPR 1e-4 | – | – | – | – |" in lines
    assert "| M | TPR@FPR 1e-3 | 37.5 | 17.7 | 25.0 | 50.0 |" in lines
    assert "| M, re-ranked | mAP (step) | 62.5 | 17.7 | 50.0 | 75.0 |" in lines
    text = "\n".join(lines)
    assert find_protocol("vehicleid").rule in text
    assert "2 draws, seed 4; in each 1 queries against 2 gallery images" in text
    assert "of all&#124;images; left out: 5 copies, 6 images of unknown vehicle; 3 queries" in text
    assert "k1 9, k2 3, lambda 0.2" in text
    assert "Re-ranked" not in drawn_markdown([EVALUATION])


def test_a_single_draw_has_no_deviation():
    alone = replace(EVALUATION, metrics=replace(EVALUATION.metrics, draws=(FIRST,)))
    assert "| M | mAP (step) | 50.0 | – | 50.0 | 50.0 |" in drawn_markdown([alone])
    assert json.loads(drawn_json(alone))["mean_ap"]["std"] is None


def test_one_protocol_per_table():
    with pytest.raises(ValueError, match="no evaluation"):
        drawn_markdown([])
    other = replace(EVALUATION, metrics=replace(EVALUATION.metrics, protocol="plain"))
    with pytest.raises(ValueError, match="one protocol per table"):
        drawn_markdown([EVALUATION, other])
