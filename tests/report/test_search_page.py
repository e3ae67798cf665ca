"""The search page in a file: what a command wrote, opened without a service."""

import json
import re

import numpy as np
from click.testing import CliRunner
from helpers_artifact import write_artifact, write_images

import mtml_deploy as md
from mtml_deploy.cli.main import main
from mtml_deploy.data.records import ImageRecord
from mtml_deploy.embed.embeddings import Embeddings, ModelIdentity
from mtml_deploy.report.search_page.page import lists_page, service_page


def data_of(html: str):
    """What the page holds, and nothing of it outside its block."""
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)
    return json.loads(text)


def test_search_writes_every_list_with_its_images(tmp_path):
    write_artifact(tmp_path / "model")
    paths = write_images(tmp_path / "images", 4)
    with md.open_model(tmp_path / "model") as model:
        rows = model.embed(paths)
    md.create_gallery(tmp_path / "cars", rows.model)
    with md.open_gallery(tmp_path / "cars", write=True) as gallery:
        gallery.add(rows)
    paths[3].unlink()  # it has a placeholder
    page = tmp_path / "page.html"
    words = ["search", "--gallery", f"{tmp_path / 'cars'}", f"{tmp_path / 'model'}",
             "--query", f"{tmp_path / 'images'}", "--html", f"{page}"]  # fmt: skip
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    found = data_of(page.read_text())
    assert [query["name"] for query in found["queries"]] == ["0000.png", "0001.png", "0002.png"]
    for number, query in enumerate(found["queries"]):
        first = query["ranks"][0]
        assert (first["row"], first["distance"]) == (number + 1, 0.0)
        assert len(query["ranks"]) == 4
    shown = {name.rsplit("/", 1)[1]: address for name, address in found["pictures"].items()}
    assert shown.pop("0003.png") == ""
    assert all(address.startswith("data:image/jpeg;base64,") for address in shown.values())
    # again: only with a word, and no other file
    assert "--overwrite" in CliRunner().invoke(main, words).output
    assert CliRunner().invoke(main, [*words, "--overwrite"]).exit_code == 0
    page.write_text("a page of mine")
    assert CliRunner().invoke(main, [*words, "--overwrite"]).exit_code != 0
    assert page.read_text() == "a page of mine"


def test_names_cannot_leave_their_block(tmp_path):
    evil = "</script><script>alert(1)</script><!--"
    rows = Embeddings.of(
        np.array([[1.0, 2.0]], np.float32),
        [ImageRecord(tmp_path / evil)],
        names=[evil],
        model=ModelIdentity("0" * 64, "fp32", "fused", 2),
        source=evil,
    )
    html = lists_page(evil, {"label": evil}, rows, [[]])
    assert html.count("</script>") == service_page().count("</script>") == 2
    assert "alert(1)</script>" not in html
    assert data_of(html)["queries"][0]["name"] == evil
