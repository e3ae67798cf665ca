"""The search page in a real browser: real clicks, real answers of a service."""

import io
import shutil
import time

import numpy as np
import pytest
from helpers_serve import Served, fill_server
from helpers_threshold import a_threshold
from PIL import Image

import mtml_deploy as md
from mtml_deploy.artifact.artifact import open_artifact
from mtml_deploy.artifact.threshold import save_threshold

sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

TOKEN = "a-token-of-the-tests"


@pytest.fixture(scope="module")
def browser():
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    with sync.sync_playwright() as play:
        started = play.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def tab(browser):
    """A new tab; what it asked for and what went wrong in it are checked at the end."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    page = context.new_page()
    page.set_default_timeout(60_000)
    asked, wrong = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda line: wrong.append(line.text) if "olicy" in line.text else None)
    yield page
    assert wrong == []
    own = ("http://127.0.0.1:", "blob:http://127.0.0.1:", "data:", "file:")
    assert [url for url in asked if not url.startswith(own)] == []
    context.close()


@pytest.fixture(scope="module")
def other_place(place, tmp_path_factory):
    """A second gallery of the same model with fewer rows: another list for the same query."""
    folder = tmp_path_factory.mktemp("other")
    with md.open_model(place / "model") as model:
        rows = model.embed(sorted((place / "images").iterdir())[:5])
    md.create_gallery(folder / "few", rows.model)
    with md.open_gallery(folder / "few", write=True) as gallery:
        gallery.add(rows)
    return folder


def until(page, condition):
    """Wait for a condition in JavaScript; the page's policy forbids the browser's own way."""
    end = time.monotonic() + 60
    while not page.evaluate(condition):
        assert time.monotonic() < end, condition
        time.sleep(0.05)


def found(page):
    """(row, distance) of every tile of the first list, as shown."""
    page.wait_for_selector("li.hit")
    values = "tiles => tiles.map(tile => [+tile.dataset.row, +tile.dataset.distance])"
    return page.eval_on_selector_all("section:first-of-type li.hit", values)


def expected(place, images, **how):
    """The same of the library; several images are one vehicle."""
    with md.open_model(place / "model") as model, md.open_gallery(place / "cars") as gallery:
        query = model.embed(images)
        if len(images) > 1:
            query = query.pool("one")
        (hits,) = gallery.hit_lists(gallery.search(query, top_k=50, **how))
    return [[hit.stored.row, hit.distance] for hit in hits]


def choose(page, *names):
    page.wait_for_selector("#filters:not([hidden])")
    page.set_input_files("#files", names)


def images_of(place):
    return sorted((place / "images").iterdir())


def test_an_image_is_found_filtered_and_kept_in_the_address(service, place, tab):
    tab.goto(service.address)
    tab.wait_for_selector("text=Choose an image of a vehicle")
    choose(tab, images_of(place)[3])
    assert found(tab) == expected(place, images_of(place)[3:4])
    tab.check("#cameras input[value='2']")
    tab.click("#filters button:has-text('Search')")
    until(tab, "document.querySelectorAll('li.hit').length === 6")
    only = expected(place, images_of(place)[3:4], where=md.Filter(cameras=(2,)))
    assert found(tab) == only
    assert "camera=2" in tab.url
    tab.reload()
    assert found(tab) == only
    assert tab.is_checked("#cameras input[value='2']")
    tab.go_back()
    until(tab, "document.querySelectorAll('li.hit').length === 12")
    assert not tab.is_checked("#cameras input[value='2']")
    until(tab, "document.querySelector('li.hit img').naturalWidth > 0")


def test_a_box_is_drawn_over_the_image(service, place, tab, tmp_path):
    part = Image.open(images_of(place)[7])
    frame = Image.new("RGB", (200, 100), (90, 90, 90))
    frame.paste(part.resize((64, 64), Image.Resampling.NEAREST), (100, 20))
    frame.save(tmp_path / "frame.png")
    tab.goto(service.address)
    choose(tab, tmp_path / "frame.png")
    found(tab)
    area = tab.locator("#shown img").bounding_box()
    scale = area["width"] / 200
    tab.mouse.move(area["x"] + 100 * scale, area["y"] + 20 * scale)
    tab.mouse.down()
    tab.mouse.move(area["x"] + 164 * scale, area["y"] + 84 * scale, steps=4)
    tab.mouse.up()
    tab.wait_for_selector("text=places for the box")
    corners = [int(word) for word in tab.input_value("#box").split(",")]
    assert np.abs(np.array(corners) - [100, 20, 164, 84]).max() <= 1
    file = io.BytesIO()
    frame.crop(corners).save(file, "PNG")
    shown, told = np.array(found(tab)), np.array(expected(place, [file.getvalue()]))
    np.testing.assert_array_equal(shown[:, 0], told[:, 0])
    np.testing.assert_allclose(shown[:, 1], told[:, 1], rtol=1e-6)
    assert tab.locator(".canvas i").count() == 1


def test_more_like_the_chosen_by_keyboard_alone(service, place, tab):
    tab.goto(service.address)
    choose(tab, images_of(place)[0])
    places = found(tab)
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("Space")
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("Space")
    assert tab.inner_text("#chosen span") == "2 chosen"
    tab.keyboard.press("m")
    tab.wait_for_selector("text=places like rows")
    rows = [places[0][0], places[1][0]]
    assert f"row={rows[0]}&row={rows[1]}" in tab.url
    with md.open_gallery(place / "cars") as gallery:
        paths = [stored.record.path for stored in gallery.rows(rows)]
    told = [one for one in expected(place, paths) if one[0] not in rows]
    assert found(tab) == told
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("Enter")
    assert tab.is_visible("dialog dd:has-text('.png')")
    tab.keyboard.press("Escape")
    assert not tab.is_visible("dialog")


def test_the_cut_dims_what_is_farther(service, place, tab):
    tab.goto(service.address)
    choose(tab, images_of(place)[0])
    places = found(tab)
    assert tab.locator("li.hit.far").count() == 0
    tab.focus("#cut-at")
    tab.keyboard.press("Home")
    assert tab.locator("li.hit.far").count() == sum(distance > 0 for _, distance in places)
    tab.dispatch_event("#cut-at", "change")
    assert "cut=0" in tab.url


def test_the_cut_begins_at_the_calibrated_distance(own_place, tab):
    artifact = open_artifact(own_place / "model")
    places = expected(own_place, images_of(own_place)[:1])
    half = (places[4][1] + places[5][1]) / 2
    save_threshold(artifact, a_threshold(artifact, distance=half))
    with Served("serve", "model", "--gallery", "cars", "--port", "0", cwd=own_place) as served:
        served.until_ready()
        found_there = served.send("/v1/search", images_of(own_place)[0].read_bytes()).json
        assert len(found_there["queries"][0]["ranks"]) == 5
        tab.goto(served.address)
        choose(tab, images_of(own_place)[0])
        assert found(tab) == places  # the page shows all and dims those beyond
        assert tab.locator("li.hit.far").count() == len(places) - 5
        assert "at FPR 0.001 on 324 queries" in tab.inner_text("#cut-words")


@pytest.mark.slow
def test_a_gallery_on_a_server(on_server, tmp_path, tab):
    name = fill_server(on_server, tmp_path)
    with Served("serve", "model", "--gallery", name, "--port", "0", cwd=tmp_path) as served:
        served.until_ready()
        tab.goto(served.address)
        choose(tab, images_of(tmp_path)[3])
        assert found(tab) == expected(tmp_path, images_of(tmp_path)[3:4])
        until(tab, "document.querySelector('li.hit img').naturalWidth > 0")
        tab.check("#cameras input[value='2']")
        tab.click("#filters button:has-text('Search')")
        until(tab, "document.querySelectorAll('li.hit').length === 6")
        only = expected(tmp_path, images_of(tmp_path)[3:4], where=md.Filter(cameras=(2,)))
        assert found(tab) == only


def test_several_images_are_one_vehicle(service, place, tab):
    tab.goto(service.address)
    choose(tab, *images_of(place)[:3])
    tab.wait_for_selector("text=for 3 images as one vehicle")
    assert found(tab) == expected(place, images_of(place)[:3])


def test_what_is_no_image_is_told(service, tab, tmp_path):
    (tmp_path / "note.txt").write_text("no image")
    (tmp_path / "damaged.png").write_bytes(b"no image")
    tab.goto(service.address)
    choose(tab, tmp_path / "note.txt")
    tab.wait_for_selector("#status.error:has-text('no image')")
    choose(tab, tmp_path / "damaged.png")
    tab.wait_for_selector("#status.error:has-text('damaged.png')")
    assert tab.locator("li.hit").count() == 0


def test_a_small_screen_needs_no_scrolling_aside(service, place, tab):
    tab.set_viewport_size({"width": 360, "height": 780})
    tab.goto(service.address)
    choose(tab, images_of(place)[0])
    found(tab)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360


def test_two_models_stand_side_by_side_behind_a_token(place, other_place, tab, tmp_path):
    secret = tmp_path / "token"
    secret.write_text(TOKEN)
    secret.chmod(0o600)
    words = ["serve", "model", "--gallery", "cars", "--port", "0", "--token-file", secret]
    words += ["--compare-model", "model", "--compare-gallery", other_place / "few"]
    with Served(*words, cwd=place) as served:
        served.until_ready()
        assert served.get("/v1/info").status == served.get("/compare/v1/info").status == 401
        tab.goto(served.address)
        tab.fill("#token-text", "a-wrong-token-of-tests")
        tab.click("#token button")
        tab.wait_for_selector("text=no valid token")
        tab.fill("#token-text", TOKEN)
        tab.click("#token button")
        choose(tab, images_of(place)[3])
        found(tab)
        assert [tab.locator("section ol").nth(n).locator("li").count() for n in (0, 1)] == [12, 5]
        assert tab.inner_text("section:nth-of-type(2) li .bar").splitlines()[:2] == [
            "1",
            "other: 1",
        ]
        until(tab, "document.querySelector('li.hit img').naturalWidth > 0")
        # the service goes away
        served.process.kill()
        tab.click("#filters button:has-text('Search')")
        tab.wait_for_selector("#status.error:has-text('cannot be reached')")
