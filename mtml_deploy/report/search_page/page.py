"""The search page as text: one that asks the service beside it, or one that holds its lists.

In: nothing, or lists of a gallery. Out: one HTML file. Its style and script come with it; the
policy it carries allows these two by their hashes and, of addresses, its own service alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from markupsafe import Markup

from mtml_deploy.data.thumbnails import make_thumbnail
from mtml_deploy.embed.embeddings import Embeddings
from mtml_deploy.gallery.hit_lists import hit_values
from mtml_deploy.gallery.values import Hit
from mtml_deploy.output_kind import text_kind
from mtml_deploy.report.templates import page_environment

THUMBNAIL_SIDE: Final = 224
"""Longer side of a picture in a file, pixels."""

SEARCH_HTML: Final = text_kind(
    "a page of mtml-deploy search", '<meta name="generator" content="mtml-deploy search">'
)

_FOLDER: Final = Path(__file__).parent
_SCRIPTS: Final = ("tools.js", "state.js", "source.js", "query.js", "hits.js", "main.js")


def service_page(title: str = "Vehicle search") -> str:
    """The page of a service: it asks `v1/...` beside its own address."""
    return _page(title, {}, SERVICE_POLICY)


def lists_page(
    title: str,
    info: Mapping[str, object],
    queries: Embeddings,
    lists: Sequence[Sequence[Hit]],
) -> str:
    """A page that holds its lists and pictures, for a file.

    Args:
        title: heading.
        info: what is said of the model: `model`, `label`, `measured`, `max_distance`,
            `max_distance_words`, `warning`; as the service's `/v1/info` tells it.
        queries: Q images.
        lists: [Q] their hits.

    Returns:
        The whole file; an image that cannot be read has a placeholder.
    """
    pictures: dict[str, str] = {}

    def shown(path: Path) -> str:
        """The key of a picture; one that comes again is kept once."""
        key = str(path)
        if key not in pictures:
            found = make_thumbnail(path, side=THUMBNAIL_SIDE) if path.is_absolute() else None
            pictures[key] = "" if found is None else found.address
        return key

    data = {
        "info": dict(info),
        "gallery": None,
        "queries": [
            {
                "name": name,
                "picture": shown(Path(queries.root) / name),
                "ranks": [
                    {**hit_values(hit), "picture": shown(Path(hit.stored.record.path))}
                    for hit in hits
                ],
            }
            for name, hits in zip(queries.names, lists, strict=True)
        ],
        "pictures": pictures,
    }
    return _page(title, data, policy(pictures="data:", connect="'none'"))


def policy(*, pictures: str, connect: str) -> str:
    """What the page may load and run, as a Content-Security-Policy.

    Args:
        pictures: where images may come from.
        connect: what may be asked.
    """
    return (
        f"default-src 'none'; img-src {pictures}; connect-src {connect}; "
        f"style-src {_hash(_style())}; script-src {_hash(_script())}; base-uri 'none'; "
        "form-action 'none'"
    )


def _page(title: str, data: Mapping[str, object], rules: str) -> str:
    """The page with its data."""
    # in a script block nothing but "<" could end the block
    text = json.dumps(data, allow_nan=False).replace("<", "\\u003c")
    template = page_environment(_FOLDER).get_template("page.html.j2")
    return template.render(
        title=title,
        policy=Markup(rules),
        style=Markup(_style()),
        script=Markup(_script()),
        data=Markup(text),
    )


def _style() -> str:
    """The style sheet."""
    return (_FOLDER / "style.css").read_text(encoding="utf-8")


def _script() -> str:
    """The script: its files, one after the other."""
    return "".join((_FOLDER / name).read_text(encoding="utf-8") for name in _SCRIPTS)


def _hash(text: str) -> str:
    """What a policy calls an inline text."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


SERVICE_POLICY: Final = policy(pictures="'self' blob: data:", connect="'self'")
"""Of `service_page`; the service says it in a header too."""
