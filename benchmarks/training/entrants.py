"""Who trains: recipes and variants of this toolkit, and peers; each with a name for the table.

In: what the user chose. Out: entrants in the order of the table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.training.checkouts import PEERS, PeerName
from mtml_deploy.errors import DataError
from mtml_train.config import VARIANTS
from mtml_train.settings import RECIPES, parse_setting

OURS: Final = "benchmarks.training.ours"


@dataclass(frozen=True)
class Entrant:
    """One row of the table.

    Attributes:
        name: in the table.
        module: of its trainer.
        options: of its trainer.
        path: folders that its process imports from first.
    """

    name: str
    module: str
    options: Mapping[str, str | int | float | bool]
    path: tuple[Path, ...] = ()

    @property
    def folder(self) -> str:
        """Its name as a folder."""
        return "".join(one if one.isalnum() or one in "-._=" else "_" for one in self.name)


def recipe_entrant(text: str, *, backbone: str, amp: str) -> Entrant:
    """An entrant of this toolkit.

    Args:
        text: "RECIPE", "RECIPE:VARIANT" or "RECIPE:VARIANT:NAME=VALUE,...".
        backbone: of every branch.
        amp: mixed precision.

    Returns:
        The entrant.

    Raises:
        DataError: no such recipe, variant or setting.
    """
    recipe, _, rest = text.partition(":")
    variant, _, settings = rest.partition(":")
    variant = variant or "MTML-OSG"
    if recipe not in RECIPES or variant not in VARIANTS:
        raise DataError(
            f"--entrant {text}: write RECIPE:VARIANT or RECIPE:VARIANT:NAME=VALUE,...; recipes are "
            f"{', '.join(RECIPES)}, variants are {', '.join(VARIANTS)}"
        )
    options: dict[str, str | int | float | bool] = {
        "recipe": recipe, "variant": variant, "backbone": backbone, "amp": amp,
    }  # fmt: skip
    for setting in filter(None, settings.split(",")):
        for name, value in parse_setting(setting).items():
            if not isinstance(value, str | int | float | bool):
                raise DataError(f"--entrant {text}: {name} is not one value")
            options[name] = value
    return Entrant(text, OURS, options)


def peer_entrant(
    name: PeerName, copy: Path, *, backbone: str, site: Sequence[Path] = ()
) -> Entrant:
    """A peer.

    Args:
        name: of the peer.
        copy: its mended copy.
        backbone: its network.
        site: further folders to import from, with what it needs.
    """
    peer = PEERS[name]
    options = {"backbone": backbone, "checkout": str(copy)}
    return Entrant(f"{name} {peer.commit}", peer.module, options, (copy, *site))
