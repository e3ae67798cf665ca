"""The loop: exact resuming after a kill, two processes as one, what is kept and what is refused."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import safetensors
import torch
from helpers_datasets import write_images, write_list, write_xml
from helpers_training import (
    assert_equal_tensors,
    board,
    board_tags,
    flags,
    printed_totals,
    run_two,
    small_config,
    train_command,
)
from helpers_warm import started

from mtml_deploy.errors import DataError, ImageError, ProtocolError
from mtml_train.checkpoint import BEST, LAST, load_checkpoint
from mtml_train.config import TrainConfig
from mtml_train.train import train

RARELY = 100
"""Steps between saves: at the end only, because writing takes longer than a step here."""

PROCESSES_TOLERANCE = 1e-3
"""Relative, of a loss after up to four steps: gradients are added in another order, and Adam's
division by their size makes more of it where they are near 0."""

ALL_PARTS = {
    "sampler": "pk",
    "schedule": "cosine",
    "warmup_epochs": 0.5,
    "erase": 0.5,
    "jitter": 0.5,
    "pad": 0.1,
    "triplet_weight": 1.0,
    "label_smoothing": 0.1,
    "epochs": 1000,
}
"""Settings by which a step depends on everything that resuming must restore."""


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Path]:
    """A run folder that is removed at once: a checkpoint is large."""
    yield tmp_path / "run"
    shutil.rmtree(tmp_path / "run", ignore_errors=True)


def tensors(path: Path) -> dict[str, torch.Tensor]:
    return dict(load_checkpoint(path, resume=True).tensors)


def steps_done(run: Path) -> int:
    try:
        with safetensors.safe_open(run / LAST, framework="pt") as opened:
            return int(json.loads(opened.metadata()["mtml"])["progress"]["step"])
    except (FileNotFoundError, OSError):
        return 0


# the same again


def test_two_runs_are_bit_equal_and_another_seed_is_another_run(
    tiny_set: Path, tmp_path: Path
) -> None:
    found = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        config = small_config(tiny_set, max_steps=2, seed=seed)
        train(config, tmp_path / name)
        found.append(tensors(tmp_path / name / LAST))
        shutil.rmtree(tmp_path / name)
    assert_equal_tensors(found[0], found[1])
    assert not torch.equal(found[0]["model.fusion.weight"], found[2]["model.fusion.weight"])


def test_a_killed_run_goes_on_exactly(tiny_set: Path, run: Path) -> None:
    # without workers, which would outlive it here: they wait for the process all were forked from
    config = small_config(tiny_set, save_every=1, **ALL_PARTS)
    threads = torch.get_num_threads()  # as here, so that it adds in the same order
    process = started(train_command, *flags(config), "--out", run, threads=threads)
    try:
        deadline = time.monotonic() + 240
        while steps_done(run) < 2 and time.monotonic() < deadline and process.is_alive():
            time.sleep(0.01)
    finally:
        process.kill()
        process.join()
    assert process.exitcode == -signal.SIGKILL  # it was running, not done
    killed_at = steps_done(run)
    assert killed_at >= 2
    total = killed_at + 3  # 4 steps an epoch: into the next one
    words = ("--out", run, "--resume", "--max-steps", total, "--save-every", RARELY, "--workers", 1)
    process = started(train_command, *words, threads=threads)
    process.join()
    assert process.exitcode == 0
    resumed = load_checkpoint(run / LAST, resume=True)
    assert (resumed.progress.step, resumed.progress.images) == (total, 8 * total)

    straight = small_config(tiny_set, max_steps=total, save_every=RARELY, **ALL_PARTS)
    train(straight, run.parent / "straight")
    expected = tensors(run.parent / "straight" / LAST)
    shutil.rmtree(run.parent / "straight")
    assert any(name.startswith("optimizer.") for name in expected)
    assert_equal_tensors(dict(resumed.tensors), expected)
    assert sorted(board(run, "loss/total")) == list(range(1, total + 1))


def test_two_processes_compute_what_one_process_accumulates(tiny_set: Path, run: Path) -> None:
    # whole VeRi plus orientation: DDP must meet every parameter of branch D too
    config = small_config(tiny_set, variant="MTML-O", max_steps=4)
    statuses, said = run_two(*flags(config), "--out", run)
    assert statuses == [0, 0], said
    losses = board(run, "loss/total")
    parts = board_tags(run)
    assert len(printed_totals(said)) == 4  # the second process says nothing
    shutil.rmtree(run)
    train(small_config(tiny_set, variant="MTML-O", max_steps=4, accumulate=2), run)
    alone = board(run, "loss/total")
    assert sorted(losses) == sorted(alone) == [1, 2, 3, 4]
    assert board_tags(run) == parts
    assert losses == pytest.approx(alone, rel=PROCESSES_TOLERANCE)
    # the first step has the same weights: only the order of additions differs
    assert losses[1] == pytest.approx(alone[1], rel=1e-5)


# what is kept


def test_the_files_of_a_run(tiny_run: Path) -> None:
    last, best = load_checkpoint(tiny_run / LAST, resume=True), load_checkpoint(tiny_run / BEST)
    assert last.progress.step == best.progress.step == 2
    assert last.progress.images == 16
    assert last.card.train_images == 36
    assert len(last.card.identities) == 6
    assert last.progress.validation is not None
    assert last.progress.best == last.progress.validation["mAP"]
    assert 0 < last.progress.best <= 1
    assert_equal_tensors(last.weights(), best.weights())
    assert not [name for name in best.tensors if not name.startswith("model.")]
    settings = json.loads((tiny_run / "config.json").read_text())
    assert settings["variant"] == "MTML-OSG"
    assert len(json.loads((tiny_run / "identities.json").read_text())) == 6
    tags = board_tags(tiny_run)
    assert {"loss/total", "loss/gray/mutual", "loss/orientation/orientation"} <= set(tags)
    assert {"speed/images_per_second", "speed/learning_rate", "validation/mAP"} <= set(tags)
    assert board(tiny_run, "speed/learning_rate") == pytest.approx({1: 1e-4, 2: 1e-4})


def test_no_steps_writes_untrained_weights(untrained_run: Path) -> None:
    found = load_checkpoint(untrained_run)
    assert found.path.name == LAST
    assert found.progress.step == 0
    # BatchNorm of a network that saw nothing
    statistics = [v for name, v in found.weights().items() if name.endswith("running_mean")]
    assert statistics
    assert not any(value.any() for value in statistics)


def test_a_finished_run_has_nothing_to_resume(tiny_set: Path, tiny_run: Path) -> None:
    checkpoint = load_checkpoint(tiny_run / LAST, resume=True)
    before = (tiny_run / LAST).stat().st_mtime_ns
    notes: list[object] = []
    progress = train(checkpoint.card.config, tiny_run, resume=checkpoint, report=notes.append)
    assert progress == checkpoint.progress
    assert notes[-1] == (
        "nothing to do: 2 of 2 steps were done already; train longer with a larger --max-steps, "
        "-1 for all epochs"
    )
    assert (tiny_run / LAST).stat().st_mtime_ns == before


# data


def write_cityflow(root: Path) -> Path:
    """Twelve training images of vehicles 1, 2 and 3; the first two numbers VeRi uses too."""
    names = [f"{number:06}.jpg" for number in range(1, 13)]
    for part in ("train", "query", "test"):
        write_images(root / f"image_{part}", names)
        write_list(root / f"name_{part}.txt", names)
    write_xml(
        root / "train_label.xml",
        [
            {"imageName": name, "vehicleID": f"{number % 3 + 1:04}", "cameraID": "c001"}
            for number, name in enumerate(names)
        ],
    )
    return root


def test_two_data_sets_are_trained_together(tiny_set: Path, run: Path, tmp_path: Path) -> None:
    city = write_cityflow(tmp_path / "city")
    notes: list[object] = []
    config = small_config(
        tiny_set, variant="MTML-O", data=(f"veri:{tiny_set}", f"cityflow:{city}"), max_steps=1
    )
    train(config, run, report=notes.append)
    # 6 + 3 vehicles, 36 + 12 images, of which only VeRi's have an orientation
    assert "48 training images of 9 vehicles, 36 with orientation" in notes
    card = load_checkpoint(run / LAST).card
    assert [vehicle for _, vehicle in card.identities] == [1, 2, 3, 4, 5, 6, 1, 2, 3]
    assert [group for group, _ in card.identities] == [0] * 6 + [1] * 3
    assert card.sources[1].startswith("cityflow:")
    assert board(run, "loss/orientation/orientation")[1] > 0


def test_a_set_without_any_orientation_trains_branch_d_on_identities(
    run: Path, tmp_path: Path
) -> None:
    city = write_cityflow(tmp_path / "city")
    config = small_config("unused", variant="MTML-O", data=(f"cityflow:{city}",), max_steps=1)
    notes: list[object] = []
    train(config, run, report=notes.append)
    (note,) = [text for text in notes if "no training image has an orientation" in str(text)]
    assert str(note).endswith("or take a variant without it (MTML-S, MTML-G, MTML-SG, single)")
    assert load_checkpoint(run / LAST).card.images_with_orientation == 0
    assert board(run, "loss/orientation/orientation") == {1: 0.0}
    assert board(run, "loss/orientation/id")[1] > 0


def test_held_out_vehicles_are_validated_on(tiny_set: Path, run: Path) -> None:
    config = small_config(tiny_set, val="holdout:0.34", max_steps=1)  # 2 of 6 vehicles
    progress = train(config, run)
    assert len(load_checkpoint(run / LAST).card.identities) == 4
    assert load_checkpoint(run / LAST).card.train_images == 24
    assert progress.validation is not None


def test_a_bad_image_stops_the_run_with_its_name(tiny_set: Path, run: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_set, tmp_path / "damaged")
    bad = sorted((tmp_path / "damaged" / "image_train").iterdir())[7]
    bad.write_bytes(bad.read_bytes()[:200])
    with pytest.raises(ImageError, match=bad.name):
        train(small_config(tmp_path / "damaged"), run)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": ()}, "no training data; name it with --data"),
        ({"batch_size": 64}, "36 training images do not fill one batch of 64"),
        ({"backbone": "resnet19"}, "no backbone 'resnet19'"),
        ({"val": "holdout:0.01"}, "raise the fraction"),
        ({"val": "veri:absent"}, "absent"),
    ],
)
def test_runs_that_cannot_start_leave_no_checkpoint(
    tiny_set: Path, run: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        train(small_config(tiny_set, **changes), run)
    assert not run.exists()


def test_a_protocol_that_cannot_be_used_is_refused_before_training(
    tiny_set: Path, run: Path
) -> None:
    with pytest.raises(ProtocolError, match="no evaluation protocol is called 'veri'"):
        train(small_config(tiny_set, val=f"veri:{tiny_set}", val_protocol="veri"), run)
    assert not run.exists()


def test_the_loss_falls(tiny_set: Path, run: Path) -> None:
    config: TrainConfig = small_config(
        tiny_set, epochs=4, lr=1e-3, batch_size=12, log_every=3, save_every=RARELY
    )
    train(config, run)
    losses = list(board(run, "loss/total").values())  # one mean per epoch
    assert len(losses) == 4
    assert losses[-1] < 0.8 * losses[0]
