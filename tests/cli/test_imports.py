"""Deployment imports without training and inference libraries, and help answers at once."""

import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from helpers_child import BLOCKED, child

import mtml_deploy
from mtml_deploy.cli.help import SOURCES
from mtml_deploy.cli.main import main
from mtml_deploy.data.source import FORMS
from mtml_train.cli.export import export_main
from mtml_train.cli.train import train_main

ROOT = Path(__file__).parents[2]
WEB = BLOCKED[BLOCKED.index("fastapi") :]
"""What the service is made of: its modules alone are imported with it."""

MODULES = sorted(
    module.name for module in pkgutil.walk_packages(mtml_deploy.__path__, "mtml_deploy.")
)
HELP_SECONDS = 0.5
"""CPU time of one answer; the best of three, since other programs share the machine."""


def test_the_block_blocks() -> None:
    for name in BLOCKED:
        code = f"try:\n    import {name}\nexcept ModuleNotFoundError:\n    print('blocked')"
        assert child(code)[0].strip() == "blocked"


def test_every_module_imports_without_heavy_libraries() -> None:
    assert "mtml_deploy.runtime.ort" in MODULES
    service = [name for name in MODULES if name.startswith("mtml_deploy.serve.")]
    others = [name for name in MODULES if name not in service]
    child("\n".join(f"importlib.import_module({name!r})" for name in others))
    heavy = tuple(name for name in BLOCKED if name not in WEB)
    child("\n".join(f"importlib.import_module({name!r})" for name in service), heavy)


def help_words(command: click.Command) -> Iterator[list[str]]:
    """The words that ask a command and all its subcommands for help."""
    yield ["--help"]
    if isinstance(command, click.Group):
        for name, sub in sorted(command.commands.items()):
            yield from ([name, *words] for words in help_words(sub))


PROGRAMS = {
    "mtml-deploy": ("mtml_deploy.cli.main", "main", main),
    "mtml-train": ("mtml_train.cli.train", "train_main", train_main),
    "mtml-export": ("mtml_train.cli.export", "export_main", export_main),
}
MODULE_NAMES = {"mtml_deploy": "mtml-deploy", "mtml_train": "mtml-train"}


@pytest.mark.parametrize(
    ("program", "words"),
    [
        pytest.param(program, words, id=" ".join([program, *words[:-1]]))
        for program, (_, _, command) in PROGRAMS.items()
        for words in help_words(command)
    ],
)
def test_help_answers_at_once(program: str, words: list[str]) -> None:
    module, name, _ = PROGRAMS[program]
    code = (
        f"from {module} import {name} as command\n"
        f"command({words!r}, prog_name={program!r}, standalone_mode=False)\n"
        "assert 'numpy' not in sys.modules, 'help imports NumPy'\n"
        "assert 'jinja2' not in sys.modules, 'help imports Jinja'\n"
        "assert 'msgspec' not in sys.modules, 'help imports msgspec'"
    )
    blocked = tuple(library for library in BLOCKED if library != module.partition(".")[0])
    answers = [child(code, blocked) for _ in range(3)]
    assert answers[0][0].startswith(f"Usage: {program}")
    assert min(seconds for _, seconds in answers) < HELP_SECONDS


@pytest.mark.parametrize(("package", "program"), MODULE_NAMES.items())
def test_a_package_is_its_program(package: str, program: str) -> None:
    """`python -m PACKAGE` answers as the program does, and calls itself by the program's name."""
    words = [sys.executable, "-m", package, "--help"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: {program} ")
    module, name, _ = PROGRAMS[program]
    call = f"command(['--help'], {program!r}, standalone_mode=False)"
    code = f"from {module} import {name} as command\n{call}"
    assert done.stdout.rstrip() == child(code, ())[0].rstrip()


def test_package_imports_at_once() -> None:
    code = (
        "import mtml_deploy\n"
        "assert set(mtml_deploy.__all__) <= set(dir(mtml_deploy))\n"
        "ours = [name for name in sys.modules if name.startswith('mtml_deploy.')]\n"
        "assert ours == ['mtml_deploy.version'], ours\n"
        "assert not {'numpy', 'PIL', 'click'} & set(sys.modules)"
    )
    assert min(child(code)[1] for _ in range(3)) < HELP_SECONDS


def test_public_names_need_no_inference_library() -> None:
    child("import mtml_deploy\nfor name in mtml_deploy.__all__:\n    getattr(mtml_deploy, name)")


def test_missing_inference_library_is_one_line(tmp_path: Path) -> None:
    from helpers_artifact import write_artifact, write_images

    write_artifact(tmp_path / "art")
    write_images(tmp_path / "images", 1)
    words = ["embed", str(tmp_path / "art"), "--images", str(tmp_path / "images")]
    words += ["--out", str(tmp_path / "out.npz")]
    text, _ = child(
        "from click.testing import CliRunner\n"
        "from mtml_deploy.cli.main import main\n"
        f"result = CliRunner().invoke(main, {words!r})\n"
        "print(result.exit_code, result.stderr)"
    )
    assert text.startswith("1 error: ")
    assert "pip install 'mtml-reid[cpu]'" in text
    assert not (tmp_path / "out.npz").exists()


def test_the_forms_of_sources_in_help_are_those_that_are_read():
    assert f"images: {FORMS}" == SOURCES
