"""Cutting and padding batches for an engine."""

from __future__ import annotations

import pytest

from mtml_deploy.engine.options import BatchProfile
from mtml_deploy.runtime.batching import Piece, buckets, cut

PROFILES = [
    BatchProfile(1, 1, 1),
    BatchProfile(1, 16, 64),
    BatchProfile(4, 5, 7),
    BatchProfile(8, 8, 8),
    BatchProfile(1, 100, 128),
]


@pytest.mark.parametrize("profile", PROFILES)
def test_every_image_is_in_one_piece_that_the_engine_accepts(profile):
    for count in range(1, 140):
        pieces = cut(count, profile)
        covered = [i for piece in pieces for i in range(piece.start, piece.start + piece.count)]
        assert covered == list(range(count))
        for piece in pieces:
            assert profile.min <= piece.bucket <= profile.max
            assert piece.count <= piece.bucket
            assert piece.bucket in buckets(profile)
        assert all(piece.count == profile.opt for piece in pieces[:-1])


def test_padding_is_at_most_a_third_of_a_run():
    for count in range(3, 129):
        (piece,) = cut(count, BatchProfile(1, 128, 128))
        assert (piece.bucket - piece.count) / piece.bucket <= 1 / 3


def test_a_batch_below_the_smallest_is_padded():
    assert cut(2, BatchProfile(4, 5, 7)) == (Piece(0, 2, 4),)
