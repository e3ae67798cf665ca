"""--json of every command: a file, or stdout with nothing else on it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from helpers_artifact import write_artifact
from helpers_hints import commands, flags

import mtml_deploy as md
from mtml_deploy.cli.main import main

WITHOUT_CHOICE = {
    *("mtml-deploy parity", "mtml-deploy aicity score", "mtml-deploy calibrate compare"),
    *("mtml-deploy convert", "mtml-deploy compress", "mtml-deploy build", "mtml-export"),
}
"""Tested where what they need is made."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, embeddings of it with labels, and a gallery of them."""
    folder = tmp_path_factory.mktemp("json")
    write_artifact(folder / "art")
    (folder / "t.csv").write_text(
        "path,vehicle_id,camera_id\n" + "".join(f"{n}.png,{n % 2},{n // 2}\n" for n in range(4))
    )
    from PIL import Image

    for number in range(4):
        Image.effect_noise((20, 20), 40 + number).save(folder / f"{number}.png")
    with md.open_model(folder / "art") as model:
        embedded = model.embed(f"csv:{folder / 't.csv'}")
    embedded.save(folder / "e.npz")
    md.create_gallery(folder / "kept", embedded.model)
    return folder


def run(place: Path, words: str, *more: object) -> Result:
    line = [str(place / word[1:]) if word.startswith("@") else word for word in words.split()]
    return CliRunner().invoke(main, [*line, *map(str, more)])


COMMANDS = {
    "mtml-deploy doctor": "doctor",
    "mtml-deploy info": "info @art",
    "mtml-deploy gallery info": "gallery info @kept",
    "mtml-deploy rank": "rank --query @e.npz --gallery @e.npz",
    "mtml-deploy evaluate": "evaluate --query @e.npz --gallery @e.npz --protocol plain",
    "mtml-deploy search": "search --gallery @kept --query @e.npz",
}


def test_every_command_with_json_is_tried() -> None:
    known = {words for words, command in commands().items() if "--json" in flags(command)}
    assert known == {*COMMANDS, *WITHOUT_CHOICE}


@pytest.mark.parametrize("name", COMMANDS)
def test_json_goes_into_a_file_or_to_stdout_alone(name: str, place: Path, tmp_path: Path) -> None:
    words = COMMANDS[name]
    plain = run(place, words)
    assert plain.exit_code == 0, plain.output
    filed = run(place, words, "--json", tmp_path / "f.json")
    assert filed.exit_code == 0, filed.output
    assert filed.stdout == plain.stdout
    printed = run(place, words, "--json", "-")
    assert printed.exit_code == 0, printed.output
    assert json.loads(printed.stdout) == json.loads((tmp_path / "f.json").read_text())
    # nobody misses what is printed else
    assert plain.stdout in printed.stderr
    assert not Path("-").exists()


@pytest.mark.parametrize("name", COMMANDS)
def test_json_is_replaced_only_where_it_is_of_the_command(
    name: str, place: Path, tmp_path: Path
) -> None:
    words, file = COMMANDS[name], tmp_path / "f.json"
    assert run(place, words, "--json", file).exit_code == 0
    again = run(place, words, "--json", file)
    assert again.exit_code == 1 and "add --overwrite" in again.stderr
    assert run(place, words, "--json", file, "--overwrite").exit_code == 0
    file.write_text('{"of": "others"}')
    other = run(place, words, "--json", file, "--overwrite")
    assert other.exit_code == 1 and file.read_text() == '{"of": "others"}'
