"""Distributions that look installed: their metadata alone, on the path of modules."""

from __future__ import annotations

from pathlib import Path

import pytest


def pretend_installed(folder: Path, monkeypatch: pytest.MonkeyPatch, **versions: str) -> None:
    """Put metadata of distributions before all that is installed.

    Args:
        folder: where it is written.
        monkeypatch: takes it off the path again.
        versions: name, with "_" for "-", and version of each.
    """
    for name, version in versions.items():
        metadata = folder / f"{name}-{version}.dist-info"
        metadata.mkdir(parents=True)
        text = f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n"
        (metadata / "METADATA").write_text(text)
    monkeypatch.syspath_prepend(folder)
