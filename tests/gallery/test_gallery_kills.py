"""kill -9 at any moment: what was acknowledged stays, what was not is there whole or not at all."""

import random
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from helpers_gallery import DIM, identity
from helpers_warm import started

import mtml_deploy.gallery.folder.writer as segment_writer
from mtml_deploy.gallery.folder.gallery import FolderGallery, create_folder_gallery
from mtml_deploy.gallery.values import NewRows, RowRecord, Selection

KILLS = {"float32": 50, "int8": 12}
"""An int8 gallery differs in one more file that is written before the same commit."""
ROWS = 3
"""Rows of a batch."""


def write(folder: Path, number: int, parent: Connection) -> None:
    """Add, remove and compact from batch `number` on, and tell each after it was acknowledged."""
    segment_writer.SEGMENT_BYTES = 12 * 12  # a new file every few batches
    parent.send("ready")
    parent.recv()
    with FolderGallery(folder, write=True) as gallery:
        while True:
            features = np.array([[number, i, 1] for i in range(ROWS)], np.float32)
            records = tuple(
                RowRecord(f"{number}/{i}", f"{number}/{i}", vehicle_id=number) for i in range(ROWS)
            )
            gallery.add_rows(NewRows(identity(), features, records))
            parent.send(("added", number))
            if number % 3 == 2:
                parent.send(("removing", number))
                gallery.remove(Selection(vehicles=(number,)))
                parent.send(("removed", number))
            if number % 5 == 4:
                gallery.compact()
            number += 1


def start(folder: Path, first: int) -> tuple[BaseProcess, Connection]:
    here, there = Pipe()
    process = started(write, folder, first, there)
    there.close()
    return process, here


def rest(said: Connection) -> Iterator[tuple[str, int]]:
    """What a process that is gone had said."""
    with suppress(EOFError, OSError):
        while True:
            yield said.recv()


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_nothing_that_was_acknowledged_is_lost(
    tmp_path: Path, dtype: Literal["float32", "int8"]
) -> None:
    folder = tmp_path / "g"
    create_folder_gallery(folder, identity(), dtype=dtype)
    moments = random.Random(0)
    kept: set[int] = set()  # batches that must be there
    number = 0
    acknowledged = 0
    child, said = start(folder, 0)
    for kill in range(KILLS[dtype]):
        assert said.recv() == "ready"
        said.send("go")
        # a moment anywhere in the work, also on a slow machine: 0 means while opening
        told = [said.recv() for _ in range(moments.randint(0, 5))]
        time.sleep(moments.uniform(0, 0.01))
        child.kill()
        told += rest(said)
        said.close()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        open_removal: int | None = None
        for word, batch in told:
            if word == "added":
                kept.add(batch)
                acknowledged += 1
            elif word == "removing":
                open_removal = batch
            else:
                kept.discard(batch)
                open_removal = None
        with FolderGallery(folder, write=True) as gallery:
            assert gallery.verify() == ()
            there: dict[int, int] = {}
            for stored in gallery.rows():
                batch = stored.record.vehicle_id
                there[batch] = there.get(batch, 0) + 1
            assert set(there.values()) <= {ROWS}, "part of a batch"
            # a batch or a removal that was under way may have come through
            number = max([number, *(batch + 1 for batch in {*there, *kept})])
            lost = kept - set(there)
            assert lost <= {open_removal}, f"lost after kill {kill}"
            extra = set(there) - kept
            assert len(extra) <= 1, f"came back after kill {kill}"
            kept = set(there)
            query = np.array([[batch, 0, 1] for batch in sorted(kept)], np.float32)
            if kept:
                hits = gallery.search(query.reshape(-1, DIM), model=identity(), top_k=1)
                assert not hits.distances.any()
        number = max([number, *(batch + 1 for batch in kept)], default=0)
        if kill < KILLS[dtype] - 1:
            child, said = start(folder, number)
    assert acknowledged >= KILLS[dtype]  # the kills hit a process that was at work
