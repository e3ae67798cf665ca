"""Every file of a package that is no module is named for the wheel, such as templates."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DATA = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]


@pytest.mark.parametrize("package", ["mtml_deploy", "mtml_train"])
def test_files_are_named(package: str) -> None:
    files = {path for path in (ROOT / package).rglob("*") if path.is_file()}
    named = {path for pattern in DATA.get(package, []) for path in (ROOT / package).glob(pattern)}
    assert {path for path in files if path.suffix not in (".py", ".pyc")} == named & files


def test_benchmarks_run_from_a_checkout_alone() -> None:
    """A wheel holds no module of that name, and their README says so."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["setuptools"]["packages"]["find"]["include"] == [
        "mtml_train*",
        "mtml_deploy*",
    ]
    assert "no wheel holds" in (ROOT / "benchmarks/README.md").read_text(encoding="utf-8")


def test_no_two_extras_but_cpu_and_gpu_bring_the_same_module() -> None:
    """onnxruntime and onnxruntime-gpu are one module; training takes either."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bringing = {
        extra: re.match(r"onnxruntime(-gpu)?", each)[0]
        for extra, needed in project["optional-dependencies"].items()
        for each in needed
        if each.startswith("onnxruntime")
    }
    assert bringing == {"cpu": "onnxruntime", "gpu": "onnxruntime-gpu"}
