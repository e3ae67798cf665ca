"""Names that are markup, formulas or orders to a terminal stay text wherever they are shown."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from helpers_artifact import write_images

import mtml_deploy as md
from mtml_deploy.cli.main import main
from mtml_deploy.data.csv_table import load_table, table_text
from mtml_deploy.data.ids import read_id
from mtml_deploy.data.records import ImageRecord
from mtml_deploy.embed.embeddings import Embeddings, ModelIdentity

NAMES = (
    "<script>alert(1)</script>.png",
    '"onerror="alert(2)".png',
    "'><img src=x onerror=alert(3)>.png",
    "\x1b[31m\x1b]0;title\x07red.png",
    "[bold]loud[/bold] | a | b |.png",
    "line\nend\r\x00\u009b2J.png",
)


class Tags(HTMLParser):
    """The tags of a page, and whether any runs code."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)
        assert tag != "script"
        assert not [name for name, _ in attrs if name.startswith("on")], attrs


def rows(folder: Path) -> Embeddings:
    numbers = np.arange(6, dtype=np.int32)
    random = np.random.default_rng(0)
    return Embeddings(
        features=random.normal(size=(6, 3)).astype(np.float32),
        vehicle_ids=numbers % 2,
        camera_ids=numbers,
        orientations=numbers,
        tracklet_ids=numbers,
        names=NAMES,
        root=str(folder / "<b>root</b>"),
        source="csv:<script>source</script>\x1b[2J",
        model=ModelIdentity("a" * 64, "fp32", "fused", 3),
    )


def harmless(text: str, *, keep: str = "\n") -> None:
    """No control character that a terminal obeys."""
    assert not [char for char in text if not char.isprintable() and char not in keep]


def test_a_page(tmp_path: Path) -> None:
    found = rows(tmp_path)
    md.rank_page(found, found, label="<script>label</script>").save(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(page)
    assert "body" in tags.found
    harmless(page)
    assert "&lt;script&gt;alert(1)" in page and "&lt;script&gt;label" in page


def test_commands(tmp_path: Path) -> None:
    found = rows(tmp_path)
    found.save(tmp_path / "e.npz")
    sets = ["--query", str(tmp_path / "e.npz"), "--gallery", str(tmp_path / "e.npz")]
    outputs = ["--json", str(tmp_path / "m.json"), "--markdown", str(tmp_path / "m.md")]
    for words in (
        ["evaluate", *sets, "--protocol", "plain", "--label", "<i>\x1b[1m[red]", *outputs],
        ["rank", *sets, "--protocol", "plain", "--top-k", "3"],
        ["rank", *sets, "--protocol", "plain", "--json", str(tmp_path / "r.json")],
    ):
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 0, result.output
        harmless(result.output, keep="\n\t")
    text = (tmp_path / "m.md").read_text(encoding="utf-8")
    harmless(text)
    assert "<script" not in text and "<i>" not in text
    for name in ("m.json", "r.json"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        harmless(text)
        assert "<script>alert(1)" in json.dumps(json.loads(text))


@pytest.mark.parametrize("text", ["=1+1", "+A1", "-A1", "@SUM(A1)", "-AB 12"])
def test_an_id_that_is_a_formula(tmp_path: Path, text: str) -> None:
    images = write_images(tmp_path, 2)
    records = [
        ImageRecord(images[0], read_id(text), 3),
        ImageRecord(images[1], read_id("AB 12"), 3),
    ]
    table = table_text(records)
    cells = [row[1] for row in csv.reader(table.splitlines())]
    assert cells == ["vehicle_id", f"'{text}", "AB 12"]
    (tmp_path / "t.csv").write_text(table)
    again = load_table(tmp_path / "t.csv").records
    assert [str(each.vehicle_id) for each in again] == [text, "AB 12"]
    assert [each.vehicle_id for each in again] == [each.vehicle_id for each in records]
    assert replace(again[0]) == records[0]
