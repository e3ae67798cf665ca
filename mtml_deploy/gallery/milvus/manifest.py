"""The card of a collection: whose vectors it holds, the next row number, and who is writing.

It is kept in row 0, not in the properties of the collection: rows are read and written in one
order that all servers agree on, and that is what keeps row numbers from being used twice.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Final

from mtml_deploy.embed.embeddings import ModelIdentity
from mtml_deploy.gallery.values import GalleryError

SCHEMA: Final = 1

CARD_ROW: Final = 0
"""Row number of the card; those of images begin at 1."""


@dataclass(frozen=True)
class Card:
    """What a collection says of itself.

    Attributes:
        model: the one model whose vectors it holds.
        next_row: the number the next row gets; only grows.
        writer: random text of who opened it for writing last; empty before the first.
        schema: version of fields and card.
    """

    model: ModelIdentity
    next_row: int = CARD_ROW + 1
    writer: str = ""
    schema: int = SCHEMA


def card_text(card: Card) -> str:
    """The card as the text that is kept."""
    return json.dumps(asdict(card))


def parse_card(text: str, name: str) -> Card:
    """The card in a text.

    Args:
        text: what `card_text` made.
        name: of the gallery, for errors.

    Raises:
        GalleryError: not a card, or one of another version.
    """
    try:
        values = json.loads(text)
        if values["schema"] != SCHEMA:
            raise GalleryError(
                f"{name} has schema {values['schema']}, this version reads {SCHEMA}; use the "
                "version that wrote it"
            )
        model = ModelIdentity(**values["model"])
        card = Card(model, values["next_row"], values["writer"])
        if not isinstance(card.next_row, int) or card.next_row <= CARD_ROW:
            raise ValueError(f"next_row is {card.next_row!r}")
        return card
    except (ValueError, TypeError, KeyError) as error:
        raise GalleryError(
            f"the card of {name} (row {CARD_ROW}) is damaged: found {error!r}, expected what "
            "mtml-deploy gallery create writes; restore the collection from a backup"
        ) from error
