"""Accuracy benchmark: that every entrant does what its row says; never how good one is."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import helpers_fake_trainer
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from benchmarks.__main__ import main
from benchmarks.measure.machine import describe_environment
from benchmarks.report.record import record_markdown, write_record
from benchmarks.training.checkouts import PEERS, Mend, Peer, mended_copy
from benchmarks.training.child import require_trained, run, weights_of
from benchmarks.training.entrants import Entrant, recipe_entrant
from benchmarks.training.judge import judge
from benchmarks.training.ours import config_of
from benchmarks.training.run import TrainingBench, load_tests, train_all
from benchmarks.training.schedule import fitted
from benchmarks.training.table import difference, judged_rows, training_record
from benchmarks.training.task import Shot, Task
from mtml_deploy.data.source import load_source
from mtml_deploy.errors import BackendError, DataError
from mtml_deploy.evaluation.protocols import find_protocol
from mtml_train.config import TrainConfig
from mtml_train.settings import build_config

TESTS = Path(__file__).parents[1]
BENCH = TrainingBench(seeds=(3,), steps=2, batch_size=8, image_size=32, threads=1)
PROTOCOL = find_protocol("veri776")
FAKE = Entrant("fake", "helpers_fake_trainer", {}, (TESTS,))


def task(**changes) -> Task:
    values = {
        "module": "helpers_fake_trainer", "options": {}, "seed": 0, "steps": 2, "batch_size": 4,
        "image_size": 32, "threads": 1, "source": "veri:x",
        "shots": tuple(Shot(f"/{n}.jpg", n // 2, 0) for n in range(40)), "embed": {},
    }  # fmt: skip
    return Task(**values | changes)


@pytest.fixture(scope="module")
def trained(tiny_set: Path, tmp_path_factory):
    """The fake and a recipe of ours, trained; with the folder and what was said."""
    folder = tmp_path_factory.mktemp("runs")
    ours = recipe_entrant("strong:MTML-G:instances=2", backbone="resnet18", amp="none")
    tests = load_tests([f"veri:{tiny_set}"])
    said: list[str] = []
    found = train_all([FAKE, ours], f"veri:{tiny_set}", tests, folder, bench=BENCH, say=said.append)
    return found, tests, folder, said, (FAKE, ours)


def test_a_training_leaves_features_of_every_image_and_what_it_took(trained) -> None:
    (fake, ours), tests, _, said, _ = trained
    assert said == ["training fake, seed 3: 2 steps",
                    "training strong:MTML-G:instances=2, seed 3: 2 steps"]  # fmt: skip
    queries, gallery = len(tests[0].query.records), len(tests[0].gallery.records)
    assert fake.features["0/query/tiles"].shape == (queries, helpers_fake_trainer.TILES**2 * 3)
    assert ours.features["0/gallery/fused"].shape == (gallery, 1024)
    parts = [ours.features[f"0/query/{name}"] for name in ("identity", "gray")]
    assert np.array_equal(ours.features["0/query/fused"], np.concatenate(parts, axis=1))
    assert fake.outcome.parameters == 3  # two weights and a bias
    assert min(ours.outcome.train_s, ours.outcome.cpu_s) > 0


def test_a_finished_training_is_kept_and_another_task_is_not(trained, tiny_set: Path) -> None:
    found, tests, folder, _, entrants = trained
    said: list[str] = []
    again = train_all(
        entrants, f"veri:{tiny_set}", tests, folder, bench=BENCH, say=said.append
    )  # fmt: skip
    assert said == [f"{one.name}, seed 3: finished before" for one in entrants]
    assert [one.outcome for one in again] == [one.outcome for one in found]
    longer = replace(BENCH, steps=3)
    train_all([FAKE], f"veri:{tiny_set}", tests, folder, bench=longer, say=said.append)
    assert said[-1] == "training fake, seed 3: 3 steps"


def test_the_product_and_the_benchmark_judge_alike(trained, tiny_set: Path) -> None:
    """The mAP of the table is that of the validation of the very checkpoint."""
    (_, ours), tests, folder, _, entrants = trained
    from mtml_train.checkpoint import build_model, load_checkpoint, load_weights
    from mtml_train.validate import validate

    checkpoint = load_checkpoint(folder / f"{entrants[1].folder}-seed3" / "run")
    model = build_model(checkpoint.card.config, len(checkpoint.card.identities))
    load_weights(model, checkpoint, checkpoint.weights())
    sets = (tests[0].query, tests[0].gallery)
    config = checkpoint.card.config
    validated = validate(model, *sets, config=config, device=torch.device("cpu"))
    rows = judged_rows([ours], 0, tests[0], PROTOCOL)
    assert [row.feature for row in rows] == ["fused", "identity", "gray"]
    assert rows[0].judged["l2"][0].mean_ap == pytest.approx(validated.metrics.mean_ap, abs=1e-9)


def test_the_table(trained, tmp_path: Path, tiny_set: Path) -> None:
    found, tests, *_ = trained
    record = training_record(
        found, tests, PROTOCOL, environment=describe_environment(), bench=BENCH,
        data=f"veri:{tiny_set}", backbone="resnet18",
    )  # fmt: skip
    page = record_markdown(record)
    rows = judged_rows(found, 0, tests[0], PROTOCOL)
    change = difference(rows[0], rows[2], "l2")
    assert rows[2].entrant == "strong:MTML-G:instances=2" and rows[2].first
    own, other = (row.judged["l2"][0].mean_ap for row in (rows[2], rows[0]))
    assert change.difference == pytest.approx(own - other)
    assert f"| strong:MTML-G:instances=2 - fake | {100 * change.difference:+.1f} (" in page
    assert "gray alone" in page and "CPU s" in page
    for _ in range(2):  # a page with a lead may be replaced too
        write_record(tmp_path, record, overwrite=True)
    ratios = {ratio.key: ratio.value for ratio in record.ratios}
    assert ratios["0/fake/tiles/l2"] == pytest.approx(other)


def test_a_cosine_is_the_order_of_features_at_length_one(tiny_set: Path) -> None:
    sets = tuple(load_source(f"veri:{tiny_set}", split=split) for split in ("query", "gallery"))
    rng = np.random.default_rng(0)
    query, gallery = (rng.normal(size=(len(one.records), 5)).astype(np.float32) for one in sets)
    long = gallery * rng.uniform(1, 9, size=(len(gallery), 1)).astype(np.float32)
    by = [judge(sets, (query, rows), PROTOCOL, distance="cosine") for rows in (gallery, long)]
    assert by[0].mean_ap == pytest.approx(by[1].mean_ap)
    assert judge(sets, (query, long), PROTOCOL, distance="l2").mean_ap != by[0].mean_ap


def test_a_training_that_moves_nothing_is_refused(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    try:
        with pytest.raises(BackendError, match=r"left 2 of 2 tensors of weights as they were, w"):
            run(task(options={"idle": True}), tmp_path)
    finally:
        torch.set_num_threads(threads)
    assert not list(tmp_path.iterdir())


def test_one_layer_that_does_not_move_is_enough() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].bias.requires_grad = False  # may stay as it is
    before = weights_of(model)
    with torch.no_grad():
        model[0].weight += 1
        model[0].bias += 1
    with pytest.raises(BackendError, match=r"left 1 of 3 tensors .*, 1\.weight for one"):
        require_trained(before, model, "peer")
    with torch.no_grad():
        model[1].weight += 1
    require_trained(before, model, "peer")


def test_the_error_of_a_training_is_shown(tiny_set: Path, tmp_path: Path) -> None:
    broken = Entrant("broken", FAKE.module, {"fails": True}, FAKE.path)
    with pytest.raises(
        BackendError, match=r"(?s)broken, seed 3, ended with code 1.*no memory left"
    ):
        train_all([broken], f"veri:{tiny_set}", [], tmp_path, bench=BENCH)


def test_a_schedule_keeps_its_shape() -> None:
    recipe = TrainConfig(epochs=60, warmup_epochs=10.0, freeze_steps=120)
    # of 6,000 steps: 1,000 warm up and 120 freeze
    found = fitted(recipe, steps=240, steps_per_epoch=100)
    assert found == {"epochs": 3, "warmup_epochs": 0.0, "warmup_steps": 40, "freeze_steps": 5}
    steps = TrainConfig(epochs=60, warmup_steps=600)
    assert fitted(steps, steps=240, steps_per_epoch=100)["warmup_steps"] == 24


def test_settings_of_an_entrant_win_over_its_recipe() -> None:
    entrant = recipe_entrant("strong:single:triplet_weight=0.5,sampler=pk", backbone="resnet18",
                             amp="none")  # fmt: skip
    config = config_of(task(options=entrant.options))
    plain = build_config("strong", None, {})
    assert (config.variant, config.triplet_weight, config.sampler) == ("single", 0.5, "pk")
    assert (config.lr, config.neck, config.max_steps) == (plain.lr, plain.neck, 2)
    assert config.epochs * (40 // 4) >= 2
    for wrong in ("stronk:single", "strong:MTML-X"):
        with pytest.raises(DataError, match="recipes are paper, strong, variants are MTML-S"):
            recipe_entrant(wrong, backbone="resnet18", amp="none")


def checkout(folder: Path, content: str) -> Path:
    """A toolkit of one file under git."""
    (folder / "peer").mkdir(parents=True)
    (folder / "peer/a.py").write_text(content, encoding="utf-8")
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], check=True)
    return folder


def test_a_copy_is_mended_and_the_checkout_stays(tmp_path: Path, monkeypatch) -> None:
    source = checkout(tmp_path / "source", "x = np.bool\ny = np.bool\n")
    head = subprocess.run(["git", "-C", str(source), "rev-parse", "HEAD"], capture_output=True,
                          text=True, check=True).stdout.strip()  # fmt: skip
    mend = Mend("peer/a.py", "np.bool", "bool")
    monkeypatch.setitem(PEERS, "torchreid", Peer("m", head[:7], ("peer",), (mend,)))
    for _ in range(2):  # an earlier copy is replaced
        copy = mended_copy("torchreid", source, tmp_path / "copy")
    assert (copy / "peer/a.py").read_text(encoding="utf-8") == "x = bool\ny = bool\n"
    assert "np.bool" in (source / "peer/a.py").read_text(encoding="utf-8")
    monkeypatch.setitem(
        PEERS, "torchreid", Peer("m", head[:7], ("peer",), (Mend("peer/a.py", "np.int", "int"),))
    )
    with pytest.raises(DataError, match=r"a\.py does not hold 'np\.int'"):
        mended_copy("torchreid", source, tmp_path / "copy")
    monkeypatch.setitem(PEERS, "torchreid", Peer("m", "0000000", ("peer",), ()))
    with pytest.raises(DataError, match=rf"is at commit {head[:7]}, and torchreid is measured at"):
        mended_copy("torchreid", source, tmp_path / "copy")


def test_the_command(tiny_set: Path, tmp_path: Path) -> None:
    words = ["training", "--data", f"veri:{tiny_set}", "--test", f"veri:{tiny_set}", "--out",
             str(tmp_path), "--entrant", "paper:single", "--seed", "0", "--steps", "1",
             "--batch-size", "4", "--image-size", "32"]  # fmt: skip
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    written = json.loads((tmp_path / "training.json").read_text(encoding="utf-8"))
    assert [each["key"] for each in written["ratios"]] == [
        "0/paper:single/fused/l2", "0/paper:single/fused/cosine",
    ]  # fmt: skip
    wrong = CliRunner().invoke(
        main, [*words, "--overwrite", "--peer-torchreid", str(tmp_path)]
    )  # fmt: skip
    assert wrong.exit_code == 1
    assert "(no checkout of git), and torchreid is measured at f8cd150" in wrong.output
