"""Thousands of damaged files of every kind: each is refused in words, in time, or read as it was.

A seed that fails is tried again with `damage_once(kind, seed)`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fuzz_boxes import BOX_KINDS
from fuzz_kinds import Kind, damage_once
from fuzz_lists import LIST_KINDS
from fuzz_models import MODEL_KINDS
from fuzz_rows import ROW_KINDS
from fuzz_training import TRAINING_KINDS

TRIED = {"images": 40, "thumbnails": 40, "forged model": 80}
"""Of kinds that take long."""

MOST = 180
"""Of the others."""


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize(
    "make",
    [*ROW_KINDS, *BOX_KINDS, *MODEL_KINDS, *LIST_KINDS, *TRAINING_KINDS],
    ids=lambda make: make.__name__,
)
def test_damage_is_refused_or_does_no_harm(tmp_path: Path, make: Callable[[Path], Kind]) -> None:
    kind = make(tmp_path)
    whole = kind.read()
    told = [damage_once(kind, seed) for seed in range(TRIED.get(kind.name, MOST))]
    assert kind.read() == whole, "the files were not put back"
    assert len(set(told)) > len(told) / 2
