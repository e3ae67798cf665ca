"""Reports: what JSON and Markdown say, and a plot that is the same twice."""

import builtins
import json
from dataclasses import replace

import numpy as np
import pytest

from mtml_deploy.embeddings import ModelIdentity
from mtml_deploy.errors import MissingExtraError, MtmlError
from mtml_deploy.evaluate import RetrievalMetrics
from mtml_deploy.protocols import find_protocol
from mtml_deploy.report import (
    Evaluation,
    metrics_json,
    metrics_markdown,
    percent,
    write_cmc_plot,
)

METRICS = RetrievalMetrics(
    protocol="veri776",
    mean_ap=0.64608,
    mean_ap_trapezoid=0.641,
    mean_inp=0.25,
    cmc=np.array([0.923, 0.94, 0.95, 0.956, 0.957]),
    num_queries=3,
    num_valid=2,
    unmatched="skipped",
    ties=1,
    average_precision=np.array([0.5, np.nan, 0.79216]),
)
EVALUATION = Evaluation(
    label="MTML-OSG",
    metrics=METRICS,
    model=ModelIdentity("0123456789abcdef" * 4, "fp16", "fused", 8192),
    query_source="veri:D#query",
    query_names=("a.jpg", "b.jpg", "c.jpg"),
    gallery_source="veri:D#gallery",
    gallery_size=5,
)


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
    assert record["average_precision"] == [
        {"query": "a.jpg", "value": 0.5},
        {"query": "b.jpg", "value": None},
        {"query": "c.jpg", "value": 0.79216},
    ]


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


def test_percent():
    assert [percent(0.64608), percent(1.0), percent(0.0), percent(float("nan"))] == [
        "64.6", "100.0", "0.0", "–",
    ]  # fmt: skip


@pytest.mark.parametrize(("suffix", "head"), [(".png", b"\x89PNG"), (".svg", b"<?xml")])
def test_plots_are_the_same_twice(tmp_path, suffix, head):
    pytest.importorskip("matplotlib")
    curves = {"_a $x$ <b>": METRICS, "other": replace(METRICS, cmc=METRICS.cmc / 2)}
    first, second = tmp_path / f"1{suffix}", tmp_path / f"2{suffix}"
    write_cmc_plot(first, curves)
    write_cmc_plot(second, curves)
    assert first.read_bytes().startswith(head)
    assert first.read_bytes() == second.read_bytes()
    write_cmc_plot(second, {"other": METRICS})
    assert first.read_bytes() != second.read_bytes()


def test_plot_refusals(tmp_path, monkeypatch):
    with pytest.raises(MtmlError, match=r"\.png or \.svg"):
        write_cmc_plot(tmp_path / "cmc.pdf", {"a": METRICS})
    with pytest.raises(ValueError, match="at least one curve"):
        write_cmc_plot(tmp_path / "cmc.png", {})

    really_import = builtins.__import__

    def without_matplotlib(name, *rest):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return really_import(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_matplotlib)
    with pytest.raises(MissingExtraError, match=r"pip install 'mtml-reid\[report\]'"):
        write_cmc_plot(tmp_path / "cmc.png", {"a": METRICS})
    assert list(tmp_path.iterdir()) == []
