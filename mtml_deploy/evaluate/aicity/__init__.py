"""AI City Challenge 2019, Track 2: the file with the answers, its score, and local query sets.

The challenge asks, for each query image, for the 100 best of all test images, as numbers. The ids
of the test part are hidden, so a score of one's own needs labelled images: a part of the training
set that is kept from training.
"""

from __future__ import annotations

from typing import Final

LIST_LENGTH: Final = 100
"""Gallery numbers on each line."""

QUERIES: Final = 1052
"""Query images of the published set."""

GALLERY: Final = 18290
"""Test images of the published set."""
