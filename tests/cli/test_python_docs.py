"""The Python of README and docs, run as written on a small set, with a made-up video."""

import ast
import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from helpers_artifact import write_artifact
from helpers_precision import mini_artifact
from PIL import Image

import mtml_deploy as md

ROOT = Path(__file__).parents[2]


def blocks(name):
    """The Python blocks of a page, with the lines they begin on."""
    text = (ROOT / name).read_text(encoding="utf-8")
    found = [
        (text[: match.start(1)].count("\n"), match[1])
        for match in re.finditer(r"```python\n(.*?)```", text, re.S)
    ]
    assert found
    return found


def run(name, names):
    """Run all blocks of a page in order, in one name space."""
    for line, code in blocks(name):
        exec(compile("\n" * line + code, name, "exec"), names)
    return names


class Video:
    """Three frames of 200 x 180 pixels, BGR, in place of a file."""

    def __init__(self, name):
        assert name.endswith(".mp4")
        self.left = 3

    def read(self):
        self.left -= 1
        frame = np.random.default_rng(self.left + 1).integers(0, 256, (180, 200, 3), dtype=np.uint8)
        return (True, frame) if self.left >= 0 else (False, None)


@pytest.fixture
def place(tmp_path, monkeypatch, tiny_set):
    """A folder with all that the pages name."""
    monkeypatch.chdir(tmp_path)
    for name in ("VeRi", "cars"):
        (tmp_path / name).symlink_to(tiny_set, target_is_directory=True)
    Image.new("RGB", (8, 6), "red").save("car.png")
    video = ModuleType("cv2")
    video.VideoCapture = Video
    monkeypatch.setitem(sys.modules, "cv2", video)
    return tmp_path


def test_the_tour(place):
    mini_artifact(place / "model")  # with convolutions, to be converted
    names = run("docs/python.md", {"detect": lambda frame: [[0, 0, 40, 40], [50, 60, 120, 130]]})
    assert names["crops"].names == ("box 0", "box 1")
    assert 2 <= len(names["tracks"]) <= 4
    assert names["rows"].features[0].tolist() == names["rows"].features[2].tolist()
    assert len(names["found"].stages) == 3
    assert (place / "lists.html").stat().st_size > 0
    assert names["hits"].rows.shape == (len(names["query"]), 5)


def test_the_readme(place):
    write_artifact(place / "model")
    names = run("README.md", {})
    assert names["ranking"].rows.shape == (len(names["query"]), 10)
    assert (place / "lists.html").stat().st_size > 0


def test_the_notebook(place):
    """Its cells in order, in one name space; the last value of a cell shows itself."""
    write_artifact(place / "model")
    cells = json.loads((ROOT / "docs/notebook.ipynb").read_text(encoding="utf-8"))["cells"]
    names, shown = {}, []
    for cell in (cell for cell in cells if cell["cell_type"] == "code"):
        assert (cell["outputs"], cell["execution_count"]) == ([], None), "strip the outputs"
        tree = ast.parse("".join(cell["source"]))
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, "notebook", "exec"), names)
        if last is not None:
            shown.append(eval(compile(ast.Expression(last.value), "notebook", "eval"), names))
    assert shown[0] == (names["query"].features.shape, names["gallery"].features.shape)
    assert "mAP" in names["found"]._repr_markdown_()
    assert names["page"]._repr_html_().count("&lt;img") > 4
    assert (place / "lists.html").stat().st_size > 0


def test_python_comes_first_in_the_readme():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^```(\w*)$", text, re.M)[0] == "python"


def test_the_reference_is_current():
    spec = importlib.util.spec_from_file_location("make_reference", ROOT / "docs/make_reference.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    written = (ROOT / "docs/reference.md").read_text(encoding="utf-8")
    assert script.page() == written, "run make reference"
    assert re.findall(r"^## (\w+)$", written, re.M) == [
        name for name in md.__all__ if name != "__version__"
    ]
    assert "**Returns**" in written and "self" not in re.findall(r"\((.*?)[,)]", written)
