"""What `mtml-train` and `mtml-export` never write over: runs, data and files of others."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from helpers_outputs import Writer, refused

from mtml_deploy.cli.main import main
from mtml_train.cli.export import export_main
from mtml_train.cli.train import train_main


@pytest.fixture
def place(untrained_run: Path, tmp_path: Path) -> Path:
    """A run and a folder of others."""
    shutil.copytree(untrained_run, tmp_path / "run")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    return tmp_path


EXPORT = Writer(export_main, "{}/run --target onnx", "--out", "art", folder=True)


@pytest.mark.parametrize("flags", [(), ("--overwrite",)])
def test_a_run_is_not_exported_over_what_is_there(place: Path, flags: tuple[str, ...]) -> None:
    run = place / "run"
    for out in (run, place / "notes" / ".." / "run", place / "notes", place):
        refused(place, lambda out=out: EXPORT.run(place, *flags, out=out))
    shutil.copytree(run, place / "other")
    error = refused(place, lambda: EXPORT.run(place, *flags, out=place / "other"))
    assert "other is a run of mtml-train, not an exported model" in error
    (place / "link").symlink_to(run)
    refused(place, lambda: EXPORT.run(place, *flags, out=place / "link"))
    # both of two artifacts
    words = ("--fp16", "--keep-fp32", str(place / "art" / "fp32"), *flags)
    assert "lie in one another" in refused(place, lambda: EXPORT.run(place, *words))
    words = ("--fp16", "--keep-fp32", str(run), *flags)
    refused(place, lambda: EXPORT.run(place, *words))


def test_a_run_in_place_of_a_model_is_told_where_to_export_to(place: Path) -> None:
    def embed() -> Result:
        words = ["embed", place / "run", "--images", place / "notes", "--out", place / "e.npz"]
        return CliRunner().invoke(main, list(map(str, words)))

    error = refused(place, embed)
    assert f"mtml-export {place / 'run'} --out MODEL" in error
    # one of its files lost, and another that has its name
    (place / "run" / "manifest.json").write_text("{}")
    assert f"--out {place}" not in refused(place, embed)


def test_a_run_writes_over_no_settings_of_others(place: Path, tiny_set: Path) -> None:
    words = ["--data", f"veri:{tiny_set}", "--out", str(place / "notes")]
    error = refused(place, lambda: CliRunner().invoke(train_main, words))
    assert "holds a.txt, which is no part of a run" in error
    (place / "notes" / "a.txt").unlink()
    for name in ("config.json", "identities.json", "curves.jsonl"):
        (place / "notes" / name).write_text('{"mine": 1}')
        error = refused(place, lambda: CliRunner().invoke(train_main, words))
        assert f"{name} is a file, not the " in error
        (place / "notes" / name).unlink()


def test_what_a_run_left_before_its_first_checkpoint_is_replaced(
    place: Path, tiny_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []
    monkeypatch.setattr("mtml_train.cli.train._train", lambda *given: started.append(given))
    for file in (place / "run").glob("*.safetensors"):
        file.unlink()
    words = ["--data", f"veri:{tiny_set}", "--out", str(place / "run")]
    assert CliRunner().invoke(train_main, words).exit_code == 0
    assert len(started) == 1
