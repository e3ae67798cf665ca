"""Several evaluations in one table and one plot, read back from what `evaluate` writes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from helpers_embeddings import embedded
from helpers_outputs import Writer, refused
from helpers_report import EVALUATION, METRICS

from mtml_deploy.cli.main import main
from mtml_deploy.errors import DataError
from mtml_deploy.evaluation.random_galleries import DrawnMetrics
from mtml_deploy.report.draws_report import DrawnEvaluation, drawn_json
from mtml_deploy.report.judged_file import read_judged
from mtml_deploy.report.metrics_json import metrics_json
from mtml_deploy.report.overview import overview_table
from mtml_deploy.search.rerank import RerankOptions

BETTER = replace(
    EVALUATION,
    label="MTML-OSG, re-ranked",
    metrics=replace(METRICS, mean_ap=0.683, cmc=np.array([0.9, 0.91, 0.92, 0.93, 0.94])),
    reranking=RerankOptions(),
)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """One result with two stages, and a list of one of another protocol."""
    (tmp_path / "a.json").write_text(metrics_json(EVALUATION, reranked=BETTER))
    other = replace(
        EVALUATION, label="<b>other</b>", query_source="veri:E#query",
        metrics=replace(METRICS, protocol="market", mean_inp=float("nan")),
    )  # fmt: skip
    (tmp_path / "b.json").write_text(f"[{metrics_json(other)}]")
    return [tmp_path / "a.json", tmp_path / "b.json"]


def test_the_table_has_every_stage_of_every_file(files: list[Path], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    words = ["report", *map(str, files), "--out", str(tmp_path / "R"), "--title", "All"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    lines = [line for line in result.stdout.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert [row[:7] for row in cells] == [
        ["model", "mAP (step)", "mAP (trapezoid)", "mINP", "CMC@1", "CMC@5", "CMC@10"],
        ["---"] + ["---:"] * 6,
        ["MTML-OSG", "64.6", "64.1", "25.0", "92.3", "95.7", "95.7"],
        ["MTML-OSG, re-ranked", "68.3", "64.1", "25.0", "90.0", "94.0", "94.0"],
        ["&#60;b&#62;other&#60;/b&#62;", "64.6", "64.1", "–", "92.3", "95.7", "95.7"],
    ]
    assert cells[2][7:] == ["3", "veri776", "veri:D#query in veri:D#gallery"]
    assert "protocols are not comparable" in result.stdout and "galleries differ" in result.stdout
    folder = tmp_path / "R"
    assert sorted(each.name for each in folder.iterdir()) == [
        "cmc.png", "cmc.svg", "report.html", "report.json", "report.md",
    ]  # fmt: skip
    assert (folder / "report.md").read_text() == result.stdout
    page = (folder / "report.html").read_text()
    assert "&lt;b&gt;other&lt;/b&gt;" in page and "<b>other" not in page
    assert "data:image/svg+xml;base64," in page and "http" not in page.replace("http-equiv", "")
    rows = json.loads((folder / "report.json").read_text())["rows"]
    assert [row["mean_ap"] for row in rows] == [0.64608, 0.683, 0.64608]
    assert (rows[0]["cmc"], rows[2]["mean_inp"]) == (METRICS.cmc.tolist(), None)


def test_drawn_galleries_are_their_mean(tmp_path: Path) -> None:
    from mtml_deploy.evaluation.random_galleries import pool_images

    images = embedded(np.zeros((4, 2), dtype=np.float32), [1, 1, 2, 2], names="abcd", source="all")
    second = replace(METRICS, protocol="vehicleid", mean_ap=0.5, cmc=np.zeros(5), num_queries=4)
    first = replace(METRICS, protocol="vehicleid", num_queries=4)
    drawn = DrawnMetrics("vehicleid", (first, second), seed=0, gallery_size=5)
    (tmp_path / "d.json").write_text(drawn_json(DrawnEvaluation("M", drawn, pool_images(images))))
    (row,) = read_judged([tmp_path / "d.json"])
    assert row.mean_ap == pytest.approx((0.64608 + 0.5) / 2)
    assert row.cmc.tolist() == pytest.approx((METRICS.cmc / 2).tolist())
    assert (row.queries, row.judged, row.protocol) == (4, "all", "vehicleid")
    # the curve is shorter than the table's last rank
    assert overview_table([row]).rows[0][6] == f"{100 * 0.957 / 2:.1f}"


def test_names_are_told_apart_by_their_files(files: list[Path], tmp_path: Path) -> None:
    again = tmp_path / "again.json"
    again.write_bytes(files[0].read_bytes())
    labels = [row.label for row in read_judged([files[0], again])]
    assert labels == ["a: MTML-OSG", "a: MTML-OSG, re-ranked",
                      "again: MTML-OSG", "again: MTML-OSG, re-ranked"]  # fmt: skip
    with pytest.raises(DataError, match="two results are called"):
        read_judged([files[0], files[0]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing", "malformed"),
        ("[]", "it holds no result"),
        ("[3]", "an object or a list of objects"),
        ('{"schema": 1}', "lacks"),
        ('{"schema": 9, "protocol": {"name": "plain"}}', "schema is 9, this version reads 1"),
        (metrics_json(EVALUATION).replace("0.64608", "64.6", 1), "mean_ap"),
    ],
)
def test_another_file_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(DataError, match=r"no result of mtml-deploy evaluate") as caught:
        read_judged([tmp_path / "x.json"])
    assert message in str(caught.value)


def test_only_an_earlier_report_is_replaced(files: list[Path], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    writer = Writer(main, f"report {files[0]}", "--out", "R", folder=True)
    out = tmp_path / "R"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    refused(tmp_path, lambda: writer.run(tmp_path, "--overwrite"))
    (out / "notes.txt").unlink()
    out.rmdir()
    assert writer.run(tmp_path).exit_code == 0
    refused(tmp_path, lambda: writer.run(tmp_path), hint=True)
    assert writer.run(tmp_path, "--overwrite").exit_code == 0
    (out / "notes.txt").write_text("mine")
    assert "notes.txt" in refused(tmp_path, lambda: writer.run(tmp_path, "--overwrite"))
