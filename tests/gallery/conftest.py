"""Galleries of every kind, and the one Milvus server of a test run."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from fixtures_milvus import milvus_server, milvus_server_alone, on_server, the_server
from helpers_gallery import identity, new_name
from helpers_milvus_server import MilvusServer

from mtml_deploy.gallery.open import create_gallery

__all__ = ["milvus_server", "milvus_server_alone", "on_server", "the_server"]

_AHEAD = 8
"""Galleries made at once: the server takes a second or two for one, and as long for many."""


@pytest.fixture(scope="session")
def milvus_lite(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The beginning of the address of any collection of one local folder: opening one is slow."""
    if importlib.util.find_spec("milvus_lite") is None:
        pytest.skip("milvus-lite is not installed")
    return f"milvus-lite://{tmp_path_factory.mktemp('lite') / 'all.db'}/"


@pytest.fixture(scope="session")
def _made() -> dict[int, list[str]]:
    return {}


@pytest.fixture
def made_on_server(
    on_server: str, milvus_server: MilvusServer, _made: dict[int, list[str]]
) -> Iterator[Callable[[int], str]]:
    """Length of vectors -> the address of a new and empty gallery on the server."""
    given = []

    def made(dim: int) -> str:
        left = _made.setdefault(dim, [])
        if not left:
            names = [new_name(f"{on_server}ready_") for _ in range(_AHEAD)]
            with ThreadPoolExecutor(_AHEAD) as pool:
                list(pool.map(lambda name: create_gallery(name, identity(dim=dim)), names))
            left += names
        given.append(left.pop())
        return given[-1]

    yield made
    for name in given:
        milvus_server.drop(name.rpartition("/")[2])
