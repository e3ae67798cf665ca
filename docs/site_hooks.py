"""Pages of the site that lie outside of docs/: they get a name, and links from and to them are set.

On GitHub the links of the Markdown lead to the files; on the site they lead to the pages.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
OUTSIDE = {
    "CHANGELOG.md": "changelog.md",
    "CITATION.cff": "CITATION.cff",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "benchmarks/README.md": "measuring.md",
    "calibration/README.md": "calibration.md",
}
"""File of the checkout -> page or file of the site."""

_CODE = re.compile(r"(?<!<span></span>)<code>([^<]*)</code>")
"""Code in a line, not in a block."""

_FILE_NAME = re.compile(r"\[(?:docs/)?[\w/-]+\.md\](?=\(([^)#]+)[^)]*\))")
"""The text of a link that is called by its file."""

_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from outside."""
    for name, page in OUTSIDE.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to the pages of the site, and call these by their titles and not their files."""
    here = page.file.src_uri
    lies = next((name for name, shown in OUTSIDE.items() if shown == here), f"docs/{here}")

    def link(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(lies), found[1]))
        shown = OUTSIDE.get(target, target.removeprefix("docs/"))
        return posixpath.relpath(shown, posixpath.dirname(here) or ".")

    def title(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(here), found[1]))
        there = files.get_file_from_path(target)
        heading = re.search(r"^# (.+)$", there.content_string if there else "", re.M)
        return f"[{heading[1]}]" if heading else found[0]

    return _FILE_NAME.sub(title, _LINK.sub(link, markdown))


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Keep the words of code whole: a browser may break a flag behind its hyphens."""

    def whole(found: re.Match[str]) -> str:
        words = (f'<span class="whole">{word}</span>' for word in found[1].split(" "))
        return f"<code>{' '.join(words)}</code>"

    return _CODE.sub(whole, html)
