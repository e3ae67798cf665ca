"""Ablations: which runs, in which folder, with which numbers, by hand and by a tiny one."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from helpers_report import EVALUATION, METRICS
from helpers_training import coloured_set, small_config

from mtml_deploy.data.csv_table import table_text
from mtml_deploy.errors import DataError, MtmlError, OutputExistsError
from mtml_deploy.report.metrics_json import metrics_json
from mtml_deploy.search.rerank import RerankOptions
from mtml_train.ablation import run as runner
from mtml_train.ablation.paper import paper_table
from mtml_train.ablation.plan import Plan, claim, make_plan, planned_runs, variant_names
from mtml_train.ablation.tables import Spread, as_table, table_rows
from mtml_train.checkpoint import LAST, load_checkpoint
from mtml_train.cli.train import train_main
from mtml_train.config import VARIANTS, TrainConfig
from mtml_train.train import StepReport


def plan_of(config: TrainConfig, **changes: object) -> Plan:
    options: dict[str, object] = {
        "recipe": "paper", "variants": ["MTML-S", "MTML-G"], "seeds": [0, 1], "vary": {},
        "tests": ["veri:t"], "protocols": ["veri776"], "rerank": False, "checkpoint": "last",
    }  # fmt: skip
    return make_plan(config, **{**options, **changes})  # type: ignore[arg-type]


# plans


def test_every_variant_value_and_seed_is_a_run() -> None:
    config = small_config("d", device="cpu")
    plan = plan_of(config, vary={"consensus_weight": [1.0, 0.0]})
    runs = list(planned_runs(plan, config))
    assert [run.name for run in runs] == [
        f"MTML-{variant}_consensus_weight={weight}_seed{seed}"
        for variant in "SG" for weight in (1.0, 0.0) for seed in (0, 1)
    ]  # fmt: skip
    assert [run.varied for run in runs[:4]] == [False, False, True, True]
    last = runs[-1]
    assert (last.config.variant, last.config.consensus_weight, last.config.seed) == (
        "MTML-G", 0.0, 1,
    )  # fmt: skip
    assert replace(last.config, variant="MTML-G", consensus_weight=1.0, seed=0) == replace(
        config, data=(f"veri:{Path.cwd()}/d",)
    )
    assert last.row == "MTML-G, consensus_weight = 0.0"
    assert variant_names("all") == list(VARIANTS)
    assert variant_names("S,MTML-OSG") == ["MTML-S", "MTML-OSG"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": [1, 1]}, "--seeds names one twice"),
        ({"variants": []}, "--variants names none"),
        ({"vary": {"seed": [1, 2]}}, "name these with --seeds"),
        ({"vary": {"flip": [0.5, 2.0]}}, r"MTML-S, flip = 2.0: flip is 0..1, found 2.0"),
        ({"vary": {"flip": [0.5, 0.5]}}, "names a value twice"),
        ({"checkpoint": "best"}, "needs a validation"),
    ],
)
def test_plans_that_do_not_work(changes: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        plan_of(small_config("d"), **changes)
    with pytest.raises(DataError, match="no variant MTML-X"):
        variant_names("S,X")


def test_a_folder_is_of_one_plan(tmp_path: Path) -> None:
    out = tmp_path / "out"
    config = small_config("d")
    claim(out, plan_of(config))
    claim(out, plan_of(replace(config, device="cuda", workers=7)))  # another machine
    for changed, name in (
        (plan_of(config, seeds=[0, 2]), "seeds"),
        (plan_of(replace(config, lr=0.5)), "lr"),
        (plan_of(config, rerank=True), "rerank"),
    ):
        with pytest.raises(OutputExistsError, match=f"belongs to another ablation: {name} is"):
            claim(out, changed)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match="is no folder of an ablation"):
        claim(tmp_path / "mine", plan_of(config))
    (out / "ablation.json").write_text("{}")
    with pytest.raises(DataError, match="cannot read"):
        claim(out, plan_of(config))


# tables


def test_spreads_are_named_by_what_they_are() -> None:
    assert Spread((0.5,)).text() == "50.0"
    assert Spread((0.5, 0.6)).text() == "55.0 (50.0 to 60.0)"
    # mean 60, deviations -10, 0, 10: variance 200 / 2
    assert Spread((0.5, 0.6, 0.7)).text() == "60.0 ± 10.0"
    assert Spread((0.5, 0.6, 0.7)).record()["std"] == pytest.approx(0.1)
    assert Spread((0.5,)).record()["std"] is None


def test_rows_are_means_over_seeds_with_the_papers_beside(tmp_path: Path) -> None:
    config = small_config("d")
    plan = plan_of(config, variants=["MTML-OSG"], vary={"consensus_weight": [1.0, 0.0]},
                   rerank=True)  # fmt: skip
    runs = list(planned_runs(plan, config))
    results = {}
    for number, run in enumerate(runs[:3]):  # the last run is not done yet
        value = 0.5 + number / 10
        plain = replace(METRICS, mean_ap=value, cmc=np.full(5, value))
        after = replace(METRICS, mean_ap=value + 0.1, cmc=np.full(5, value))
        text = metrics_json(
            replace(EVALUATION, label=run.name, metrics=plain),
            reranked=replace(EVALUATION, label=f"{run.name}, re-ranked", metrics=after,
                             reranking=RerankOptions()),
        )  # fmt: skip
        results[run.name] = tmp_path / f"{number}.json"
        results[run.name].write_text(f"[{text}]")
    rows = table_rows(plan, runs, results, 0)
    assert [row.name for row in rows] == [
        "MTML-OSG, consensus_weight = 1.0", "MTML-OSG, consensus_weight = 1.0, re-ranked",
        "MTML-OSG, consensus_weight = 0.0", "MTML-OSG, consensus_weight = 0.0, re-ranked",
    ]  # fmt: skip
    assert rows[0].cmc.tolist() == pytest.approx([0.55] * 5)
    table = as_table(plan, rows, 0)
    assert table.rows[0][1:] == (
        "55.0 (50.0 to 60.0)", "55.0 (50.0 to 60.0)", "55.0 (50.0 to 60.0)", "2 of 2",
        "64.6", "92.3", "95.7",
    )  # fmt: skip
    assert table.rows[1][1:2] + table.rows[1][4:] == (
        "65.0 (60.0 to 70.0)", "2 of 2", "68.3", "92.0", "94.2",
    )  # fmt: skip
    assert table.rows[2][1:] == ("70.0", "70.0", "70.0", "1 of 2", "–", "–", "–")
    assert any("Mean over 2 seeds, and their range" in note for note in table.notes)
    assert any("Table 2" in note and "Compare only where" in note for note in table.notes)


def test_which_of_the_papers_tables_stands_beside() -> None:
    joint = ("veri:a", "cityflow:b")
    titles = [
        getattr(paper_table(data, test), "title", None)
        for data, test in (
            (("veri:a",), "veri:a"), (("cityflow:b",), "cityflow:c"), (joint, "veri:a"),
            (joint, "cityflow:b"), (("veri:a",), "cityflow:b"), (("csv:x",), "csv:x"),
        )
    ]  # fmt: skip
    assert [title and title[7:14] for title in titles] == [
        "Table 2", "Table 3", "Table 4", "Table 4", None, None,
    ]  # fmt: skip


# a tiny one


def words_of(folder: Path) -> list[str]:
    """Two variants and two seeds on eight images."""
    labels = [(number % 4, number // 4, 0) for number in range(8)]
    (folder / "t.csv").write_text(table_text(coloured_set(folder / "images", labels).records))
    source = f"csv:{folder / 't.csv'}"
    words = ["ablation", "--data", source, "--test", source, "--variants", "S,G", "--seeds", "0,1"]
    words += ["--out", str(folder / "out"), "--rerank"]
    settings = {"backbone": "resnet18", "weights": "none", "image_size": 32, "workers": 0,
                "device": "cpu", "consensus_dim": 8, "max_steps": 3, "save_every": 1}  # fmt: skip
    return [*words, *(w for name, value in settings.items() for w in ("--set", f"{name}={value}"))]


def start(words: list[str]) -> Result:
    return CliRunner().invoke(train_main, words)


@pytest.mark.usefixtures("tiny")
def test_a_stopped_ablation_goes_on_and_keeps_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    words, out = words_of(tmp_path), tmp_path / "out"
    real, left = runner.train, [8]

    def killed(*arguments: object, **options: object) -> object:
        """Ends as a kill does, without a word, in the middle of the third run."""

        def watch(report: object) -> None:
            if isinstance(report, StepReport):
                left[0] -= 1
                if left[0] == 0:
                    raise RuntimeError("killed")

        return real(*arguments, **{**options, "report": watch})  # type: ignore[arg-type]

    monkeypatch.setattr(runner, "train", killed)
    assert isinstance(start(words).exception, RuntimeError)
    names = ["MTML-S_seed0", "MTML-S_seed1", "MTML-G_seed0", "MTML-G_seed1"]
    assert sorted(each.stem for each in (out / "results").glob("*.json")) == sorted(names[:2])
    assert "| MTML-S | " in (out / "table.md").read_text()
    assert load_checkpoint(out / "runs" / names[2] / LAST).progress.step == 1
    kept = [(out / "runs" / name / LAST).stat().st_mtime_ns for name in names[:2]]

    started: list[tuple[str, int]] = []

    def counted(config: TrainConfig, folder: Path, **options: object) -> object:
        resume = options.get("resume")
        started.append((folder.name, resume.progress.step if resume else 0))  # type: ignore[attr-defined]
        return real(config, folder, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(runner, "train", counted)
    result = start(words)
    assert result.exit_code == 0, result.output
    assert started == [(names[2], 1), (names[3], 0)]
    assert [(out / "runs" / name / LAST).stat().st_mtime_ns for name in names[:2]] == kept
    assert result.stdout == (out / "table.md").read_text()
    rows = json.loads((out / "table.json").read_text())["tests"][0]["rows"]
    assert [(row["method"], row["seeds"]) for row in rows] == [
        (f"MTML-{name}", [0, 1]) for name in ("S", "S, re-ranked", "G", "G, re-ranked")
    ]
    for name in ("table.html", "cmc.png", "cmc.svg"):
        assert (out / name).stat().st_size > 1000
    # an ordinary run: the settings are those that were asked for
    card = load_checkpoint(out / "runs" / names[3] / LAST).card
    assert (card.config.variant, card.config.seed, card.config.max_steps) == ("MTML-G", 1, 3)
    # nothing is left to do, and other settings are refused
    started.clear()
    assert start(words).exit_code == 0 and started == []
    result = start([*words, "--set", "lr=0.5"])
    assert result.exit_code == 1 and "belongs to another ablation: lr is" in result.stderr
    shutil.rmtree(out)


def test_processes_share_the_runs_and_a_failure_is_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = small_config(tmp_path / "none")
    plan = plan_of(config, seeds=[0])
    first, second = planned_runs(plan, config)
    file = runner.result_file(tmp_path, first)
    file.parent.mkdir()
    file.write_text("kept")
    with pytest.raises(MtmlError, match="start the ablation again, which keeps what is done"):
        runner.go_through_on(plan, config, tmp_path, ["cpu", "cpu"])
    assert file.read_text() == "kept"
    said = capfd.readouterr().err
    assert f"cpu: run 2 of 2: {second.row}, seed 0" in said
    assert "run 1 of 2" not in said and "Traceback" not in said
    assert said.count("error: ") in (1, 2)  # the second process may find the run free again
    runner.result_file(tmp_path, second).write_text("kept")
    runner.go_through_on(plan, config, tmp_path, ["cpu"])


def test_what_the_command_refuses_before_it_trains(tmp_path: Path) -> None:
    words = words_of(tmp_path)
    for more, text in (
        (["--vary", "consensus_weight"], "write NAME=A,B"),
        (["--set", "seed=3"], "name these with --seeds"),
        (["--protocol", "plain", "--protocol", "plain"], "--protocol is given 2 times"),
    ):
        result = start([*words, *more])
        assert result.exit_code == 2 and text in result.stderr
    result = start([*words, "--protocol", "vehicleid"])
    assert result.exit_code == 1 and "draws its gallery" in result.stderr
    assert not (tmp_path / "out").exists()
