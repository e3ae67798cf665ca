"""Environments of a test's own, for packages that this project must not depend on.

Each is made once and kept in the user's cache; where it cannot be made, the test is skipped.
"""

import hashlib
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest


def environment(name, packages, *, with_base=True):
    """The interpreter of an environment.

    Args:
        name: of the environment.
        packages: pinned, all that is needed: nothing is installed for them.
        with_base: whether it also sees the packages of the interpreter that runs the tests.
    """
    from filelock import FileLock

    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mtml-reid-tests"
    key = hashlib.sha256("\n".join([sys.version, sys.prefix, *packages]).encode()).hexdigest()
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"{name}-{key[:12]}"
    with FileLock(f"{folder}.lock"):
        if not (folder / "whole").exists():
            _make(folder, packages, with_base)
    return folder / "bin" / "python"


def _make(folder, packages, with_base):
    """Make the environment, or skip the test."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=60)
    python = folder / "bin" / "python"
    if with_base:
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        places = folder / "lib" / version / "site-packages" / "base.pth"
        places.write_text(sysconfig.get_path("purelib") + "\n")
    words = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps"]
    done = subprocess.run([*words, *packages], capture_output=True, text=True, timeout=500)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason told"])[-1]
        pytest.skip(f"{', '.join(packages[:2])} cannot be installed here: {last}")
    (folder / "whole").touch()
