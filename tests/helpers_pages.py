"""Blocks of README and docs that a comment marks as run by a test, and how they are run."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROGRAMS = Path(sys.executable).parent
_MARKED = re.compile(r"<!-- ([\w-]+): run by (\S+) -->\n```(bash|python)\n(.*?)```", re.S)
TIME_S = 900


def pages() -> list[Path]:
    """README and every page of docs."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def marked(page: str) -> dict[str, tuple[str, str]]:
    """Name -> language and text of each marked block of a page, in order.

    Args:
        page: its path below the checkout.
    """
    found = _MARKED.findall((ROOT / page).read_text(encoding="utf-8"))
    for name, test, *_ in found:
        assert (ROOT / test).is_file(), f"{page}: {name} names {test}, which is not there"
    return {name: (language, text) for name, _, language, text in found}


def lines(page: str, name: str) -> list[str]:
    """The commands of a block, one each."""
    return marked(page)[name][1].replace("\\\n", " ").strip().splitlines()


def run_block(language: str, text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a block as it stands, in a folder; what it leaves running is killed.

    Args:
        language: "bash" or "python".
        text: the block.
        folder: where it is run.
    """
    shell = ["bash", "-euo", "pipefail", "-c", text]
    environment = os.environ | {
        "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    # into a file: what is left running would keep a pipe open
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(
            shell if language == "bash" else [sys.executable, "-c", text],
            cwd=folder, env=environment, start_new_session=True, text=True,
            stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            process.wait(TIME_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        out.seek(0)
        return subprocess.CompletedProcess(process.args, process.returncode, out.read(), "")
