"""A tiny artifact, a gallery of its rows, and services that offer them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers_artifact import write_artifact, write_images
from helpers_serve import Served

import mtml_deploy as md

pytest.importorskip("fastapi", reason="the extra serve is not installed")

ROWS = 12


def fill(folder: Path) -> None:
    """An artifact, images, and a gallery with labels, in `folder`."""
    write_artifact(folder / "model")
    paths = write_images(folder / "images", ROWS)
    with md.open_model(folder / "model") as model:
        rows = model.embed(paths)
    md.create_gallery(folder / "cars", rows.model)
    with md.open_gallery(folder / "cars", write=True) as gallery:
        half = np.arange(len(rows)) < ROWS // 2
        gallery.add(rows[half], camera_id=1)
        gallery.add(rows[~half], camera_id=2)


@pytest.fixture(scope="session")
def place(tmp_path_factory) -> Path:
    """One folder for all tests that only read."""
    folder = tmp_path_factory.mktemp("service")
    fill(folder)
    return folder


@pytest.fixture(scope="session")
def service(place):
    """A service that tests only ask."""
    with Served("serve", "model", "--gallery", "cars", "--port", "0", cwd=place) as served:
        yield served.until_ready()


@pytest.fixture
def own_place(tmp_path) -> Path:
    """A folder that a test may change."""
    fill(tmp_path)
    return tmp_path
