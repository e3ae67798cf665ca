"""kill -9 at any moment: what was acknowledged stays, what was not is there whole or not at all."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from helpers_gallery import DIM, identity

from mtml_deploy.gallery.folder.gallery import FolderGallery, create_folder_gallery

KILLS = {"float32": 50, "int8": 12}
"""An int8 gallery differs in one more file that is written before the same commit."""
ROWS = 3
"""Rows of a batch."""

CHILD = """
import os
import sys
from pathlib import Path
import numpy as np
import mtml_deploy.gallery.folder.writer as segment_writer
import mtml_deploy.gallery.folder.gallery as store
from mtml_deploy.embed.embeddings import ModelIdentity
from mtml_deploy.gallery.values import NewRows, RowRecord, Selection

segment_writer.SEGMENT_BYTES = 12 * 12  # a new file every few batches
model = ModelIdentity("a" * 64, "fp32", "fused", 3)
def say(line):
    os.write(1, line.encode() + b"\\n")  # one call: print may write a line in pieces

say("ready")
sys.stdin.readline()
with store.FolderGallery(Path(sys.argv[1]), write=True) as gallery:
    number = int(sys.argv[2])
    while True:
        features = np.array([[number, i, 1] for i in range(3)], np.float32)
        records = tuple(RowRecord(f"{number}/{i}", f"{number}/{i}", vehicle_id=number)
                        for i in range(3))
        gallery.add_rows(NewRows(model, features, records))
        say(f"added {number}")
        if number % 3 == 2:
            say(f"removing {number}")
            gallery.remove(Selection(vehicles=(number,)))
            say(f"removed {number}")
        if number % 5 == 4:
            gallery.compact()
        number += 1
"""


def start(folder: Path, first: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder), str(first)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


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
    child = start(folder, 0)
    for kill in range(KILLS[dtype]):
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.stdin.write("go\n")
        child.stdin.flush()
        # a moment anywhere in the work, also on a slow machine: 0 means while opening
        lines = [child.stdout.readline() for _ in range(moments.randint(0, 5))]
        assert all(lines), "the writer ended by itself"
        time.sleep(moments.uniform(0, 0.01))
        child.send_signal(signal.SIGKILL)
        lines += child.stdout.readlines()
        assert child.wait(timeout=60) == -signal.SIGKILL
        child.stdin.close()
        child.stdout.close()
        open_removal: int | None = None
        for line in lines:
            word, batch = line.split()
            if word == "added":
                kept.add(int(batch))
                acknowledged += 1
            elif word == "removing":
                open_removal = int(batch)
            else:
                kept.discard(int(batch))
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
            child = start(folder, number)
    assert acknowledged >= KILLS[dtype]  # the kills hit a process that was at work
