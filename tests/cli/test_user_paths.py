"""Every public function takes a path as text, as a `Path`, relative, and from the home folder."""

import inspect
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers_artifact import write_artifact, write_images

import mtml_deploy as md
from mtml_deploy.errors import BackendError, DataError, MissingExtraError
from mtml_deploy.user_path import user_path

FORMS = {
    "text": lambda name: str(Path(name).absolute()),
    "Path": lambda name: Path(name).absolute(),
    "relative text": str,
    "relative Path": Path,
    "home text": lambda name: f"~/{name}",
    "home Path": lambda name: Path("~") / name,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An artifact, images in a folder, a table and a list, an embeddings file, a gallery."""
    place = tmp_path_factory.mktemp("made")
    write_artifact(place / "art")
    images = write_images(place / "images", 4)
    rows = [f"images/{path.name},{i % 2},{i // 2}\n" for i, path in enumerate(images)]
    (place / "t.csv").write_text("path,vehicle_id,camera_id\n" + "".join(rows))
    (place / "gt.txt").write_text("2\n1\n4\n3\n")
    with md.open_model(place / "art") as model:
        embedded = model.embed(f"csv:{place / 't.csv'}")
    embedded.save(place / "e.npz")
    md.create_gallery(place / "gallery", embedded.model)
    return place


@pytest.fixture
def place(made, tmp_path, monkeypatch):
    """A copy, which is home and working folder."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_path(place, form):
    with md.open_model(form("art")) as model:
        first = sorted(path.name for path in (place / "images").iterdir())[0]
        picture = form(f"images/{first}")
        assert model.embed(form("images")).features.shape[0] == 4
        assert len(model.embed(picture)) == 1
        assert len(model.embed([picture, picture])) == 2
        assert len(model.embed(picture, boxes=[[0, 0, 2, 2]])) == 1
        assert model.embed_to(form("out.npz"), form("images")) == user_path(form("out.npz"))
    assert (place / "out.npz").is_file() and not (place / "~").exists()
    assert len(md.load_images(form("images")).records) == 4
    rows = md.Embeddings.load(form("e.npz"))
    rows.save(form("saved.npz"))
    assert (place / "saved.npz").is_file()
    found = md.evaluate(rows, rows, "plain", ground_truth=form("gt.txt"), junk=None)
    assert found.metrics.num_valid == 4
    md.rank_page(rows, rows).save(form("page.html"))
    assert (place / "page.html").is_file()
    md.create_gallery(form("made"), rows.model)
    for name in ("made", "gallery"):
        with md.open_gallery(form(name)) as gallery:
            assert len(gallery) == 0


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_paths_of_artifacts(place, form):
    source = f"csv:{place / 't.csv'}"
    with pytest.raises((BackendError, MissingExtraError, DataError)) as caught:
        # a machine without a GPU ends here, but behind the artifact
        md.build_engine(form("art"), target="tensorrt", timing_cache=form("cache"))
    assert "art" not in str(caught.value).split()[0]
    found = md.check_parity(form("art"), form("art"), source)
    assert found.passed


def test_the_walk_misses_no_path():
    taken = {
        "open_model": {"folder"},
        "load_images": {"source"},
        "evaluate": {"ground_truth", "junk"},
        "create_gallery": {"name"},
        "open_gallery": {"name"},
        "convert": {"folder", "out", "images", "calibration", "data"},
        "build_engine": {"folder", "timing_cache"},
        "check_parity": {"candidate", "reference", "data", "gallery", "thresholds"},
    }
    for name in md.__all__:
        value = getattr(md, name)
        if not inspect.isfunction(value):
            continue
        paths = {parameter.name for parameter in inspect.signature(value).parameters.values()
                 if "Path" in str(parameter.annotation)}  # fmt: skip
        assert paths == taken.get(name, set()), name


def test_what_is_no_path(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_path("~/x") == tmp_path / "x" and user_path("~") == tmp_path
    assert user_path("~x/y") == Path("~x/y") and user_path("a/~/b") == Path("a/~/b")
    with pytest.raises(TypeError, match="a path is a str or a Path, found a int"):
        md.Embeddings.load(3)
    with pytest.raises(ValueError, match="found empty text"):
        md.open_model("")


def test_a_list_of_crops_is_no_batch(place):
    with md.open_model("art") as model:
        crop = np.zeros((model.height, model.width, 3), dtype=np.uint8)
        for batch in ([crop, crop], (crop,), None):
            with pytest.raises(ValueError, match=r"found a \w+; pass numpy\.stack\(images\)"):
                model.run(batch)
        assert model.run(np.stack([crop, crop])).shape[0] == 2
