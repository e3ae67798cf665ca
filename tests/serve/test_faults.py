"""What clients, files and signals do to a running service: clear codes, no hang, nothing lost."""

import io
import shutil
import signal
import socket
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import numpy as np
from helpers_serve import Served, form
from PIL import Image

import mtml_deploy as md
from mtml_deploy.client import Client
from mtml_deploy.client_error import ClientError
from mtml_deploy.gallery.folder.gallery import FolderGallery

WAIT_S = 60

SLOW = """
import time
from mtml_deploy.runtime.ort import OrtRuntime
run_all = OrtRuntime.run_all
def slow(self, images):
    time.sleep(0.3)
    return run_all(self, images)
OrtRuntime.run_all = slow
"""
"""A model that takes its time, put into the process before the command runs."""

FAILING = """
from mtml_deploy.errors import BackendError
from mtml_deploy.runtime.ort import OrtRuntime
run_all = OrtRuntime.run_all
def failing(self, images):
    if (images == 255).all():
        raise BackendError("out of memory")
    return run_all(self, images)
OrtRuntime.run_all = failing
"""


def png(value: int = 90, size=(32, 32)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (value, value, value)).save(file, "PNG")
    return file.getvalue()


def raw(served, data: bytes, *, wait: bool = True) -> bytes:
    """Bytes sent as they are; what comes back until the service closes."""
    place = urlsplit(served.address)
    with socket.create_connection((place.hostname, place.port), timeout=WAIT_S) as connection:
        connection.sendall(data)
        got = b""
        while wait and (part := connection.recv(65536)):
            got += part
        return got


def head(path: str, length: int, kind: str = "image/png") -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {length}\r\nConnection: close\r\n\r\n"
    ).encode()


def test_bodies_that_are_none(service):
    """After each of them the next request is answered."""
    kind, good = form(png())
    for path in ("/v1/embed", "/v1/search"):
        for sent, headers, status in (
            (b"", {"Content-Type": "image/png"}, 400),
            (b"not an image", {"Content-Type": "image/png"}, 422),
            (png()[:60], {"Content-Type": "image/png"}, 422),
            (b"x", {"Content-Type": "text/plain"}, 415),
            (b"x", {}, 415),
            (good[:-30], {"Content-Type": kind}, 400),
            (form(png(), png())[1][:-100], {"Content-Type": kind}, 400),  # one image is whole
            (good, {"Content-Type": "multipart/form-data"}, 400),
            (good, {"Content-Type": "multipart/form-data; boundary=other"}, 400),
            (
                b"--x\r\nno headers\r\n\r\n",
                {"Content-Type": "multipart/form-data; boundary=x"},
                400,
            ),
            (form(png(), name="picture")[1], {"Content-Type": kind}, 422),
            (form(*[b"x"] * 65)[1], {"Content-Type": kind}, 413),
            (form()[1], {"Content-Type": kind}, 422),
        ):
            answer = service.ask("POST", path, sent, headers)
            assert (answer.status, bool(answer.code)) == (status, True), (sent[:40], headers)
    assert service.send("/v1/embed", png()).status == 200


def huge_png() -> bytes:
    """A file of a few hundred bytes whose header tells of 400 megapixels."""

    def chunk(name, data):
        crc = zlib.crc32(name + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + name + data + crc

    header = (20_000).to_bytes(4, "big") * 2 + bytes((8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"x") + chunk(b"IEND", b"")
    )


def test_sizes_are_bounded(service):
    refused = service.send("/v1/embed", huge_png())
    assert (refused.status, refused.code) == (422, "image")
    assert "16,000,000" in refused.json["error"]["message"]
    # told in the header, then sent without one
    got = raw(service, head("/v1/embed", 1 << 40))
    assert b" 413 " in got.split(b"\r\n")[0] and b"too_large" in got
    chunked = head("/v1/embed", 0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    part = b"%x\r\n%s\r\n" % (1 << 20, bytes(1 << 20))
    try:
        got = raw(service, chunked + part * 40 + b"0\r\n\r\n")
    except OSError:  # refused and closed while it was being sent
        got = b" 413 "
    assert b" 413 " in got
    assert service.get("/live").status == 200


def test_a_client_that_goes_away_in_the_middle(service):
    before = len(service.lines())
    raw(service, head("/v1/embed", 5000) + b"half", wait=False)
    until = time.monotonic() + WAIT_S
    while not any(line.get("status") == 499 for line in service.lines()[before:]):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert service.send("/v1/embed", png()).status == 200


def test_a_gallery_that_is_locked_removed_and_put_back(own_place):
    words = ["serve", "model", "--gallery", "cars", "--port", "0", "--writable"]
    with Served(*words, cwd=own_place) as served:
        served.until_ready()
        with FolderGallery(own_place / "cars", write=True):
            busy = served.send("/v1/gallery", png(7))
            assert (busy.status, busy.code) == (409, "gallery_busy")
            assert served.send("/v1/search", png(7)).status == 200
        assert served.send("/v1/gallery", png(7)).json["rows"][0]["new"]

        (own_place / "cars").rename(own_place / "away")
        for answer in (served.send("/v1/search", png(7)), served.get("/ready")):
            assert (answer.status, answer.code) == (503, "gallery")
        assert served.get("/live").status == 200
        assert served.send("/v1/embed", png(7)).status == 200

        # another one in its place: never answered from the old one
        with md.open_gallery(own_place / "away") as old:
            md.create_gallery(own_place / "cars", old.model)
        assert served.get("/v1/gallery").json["rows"] == 0
        shutil.rmtree(own_place / "cars")
        md.create_gallery(own_place / "cars", md.Embeddings.load(strangers(own_place)).model)
        other = served.get("/ready")
        assert (other.status, other.code) == (409, "other_model")
        shutil.rmtree(own_place / "cars")
        (own_place / "away").rename(own_place / "cars")
        assert served.get("/v1/gallery").json["rows"] == 13
        assert served.get("/ready").status == 200
        assert served.stop() == 0


def strangers(folder):
    """A file of embeddings of another model."""
    from helpers_artifact import write_artifact

    write_artifact(folder / "other", seed=1)
    with md.open_model(folder / "other") as model:
        model.embed([png()]).save(folder / "other.npz")
    return folder / "other.npz"


def test_a_model_that_fails_ends_the_process(place):
    with Served("serve", "model", "--port", "0", code=FAILING, cwd=place) as served:
        served.until_ready()
        assert served.get("/v1/gallery").code == "no_gallery"
        refused = served.send("/v1/embed", png(255))
        assert (refused.status, refused.code) == (503, "unavailable")
        assert served.process.wait(WAIT_S) == 70
        events = [line["event"] for line in served.lines()]
        assert "the model failed" in events


def test_too_many_are_refused_and_a_signal_finishes_what_was_accepted(place):
    """With a slow model: 429 at once beyond the limits, and after SIGTERM right answers."""
    words = ["--queue-size", "8", "--max-images", "4", "--max-requests", "12", "--batch-size", "2"]
    with md.open_model(place / "model") as model:
        expected = model.embed([png(n) for n in range(30)]).features
    with Served("serve", "model", "--port", "0", *words, code=SLOW, cwd=place) as served:
        served.until_ready()
        answers: dict[int, object] = {}
        begun = threading.Barrier(31)

        def ask(n):
            with Client(served.address) as client:
                begun.wait()
                try:
                    answers[n] = client.embed(png(n))
                except ClientError as error:
                    answers[n] = error

        with ThreadPoolExecutor(30) as pool:
            for n in range(30):
                pool.submit(ask, n)
            begun.wait()
            until = time.monotonic() + WAIT_S
            while not any(isinstance(each, ClientError) for each in list(answers.values())):
                assert time.monotonic() < until
                time.sleep(0.01)
            assert served.get("/live").status == served.get("/ready").status == 200
            assert served.stop() == 0
        refused = [each for each in answers.values() if isinstance(each, ClientError)]
        taken = {n: each for n, each in answers.items() if not isinstance(each, ClientError)}
        assert len(answers) == 30 and taken
        for error in refused:
            # a connection that was not accepted any more is refused by the system
            assert (error.status, error.code) in ((429, "busy"), (503, "unavailable"),
                                                  (0, "unreachable")), error  # fmt: skip
        assert any(error.status == 429 and error.retry_after_s for error in refused)
        for n, row in taken.items():
            np.testing.assert_array_equal(row, expected[n : n + 1])
        done = [line for line in served.lines() if line["event"] == "request"]
        assert sum(line["status"] == 200 and line["path"] == "/v1/embed" for line in done) == len(
            taken
        )


def test_who_goes_away_cancels_only_its_own(place):
    words = ["--batch-size", "1"]
    with Served("serve", "model", "--port", "0", *words, code=SLOW, cwd=place) as served:
        served.until_ready()
        ask = head("/v1/embed", len(png())) + png()
        socks = []
        for _ in range(3):
            socks.append(socket.create_connection(urlsplit(served.address).netloc.split(":")))
            socks[-1].sendall(ask)
        for each in socks[1:]:
            each.close()
        assert b" 200 " in socks[0].recv(100)
        assert served.send("/v1/embed", png()).status == 200
        text = served.get("/metrics").body.decode()
        line = next(each for each in text.splitlines() if each.startswith("mtml_embedded_images_t"))
        assert float(line.split()[1]) < 4  # not all that were asked for were run
        socks[0].close()
        assert served.stop(signal.SIGINT) == 0


def test_nothing_acknowledged_is_lost_by_a_kill(own_place):
    words = ["serve", "model", "--gallery", "cars", "--port", "0", "--writable"]
    with Served(*words, "--keep-uploads", "kept", cwd=own_place) as served:
        served.until_ready()
        acknowledged = []

        def add():
            with Client(served.address) as client:
                for n in range(200):
                    try:
                        acknowledged.append((n, client.add(png(n))[0]["row"]))
                    except ClientError as error:
                        assert error.status == 0
                        return

        thread = threading.Thread(target=add)
        thread.start()
        until = time.monotonic() + WAIT_S
        while len(acknowledged) < 5:
            assert time.monotonic() < until
            time.sleep(0.01)
        served.process.kill()
        thread.join(WAIT_S)
    with Served(*words, "--keep-uploads", "kept", cwd=own_place) as served:
        served.until_ready()
        with Client(served.address) as client:
            for n, row in acknowledged:
                assert client.add(png(n))[0] == {"name": "image 0", "row": row, "new": False}
                assert served.get(f"/v1/gallery/{row}/thumbnail").status == 200
        with md.open_gallery(own_place / "cars") as gallery:
            assert gallery.verify() == ()


def test_what_cannot_be_served_is_said_before_it_listens(place, tmp_path):
    from click.testing import CliRunner

    from mtml_deploy.cli.main import main

    token = tmp_path / "token"
    token.write_text("0123456789abcdef0123\n")
    for words, text in (
        ([str(place / "none")], "manifest"),
        ([str(place / "model"), "--gallery", str(place / "none")], "mtml-deploy gallery create"),
        ([str(place / "model"), "--host", "0.0.0.0"], "expected a token"),
        ([str(place / "model"), "--token-file", str(token)], "chmod 600"),
        ([str(place / "model"), "--queue-size", "3"], "raise --queue-size"),
        ([str(place / "model"), "--device", "cuda:9"], "cuda"),
    ):
        done = CliRunner().invoke(main, ["serve", "--port", "0", *words])
        assert done.exit_code == 1, (words, done.output)
        assert text in done.stderr, (words, done.stderr)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = CliRunner().invoke(main, ["serve", str(place / "model"), "--port", port])
        assert done.exit_code == 1 and "another --port" in done.stderr
