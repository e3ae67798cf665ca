"""What keeps tests of training quick."""

from __future__ import annotations

import pytest
from helpers_training import WIDTH, tiny_network


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Branches of one convolution: a checkpoint of two ResNet-18 has 270 MB, and is synced."""
    monkeypatch.setattr("mtml_train.model.build_backbone", lambda *_, **__: (tiny_network(), WIDTH))
