"""Three newcomers type what the pages tell them, in order, in a fresh folder, and nothing else."""

from __future__ import annotations

import re
import shlex
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers_hints import programs
from helpers_pages import ROOT, lines, marked, pages, run_block

HOW_TO = "docs/howto"
NEWCOMERS = {
    "researcher": (
        "README.md",
        f"{HOW_TO}/train-own-table.md",
        f"{HOW_TO}/fine-tune.md",
        f"{HOW_TO}/evaluate-and-report.md",
    ),
    "deployment-engineer": (
        "docs/install.md",
        f"{HOW_TO}/export-fp16-int8.md",
        f"{HOW_TO}/tensorrt-engine.md",
        f"{HOW_TO}/embed-and-search.md",
        f"{HOW_TO}/tracker.md",
    ),
    "operator": (
        "docs/install.md",
        f"{HOW_TO}/nightly-crops.md",
        f"{HOW_TO}/serve-behind-a-proxy.md",
    ),
}
ELSEWHERE = {"production", "python"}
"""Of the README: a gate that may fail on so few queries, and what needs the commands below it."""


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("newcomer", NEWCOMERS)
def test_what_the_pages_say_works(newcomer: str, tmp_path: Path) -> None:
    for page in NEWCOMERS[newcomer]:
        for name, (language, text) in marked(page).items():
            if name in ELSEWHERE:
                continue
            require_free(re.findall(r"--port (\d+)", text))
            done = run_block(language, text, tmp_path)
            assert done.returncode == 0, f"{page}, {name}:\n{text}\n{done.stdout[-4000:]}"


def require_free(ports: list[str]) -> None:
    """Skip where another program has a port that a page names."""
    for port in ports:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", int(port))) == 0:
                pytest.skip(f"port {port} is taken by another program")


def test_every_marked_block_is_run_by_somebody() -> None:
    """And every job has a page that a newcomer reads, or that has nothing to be run."""
    read = {page for path in NEWCOMERS.values() for page in path}
    with_blocks = {
        str(page.relative_to(ROOT)) for page in pages() if "test_newcomers.py" in page.read_text()
    }
    assert with_blocks <= read
    assert all(marked(page) for page in read)
    jobs = {str(page.relative_to(ROOT)) for page in (ROOT / HOW_TO).glob("*.md")}
    # the data set is given on request, so its page names what cannot be here
    assert jobs - read == {f"{HOW_TO}/README.md", f"{HOW_TO}/train-veri776.md"}


@pytest.mark.parametrize("page", ["evaluate-and-report", "embed-and-search"])
def test_a_page_works_behind_the_tour(
    page: str, tour: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same commands in this process, which takes a second where programs take ten."""
    for path in (tour / "cars", tour / "model"):
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    for name in marked(f"{HOW_TO}/{page}.md"):
        for command in lines(f"{HOW_TO}/{page}.md", name):
            program, *words = shlex.split(command)
            done = CliRunner().invoke(programs()[program], words)
            assert done.exit_code == 0, f"{command}\n{done.output}"


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    named = re.findall(r"([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M)
    assert len(named) == len(set(named))
    there = {str(page.relative_to(ROOT / "docs")) for page in pages()[1:]}
    assert there - {*named} == set()


def test_every_file_that_a_page_links_exists() -> None:
    for page in pages():
        text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
        for link in re.findall(r"\]\((?![a-z]+:|#)([^)#]+)", text):
            assert (page.parent / link).exists(), f"{page.relative_to(ROOT)}: {link}"
