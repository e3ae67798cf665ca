"""What one thing on disk is, for people and for programs."""

from __future__ import annotations

from dataclasses import dataclass

from mtml_deploy.output_kind import FileKind


@dataclass(frozen=True)
class Facts:
    """What `mtml-deploy info` tells of one thing.

    Attributes:
        kind: what it is, with its article.
        rows: name and value, in the order they are shown.
        uses: commands for which it is made; words in capitals are for the user to fill in.
        json: the full record.
        json_kind: what that record is.
    """

    kind: str
    rows: tuple[tuple[str, str], ...]
    uses: tuple[str, ...]
    json: str
    json_kind: FileKind
