"""Every file of a package that is no module is named for the wheel, such as templates."""

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DATA = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]


@pytest.mark.parametrize("package", ["mtml_deploy", "mtml_train", "calibration"])
def test_files_are_named(package: str) -> None:
    files = {path for path in (ROOT / package).rglob("*") if path.is_file()}
    named = {path for pattern in DATA.get(package, []) for path in (ROOT / package).glob(pattern)}
    assert {path for path in files if path.suffix not in (".py", ".pyc", ".md")} == named
