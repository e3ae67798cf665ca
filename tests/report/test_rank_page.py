"""The page: self-contained, escaped, honest about what it does not show."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from helpers_embeddings import embedded
from PIL import Image

from mtml_deploy.data.clock import UNKNOWN_TIME
from mtml_deploy.embed.embeddings import ModelIdentity
from mtml_deploy.errors import EmbeddingsError
from mtml_deploy.evaluation.metrics import evaluate
from mtml_deploy.evaluation.protocols import find_protocol
from mtml_deploy.report.rank_lists import RankedModel
from mtml_deploy.report.rank_page.names import NamesOfSet, ShownName
from mtml_deploy.report.rank_page.page import rank_page
from mtml_deploy.search.rank import rank
from mtml_deploy.search.rerank import RerankOptions

EVIL = '<script>alert("1")</script>&amp;.jpg'
VOID = {"meta", "img", "br"}


class Elements(HTMLParser):
    """Every element with its attributes; fails on tags that do not close in order."""

    def __init__(self, html):
        super().__init__()
        self.found, self.text, self._open = [], "", []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] != "style":
            self.text += data + " "

    def all(self, tag, kind=None):
        return [a for t, a in self.found if t == tag and (kind is None or a.get("class") == kind)]


def written(folder, values, vehicles, cameras, names):
    for position, name in enumerate(names):
        if "gone" not in name and "<" not in name:
            Image.new("RGB", (40, 30), (position * 20, 80, 120)).save(folder / name)
    return embedded(
        np.array(values, dtype=np.float32)[:, None],
        vehicles,
        cameras,
        names=names,
        source="folder <query>",
        root=str(folder),
        model=ModelIdentity("<i>" + "b" * 61, "fp32", "fused", 1),
    )


@pytest.fixture
def ranked(tmp_path):
    protocol = find_protocol("veri776")
    query = written(tmp_path, [0, 10], [1, 2], [0, 0], ["q0.jpg", "q1.jpg"])
    gallery = written(
        tmp_path,
        [0, 1, 2, 3, 9],
        [1, 2, 1, -1, 2],
        [0, 1, 1, 2, 3],
        ["own.jpg", "other.jpg", EVIL, "gone.jpg", "last.jpg"],
    )
    ranking = rank(
        query.features, gallery.features, top_k=10, excluded=protocol.excluded(query, gallery)
    )
    return RankedModel("<b>M</b>", query, gallery, ranking, evaluate(query, gallery, protocol))


def test_frames_ranks_and_average_precision(ranked):
    page = rank_page([ranked], find_protocol("veri776"), which="first")
    elements = Elements(page.html)
    # query 0: own copy removed; other, evil (match), gone (unknown), last; query 1: last (match),
    # gone, evil, other (match), own
    kinds = [a["class"] for a in elements.all("li") if "class" in a][3:]  # after the legend
    assert kinds == ["other", "match", "unknown", "other",
                     "match", "unknown", "other", "match", "other"]  # fmt: skip
    words = [a["alt"] for a in elements.all("img")]
    assert words[0] == "Query q0.jpg"
    assert words[1] == "Rank 1, other vehicle, other.jpg"
    # step AP: 1/2; (1 + 2/4) / 2
    assert re.findall(r"AP <b>([\d.]+)</b>", page.html) == ["50.0", "75.0"]
    assert page.queries == 2
    assert "All 2 queries, in the order of the set." in elements.text
    assert "Gallery images the protocol leaves out are not shown." in elements.text
    assert "1.000" in elements.text


def test_missing_images_are_counted_once_and_said(ranked, tmp_path):
    page = rank_page([ranked], find_protocol("veri776"))
    assert set(page.missing) == {tmp_path / EVIL, tmp_path / "gone.jpg"}
    elements = Elements(page.html)
    assert "2 images could not be read" in elements.text
    assert len(elements.all("span", "picture missing")) == 4
    assert "gone.jpg" in [a["title"] for a in elements.all("span", "name")]


def test_nothing_is_loaded_and_no_name_becomes_markup(ranked):
    page = rank_page([ranked], find_protocol("veri776"), title="<h1>&")
    elements = Elements(page.html)
    assert "<h1>&lt;h1&gt;&amp;</h1>" in page.html
    assert elements.all("script") == elements.all("link") == elements.all("i") == []
    assert "<script" not in page.html
    assert EVIL in [a["title"] for a in elements.all("span", "name")]
    assert "<b>M</b>" in elements.text
    for _, attributes in elements.found:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href"):
            value = attributes.get(name, "#")
            assert value.startswith(("data:image/jpeg;base64,", "#"))
    style = page.html[page.html.index("<style>") : page.html.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_a_label_is_text_wherever_it_stands(ranked):
    script = "<script>alert(1)</script>\x1b"
    options = RerankOptions(k1=2, k2=1)
    models = [replace(ranked, label=script), replace(ranked, label=script, reranking=options)]
    page = rank_page(models, find_protocol("veri776"), which="worst")
    shown = "&lt;script&gt;alert(1)&lt;/script&gt;\\x1b"
    # twice in the table, the order, a note, and for each of two queries twice
    assert page.html.count(shown) == 8
    assert "<script" not in page.html and "\x1b" not in page.html


def test_two_models_are_stacked_per_query(ranked):
    flipped = rank(-ranked.query.features, ranked.gallery.features, top_k=3)
    other = replace(ranked, label="second", ranking=flipped)
    elements = Elements(rank_page([ranked, other], find_protocol("veri776")).html)
    assert len(elements.all("article")) == 2
    assert len(elements.all("div", "list")) == 4
    assert elements.text.count("second") == 3  # the table, and each query
    assert "of <b>M</b>" in elements.text


def test_gains_are_shown_and_said(ranked):
    protocol = find_protocol("veri776")
    flipped = replace(ranked.query, features=-ranked.query.features)
    other = replace(ranked, label="second", metrics=evaluate(flipped, ranked.gallery, protocol))
    page = rank_page([ranked, other], protocol, which="gain", baseline=1)
    # query 1 finds its vehicle at places 1 and 4, from -10 at 2 and 5: (1 + 2/4 - 1/2 - 2/5) / 2;
    # query 0 is the same from 0 and -0
    assert re.findall(r"points of AP\">([^<]+)<", page.html) == ["+30.0 points", "+0.0 points"]
    assert [a["alt"] for a in Elements(page.html).all("img") if "Query" in a["alt"]] == [
        "Query q1.jpg", "Query q0.jpg"
    ]  # fmt: skip
    assert "AP differs most between <b>M</b> and second" in Elements(page.html).text
    assert "points of AP" not in rank_page([ranked, other], protocol).html


def test_names_lose_their_middle_and_shared_folders(ranked):
    names = tuple(f"image_test/000{n}_c002_0003060{n}_0.jpg" for n in range(5))
    timed = np.array([UNKNOWN_TIME, 0, 1_500_000, UNKNOWN_TIME, 0])
    gallery = replace(ranked.gallery, names=names, times_us=timed)
    page = rank_page([replace(ranked, gallery=gallery)], find_protocol("veri776"), limit=1)
    named = r'title="image_test/0001_c002_00030601_0.jpg"><span>([^<]*)</span><span>([^<]*)</span>'
    assert re.findall(named, page.html) == [("0001_c002_00030", "601_0.jpg")]
    assert page.html.count(">1970-01-01 00:00:01.500000 UTC</time>") == 1
    assert NamesOfSet(["a/x.jpg"]).shown("a/x.jpg") == ShownName("a/x.jpg", "x.jpg", "")
    folders = NamesOfSet(["t/1/a.jpg", "t/12/a.jpg"])  # cut between folders, not in one's name
    assert folders.shown("t/12/a.jpg").head == "12/a.jpg"


def test_the_limit_is_said(ranked):
    page = rank_page([ranked], find_protocol("plain"), which="worst", limit=1, length=2)
    elements = Elements(page.html)
    assert page.queries == 1
    assert "1 of 2 queries, lowest AP first." in elements.text
    assert "q0.jpg" in elements.text
    assert "q1.jpg" not in elements.text
    assert "leaves out are not shown" not in elements.text
    assert len(elements.all("figure")) == 3


def test_unknown_ids_give_no_metrics_and_no_colours(ranked):
    nobody = np.full(2, -1, dtype=np.int32)
    plain = replace(ranked, query=replace(ranked.query, vehicle_ids=nobody), metrics=None)
    elements = Elements(rank_page([plain], find_protocol("plain"), limit=1).html)
    kinds = {a["class"] for a in elements.all("li")[3:] if "class" in a}
    assert kinds == {"unknown"}
    assert "There are no metrics" in elements.text
    assert "CMC@1" not in elements.text
    assert "1 of 2 queries, spread evenly over the set." in elements.text


def test_refusals(ranked):
    with pytest.raises(ValueError, match="length must be at least 1"):
        rank_page([ranked], find_protocol("plain"), length=0)
    shorter = replace(ranked.gallery, names=("x", *ranked.gallery.names[1:]))
    with pytest.raises(EmbeddingsError, match="names or order differ"):
        rank_page([ranked, replace(ranked, gallery=shorter)], find_protocol("plain"))
