"""From rendered images to a rank list, by the installed commands alone, each its own process."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from helpers_training import same_threads

from mtml_train.checkpoint import load_checkpoint


def command(name: str, *words: object) -> subprocess.CompletedProcess[str]:
    """Run an entry point of the distribution; fails the test where it fails."""
    (entry,) = entry_points(group="console_scripts", name=name)
    code = f"from {entry.module} import {entry.attr}; {entry.attr}(prog_name={name!r})"
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        capture_output=True,
        text=True,
        env=same_threads(),
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_from_images_to_a_rank_list(tmp_path: Path) -> None:
    data, run, art = tmp_path / "data", tmp_path / "run", tmp_path / "art"
    command(
        "mtml-train", "synthetic", data, "--train-vehicles", 4, "--test-vehicles", 3,
        "--images-per-vehicle", 4, "--cameras", 2, "--longest-side", 48,
        "--queries-per-vehicle", 2, "--processes", 1,
    )  # fmt: skip
    trained = command(
        "mtml-train", "--data", f"veri:{data}", "--val", f"veri:{data}", "--variant", "MTML-O",
        "--backbone", "resnet18", "--weights", "none", "--image-size", 32, "--max-steps", 2,
        "--workers", 1, "--log-every", 1, "--device", "cpu", "--out", run,
    )  # fmt: skip
    assert trained.stdout == ""
    assert "step 2/2" in trained.stderr
    assert "validation  mAP" in trained.stderr

    exported = command("mtml-export", run, "--out", art, "--with-orientation", "--json", "-")
    assert json.loads(exported.stdout)["embedding"]["cosine_min"] > 0.99999

    for split in ("query", "gallery"):
        out = tmp_path / f"{split}.npz"
        command("mtml-deploy", "embed", art, "--images", f"veri:{data}#{split}", "--out", out)

    pair = ("--query", tmp_path / "query.npz", "--gallery", tmp_path / "gallery.npz")
    report = tmp_path / "report.json"
    command("mtml-deploy", "evaluate", *pair, "--protocol", "veri776", "--json", report)
    command(
        "mtml-deploy", "rank", *pair, "--protocol", "veri776", "--top-k", 3,
        "--json", tmp_path / "lists.json", "--html", tmp_path / "page.html",
    )  # fmt: skip
    assert (tmp_path / "page.html").read_text().count("data:image/") >= 6  # queries with pictures
    assert (tmp_path / "lists.json").stat().st_size > 0

    # validation in training and evaluation of the artifact are one computation on two runtimes
    settings = json.loads((run / "config.json").read_text())
    assert settings["val_protocol"] == "veri776"
    validation = load_checkpoint(run).progress.validation
    assert validation is not None
    assert json.loads(report.read_text())["mean_ap"] == pytest.approx(validation["mAP"])
