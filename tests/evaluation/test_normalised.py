"""Embeddings as they are and scaled to length 1, in one report; worked out by hand.

The query points along the first axis. Its vehicle is far away in the same direction, another one is
near in a direction of its own: L2 finds the match second, cosines find it first.
"""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from helpers_embeddings import embedded

import mtml_deploy as md
from mtml_deploy.cli.main import main
from mtml_deploy.embed.unit_length import unit_length, unit_rows
from mtml_deploy.evaluation import normalised as module
from mtml_deploy.report.judged_file import read_judged


def images(values, vehicles, source):
    return embedded(values, vehicles, source=source)


QUERY = images([[1, 0]], [7], "q")
GALLERY = images([[10, 0], [1, 1], [0, 2]], [7, 3, 4], "g")


@pytest.fixture
def place(tmp_path):
    QUERY.save(tmp_path / "q.npz")
    GALLERY.save(tmp_path / "g.npz")
    return tmp_path


def run(folder, *words):
    files = ("--query", folder / "q.npz", "--gallery", folder / "g.npz", "--protocol", "plain")
    return CliRunner().invoke(
        main, ["evaluate", *map(str, (*files, "--label", "M", "--explain", *words))]
    )


def test_both_are_shown_and_kept(place):
    # squared distances 81, 1, 5: the match is third; cosines 1, 0.707, 0: it is first
    result = run(place, "--json", place / "m.json", "--markdown", place / "m.md")
    assert result.exit_code == 0, result.output
    record = json.loads((place / "m.json").read_text())
    assert record["schema"] == 1
    assert record["mean_ap"] == pytest.approx(1 / 3)
    scaled = record["normalised"]
    assert (scaled["label"], scaled["mean_ap"], scaled["cmc"][0]) == ("M, length 1", 1.0, 1.0)
    assert "that of cosines" in scaled["rule"]
    for text in (result.stdout, (place / "m.md").read_text()):
        assert "| M | 33.3 |" in text
        assert "| M, length 1 | 100.0 |" in text
        assert "- Length 1: embeddings are scaled to length 1 first" in text
    # the page of several results has both rows
    rows = read_judged([place / "m.json"])
    assert [(row.label, row.mean_ap) for row in rows] == [
        ("M", pytest.approx(1 / 3)),
        ("M, length 1", 1.0),
    ]


def test_what_is_asked_for_is_what_is_judged(place):
    found = md.evaluate(QUERY, GALLERY, "plain", label="M")
    # the numbers of the evaluation are those of the embeddings as they are
    assert found.mean_ap == pytest.approx(1 / 3)
    assert list(found.stages) == ["M"]
    assert [row.label for row in found.rows] == ["M", "M, length 1"]
    several = md.evaluate(QUERY, GALLERY, "plain", label="M", rerank=True)
    assert [row.label for row in several.rows] == ["M", "M, length 1", "M, re-ranked"]
    without = md.evaluate(QUERY, GALLERY, "plain", label="M", normalised=False)
    assert [row.label for row in without.rows] == ["M"]
    assert "normalised" not in json.loads(without.json)
    result = run(place, "--no-normalised")
    assert "length 1" not in result.stdout


def test_rows_of_length_one_are_not_judged_twice():
    found = md.evaluate(unit_length(QUERY), unit_length(GALLERY), "plain", normalised=True)
    assert len(found.rows) == 1
    assert found.mean_ap == 1.0


def test_a_large_gallery_is_ordered_once_unless_asked(place, monkeypatch):
    assert module.CHEAP >= 1 * 3 * 2
    monkeypatch.setattr(module, "CHEAP", 5)
    result = run(place)
    assert "length 1 |" not in result.stdout
    assert "would order 3 images for 1 queries once more" in result.stderr
    asked = run(place, "--normalised")
    assert "| M, length 1 | 100.0 |" in asked.stdout
    assert "once more" not in asked.stderr


def test_a_protocol_that_draws_has_no_fixed_order(place):
    words = ("--gallery", place / "g.npz", "--protocol", "vehicleid", "--normalised")
    result = CliRunner().invoke(main, ["evaluate", *map(str, words)])
    assert result.exit_code == 2
    assert "--normalised is for a fixed gallery" in result.stderr
    with pytest.raises(ValueError, match="leave out normalised"):
        md.evaluate(None, GALLERY, "vehicleid", normalised=True)


def test_unit_rows_by_hand():
    rows = np.array([[3, 4], [0, 0], [0, -2]], dtype=np.float32)
    assert unit_rows(rows).tolist() == [[0.6, 0.8], [0, 0], [0, -1]]
    # two parts of one value each: only signs are left, over the root of 2
    assert unit_rows(rows, parts=2) == pytest.approx(np.sign(rows) / 2**0.5)
    for parts in (0, 3):
        with pytest.raises(ValueError, match=f"have no {parts} equal parts"):
            unit_rows(rows, parts=parts)
    many = images(np.arange(1, 21).reshape(10, 2), [1] * 10, "m")
    scaled = unit_length(many)
    assert scaled.features == pytest.approx(unit_rows(many.features), abs=1e-7)
    assert (scaled.names, scaled.features.dtype) == (many.names, np.float32)
