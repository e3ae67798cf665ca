"""What clients see and change of the gallery."""

import base64
import io
import json
import struct

import numpy as np
import pytest
from helpers_serve import Served
from PIL import Image

import mtml_deploy as md

JSON = {"Content-Type": "application/json"}


def png(*colour: int, size=(40, 20)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def writable(own_place):
    words = ["serve", "model", "--gallery", "cars", "--port", "0", "--writable"]
    with Served(*words, "--keep-uploads", "kept", cwd=own_place) as served:
        yield served.until_ready()


def ask(served, method, path, value):
    return served.ask(method, path, json.dumps(value), JSON)


def test_images_are_added_found_relabelled_and_removed(writable, own_place):
    red, blue = png(200, 10, 10), png(10, 10, 200)
    words = "camera=7&vehicle=AB+41&time=2024-05-01T08:00"
    added = writable.send(f"/v1/gallery?{words}", red, blue).json["rows"]
    assert [(row["row"], row["new"]) for row in added] == [(13, True), (14, True)]
    again = writable.send("/v1/gallery?camera=8", blue).json["rows"]
    assert [(row["row"], row["new"]) for row in again] == [(14, False)]

    found = writable.send("/v1/search?top_k=1&since=2024-05-01&until=2024-05-02", red).json
    place = found["queries"][0]["ranks"][0]
    assert (place["row"], place["distance"], place["vehicle_id"]) == (13, 0.0, "AB 41")
    assert (place["camera_id"], place["time"]) == (7, "2024-05-01T08:00:00+00:00")

    picture = writable.get("/v1/gallery/13/thumbnail?side=32")
    assert picture.headers["content-type"] == "image/jpeg"
    with Image.open(io.BytesIO(picture.body)) as opened:
        assert opened.size == (32, 16)
        assert opened.getpixel((9, 9))[0] > 150

    labels = {"vehicle_id": 5, "camera_id": None, "time": None, "orientation": 3}
    assert ask(writable, "PATCH", "/v1/gallery", {"rows": [14], "labels": labels}).json == {
        "changed": 1
    }
    row = writable.get("/v1/gallery/14").json
    told = row["vehicle_id"], row["camera_id"], row["time"], row["orientation"], row["tracklet_id"]
    assert told == (5, -1, None, 3, -1)

    assert writable.ask("DELETE", "/v1/gallery?vehicle=5").json == {"removed": 1}
    assert writable.get("/v1/gallery/14").code == "no_row"
    assert writable.ask("DELETE", "/v1/gallery?camera=7&until=2025-01-01").json == {"removed": 1}
    assert writable.ask("DELETE", "/v1/gallery?exclude_camera=2").json == {"removed": 6}
    assert writable.get("/v1/gallery").json["rows"] == 6
    with md.open_gallery(own_place / "cars") as gallery:
        assert gallery.verify() == ()
        assert [stored.row for stored in gallery.rows()] == list(range(7, 13))


def test_added_rows_are_those_that_the_command_would_add(writable, own_place):
    """The same content, vector and labels, so that either passes over what the other has."""
    path = own_place / "images" / "new.png"
    path.write_bytes(png(9, 99, 199))
    writable.send("/v1/gallery", path.read_bytes())
    with md.open_gallery(own_place / "cars") as gallery, md.open_model(own_place / "model") as m:
        stored = next(gallery.rows([13]))
        np.testing.assert_array_equal(gallery.vectors([13]), m.embed([path]).features)
    from mtml_deploy.artifact.artifact import file_sha256

    assert stored.record.content == f"file:{file_sha256(path)}"


def test_what_cannot_be_changed_is_said(writable):
    for value, status in (
        ({"rows": [1], "labels": {}}, 422),
        ({"rows": [1], "labels": {"orientation": 8}}, 422),
        ({"rows": [1], "labels": {"vehicle_id": -7}}, 422),
        ({"rows": [1], "labels": {"vehicle_id": "nan"}}, 422),
        ({"rows": [1], "labels": {"colour": 3}}, 422),
        ({"rows": [1], "labels": {"time": "noon"}}, 422),
        ({"rows": [0], "labels": {"camera_id": 3}}, 422),
        ({"rows": [], "labels": {"camera_id": 3}}, 422),
        ({"rows": [99], "labels": {"camera_id": 3}}, 404),
    ):
        answer = ask(writable, "PATCH", "/v1/gallery", value)
        assert (answer.status, bool(answer.code)) == (status, True), value
    assert writable.ask("PATCH", "/v1/gallery", "{", JSON).status == 400
    assert writable.ask("PATCH", "/v1/gallery", "{}", {"Content-Type": "text/x"}).status == 415
    for words in ("", "?row=1&camera=2", "?row=0", "?path=x", "?since=noon"):
        assert writable.ask("DELETE", f"/v1/gallery{words}").code == "invalid", words
    assert writable.get("/v1/gallery").json["rows"] == 12


def test_a_service_for_reading_changes_nothing(service):
    assert service.send("/v1/gallery", png(1, 2, 3)).code == "read_only"
    assert service.ask("DELETE", "/v1/gallery?row=1").code == "read_only"
    labels = {"rows": [1], "labels": {"camera_id": 3}}
    assert ask(service, "PATCH", "/v1/gallery", labels).code == "read_only"
    assert service.get("/v1/gallery").json["rows"] == 12


def test_a_picture_is_shown_only_of_an_image_of_a_row(own_place):
    """A row may tell of any path; what is there is decoded and made anew, or not shown."""
    (own_place / "secret.txt").write_text("secret")
    with md.open_model(own_place / "model") as model:
        rows = model.embed(sorted((own_place / "images").iterdir())[:1])
    from dataclasses import replace

    with md.open_gallery(own_place / "cars", write=True) as gallery:
        for n, path in enumerate(("secret.txt", "images", "../../../etc/passwd", "no\0name.png")):
            odd = replace(rows, names=(path,), root=str(own_place), features=rows.features + n + 1)
            gallery.add(odd)
    with Served("serve", "model", "--gallery", "cars", "--port", "0", cwd=own_place) as served:
        served.until_ready()
        assert served.get("/v1/gallery/1/thumbnail").status == 200
        for row in (13, 14, 15, 16, 99):
            assert served.get(f"/v1/gallery/{row}/thumbnail").status == 404, row
        for path in ("/v1/gallery/..%2f..%2fetc%2fpasswd", "/secret.txt", "/v1/gallery/1/../../x"):
            assert served.get(path).status in (404, 422), path


def test_rows_and_vectors_are_looked_for(service, place):
    with md.open_gallery(place / "cars") as gallery:
        rows = gallery.vectors([3, 9])
        model = gallery.model
        expected = gallery.search(rows, model=model, top_k=4)
        mean = rows.mean(axis=0, dtype=np.float64, keepdims=True).astype(np.float32)
        middle = gallery.search(mean, model=model, top_k=4)
    text = base64.b64encode(rows[0].astype("<f4").tobytes()).decode()
    for value in ({"rows": [3, 9]}, {"embeddings": [text, rows[1].tolist()]}):
        told = ask(service, "POST", "/v1/search?top_k=4", value).json
        lists = [[rank["row"] for rank in each["ranks"]] for each in told["queries"]]
        assert lists == expected.rows.tolist()
        one = ask(service, "POST", "/v1/search?top_k=4&as_one=true", value).json["queries"]
        assert [[rank["row"] for rank in each["ranks"]] for each in one] == middle.rows.tolist()
        distances = [rank["distance"] for rank in one[0]["ranks"]]
        assert np.array(distances, np.float32).tolist() == middle.distances[0].tolist()
    assert ask(service, "POST", "/v1/search", {"rows": [3, 99]}).code == "no_row"
    nan = base64.b64encode(struct.pack("<6f", *[float("nan")] * 6)).decode()
    for value in (
        {}, {"rows": [1], "embeddings": [text]}, {"embeddings": ["&"]}, {"embeddings": [[1.0]]},
        {"embeddings": [nan]}, {"embeddings": [[1e39] * 6]}, {"rows": ["1"]},
    ):  # fmt: skip
        assert ask(service, "POST", "/v1/search", value).code == "invalid", value
    assert service.lines()  # a warning of NumPy on the way is JSON as well


def test_hits_that_are_too_far_are_left_out(service, place):
    image = (place / "images" / "0003.png").read_bytes()
    ranks = service.send("/v1/search?top_k=12", image).json["queries"][0]["ranks"]
    limit = ranks[4]["distance"]
    near = service.send(f"/v1/search?top_k=12&max_distance={limit!r}", image).json
    assert near["max_distance"] == limit
    assert near["queries"][0]["ranks"] == [rank for rank in ranks if rank["distance"] <= limit]


def test_re_ranking_is_that_of_the_command(service, place):
    from mtml_deploy.gallery.local_rerank import rerank_shortlists
    from mtml_deploy.search.rerank import RerankOptions

    path = place / "images" / "0005.png"
    with md.open_gallery(place / "cars") as gallery, md.open_model(place / "model") as model:
        query = model.embed([path])
        found = gallery.search(query, top_k=10)
        expected = rerank_shortlists(
            query.features, found, gallery.vectors, top_k=5, options=RerankOptions(4, 2, 0.3)
        )
    words = "rerank=true&shortlist=10&top_k=5&k1=4&k2=2"
    ranks = service.send(f"/v1/search?{words}", path.read_bytes()).json["queries"][0]["ranks"]
    assert [rank["row"] for rank in ranks] == expected.hits.rows[0].tolist()
    assert [np.float32(rank["reranked"]) for rank in ranks] == expected.reranked[0].tolist()
    assert [rank["place_before"] for rank in ranks] == expected.places_before[0].tolist()


def test_boxes_of_a_frame_are_those_of_the_library(service, place):
    frame = png(5, 6, 7, size=(64, 48))
    box = [3.5, 2, 40, 44]
    with md.open_model(place / "model") as model:
        expected = model.embed(frame, boxes=[box, [0, 0, 9, 9]])
    words = "box=3.5,2,40,44&box=0,0,9,9"
    answer = service.send(f"/v1/embed?{words}", frame, Accept="application/octet-stream")
    found = np.frombuffer(answer.body, "<f4").reshape(2, -1)
    np.testing.assert_array_equal(found, expected.features)
    assert service.send("/v1/embed?box=90,90,99,99", frame).code == "image"
    assert service.send("/v1/embed?box=0,0,9,9", frame, frame).code == "invalid"


def test_clients_of_openai_get_embeddings(service, place):
    paths = sorted((place / "images").iterdir())[:2]
    inputs = [f"data:image/png;base64,{base64.b64encode(p.read_bytes()).decode()}" for p in paths]
    with md.open_model(place / "model") as model:
        expected = model.embed(paths).features
    told = ask(service, "POST", "/v1/embeddings", {"input": inputs, "model": "model"}).json
    assert (told["object"], told["model"]) == ("list", "model")
    for place_, (item, row) in enumerate(zip(told["data"], expected, strict=True)):
        assert (item["object"], item["index"]) == ("embedding", place_)
        np.testing.assert_array_equal(np.array(item["embedding"], np.float32), row)
    value = {"input": inputs[0], "encoding_format": "base64", "user": "somebody"}
    text = ask(service, "POST", "/v1/embeddings", value).json["data"][0]["embedding"]
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(text), "<f4"), expected[0])
    for value, status in (
        ({"input": inputs[0], "model": "gpt"}, 404),
        ({"input": "http://127.0.0.1/secret.png"}, 422),
        ({"input": "data:image/png;base64,&&&"}, 422),
        ({"input": []}, 422),
        ({"input": inputs[0], "dimensions": 3}, 422),
        ({"input": [inputs[0]] * 65}, 413),
    ):
        answer = ask(service, "POST", "/v1/embeddings", value)
        assert (answer.status, bool(answer.code)) == (status, True)
