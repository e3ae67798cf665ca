"""`mtml-deploy demo`: what comes with the package, and what a stranger sees first."""

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers_child import child

from mtml_deploy.artifact.artifact import file_sha256, open_artifact
from mtml_deploy.artifact.artifact_folder import CARD
from mtml_deploy.cli.main import main
from mtml_deploy.data.source import load_source
from mtml_deploy.demo.demo_folder import CARS, MODEL, SHIPPED, shipped_files
from mtml_deploy.report.judged_file import read_judged

MOST_BYTES = 5_000_000
MOST_PICTURES_BYTES = 1_000_000


def size(files) -> int:
    return sum((SHIPPED / name).stat().st_size for name in files)


def test_what_is_shipped_is_small() -> None:
    files = list(shipped_files())
    pictures = [name for name in files if name.parts[0] == CARS]
    assert 0 < size(pictures) < MOST_PICTURES_BYTES
    assert size(pictures) < size(files) < MOST_BYTES


def test_the_model_is_what_its_record_says() -> None:
    artifact = open_artifact(SHIPPED / MODEL)  # compares the hash too
    manifest = artifact.manifest
    assert file_sha256(SHIPPED / MODEL / "model.onnx") == manifest.model_sha256
    assert "rendered vehicles alone" in manifest.licence
    assert manifest.training["sources"] == ["veri:/tmp/mtml-demo-model/data#train"]


def test_the_card_says_what_it_is_and_how_it_was_made() -> None:
    card = SHIPPED / MODEL / "README.md"
    assert CARD.known(card)
    text = card.read_text(encoding="utf-8")
    assert open_artifact(SHIPPED / MODEL).manifest.model_sha256 in text
    assert "of no use" in text and "`make demo-model`" in text
    makefile = (SHIPPED.parents[1] / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"^demo-model:.*\n\t.* examples/make_demo_model.py$", makefile, re.M)


def test_pictures_are_of_twelve_vehicles_that_are_all_there() -> None:
    for split, count in (("query", 24), ("gallery", 96)):
        records = load_source(f"veri:{SHIPPED / CARS}#{split}").records
        assert len(records) == count and len({record.vehicle_id for record in records}) == 12
        assert all(record.path.is_file() for record in records)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """Its folder, and what it printed, where neither training nor its libraries are installed."""
    place = tmp_path_factory.mktemp("demo")
    blocked = ("torch", "torchvision", "onnx", "mtml_train", "matplotlib", "fastapi")
    printed, _ = child(
        "import os\n"
        "from click.testing import CliRunner\n"
        "from mtml_deploy.cli.main import main\n"
        f"os.chdir({str(place)!r})\n"
        "result = CliRunner().invoke(main, ['demo'])\n"
        "told = (result.exit_code, result.stdout, result.stderr, repr(result.exception))\n"
        "print(*told, sep='\\x00')",
        blocked,
    )
    status, stdout, stderr, error = printed.split("\x00")
    assert status == "0", stderr + error
    return place, stdout, stderr


def test_it_runs_without_training(made: tuple[Path, str, str]) -> None:
    place, stdout, _ = made
    folder = place / "mtml-demo"
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.count("<img") > 24
    judged = read_judged((folder / "metrics.json",))[0]
    found = re.search(r"CMC@1 +([0-9.]+) % .* \(guessing: ([0-9.]+) %\)", stdout)
    assert found and found[1] == f"{100 * judged.cmc_at(1):.1f}"
    # a network that has learnt nothing would be near the guess
    assert judged.cmc_at(1) > 5 * float(found[2]) / 100
    assert judged.queries == 24


def test_what_it_prints_can_be_typed(
    made: tuple[Path, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place, _, stderr = made
    monkeypatch.chdir(place)
    steps = re.findall(r"^\$ mtml-deploy (.+)$", stderr, re.M)
    assert [step.split()[0] for step in steps] == ["embed", "embed", "evaluate", "rank"]
    following = re.findall(r"^next: mtml-deploy (.+)$", stderr, re.M)
    # of the demo alone: those of the commands it runs would only be in the way
    assert [line.split()[0] for line in following] == ["info", "evaluate", "rank"]
    monkeypatch.chdir(place)
    Path("FOLDER").symlink_to("mtml-demo/cars/image_query")
    for words in [*(f"{step} --overwrite" for step in steps), *following]:
        done = CliRunner().invoke(main, shlex.split(words))
        assert done.exit_code == 0, f"{words}\n{done.output}"


def test_a_folder_of_others_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mtml-demo").mkdir()
    Path("mtml-demo/mine.txt").write_text("mine")
    for flags in ([], ["--overwrite"]):
        done = CliRunner().invoke(main, ["demo", *flags])
        assert done.exit_code == 1 and "was left as it is" in done.stderr
    assert [path.name for path in Path("mtml-demo").iterdir()] == ["mine.txt"]


def test_without_a_library_nothing_is_written(tmp_path: Path) -> None:
    printed, _ = child(
        "import os\n"
        "from click.testing import CliRunner\n"
        "from mtml_deploy.cli.main import main\n"
        f"os.chdir({str(tmp_path)!r})\n"
        "result = CliRunner().invoke(main, ['demo'])\n"
        "print(result.exit_code, result.stderr)"
    )
    assert printed.startswith("1 error: ") and "pip install 'mtml-reid[cpu]'" in printed
    assert not list(tmp_path.iterdir())


def test_the_page_is_shown_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    answers = iter((True, False))

    def show(address: str) -> bool:
        shown.append(address)
        return next(answers)

    monkeypatch.setattr("webbrowser.open", show)
    words = ["demo", "--out", str(tmp_path / "a demo"), "--open"]
    first = CliRunner().invoke(main, words)
    assert first.exit_code == 0 and "no browser" not in first.stderr
    again = CliRunner().invoke(main, [*words, "--overwrite"])
    assert again.exit_code == 0 and "no browser was found here" in again.stderr
    assert shown == [(tmp_path / "a demo/report.html").as_uri()] * 2
