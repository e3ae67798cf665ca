"""`--search-engine` and `--memory-gib` of rank and evaluate: other means, the same results."""

import importlib.util
import json
import re
from typing import get_args

import numpy as np
import pytest
from click.testing import CliRunner
from helpers_embeddings import embedded

from mtml_deploy.cli.main import main
from mtml_deploy.defaults import Backend, EngineName

LIBRARIES = {"numpy": "numpy", "faiss": "faiss", "ort": "onnxruntime"}


def images(count, seed, *, source):
    rng = np.random.default_rng(seed)
    return embedded(
        rng.normal(size=(count, 6)),
        np.arange(count, dtype=np.int32) % 5,
        np.arange(count, dtype=np.int32) % 3,
        source=source,
    )


@pytest.fixture
def run(tmp_path):
    images(12, 1, source="q").save(tmp_path / "q.npz")
    images(90, 2, source="g").save(tmp_path / "g.npz")

    def run(command, *words):
        files = ("--query", tmp_path / "q.npz", "--gallery", tmp_path / "g.npz")
        return CliRunner().invoke(main, [str(word) for word in (command, *files, *words)])

    return run


@pytest.mark.parametrize("engine", get_args(EngineName))
def test_the_engine_changes_no_list(run, tmp_path, engine):
    if importlib.util.find_spec(LIBRARIES[engine]) is None:
        pytest.skip(f"{LIBRARIES[engine]} is not installed")
    lists = []
    for name, words in (("usual", ()), ("asked", ("--search-engine", engine, "--memory-gib", 1))):
        result = run("rank", "--protocol", "veri776", "--json", tmp_path / f"{name}.json", *words)
        assert result.exit_code == 0, result.output
        lists.append(json.loads((tmp_path / f"{name}.json").read_text()))
    assert lists[0] == lists[1]


@pytest.mark.parametrize("words", [(), ("--expand", 3)])
@pytest.mark.parametrize("command", ["rank", "evaluate"])
def test_the_least_memory_that_is_named_is_enough(run, command, words):
    refused = run(command, "--memory-gib", 1e-6, *words)
    assert refused.exit_code == 1
    assert "needs at least" in refused.stderr
    # evaluation and ranking each name their own: follow the advice until there is none
    for _ in range(3):
        advised = re.search(r"--memory-gib ([\d.]+)$", refused.stderr.strip())[1]
        refused = run(command, "--memory-gib", advised, *words)
        if refused.exit_code == 0:
            break
    assert refused.exit_code == 0, refused.output
    assert refused.stdout == run(command, *words).stdout


def test_drawn_galleries_keep_to_the_budget(run):
    result = run("evaluate", "--protocol", "vehicleid", "--draws", 2, "--memory-gib", 1e-6)
    assert result.exit_code == 1
    assert "needs at least" in result.stderr


def test_nothing_is_no_budget(run):
    assert run("evaluate", "--memory-gib", 0).exit_code == 2


def test_choices_are_those_of_the_library():
    choices = {option.name: option.type for option in main.commands["rank"].params}
    assert choices["engine"].choices == get_args(EngineName)
    assert choices["backend"].choices == get_args(Backend)
