"""Templates: what is put into a page is text, and a forgotten value is an error."""

from pathlib import Path

import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from mtml_deploy.report.templates import page_environment


def shown(folder: Path, template: str, **values: object) -> str:
    (folder / "page.html.j2").write_text(template)
    return page_environment(folder).get_template("page.html.j2").render(**values)


def test_text_is_escaped_and_markup_is_not(tmp_path: Path) -> None:
    evil = "<script>\"&'\x1b\n"
    found = shown(tmp_path, '<i title="{{ a }}">{{ b }}</i>\n', a=evil, b=Markup("<b>x</b>\n"))
    assert found == ('<i title="&lt;script&gt;&#34;&amp;&#39;\\x1b\\n"><b>x</b>\n</i>\n')


def test_numbers(tmp_path: Path) -> None:
    text = "{{ 0.5|percent }} {{ none|percent }} {{ 12345|thousands }}"
    assert shown(tmp_path, text) == "50.0 – 12,345"


def test_a_value_that_is_not_given_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UndefinedError, match="label"):
        shown(tmp_path, "{{ label }}")
