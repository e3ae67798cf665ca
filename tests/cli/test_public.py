"""What `import mtml_deploy` offers: every name is there, and results are those of the commands."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from helpers_artifact import write_artifact, write_images
from msgspec import structs
from PIL import Image

import mtml_deploy as md
from mtml_deploy.cli.main import main
from mtml_deploy.embed.embeddings import ModelIdentity
from mtml_deploy.errors import EmbeddingsError, ProtocolError

MODEL = ModelIdentity("a" * 64, "fp32", "fused", 1)


def line(values, vehicles=None, cameras=None, source="set"):
    """Images on a line."""
    rows = len(values)
    return md.Embeddings(
        features=np.array(values, dtype=np.float32).reshape(rows, 1),
        vehicle_ids=np.array(vehicles or [-1] * rows, dtype=np.int32),
        camera_ids=np.array(cameras or [-1] * rows, dtype=np.int32),
        orientations=np.full(rows, -1, dtype=np.int32),
        tracklet_ids=np.full(rows, -1, dtype=np.int32),
        names=tuple(f"{source}{row}.png" for row in range(rows)),
        root="",
        source=source,
        model=MODEL,
    )


# one query of vehicle 7 at 0; its gallery by distance: 7 (same camera), 3, 7
QUERY = line([0], [7], [1], "q")
GALLERY = line([2, 1, 3], [3, 7, 7], [2, 1, 2], "g")


def test_every_name_is_there_and_no_other():
    assert set(md.__all__) <= set(dir(md))
    for name in md.__all__:
        assert getattr(md, name) is not None
    assert callable(md.evaluate)  # no folder of that name stands before it
    with pytest.raises(AttributeError, match="has no attribute 'embed_everything'"):
        _ = md.embed_everything


def test_rank_by_protocol():
    assert md.rank(QUERY, GALLERY, top_k=2).rows.tolist() == [[1, 0]]
    found = md.rank(QUERY, GALLERY, protocol="veri776")  # the same camera takes no part
    assert found.rows.tolist() == [[0, 2, -1]]
    assert found.distances.tolist() == [[2, 3, np.inf]]


@pytest.mark.parametrize(
    "as_given", [list, np.array, lambda values: np.array(values, np.float32, order="F")]
)
def test_arrays_of_any_number(as_given):
    query, gallery = as_given([[0.0, 0.0]]), as_given([[3, 4], [0, 1], [1, 0]])
    found = md.rank(query, gallery, top_k=3)
    assert found.rows.tolist() == [[1, 2, 0]]
    assert found.distances.tolist() == [[1, 1, 5]]
    mixed = md.rank([[0]], GALLERY, top_k=1)
    assert mixed.rows.tolist() == [[1]]


def test_numbers_that_are_no_float32():
    half = np.array([[0.1], [3]], dtype=np.float16)
    # half precision is exact in float32; float64 is rounded to it
    found = md.rank([[0.0]], half, top_k=1).distances
    assert found.tolist() == [[float(np.float16(0.1))]]
    assert md.rank([[0.0]], np.array([[0.1]])).distances.tolist() == [[float(np.float32(0.1))]]
    with pytest.raises(ValueError, match="gallery holds numbers beyond float32"):
        md.rank([[0.0]], np.array([[1e300]]))
    for wrong in (np.array([[1j]]), np.array([["1"]]), np.array([[None]])):
        with pytest.raises(ValueError, match=r"query must be numbers \[N, D\], found"):
            md.rank(wrong, [[0.0]])


def test_a_prepared_gallery_is_read_once(monkeypatch):
    ready = md.prepare(GALLERY)
    monkeypatch.setattr("mtml_deploy.search.prepared.row_terms", None)  # one more pass would fail
    for protocol, rows in (("plain", [[1, 0]]), ("veri776", [[0, 2]])):
        assert md.rank(QUERY, ready, top_k=2, protocol=protocol).rows.tolist() == rows
    assert md.expand(QUERY, ready, neighbours=1).names == QUERY.names
    with pytest.raises(EmbeddingsError, match="cannot be compared"):
        md.rank(replace(QUERY, model=structs.replace(MODEL, precision="fp16")), ready)


def test_arrays_that_are_not_clear():
    with pytest.raises(ValueError, match=r"query must be \[N, D\], found \[2\]; pass \[vector\]"):
        md.rank([0, 0], [[0, 0]])
    with pytest.raises(ProtocolError, match="has a vehicle id"):
        md.rank([[0]], GALLERY, protocol="veri776")
    with pytest.raises(EmbeddingsError, match="cannot be compared"):
        md.rank(QUERY, replace(GALLERY, model=structs.replace(MODEL, precision="fp16")))
    with pytest.raises(ProtocolError, match="no evaluation protocol is called 'veri'"):
        md.rank(QUERY, GALLERY, protocol="veri")


def test_expand_by_hand():
    # direction (0.6, 0.8) + 0.8 (0, 1) = (0.6, 1.6); the length stays 5
    found = md.expand([[3.0, 4.0]], [[0, 10], [90, 0]], neighbours=1, alpha=1)
    length = np.hypot(0.6, 1.6)
    expected = [[5 * 0.6 / length, 5 * 1.6 / length]]
    np.testing.assert_allclose(found.features, expected, rtol=1e-6)
    expanded = md.expand(line([2], source="q"), GALLERY, neighbours=2)
    assert expanded.names == ("q0.png",)
    np.testing.assert_allclose(expanded.features, [[2]], rtol=1e-6)  # one line: one direction


def test_rerank_by_hand():
    # images at 0, 1, 2 and 10; k1 = 1 pairs each with its nearest, if that is mutual
    found = md.rerank([[0]], [[1], [2], [10]], k1=1, k2=1, weight=0.5, top_k=2)
    assert found.rows.tolist() == [[0, 1]]
    np.testing.assert_allclose(found.distances, [[0.0106, 0.52]], atol=5e-5)
    with pytest.raises(ValueError, match="k2 1"):
        md.rerank([[0]], [[1]], k1=1, k2=3)


def test_evaluate_by_hand():
    # veri776 leaves out row 1; 3 comes first, 7 second: AP 1/2, INP 1/2
    found = md.evaluate(QUERY, GALLERY, "veri776", label="M")
    assert found.mean_ap == pytest.approx(0.5)
    assert found.metrics.cmc.tolist() == [0, 1, 1]
    assert list(found.stages) == ["M"]
    assert found._repr_markdown_() == repr(found) == found.markdown
    assert "| M " in found.markdown
    assert json.loads(found.to_json())["mean_ap"] == pytest.approx(0.5)
    # plain leaves nothing out: 7, 3, 7: (1 + 2/3) / 2
    assert md.evaluate(QUERY, GALLERY, "plain").mean_ap == pytest.approx(5 / 6)


def test_evaluate_in_stages():
    found = md.evaluate(QUERY, GALLERY, "plain", expand=1, rerank=True, label="M")
    assert list(found.stages) == ["M", "M, expanded", "M, expanded, re-ranked"]
    assert found.metrics is found.stages["M, expanded, re-ranked"]


def test_evaluate_with_drawn_galleries():
    # vehicles 1 and 2 far apart: any image finds its own vehicle first
    images = line([0, 1, 100, 101], [1, 1, 2, 2])
    found = md.evaluate(None, images, "vehicleid", draws=3, seed=5)
    assert found.mean_ap == pytest.approx(1)
    assert json.loads(found.to_json())["draws"] == {"count": 3, "seed": 5}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"draws": 3}, "draws belong to"),
        ({"junk": "j.txt"}, "junk belongs to"),
        ({"query": None}, "needs queries"),
        ({"protocol": "vehicleid", "expand": 1}, "draws its gallery"),
        ({"expand": 0}, "neighbours must be at least 1"),
    ],
)
def test_evaluate_refuses_what_it_has_no_use_for(options, message):
    asked = {"query": QUERY, "gallery": GALLERY, "protocol": "plain", **options}
    with pytest.raises(ValueError, match=message):
        md.evaluate(**asked)


def test_a_ground_truth_file(tmp_path):
    (tmp_path / "gt_image.txt").write_text("1\n")  # the first gallery image, at distance 2
    (tmp_path / "name_query.txt").write_text("q0.png\n")
    (tmp_path / "name_test.txt").write_text("g0.png\ng1.png\ng2.png\n")
    for file in (tmp_path / "gt_image.txt", str(tmp_path / "gt_image.txt")):
        assert md.evaluate(QUERY, GALLERY, "plain", ground_truth=file).mean_ap == 0.5


def test_a_page_of_rank_lists(tmp_path):
    for name in (*QUERY.names, *GALLERY.names):
        Image.new("RGB", (4, 3), "red").save(tmp_path / name)
    query, gallery = (replace(each, root=str(tmp_path)) for each in (QUERY, GALLERY))
    page = md.rank_page(query, gallery, top_k=2, rerank=True, label="<M>")
    assert (page.queries, page.missing) == (1, ())
    assert "&lt;M&gt;" in page.html and "g2.png" not in page.html
    frame = page._repr_html_()
    assert frame.startswith('<iframe srcdoc="') and frame.count("<") == 2
    page.save(str(tmp_path / "page.html"))
    assert (tmp_path / "page.html").read_text() == page.html


def test_from_a_model_to_numbers_as_the_commands_do(tmp_path):
    write_artifact(tmp_path / "art")
    write_images(tmp_path / "images", 5)
    images = md.load_images(str(tmp_path / "images"))
    assert len(images.records) == 5
    with md.open_model(tmp_path / "art") as model:
        file = model.embed_to(tmp_path / "e.npz", images)
        rows = model.embed(images)
    words = ["rank", "--query", str(file), "--gallery", str(file), "--top-k", "3"]
    words += ["--json", str(tmp_path / "ranks.json")]
    assert CliRunner().invoke(main, words).exit_code == 0
    record = json.loads((tmp_path / "ranks.json").read_text())
    places = [[place["row"] for place in query["ranks"]] for query in record["queries"]]
    assert md.rank(rows, md.Embeddings.load(file), top_k=3).rows.tolist() == places


def test_a_gallery_that_is_kept(tmp_path):
    write_artifact(tmp_path / "art")
    with md.open_model(tmp_path / "art") as model:
        md.create_gallery(str(tmp_path / "cars"), model.identity)
    with md.open_gallery(str(tmp_path / "cars")) as gallery:
        assert gallery.model.dim == 6
    assert md.Filter(cameras=(1,)).cameras == (1,)
