"""The files beside the code that tell a stranger what this is, and the Makefile's own list."""

import re
import subprocess
from pathlib import Path

import pytest

from mtml_deploy.version import __version__

ROOT = Path(__file__).parents[1]


def test_make_alone_lists_every_target() -> None:
    done = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    told = dict(re.findall(r"^make ([a-z-]+) +(\S.*)$", done.stdout, re.M))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.+)$", makefile, re.M)
    assert phony and list(told) and set(told) == set(phony[1].split())
    assert len(done.stdout.splitlines()) == len(told)


def test_what_is_cited_is_this_version() -> None:
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.+)$", text, re.M) == [__version__]
    for name in ("Kanaci", "Li", "Gong", "Rajamanoharan"):
        assert f'family-names: "{name}"' in text


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "SECURITY.md"])
def test_links_lead_somewhere(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    assert links and all((ROOT / link).is_file() for link in links)


def test_named_files_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:tests|mtml_deploy|mtml_train|docs)/[\w/.]+)`", text)
    assert len(named) > 5
    for name in named:
        assert (ROOT / name).exists(), name
