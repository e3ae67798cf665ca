"""Every command, flag, extra and target that is named anywhere exists; hints are followed."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from helpers_artifact import write_artifact, write_images
from helpers_hint_texts import document_texts, source_texts
from helpers_hints import (
    PACKAGES,
    ROOT,
    Text,
    commands,
    extras,
    faults,
    flags,
    programs,
)

from mtml_deploy.cli.console import UserError, exit_on_error
from mtml_deploy.engine.library import _MODULES

DOCUMENTS = (
    *("README.md", "CHANGELOG.md", "benchmarks/README.md", "calibration/README.md"),
    *("CONTRIBUTING.md", "SECURITY.md"),
    *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").rglob("*.md"))),
    *(str(path.relative_to(ROOT)) for path in sorted((ROOT / ".github/workflows").glob("*.yml"))),
    *("Makefile", ".ci/run"),
)


@pytest.mark.parametrize("package", PACKAGES)
def test_hints_of_the_sources(package: str) -> None:
    # what is no longer an option is told by test_former.py
    paths = sorted({*(ROOT / package).rglob("*.py")} - {ROOT / "mtml_deploy/cli/former.py"})
    texts = [text for path in paths for text in source_texts(path)]
    assert len(texts) > 100
    assert [fault for text in texts for fault in faults(text)] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_hints_of_the_documents(name: str) -> None:
    assert [fault for text in document_texts(ROOT / name) for fault in faults(text)] == []


def test_the_table_of_extras_is_whole() -> None:
    page = (ROOT / "docs/install.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ((?:`[a-z-]+`(?:, )?)+) \|", page, re.M)
    named = [name for row in rows for name in re.findall(r"`([a-z-]+)`", row)]
    # dev is for work on the project itself, pycuda a part of tensorrt
    assert sorted(named) == sorted(extras() - {"dev", "pycuda"})


EMBED = commands()["mtml-deploy embed"]
CREATE = commands()["mtml-deploy gallery create"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("install it: pip install 'mtml-reid[nvidia]'", "no extra nvidia"),
        ("pip install -c constraints.txt '.[cpu,nvidia]'", "no extra nvidia"),
        ("run make demos first", "no target demos"),
        ("`make tests`", "no target tests"),
        ("add --over-write", "no command has --over-write"),
        ("make one: mtml-deploy answer {}", "mtml-deploy has no command answer"),
        ("make one: mtml-deploy answer", "mtml-deploy has no command answer"),
        ("as python -m benchmarks speeds --out OUT", "benchmarks has no command speeds"),
        ("export it: mtml-export {} --output ARTIFACT", "mtml-export has no --output"),
        ("mtml-deploy gallery create {} --overwrite", "mtml-deploy gallery create has no --over"),
        ("mtml-deploy gallery create G A --dtype half", "--dtype half: 'half' is not"),
        ("mtml-deploy convert ART --out A --bits 8", "mtml-deploy convert has no --bits"),
        ("export it: mtml-export RUN", "mtml-export needs --out"),
        ("then mtml-deploy gallery tune", "mtml-deploy gallery tune needs name"),
        ("mtml-deploy embed A --images B --out FILE", "--out FILE does not end in .npz"),
        ("torchrun -m mtml_train --datas veri:DIR", "mtml_train has no --datas"),
        ("mtml-train synthetic DIR --seed x1", "--seed x1: 'x1' is not a valid"),
    ],
)
def test_what_does_not_exist_is_found(text: str, fault: str) -> None:
    found = faults(Text("here", text, runnable=True))
    assert any(f"here: {fault}" in each for each in found), found


@pytest.mark.parametrize(
    "text",
    [
        "go on with it: mtml-train --out {} --resume; or name another",
        "give the folder that mtml-export wrote, which holds it",
        "mtml-train --{} {} --data veri:DIR --out RUN",
        "run make demo first",
        "make one of them",
        "pip install 'mtml-reid[{}]' or pip install --upgrade onnxruntime-gpu",
        "torchrun --nproc-per-node 4 -m mtml_train --data veri:DIR --out RUN",
        "{}: search --approximate looks at all",
    ],
)
def test_what_exists_is_not_found(text: str) -> None:
    assert faults(Text("here", text, EMBED if "approx" in text else None, runnable=True)) == []


def test_a_flag_must_be_of_the_command_that_says_it() -> None:
    assert faults(Text("here", "choose another name or add --overwrite", EMBED)) == []
    (fault,) = faults(Text("here", "choose another name or add --overwrite", CREATE))
    assert "create has no --overwrite" in fault


def test_texts_are_joined_over_lines_and_placeholders(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(
        "def f(x):\n"
        '    raise MissingExtraError("a needs b", "wrong")\n'
        '    return (f"say mtml-deploy {x} --a"\n        "bsent" + " or mtml-ex"\n'
        '        "port A --b")\n'
    )
    texts = [text.text for text in source_texts(path)]
    assert "mtml-reid[wrong]" in texts
    assert "say mtml-deploy {} --absent or mtml-export A --b" in texts


def test_code_of_documents_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(
        "Use `embed --outs\nX`, the extra `cpus`, or --overwrites.\n"
        "```bash\nmtml-export A \\\n  --outs B\n```\n"
    )
    found = [fault for text in document_texts(path) for fault in faults(text)]
    assert any("mtml-export has no --outs" in fault for fault in found)
    assert any("mtml-deploy embed has no --outs" in fault for fault in found)
    assert any("no extra cpus" in fault for fault in found)
    assert any("no command has --overwrites" in fault for fault in found)


def test_the_two_onnxruntimes_are_replaced_together() -> None:
    """pip writes the files that both hold only where none of them is installed any more."""
    texts = [text.text for path in (ROOT / "mtml_deploy").rglob("*.py")
             for text in source_texts(path) if "pip uninstall" in text.text]  # fmt: skip
    assert texts
    for text in texts:
        assert "pip uninstall -y onnxruntime onnxruntime-gpu && pip install " in text
    assert {"gpu", "milvus", "milvus-lite", "pycuda"} <= extras()


def test_broken_libraries_of_engines_are_installed_again_by_their_name() -> None:
    """A reinstall of the extra would ask an index for this project itself."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for _, extra, distribution in _MODULES.values():
        needed = project["optional-dependencies"][extra]
        assert any(re.match(rf"{distribution}\b(?!-)", each) for each in needed)


@pytest.mark.parametrize("words", commands())
def test_where_memory_is_short_only_options_of_the_command_are_named(words: str) -> None:
    command = commands()[words]
    with click.Context(command), pytest.raises(UserError) as caught, exit_on_error():
        raise MemoryError
    named = set(re.findall(r"--[a-z-]+", caught.value.message))
    assert named == {"--batch-size", "--memory-gib"} & set(flags(command))


def run(words: str, *more: str) -> Result:
    """A command as a user writes it."""
    program, *rest = shlex.split(words.removeprefix("python -m "))
    return CliRunner().invoke(programs()[program], [*rest, *more])


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model, images of it without labels, and a small data set."""
    monkeypatch.chdir(tmp_path)
    write_artifact(tmp_path / "art")
    write_images(tmp_path / "images", 4)
    made = run(
        "mtml-train synthetic veri --train-vehicles 4 --test-vehicles 3 --images-per-vehicle 4 "
        "--cameras 3 --queries-per-vehicle 1 --longest-side 32 --processes 1"
    )
    assert made.exit_code == 0, made.output
    for part in ("query", "gallery"):
        done = run(f"mtml-deploy embed art --images veri:veri#{part} --out {part}.npz")
        assert done.exit_code == 0, done.output
    return tmp_path


def said(words: str) -> str:
    """What a command says that fails; every flag in it is one of that command or of another."""
    result = run(words)
    assert result.exit_code in (1, 2), result.output
    assert isinstance(result.exception, SystemExit)
    return result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "command",
    [
        "mtml-deploy embed art --images images --out {out}.npz",
        "mtml-deploy rank --query query.npz --gallery gallery.npz --html {out}.html",
        "mtml-deploy evaluate --query query.npz --gallery gallery.npz --json {out}.json",
        "mtml-deploy tracklets query.npz --out {out}.npz",
        "mtml-deploy gallery create {out} art",
        "mtml-deploy compress art --dim 2 --train query.npz --out {out}",
        "mtml-train synthetic {out} --train-vehicles 4 --test-vehicles 3 --images-per-vehicle 4 "
        "--processes 1",
        "mtml-deploy calibrate choose --data veri:veri --count 8 --out {out}.txt",
    ],
)
def test_what_is_said_of_an_output_that_is_there(place: Path, command: str) -> None:
    """Whatever flag the text names, the command that says it takes it."""
    words = command.format(out="out")
    out = place / next(word for word in words.split() if word.startswith("out"))
    out.write_text("of somebody else")
    named = re.findall(r"(?<![\w-])--[a-z-]+", said(words))
    assert set(named) <= set(flags(leaf(words)))
    assert out.read_text() == "of somebody else"


def leaf(words: str) -> click.Command:
    """The command that words call."""
    called = words.removeprefix("python -m ")
    return commands()[max((name for name in commands() if called.startswith(f"{name} ")), key=len)]


def test_hints_are_followed(place: Path) -> None:
    embed = "mtml-deploy embed art --images images --out images.npz"
    assert run(embed).exit_code == 0
    assert "add --overwrite" in said(embed)
    assert run(embed, "--overwrite").exit_code == 0

    text = said("mtml-deploy evaluate --query images.npz --gallery gallery.npz")
    assert "embed a labelled source such as veri:DIR" in text
    plain = "mtml-deploy evaluate --query query.npz --gallery gallery.npz --protocol"
    found = re.search(r"choose one of ([a-z0-9, -]+)$", said(f"{plain} foo"))
    assert found and len(names := found[1].split(", ")) == 5
    assert run(f"{plain} {names[0]}").exit_code == 0

    rank = "mtml-deploy rank --query images --gallery gallery.npz"
    assert "give MODEL" in said(rank)
    assert run(rank, "art").exit_code == 0

    (place / "images/0001b.png").write_bytes((place / "images/0001.png").read_bytes()[:60])
    assert run(f"{embed} --overwrite").exit_code == 1
    assert run(f"{embed} --overwrite --skip-bad").exit_code == 0


def test_hints_about_a_gallery_are_followed(place: Path) -> None:
    add = "mtml-deploy gallery add cars art --images images"
    hint = re.search(r"mtml-deploy gallery create GALLERY MODEL", said(add))
    assert hint
    assert run(hint[0].replace("GALLERY", "cars").replace("MODEL", "art")).exit_code == 0
    assert run(add).exit_code == 0
    # a folder has no index, and is told so
    assert "leave out --approximate" in said("mtml-deploy gallery index cars")


def test_the_hint_about_calibration_is_followed(place: Path) -> None:
    text = said("mtml-deploy convert art --out art8 --int8")
    choose = re.search(r"mtml-deploy calibrate choose .*?LIST\.txt", text)
    assert choose and "add --calibration LIST.txt" in text
    done = run(choose[0].replace("veri:DIR", "veri:veri"), "--count", "8")
    assert done.exit_code == 0, done.output
    # the list is taken; this model is too small to have anything to convert
    refused = said("mtml-deploy convert art --out art8 --int8 --calibration LIST.txt")
    assert "holds no convolution" in refused


def test_the_hint_about_an_interrupted_run_is_followed(place: Path) -> None:
    embed = "mtml-deploy embed art --images images --batch-size 2 --out part.npz"
    bad = place / "images/0003.png"
    whole = bad.read_bytes()
    bad.write_bytes(whole[:60])
    assert run(embed).exit_code == 1
    bad.write_bytes(whole)
    text = said(embed)
    assert "continue it with --resume" in text and "drop it with --overwrite" in text
    done = run(embed, "--resume")
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("name", ["art-without-manifest", "run"])
def test_the_hint_about_a_missing_manifest_is_understood(place: Path, name: str) -> None:
    (place / name).mkdir()
    (place / name / ("last.safetensors" if name == "run" else "model.onnx")).touch()
    text = said(f"mtml-deploy embed {name} --images images --out x.npz")
    hint = re.search(r"mtml-export (\S+) --out ([A-Z]+)", text)
    assert hint, text
    # what it would write is not there, so that nobody is led to write over a run
    assert not (place / hint[2]).exists()
    assert run(hint[0]).exit_code == 1  # 2 is what the parser refuses
