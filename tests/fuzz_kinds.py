"""Every kind of file that the toolkit reads, small, with its reader: what fuzz tests damage."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fuzz_mutations import ENTRIES, Outcome, damaged_bytes, outcome_of, replace_entry

Damage = Callable[[bytes, random.Random], tuple[str, bytes]]


@dataclass(frozen=True)
class Kind:
    """One kind of file.

    Attributes:
        name: of the kind.
        files: the files that are damaged, one at a time.
        read: what a program makes of the files, a value that compares equal for an equal meaning.
        damages: how their bytes are damaged, besides by chance.
        sealed: a checksum covers all bytes, so no damage may change what is read.
    """

    name: str
    files: tuple[Path, ...]
    read: Callable[[], object]
    damages: tuple[Damage, ...] = ()
    sealed: bool = False


def damage_once(kind: Kind, seed: int, *, limit_s: float = 10.0) -> str:
    """Damage one file in one way, read it, put it back.

    Args:
        kind: what to damage.
        seed: of the damage.
        limit_s: longer reading is a `HangError`.

    Returns:
        What was done and what came of it.

    Raises:
        AssertionError: damage was taken for the truth.
        BaseException: whatever the reader raised that is no `MtmlError`.
    """
    draw = random.Random(f"{kind.name} {seed}")
    path = draw.choice(kind.files)
    whole = path.read_bytes()
    try:
        if draw.random() < 0.05:
            entry = draw.choice(ENTRIES)
            what, content = f"entry {entry}", b""
            replace_entry(path, entry)
        else:
            what, content = draw.choice((damaged_bytes, *kind.damages))(whole, draw)
            path.write_bytes(content)
        outcome = _outcome(kind, what, path, limit_s)
    finally:
        replace_entry(path, "nothing")
        path.write_bytes(whole)
    if kind.sealed and not outcome.refusal and content != whole:
        expected = kind.read()
        assert outcome.answer == expected, f"{kind.name} seed {seed}: {what} was taken: {outcome}"
    return f"{path.name}: {what}: {outcome.refusal or 'read'}"


def _outcome(kind: Kind, what: str, path: Path, limit_s: float) -> Outcome:
    """What became of reading; an error that is no `MtmlError` gets the damage as a note."""
    try:
        return outcome_of(kind.read, limit_s=limit_s)
    except BaseException as error:
        error.add_note(f"{kind.name}: {path.name}: {what}")
        raise
