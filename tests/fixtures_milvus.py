"""Fixtures of the one Milvus server of a test run, for the folders that use it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from helpers_milvus_server import MilvusServer, running_server


@pytest.fixture(scope="session")
def the_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusServer]:
    base = tmp_path_factory.getbasetemp()
    common = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    pytest.importorskip("pymilvus", reason="pymilvus is not installed")
    with running_server(common / "milvus") as server:
        yield server


@pytest.fixture
def milvus_server(the_server: MilvusServer) -> Iterator[MilvusServer]:
    """The server, which other worker processes may be using too."""
    with the_server.turn(alone=False):
        yield the_server


@pytest.fixture
def milvus_server_alone(the_server: MilvusServer) -> Iterator[MilvusServer]:
    """The server, which nobody else is using: for tests that kill it."""
    with the_server.turn(alone=True):
        yield the_server


@pytest.fixture
def on_server(milvus_server: MilvusServer) -> Iterator[str]:
    """The beginning of the address of any collection on the server; those made are dropped."""
    yield f"milvus://{milvus_server.uri}/"
    milvus_server.drop(f"g{os.getpid()}_")
