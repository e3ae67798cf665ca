"""The line `next:` behind each step: a command with the paths of this run, which can be run."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from helpers_artifact import write_artifact, write_images
from helpers_hints import parsed_line

from mtml_deploy.cli.main import main


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model whose folder has a blank in its name, and a table of labelled images."""
    monkeypatch.chdir(tmp_path)
    write_artifact(tmp_path / "my model")
    write_images(tmp_path / "images", 16)
    rows = [f"images/{n:04d}.png,{n % 2},{n // 2 % 2},{'query' if n < 8 else 'gallery'}"
            for n in range(16)]  # fmt: skip
    (tmp_path / "cars.csv").write_text("\n".join(["path,vehicle_id,camera_id,split", *rows]) + "\n")
    return tmp_path


def followed(*words: str) -> tuple[Result, str]:
    """The result of a command and what it says comes next, which its program takes."""
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    *_, last = result.stderr.splitlines()
    assert last.startswith("next: "), result.stderr
    assert "next: " not in result.stdout
    parsed_line(last.removeprefix("next: "))
    return result, last.removeprefix("next: ")


def test_the_way_from_images_to_a_service(place: Path) -> None:
    source, pair = "csv:cars.csv#gallery", ("--query", "csv:cars.csv", "--gallery", "g.npz")
    _, line = followed("embed", "my model", "--images", source, "--out", "g.npz")
    assert line == "mtml-deploy rank 'my model' --query SOURCE --gallery g.npz"
    _, line = followed("rank", "my model", *pair)
    assert line == (
        "mtml-deploy evaluate 'my model' --query csv:cars.csv --gallery g.npz --protocol plain"
    )
    # as it stands, with nothing to fill in
    _, line = followed(*parsed_words(line))
    assert line == "mtml-deploy gallery create GALLERY 'my model'"
    _, line = followed("gallery", "create", "cars", "my model")
    assert line == "mtml-deploy gallery add cars 'my model' --images SOURCE"
    _, line = followed("gallery", "add", "cars", "my model", "--images", source)
    assert line == "mtml-deploy serve 'my model' --gallery cars"
    _, line = followed("calibrate-threshold", "my model", "--data", "csv:cars.csv", "--fpr", "0.1")
    assert "--max-distance calibrated" in line


def parsed_words(line: str) -> list[str]:
    """The words behind the program's name."""
    return shlex.split(line)[1:]


def test_json_on_stdout_is_alone(place: Path) -> None:
    result, _ = followed("evaluate", "my model", "--query", "csv:cars.csv", "--gallery",
                         "csv:cars.csv", "--json", "-")  # fmt: skip
    assert json.loads(result.stdout)["protocol"]["name"] == "veri776"
