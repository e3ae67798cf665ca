"""A service whose gallery is on a Milvus server: the same answers, and clear ones without it."""

from __future__ import annotations

import asyncio
import io
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from helpers_gallery import identity
from helpers_serve import Served, fill_server
from PIL import Image

import mtml_deploy as md
from mtml_deploy.gallery.open import open_gallery
from mtml_deploy.gallery.values import GalleryAwayError
from mtml_deploy.serve import gallery_access
from mtml_deploy.serve.gallery_access import GalleryAccess
from mtml_deploy.serve.metrics import Metrics

JSON = {"Content-Type": "application/json"}
BACK_S = 120
"""Until a server that was killed can be used again, on a busy machine."""


def png(*colour: int, size=(40, 20)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


def lists(answer):
    """[query][rank] (row, distance) of a search."""
    return [[(hit["row"], hit["distance"]) for hit in each["ranks"]]
            for each in answer.json["queries"]]  # fmt: skip


def test_the_same_answers_as_from_a_folder(on_server, tmp_path):
    name = fill_server(on_server, tmp_path)
    words = ["serve", "model", "--gallery", name, "--port", "0", "--writable"]
    with (
        Served(*words, "--keep-uploads", "kept", cwd=tmp_path) as served,
        md.open_model(tmp_path / "model") as model,
        md.open_gallery(tmp_path / "cars") as cars,
    ):
        served.until_ready()
        assert served.get("/v1/gallery").json["rows"] == 12
        paths = sorted((tmp_path / "images").iterdir())
        queries = model.embed(paths[2:5])
        for where, told in (
            (md.Filter(), ""),
            (md.Filter(cameras=(2,)), "camera=2&"),
            (md.Filter(not_cameras=(1, 7)), "exclude_camera=1&exclude_camera=7&"),
            (md.Filter(orientations=(3,)), "orientation=3&"),
        ):
            hits = cars.search(queries, top_k=5, where=where)
            answer = served.send(f"/v1/search?{told}top_k=5", *(p.read_bytes() for p in paths[2:5]))
            expected = [
                list(zip(rows, distances, strict=True))
                for rows, distances in zip(hits.rows.tolist(), hits.distances, strict=True)
            ]
            assert lists(answer) == expected, told

        red, blue = png(200, 10, 10), png(10, 10, 200)
        told = "camera=7&vehicle=AB+41&time=2024-05-01T08:00"
        added = served.send(f"/v1/gallery?{told}", red, blue).json["rows"]
        assert [(row["row"], row["new"]) for row in added] == [(13, True), (14, True)]
        again = served.send("/v1/gallery?camera=8", blue).json["rows"]
        assert [(row["row"], row["new"]) for row in again] == [(14, False)]
        hit = served.send("/v1/search?top_k=1&since=2024-05-01&until=2024-05-02", red).json[
            "queries"
        ][0]["ranks"][0]
        assert (hit["row"], hit["distance"], hit["vehicle_id"]) == (13, 0.0, "AB 41")
        assert (hit["camera_id"], hit["time"]) == (7, "2024-05-01T08:00:00+00:00")
        with Image.open(io.BytesIO(served.get("/v1/gallery/13/thumbnail?side=32").body)) as shown:
            assert shown.size == (32, 16) and shown.getpixel((9, 9))[0] > 150
        assert served.get("/v1/gallery/99/thumbnail").code == "no_row"

        labels = {"vehicle_id": 5, "camera_id": None, "time": None, "orientation": 3}
        value = json.dumps({"rows": [14], "labels": labels})
        assert served.ask("PATCH", "/v1/gallery", value, JSON).json == {"changed": 1}
        row = served.get("/v1/gallery/14").json
        told = row["vehicle_id"], row["camera_id"], row["time"], row["orientation"]
        assert told == (5, -1, None, 3)
        (near,) = lists(served.send("/v1/search?orientation=3", blue))
        assert near == [(14, 0.0)]
        assert served.ask("DELETE", "/v1/gallery?vehicle=5").json == {"removed": 1}
        assert served.get("/v1/gallery/14").code == "no_row"
        assert served.ask("DELETE", "/v1/gallery?camera=7&until=2025-01-01").json == {"removed": 1}
        assert served.ask("DELETE", "/v1/gallery?exclude_camera=2").json == {"removed": 6}
        assert served.get("/v1/gallery").json["rows"] == 6
        # another writer between two changes of the service
        with open_gallery(name, write=True) as gallery:
            gallery.add(queries[:1], camera_id=9)
        assert served.ask("DELETE", "/v1/gallery?camera=9").json == {"removed": 1}
        with open_gallery(name) as gallery:
            assert gallery.verify() == ()
            assert [stored.row for stored in gallery.rows()] == list(range(7, 13))
        assert served.stop() == 0


def until(done, served):
    """Wait for something that a server does when it has come back."""
    end = time.monotonic() + BACK_S
    while not done():
        assert time.monotonic() < end, served.log.read_text()
        time.sleep(0.2)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["away", "frozen"])
def test_a_server_that_does_not_answer_and_comes_back(milvus_server_alone, how, tmp_path):
    """Killed, the connection is refused; frozen, it stays, and every call waits for its limit."""
    name = fill_server(f"milvus://{milvus_server_alone.uri}/", tmp_path)
    words = ["serve", "model", "--gallery", name, "--port", "0", "--writable"]
    with Served(*words, cwd=tmp_path) as served:
        served.until_ready()
        image = png(9, 99, 9)
        before = lists(served.send("/v1/search", image))
        with getattr(milvus_server_alone, how)(), ThreadPoolExecutor(16) as pool:
            # each has 60 s: one after the other they would wait for more
            answers = list(pool.map(lambda _: served.send("/v1/search", image), range(16)))
            answers += [
                served.get("/ready"),
                served.get("/v1/gallery/1"),
                served.send("/v1/gallery", image),
                served.ask("DELETE", "/v1/gallery?row=1"),
            ]
            assert [(each.status, each.code) for each in answers] == [(503, "gallery")] * 20
            assert all(name in each.json["error"]["message"] for each in answers)
            assert served.get("/live").status == served.get("/v1/info").status == 200
            assert served.send("/v1/embed", image).status == 200
        until(lambda: served.get("/ready").status == 200, served)
        until(lambda: served.send("/v1/search", image).status == 200, served)
        assert lists(served.send("/v1/search", image)) == before
        until(lambda: served.send("/v1/gallery", image).status == 200, served)
        assert served.send("/v1/gallery", image).json["rows"][0]["row"] == 13
        with open_gallery(name) as gallery:
            assert gallery.verify() == () and len(gallery) == 13
        assert served.stop() == 0


def test_who_waits_for_a_server_that_is_away_asks_it_no_more(monkeypatch):
    """Two threads ask; the twelve who came before either had its answer get it too."""
    asked, all_there = [], threading.Event()

    def away(name):
        asked.append(name)
        assert all_there.wait(60)
        raise GalleryAwayError(f"{name} does not answer")

    monkeypatch.setattr(gallery_access, "open_gallery", away)

    async def ask_all(access):
        reads = [asyncio.ensure_future(access.read(identity(), len)) for _ in range(14)]
        await asyncio.sleep(0)  # all are handed to the threads
        all_there.set()
        found = await asyncio.gather(*reads, return_exceptions=True)
        assert {str(each) for each in found} == {"milvus://h/c does not answer"}
        first = len(asked)
        assert first <= 2
        with pytest.raises(GalleryAwayError):  # who comes later asks again: it may be back
            await access.read(identity(), len)
        assert len(asked) == first + 1

    access = GalleryAccess("milvus://h/c", threads=2, metrics=Metrics())
    asyncio.run(ask_all(access))
    access.close()
