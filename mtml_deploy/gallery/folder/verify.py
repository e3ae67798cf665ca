"""Is everything there and unchanged: missing, corrupted, foreign and duplicate rows.

In: a gallery's folder, manifest and record of rows. Out: findings, none where all is well. Reads
every vector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.gallery.folder.int8 import encode
from mtml_deploy.gallery.folder.manifest import GalleryManifest
from mtml_deploy.gallery.folder.rows import RowTable
from mtml_deploy.gallery.folder.vectors import (
    crc32_of,
    layers,
    map_codes,
    map_rows,
    segment_state,
)
from mtml_deploy.gallery.values import Finding, GalleryError

_CHUNK_BYTES: Final = 1 << 24
"""Vectors read at once (16 MiB)."""

_ATTEMPTS: Final = 5
"""Passes before giving up, should rows be removed or moved during each."""


def verify(
    folder: Path,
    manifest: GalleryManifest,
    table: RowTable,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Finding, ...]:
    """Check the record and every row that was not removed.

    Args:
        folder: the gallery.
        manifest: its manifest.
        table: its record of rows.
        progress: called with (rows read, rows).

    Returns:
        The faults, ordered by segment and slot, duplicates last.

    Raises:
        GalleryError: the record cannot be read at all.
    """
    findings: tuple[Finding, ...] = ()
    for _ in range(_ATTEMPTS):
        before = table.rewrites()
        findings = tuple(_faults(folder, manifest, table, progress))
        # a writer that moved the rows meanwhile makes them look missing
        if not findings or table.rewrites() == before:
            break
    return findings


def _faults(
    folder: Path,
    manifest: GalleryManifest,
    table: RowTable,
    progress: Callable[[int, int], None] | None,
) -> Iterator[Finding]:
    """One pass."""
    with table.snapshot():
        try:
            for text in table.faults():
                yield Finding("corrupted", None, f"the record of rows: {text}")
            numbers, _ = table.everything()
            for _ in table.records():
                pass  # reading them checks their texts
        except GalleryError as error:
            yield Finding("corrupted", None, str(error))
            return
    live = numbers[~numbers["removed"]]
    sound = np.zeros(len(live), dtype=np.bool_)
    done = 0
    for number in np.unique(live["segment"]).tolist():
        here = np.flatnonzero(live["segment"] == number)
        state = segment_state(folder, number, manifest)
        for position in here[live["slot"][here] >= state.rows].tolist():
            row = int(live["row"][position])
            if state.fault == "foreign":
                text = f"vector file {number} is of another model, size or type"
                yield Finding("foreign", row, text)
            else:
                found = "is missing" if state.fault else f"ends after {state.rows} rows"
                yield Finding("missing", row, f"vector file {number} {found}")
        here = here[live["slot"][here] < state.rows]
        step = max(1, _CHUNK_BYTES // manifest.row_bytes)
        for start in range(0, len(here), step):
            chunk = here[start : start + step]
            crcs = np.array(crc32_of(_read(folder, manifest, live[chunk])), dtype=np.uint32)
            sound[chunk] = crcs == live["crc"][chunk]
            for row in live["row"][chunk[~sound[chunk]]].tolist():
                yield Finding("corrupted", row, f"its bytes in vector file {number} were changed")
            yield from _code_faults(folder, manifest, number, live[chunk[sound[chunk]]])
            done += len(chunk)
            if progress is not None:
                progress(done, len(live))
    yield from _duplicates(folder, manifest, live[sound])


def _code_faults(
    folder: Path, manifest: GalleryManifest, number: int, chunk: NDArray[np.void]
) -> Iterator[Finding]:
    """Rows of one segment whose codes are not those of their vectors, which are sound."""
    if "codes" not in layers(manifest):
        return
    state = segment_state(folder, number, manifest, "codes")
    if state.fault == "foreign":
        text = f"code file {number} is of another model, size or type"
        yield from (Finding("foreign", row, text) for row in chunk["row"].tolist())
        return
    there = chunk["slot"] < state.rows
    for row in chunk["row"][~there].tolist():
        found = "is missing" if state.fault else f"ends after {state.rows} rows"
        yield Finding("missing", row, f"code file {number} {found}")
    chunk = chunk[there]
    if not len(chunk):
        return
    mapped = map_codes(folder, number, manifest, int(chunk["slot"].max()) + 1)
    stored = mapped[chunk["slot"]]
    expected = encode(_read(folder, manifest, chunk))
    equal = (stored["codes"] == expected["codes"]).all(axis=1)
    equal &= stored["scale"] == expected["scale"]
    # a sum of float64: its last bits are the machine's
    equal &= np.isclose(stored["error"], expected["error"], rtol=1e-6, atol=0)
    for row in chunk["row"][~equal].tolist():
        yield Finding("corrupted", row, f"its codes in code file {number} are not its vector's")


def _duplicates(
    folder: Path, manifest: GalleryManifest, live: NDArray[np.void]
) -> Iterator[Finding]:
    """Rows whose vector another row before them has."""
    order = np.argsort(live["crc"], kind="stable")  # equal checksums together, by row
    crcs = live["crc"][order]
    cuts = np.flatnonzero(crcs[1:] != crcs[:-1]) + 1
    starts, stops = np.r_[0, cuts], np.r_[cuts, len(order)]
    found = []
    for start, stop in zip(starts, stops, strict=True):
        if stop - start < 2:
            continue
        first_of: dict[bytes, int] = {}
        for position in order[start:stop]:
            content = _read(folder, manifest, live[position : position + 1]).tobytes()
            row = int(live["row"][position])
            first = first_of.setdefault(content, row)
            if first != row:
                found.append(Finding("duplicate", row, f"has the same vector as row {first}"))
    yield from sorted(found, key=lambda finding: finding.row or 0)


def _read(folder: Path, manifest: GalleryManifest, chunk: NDArray[np.void]) -> NDArray[np.float32]:
    """Vectors float32 [n, D] of rows of one segment that are known to be in its file."""
    number, last = int(chunk["segment"][0]), int(chunk["slot"].max())
    mapped = map_rows(folder, number, manifest, last + 1)
    taken: NDArray[np.float32] = mapped[chunk["slot"]]
    return taken
