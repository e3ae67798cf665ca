"""Who may ask: the token, pages of others, names that lead here; and what the log tells."""

import stat
from pathlib import Path

import pytest
from helpers_serve import Served

TOKEN = "a-token-of-the-tests"


@pytest.fixture(scope="module")
def guarded(place, tmp_path_factory):
    file = tmp_path_factory.mktemp("token") / "token"
    file.write_text(f"{TOKEN}\n")
    file.chmod(stat.S_IRUSR)
    words = ["serve", "model", "--gallery", "cars", "--port", "0", "--host", "0.0.0.0"]
    with Served(*words, "--token-file", file, cwd=place) as served:
        served.address = served.address.replace("0.0.0.0", "127.0.0.1")
        yield served.until_ready()


def test_the_token_is_asked_for_everywhere_but_where_it_tells_nothing(guarded):
    paths = (
        "/v1/info",
        "/v1/gallery",
        "/v1/gallery/1/thumbnail",
        "/metrics",
        "/openapi.json",
        "/x",
    )
    for path in paths:
        for given in (None, "", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}",
                      f"Basic {TOKEN}", TOKEN, "Bearer \u00fc"):  # fmt: skip
            headers = {} if given is None else {"Authorization": given.encode("latin-1")}
            refused = guarded.ask("GET", path, headers=headers)
            assert (refused.status, refused.code) == (401, "unauthorized"), (path, given)
            assert refused.headers["www-authenticate"] == "Bearer"
        allowed = guarded.get(path, Authorization=f"Bearer {TOKEN}")
        assert allowed.status == (404 if path == "/x" else 200)
    assert guarded.get("/live").json == {"live": True}
    assert guarded.get("/ready").json == {"ready": True}
    assert TOKEN not in guarded.log.read_text()


def test_pages_of_others_are_refused(guarded, service):
    host = guarded.address.removeprefix("http://")
    for origin, status in (
        ("http://evil.example", 403),
        ("null", 403),
        (f"https://{host}.evil.example", 403),
        (f"http://{host}", 200),
    ):
        headers = {"Origin": origin, "Authorization": f"Bearer {TOKEN}"}
        assert guarded.get("/v1/info", **headers).status == status, origin
    # without a token, a name of somebody else that leads here is no reason to answer
    for host, status in (
        ("evil.example", 403), ("evil.example:80", 403), ("localhost", 200),
        ("127.0.0.1:80", 200), ("[::1]:80", 200), ("", 403),
    ):  # fmt: skip
        assert service.get("/v1/info", Host=host).status == status, host


def test_behind_the_proxy_of_the_docs_the_page_may_ask(guarded):
    page = Path(__file__).parents[2] / "docs/howto/serve-behind-a-proxy.md"
    assert "proxy_set_header Host $http_host;" in page.read_text(encoding="utf-8")
    headers = {"Origin": "https://reid.example", "Authorization": f"Bearer {TOKEN}"}
    assert guarded.get("/v1/info", Host="reid.example", **headers).status == 200
    # what nginx sends unless it is told
    assert guarded.get("/v1/info", Host="127.0.0.1:8000", **headers).status == 403


def test_every_request_has_a_line_with_its_id(service):
    assert service.get("/v1/info", **{"X-Request-Id": "mine-1"}).headers["x-request-id"] == "mine-1"
    odd = service.get("/v1/info", **{"X-Request-Id": "a b\t\"'"}).headers["x-request-id"]
    assert len(odd) == 32 and int(odd, 16)
    line = next(line for line in service.lines() if line.get("request_id") == "mine-1")
    told = {name: line[name] for name in ("event", "method", "path", "status", "level")}
    assert told == {
        "event": "request", "method": "GET", "path": "/v1/info", "status": 200, "level": "info"
    }  # fmt: skip
    text = service.get("/metrics").body.decode()
    for name in ("mtml_requests_total", "mtml_queue_wait_seconds_bucket", "mtml_batch_images_sum"):
        assert name in text


def test_unknown_words_and_methods_are_refused(service):
    for method, path, status, code in (
        ("GET", "/v1/nothing", 404, "not_found"),
        ("GET", "/v1/search", 405, "method_not_allowed"),
        ("POST", "/v1/embed?as_two=true", 422, "invalid"),
        ("POST", "/v1/search?top_k=0", 422, "invalid"),
        ("POST", "/v1/search?top_k=1&camera=nan", 422, "invalid"),
        ("POST", "/v1/search?since=noon", 422, "invalid"),
        ("POST", "/v1/search?box=1,2,3", 422, "invalid"),
        ("POST", "/v1/search?rerank=true&shortlist=2", 422, "invalid"),
        ("POST", "/v1/search?rerank=true&k1=1&k2=9", 422, "invalid"),
        ("POST", "/v1/search?max_distance=inf", 422, "invalid"),
    ):
        answer = service.ask(method, path, b"x", {"Content-Type": "image/png"})
        assert (answer.status, answer.code) == (status, code), path


def test_a_request_whose_rest_does_not_come_and_one_too_many_are_refused():
    """The gate alone, around an application that reads a body and waits."""
    import asyncio
    import json

    from mtml_deploy.serve.gate import Gate
    from mtml_deploy.serve.metrics import Metrics
    from mtml_deploy.serve.options import ServeOptions

    async def application(scope, receive, send):
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    async def ask(gate, messages):
        sent = []

        async def receive():
            return messages.pop(0) if messages else await asyncio.Event().wait()

        async def send(message):
            sent.append(message)

        headers = [(b"host", b"localhost")]
        await gate({"type": "http", "path": "/v1/embed", "method": "POST", "headers": headers},
                   receive, send)  # fmt: skip
        body = json.loads(sent[1]["body"])
        return sent[0]["status"], body.get("error", {}).get("code"), dict(sent[0]["headers"])

    async def both():
        gate = Gate(application, ServeOptions(body_s=0.2, requests=1, body_bytes=10), Metrics())
        part = {"type": "http.request", "body": b"half", "more_body": True}
        slow = asyncio.ensure_future(ask(gate, [part]))
        await asyncio.sleep(0)
        second = await ask(gate, [{"type": "http.request", "body": b"", "more_body": False}])
        late = await slow
        long = await ask(gate, [dict(part), dict(part), dict(part)])
        return second, late, long, await ask(gate, [{"type": "http.request", "body": b"x"}])

    second, late, long, last = asyncio.run(both())
    assert second[:2] == (429, "busy") and second[2][b"retry-after"] == b"1"
    assert late[:2] == (408, "timeout")
    assert long[:2] == (413, "too_large")
    assert last[:2] == (200, None)
