"""HTML from templates: every text that is put into a page is escaped.

In: a folder of templates. Out: an environment that renders them. Jinja is imported with this
module, so only what makes a page imports it.
"""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mtml_deploy.text import percent, printable


def page_environment(folder: Path) -> Environment:
    """What renders the templates of a folder.

    A text is shown with control characters as escapes and can never become markup; only a
    `markupsafe.Markup` is taken as it is. A name that no value was given for is an error.

    Args:
        folder: where the templates lie, `NAME.html.j2`, with their style sheets.

    Returns:
        The environment; it has the filters `percent` (of a fraction, a dash where there is none)
        and `thousands` (12,345).
    """
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        # not for Markup, a kind of str that was escaped before
        finalize=lambda value: printable(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["percent"] = percent
    environment.filters["thousands"] = "{:,}".format
    return environment
