"""A tiny artifact, a gallery of its rows, and services that offer them."""

from __future__ import annotations

from pathlib import Path

import pytest
from fixtures_milvus import milvus_server, milvus_server_alone, on_server, the_server
from helpers_serve import Served, fill

__all__ = ["milvus_server", "milvus_server_alone", "on_server", "the_server"]

pytest.importorskip("fastapi", reason="the extra serve is not installed")


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
