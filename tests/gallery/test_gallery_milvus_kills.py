"""A Milvus server killed while rows are added: what was acknowledged is there afterwards."""

import threading
import time

import numpy as np
import pytest
from helpers_gallery import DIM, batch, identity, new_name

from mtml_deploy.gallery.milvus.schema import drop
from mtml_deploy.gallery.open import create_gallery, open_gallery
from mtml_deploy.gallery.values import GalleryError, Selection

ROWS = 4
"""Rows of a batch."""
WAIT_S = 120
"""Until a server that was killed can be used again, on a busy machine."""


def labelled(number: int):
    """Batch number n: rows (n, 0, 1), (n, 1, 1), ... of vehicle n."""
    points = [(number, i, 1) for i in range(ROWS)]
    return batch(
        points, contents=[f"{number}/{i}" for i in range(ROWS)], vehicle_id=[number] * ROWS
    )


def opened_again(name):
    """The gallery, as soon as its server can be used."""
    end = time.monotonic() + WAIT_S
    while True:
        try:
            return open_gallery(name, write=True)
        except GalleryError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


@pytest.mark.parametrize("kills", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_nothing_that_was_acknowledged_is_lost(milvus_server_alone, kills):
    name = new_name(f"milvus://{milvus_server_alone.uri}/")
    create_gallery(name, identity())
    kept: set[int] = set()
    removed: set[int] = set()
    number = 0
    gallery = open_gallery(name, write=True)
    for kill in range(kills):
        # in the middle of the work: after a batch or two, at another moment each time
        killer = threading.Timer(0.15 + 0.07 * kill, milvus_server_alone.kill)
        done = 0
        try:
            while True:
                gallery.add_rows(labelled(number))
                kept.add(number)
                done += 1
                if done == 1:
                    killer.start()
                if number % 3 == 2:
                    gallery.remove(Selection(vehicles=(number,)))
                    kept.discard(number)
                    removed.add(number)
                number += 1
        except GalleryError:
            gallery.close()
        killer.join()
        gallery = opened_again(name)
        there: dict[int, int] = {}
        for stored in gallery.rows():
            there[stored.record.vehicle_id] = there.get(stored.record.vehicle_id, 0) + 1
        # the batch, or the removal, that was under way may have come through, in part or whole
        assert kept - {number} <= {batch for batch, count in there.items() if count == ROWS}
        assert not removed & set(there)
        assert set(there) <= kept | {number}
        assert gallery.verify() == ()
        # adding it again completes it
        gallery.add_rows(labelled(number))
        kept.add(number)
        asked = sorted(kept)
        points = np.array([(batch, ROWS - 1, 1) for batch in asked], np.float32)
        hits = gallery.search(points.reshape(-1, DIM), model=identity(), top_k=1)
        assert not hits.distances.any()
        numbers = [stored.row for stored in gallery.rows()]
        assert len(numbers) == len(set(numbers)) == ROWS * len(kept)
        number += 1
    drop(gallery.collection)
    gallery.close()
    assert len(kept) >= 2 * kills
