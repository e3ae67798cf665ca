"""The client of Python, and the lines of docs/serve.md, run as they are written."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from helpers_serve import Served

import mtml_deploy as md
from mtml_deploy.client import Client
from mtml_deploy.client_error import ClientError

PAGE = Path(__file__).parents[2] / "docs" / "serve.md"


@pytest.fixture(scope="module")
def place_of_docs(tmp_path_factory):
    from helpers_serve import fill

    folder = tmp_path_factory.mktemp("docs")
    fill(folder)
    images = sorted((folder / "images").iterdir())
    for name, image in zip(("car.png", "front.png", "rear.png", "frame.png"), images, strict=False):
        (folder / name).write_bytes(image.read_bytes())
    return folder


@pytest.fixture(scope="module")
def served(place_of_docs):
    words = ["serve", "model", "--gallery", "cars", "--port", "0", "--writable"]
    with Served(*words, "--keep-uploads", "kept", cwd=place_of_docs) as running:
        yield running.until_ready()


def test_the_client_gives_what_the_library_gives(served, place_of_docs):
    paths = sorted((place_of_docs / "images").iterdir())[:3]
    with md.open_model(place_of_docs / "model") as model, Client(served.address) as client:
        rows = model.embed(paths)
        np.testing.assert_array_equal(client.embed(*paths), rows.features)
        np.testing.assert_array_equal(client.embed(paths[0].read_bytes()), rows.features[:1])
        np.testing.assert_array_equal(client.embed(*paths, as_one=True), rows.pool("one").features)
        boxes = [[1, 2.5, 20, 21], [0, 0, 9, 9]]
        crops = model.embed(paths[0].read_bytes(), boxes=boxes)
        np.testing.assert_array_equal(client.embed(paths[0], boxes=boxes), crops.features)
        with md.open_gallery(place_of_docs / "cars") as gallery:
            expected = gallery.search(rows, top_k=3, where=md.Filter(cameras=(1,))).rows.tolist()
        for found in (
            client.search(*paths, top_k=3, camera=1),
            client.search(*map(str, paths), top_k=3, camera=[1]),
            client.search_vectors(rows.features, top_k=3, exclude_camera=[2]),
        ):
            assert [[place["row"] for place in places] for places in found] == expected
        assert client.search_rows([5], top_k=1)[0][0]["row"] == 5
        assert client.info()["model"]["dim"] == rows.features.shape[1]


def test_the_client_changes_the_gallery(served, place_of_docs):
    image = (place_of_docs / "images" / "0000.png").read_bytes()
    with Client(served.address) as client:
        (added,) = client.add(image, vehicle="AB 1", camera=4)
        assert added["new"] is False or added["row"] > 12
        assert client.relabel([2], vehicle_id="AB 2", camera_id=None) == 1
        places = client.search_rows([2], top_k=1)[0]
        assert (places[0]["vehicle_id"], places[0]["camera_id"]) == ("AB 2", -1)
        assert client.relabel([2], camera_id=1) == 1
        assert client.remove(vehicle="nobody") == 0


def test_refusals_are_errors_with_their_code(served):
    with Client(served.address) as client:
        with pytest.raises(ClientError, match="not an image") as refused:
            client.embed(b"not an image")
        assert (refused.value.status, refused.value.code) == (422, "image")
        assert refused.value.request_id
        with pytest.raises(ValueError, match="at least one"):
            client.embed()
        assert client.info()["writable"]  # the same connection
    with pytest.raises(ValueError, match="http"):
        Client("localhost:8000")
    with Client("http://127.0.0.1:9") as nobody, pytest.raises(ClientError, match="no answer"):
        nobody.info()


def lines_of_curl() -> list[str]:
    text = PAGE.read_text(encoding="utf-8").replace("\\\n", " ")
    return [line for line in text.splitlines() if line.startswith("curl ")]


def test_every_route_has_a_line(served):
    described = served.get("/openapi.json").json["paths"]
    text = "\n".join(lines_of_curl())
    for path in described:
        assert re.search(re.sub(r"\{\w+\}", r"\\d+", path) + r"(?![\w/])", text), path


@pytest.mark.parametrize("line", lines_of_curl())
def test_the_lines_of_the_page_work(line, served, place_of_docs):
    words = line.replace("http://127.0.0.1:8000", served.address)
    done = subprocess.run(
        words.replace("curl ", "curl --silent --show-error --fail-with-body --max-time 60 ", 1),
        shell=True, capture_output=True, cwd=place_of_docs, timeout=90,
    )  # fmt: skip
    assert done.returncode == 0, (line, done.stdout, done.stderr)


def test_the_python_of_the_page_works(served, place_of_docs, monkeypatch):
    monkeypatch.chdir(place_of_docs)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    assert blocks
    for block in blocks:
        exec(block.replace("http://127.0.0.1:8000", served.address), {})
