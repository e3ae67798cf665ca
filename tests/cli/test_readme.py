"""The README's commands, run as written; only sizes are cut so that they end in seconds."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")

# appended to the command that starts so: later options win
SMALLER = {
    "mtml-train synthetic": "--train-vehicles 4 --test-vehicles 4 --images-per-vehicle 6 "
    "--image-size 48 --processes 1",
    "mtml-train --data": "--image-size 32 --max-steps 2 --workers 0",
}


def blocks() -> list[str]:
    found = re.findall(
        r"<!-- \w+: run by tests/cli/test_readme.py -->\n```bash\n(.*?)```", README, re.S
    )
    return [command for block in found for command in block.strip().splitlines()]


@pytest.mark.timeout(300)
def test_the_commands_of_the_readme_run_in_order(tmp_path: Path) -> None:
    commands = blocks()
    assert len(commands) == 14
    for command in commands:
        line = command
        for start, options in SMALLER.items():
            if command.startswith(start):
                line = f"{command} {options}"
        program, *arguments = shlex.split(line)
        done = subprocess.run(
            [Path(sys.executable).parent / program, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("<img") > 8  # at least every query, as data inside the page
    assert (tmp_path / "cmc.svg").stat().st_size > 0
    assert '"mean_ap"' in (tmp_path / "metrics.json").read_text()


def test_every_file_the_readme_links_exists() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert links
    for link in links:
        assert (ROOT / link).is_file(), link


def test_every_make_target_of_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make (\w+)`", README):
        assert re.search(rf"^{target}:", makefile, re.M), target


def test_every_option_of_the_readme_exists() -> None:
    """Options named in prose and in the commands that are too long to run."""
    help_text = ""
    commands = (
        *("mtml-train", "mtml-export"),
        *("mtml-deploy embed", "mtml-deploy rank", "mtml-deploy evaluate", "mtml-deploy search"),
        *("mtml-deploy gallery add", "mtml-deploy convert", "mtml-deploy parity"),
    )
    for words in commands:
        program, *rest = words.split()
        help_text += subprocess.run(
            [Path(sys.executable).parent / program, *rest, "--help"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
    options = set(re.findall(r"(?<![\w-])(--[a-z][a-z-]+)", README)) - {"--nproc-per-node"}
    assert options
    missing = {option for option in options if option not in help_text}
    assert not missing
