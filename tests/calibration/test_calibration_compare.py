"""Comparing calibrators: what is measured, what is recommended, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from click.testing import CliRunner, Result
from helpers_artifact import tiny_manifest, write_artifact
from helpers_calibration import chosen
from helpers_datasets import REAL
from helpers_precision import BRANCHES, mini_artifact, write_pictures

from mtml_deploy.artifact.artifact import open_artifact
from mtml_deploy.calibration import compare
from mtml_deploy.calibration.compare import Comparison, Tried, compare_calibrators, recommended
from mtml_deploy.calibration.comparison_report import (
    COMPARISON_JSON,
    COMPARISON_MARKDOWN,
    comparison_json,
    comparison_markdown,
)
from mtml_deploy.cli.calibrate import calibrate
from mtml_deploy.data.batches import decode_images
from mtml_deploy.errors import ArtifactError
from mtml_deploy.parity.agreement import Agreement
from mtml_deploy.precision.calibration_list import read_calibration, write_calibration
from mtml_deploy.precision.convert import convert
from mtml_deploy.precision.network import read_network
from mtml_deploy.precision.options import CALIBRATORS, Conversion

SAME_GRAPH = 1e-9
"""The same graph on the same images, perhaps in batches of another size; two calibrators differ by
1e-6 and more."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`fp32`, and `list.txt` with twelve images to calibrate on and five held out."""
    folder = tmp_path_factory.mktemp("compare")
    mini_artifact(folder / "fp32")
    found = chosen(write_pictures(folder / "images", 17), heldout=5)
    write_calibration(folder / "list.txt", found)
    return folder


@pytest.fixture(scope="module")
def comparison(place: Path) -> Comparison:
    return compare_calibrators(open_artifact(place / "fp32"), read_calibration(place / "list.txt"))


def test_every_calibrator_is_measured_on_every_part(comparison: Comparison) -> None:
    assert [each.calibrator for each in comparison.tried] == list(CALIBRATORS)
    assert (comparison.layers, comparison.kept_fp32) == (16, 0)
    for each in comparison.tried:
        assert set(each.parts) == {*BRANCHES, "embedding"}
        # int8 it is, and not noise: fp32 or fp16 would be nearer, wrong steps farther
        assert 0.99 < each.parts["embedding"].cosine_min < 0.99999
        assert each.worst == min(found.cosine_min for found in each.parts.values())
        assert each.steps_s >= 0 and each.run_s > 0
    entropy, percentile, minmax = (each.parts["embedding"] for each in comparison.tried)
    assert len({entropy.cosine_mean, percentile.cosine_mean, minmax.cosine_mean}) > 1


def test_it_measures_the_model_that_a_conversion_writes(
    place: Path, comparison: Comparison, tmp_path: Path
) -> None:
    held = tmp_path / "held"
    held.mkdir()
    for image in comparison.chosen.heldout:
        shutil.copy(image.record.path, held)
    for each in comparison.tried:
        asked = Conversion(
            precision="int8",
            images=str(held),
            calibration=place / "list.txt",
            calibrator=each.calibrator,
        )
        made = convert(open_artifact(place / "fp32"), tmp_path / each.calibrator, asked)
        written = cast(dict[str, float], made.manifest.parity["embedding_rounded"])
        found = each.parts["embedding"]
        assert found.cosine_min == pytest.approx(written["cosine_min"], abs=SAME_GRAPH)
        assert found.cosine_mean == pytest.approx(written["cosine_mean"], abs=SAME_GRAPH)


def agreement(lowest: float, mean: float) -> Agreement:
    return Agreement(lowest, lowest, mean, 0.1, 0.1)


def tried(name: str, *parts: tuple[float, float]) -> Tried:
    return Tried(name, {str(n): agreement(*part) for n, part in enumerate(parts)}, 0.5, 2.0)  # type: ignore[arg-type]


def test_the_worst_cosine_decides_then_the_mean() -> None:
    entropy = tried("entropy", (0.999, 0.9999), (0.985, 0.998))
    percentile = tried("percentile", (0.990, 0.992), (0.991, 0.992))
    minmax = tried("minmax", (0.995, 0.998), (0.990, 0.997))
    assert recommended([entropy, percentile, minmax]) is minmax
    assert recommended([minmax, percentile, entropy]) is minmax
    assert recommended([entropy]) is entropy
    twin = tried("percentile", (0.995, 0.998), (0.990, 0.997))
    assert recommended([minmax, twin]) is minmax


def test_the_report(comparison: Comparison) -> None:
    poor = replace(
        comparison,
        tried=(tried("entropy", (0.97, 0.99)), tried("minmax", (0.96, 0.99))),
        measuring_s=12.34,
    )
    text = comparison_markdown(poor)
    assert "Use `--calibrator entropy`: its worst cosine to fp32, 0.970000, is the largest" in text
    assert "(minmax 0.960000), yet below the 0.99" in text and "--max-map-drop" in text
    assert "| entropy | 0 | 0.970000 | 0.970000 | 0.990000 | 0.1 |" in text
    assert "| minmax | 0.960000 | 0.50 | 2.00 |" in text
    assert "12 images of 1 vehicles, compared on 5 images of 1 other vehicles" in text
    values = json.loads(comparison_json(poor))
    assert (values["recommended"], values["passes"]) == ("entropy", False)
    assert values["calibrators"]["minmax"]["parts"]["0"]["cosine_mean"] == 0.99
    good = replace(comparison, tried=(tried("minmax", (0.99, 0.99)),))
    assert "passes the 0.99" in comparison_markdown(good)
    assert json.loads(comparison_json(good))["passes"] is True


def run(*words: object) -> Result:
    return CliRunner().invoke(calibrate, [str(word) for word in words])


def test_the_command(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: dict[str, set[int]] = {"decode": set(), "model": set()}

    def decoding(*args: object, **values: object) -> object:
        threads["decode"].add(cast(int, values["threads"]))
        return decode_images(*args, **values)  # type: ignore[arg-type]

    def reading(*args: object, **values: object) -> object:
        threads["model"].add(cast(int, values["threads"]))
        return read_network(*args, **values)  # type: ignore[arg-type]

    monkeypatch.setattr(compare, "decode_images", decoding)
    monkeypatch.setattr(compare, "read_network", reading)
    files = ("--json", tmp_path / "c.json", "--markdown", tmp_path / "c.md")
    told = ("--threads", 3, "--model-threads", 1)
    result = run("compare", place / "fp32", "--calibration", place / "list.txt", *files, *told)
    assert result.exit_code == 0, result.output
    assert threads == {"decode": {3}, "model": {1}}
    assert (tmp_path / "c.md").read_text() == result.stdout.removesuffix("\n")
    values = json.loads((tmp_path / "c.json").read_text())
    named = re.search(r"Use `--calibrator (\w+)`", result.stdout)
    assert named is not None and named[1] == values["recommended"]
    assert values["recommended"] == max(
        values["calibrators"], key=lambda name: values["calibrators"][name]["worst_cosine"]
    )
    assert (values["calibration_images"], values["heldout_images"]) == (12, 5)
    again = run("compare", place / "fp32", "--calibration", place / "list.txt", *files)
    assert again.exit_code == 1 and "exists already" in again.stderr
    assert COMPARISON_JSON.known(tmp_path / "c.json")
    assert COMPARISON_MARKDOWN.known(tmp_path / "c.md")


def test_what_is_refused(place: Path, tmp_path: Path) -> None:
    half = write_artifact(tmp_path / "half", tiny_manifest(precision="fp16"))
    with pytest.raises(ArtifactError, match="is fp16, expected an fp32 artifact"):
        compare_calibrators(half, read_calibration(place / "list.txt"))
    found = chosen(write_pictures(tmp_path / "images", 4), heldout=1)
    write_calibration(tmp_path / "list.txt", found)
    (tmp_path / "images" / "003.png").unlink()  # the one that is held out
    result = run("compare", place / "fp32", "--calibration", tmp_path / "list.txt")
    assert result.exit_code == 1 and "1 images of" in result.stderr
    (tmp_path / "list.json").unlink()
    result = run("compare", place / "fp32", "--calibration", tmp_path / "list.txt")
    assert result.exit_code == 1 and "has no manifest" in result.stderr


def test_real_pictures(tmp_path: Path) -> None:
    if not (REAL / "gims08").is_dir():
        pytest.skip(f"no real images in {REAL / 'gims08'}")
    listing = tmp_path / "list.txt"
    words = ("--data", f"veri:{REAL / 'gims08'}", "--count", 24, "--out", listing)
    assert run("choose", *words).exit_code == 0
    found = compare_calibrators(mini_artifact(tmp_path / "fp32"), read_calibration(listing))
    assert recommended(found.tried).worst >= 0.99
