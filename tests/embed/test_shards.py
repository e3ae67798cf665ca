"""Parts of a set by workers that are killed: together they are what one process writes."""

import dataclasses
import errno
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from helpers_artifact import write_artifact, write_images
from helpers_cli import run
from msgspec.structs import replace

from mtml_deploy.data.source import load_source
from mtml_deploy.embed import shard_plan
from mtml_deploy.embed.embed_to import images_sha256
from mtml_deploy.embed.embeddings import Embeddings, ModelIdentity
from mtml_deploy.embed.shard_plan import ShardPlan, agree, read_plan
from mtml_deploy.embed.shards import Shard, embed_shard, merged
from mtml_deploy.errors import EmbeddingsError
from mtml_deploy.model import open_model

ROOT = Path(__file__).parents[2]


@pytest.fixture
def place(tmp_path):
    write_artifact(tmp_path / "art")
    write_images(tmp_path / "images", 23)
    return tmp_path


def shard(place, text, *more):
    return run("embed", place / "art", "--images", place / "images", "--shard", text,
               "--batch-size", 4, "--out", place / "parts", *more)  # fmt: skip


def single(place):
    result = run("embed", place / "art", "--images", place / "images", "--batch-size", 4,
                 "--out", place / "single.npz")  # fmt: skip
    assert result.exit_code == 0, result.stderr
    return place / "single.npz"


@pytest.mark.parametrize(("images", "shards"), [(23, 1), (23, 3), (23, 6), (4, 1), (9, 2)])
def test_every_image_is_in_one_part(images, shards):
    rows = [list(Shard(n, shards).rows(images, 4)) for n in range(1, shards + 1)]
    assert [image for part in rows for image in part] == list(range(images))
    assert all(part and part[0] % 4 == 0 for part in rows)


def test_parts_together_are_the_bytes_of_one_process(place):
    for number in (2, 3, 1):
        result = shard(place, f"{number}/3")
        assert result.exit_code == 0, result.stderr
    assert "there already" in shard(place, "2/3").stderr
    result = run("embed", "--merge", place / "parts", "--out", place / "all.npz")
    assert result.exit_code == 0, result.stderr
    assert (place / "all.npz").read_bytes() == single(place).read_bytes()


def test_a_gallery_takes_parts(place):
    assert run("gallery", "create", place / "g", place / "art").exit_code == 0
    assert shard(place, "1/2").exit_code == 0
    result = run("gallery", "add", place / "g", "--parts", place / "parts")
    assert result.exit_code == 1 and "lacks 1 of 2 parts: 2/2; embed them" in result.stderr
    assert shard(place, "2/2").exit_code == 0
    for told in ("23 added, 0 there already", "0 added, 23 there already"):
        result = run("gallery", "add", place / "g", "--parts", place / "parts", "--camera", "7")
        assert result.exit_code == 0 and told in result.stderr
    assert run("gallery", "export", place / "g", "--out", place / "g.npz").exit_code == 0
    kept, expected = Embeddings.load(place / "g.npz"), Embeddings.load(single(place))
    assert (kept.features == expected.features).all() and set(kept.camera_ids.tolist()) == {7}


def test_workers_that_are_killed_again_and_again(place):
    """Each part is begun by a worker that is killed before its end, twice, then finished."""
    code = (
        "import sys, time\n"
        "from mtml_deploy.data import decode\n"
        "import mtml_deploy.data.batches as batches\n"
        "real = decode.decode_into\n"
        "def slow(target, image):\n"
        "    time.sleep(0.03)\n"
        "    return real(target, image)\n"
        "batches.decode_into = slow\n"
        "from mtml_deploy.cli.main import main\n"
        "main(sys.argv[1:])\n"
    )
    words = ["embed", place / "art", "--images", place / "images", "--batch-size", 2,
             "--threads", 1, "--out", place / "parts", "--shard"]  # fmt: skip
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    killed = 0
    for number in (1, 2):
        for _ in range(2):
            child = subprocess.Popen([sys.executable, "-c", code, *map(str, words),
                                      f"{number}/2"], env=env, stderr=subprocess.PIPE)  # fmt: skip
            rows = place / "parts" / f"part-0000{number}-of-00002.npz.part" / "rows.f32"
            before = rows.stat().st_size if rows.exists() else 0
            end = time.monotonic() + 120
            while child.poll() is None and time.monotonic() < end:
                if rows.exists() and rows.stat().st_size > before:
                    child.send_signal(signal.SIGKILL)
                    break
                time.sleep(0.002)
            child.communicate()
            killed += child.returncode == -signal.SIGKILL
        result = run(*words, f"{number}/2")
        assert result.exit_code == 0, result.stderr
    assert killed >= 2  # a fast machine may finish a part first, not all of them
    found = merged(place / "parts")
    result = run("embed", place / "art", "--images", place / "images", "--batch-size", 2,
                 "--out", place / "single.npz")  # fmt: skip
    expected = Embeddings.load(place / "single.npz")
    assert found.names == expected.names and len(set(found.names)) == 23
    assert (found.features == expected.features).all()
    assert sorted(path.name for path in (place / "parts").iterdir()) == [
        "part-00001-of-00002.npz", "part-00002-of-00002.npz", "shards.json",
    ]  # fmt: skip


def test_parts_of_something_else_are_refused(place):
    assert shard(place, "1/2").exit_code == 0
    result = shard(place, "2/3")
    assert result.exit_code == 1 and "shards is 2 and 3, the second as asked" in result.stderr
    write_images(place / "images", 24, seed=3)
    result = shard(place, "2/2")
    assert result.exit_code == 1 and "images is 23 and 24; images_sha256 is" in result.stderr
    with open_model(place / "art") as model, pytest.raises(EmbeddingsError, match="6 batches"):
        embed_shard(model, load_source(str(place / "images")), place / "new", Shard(1, 7),
                    batch_size=4)  # fmt: skip
    with pytest.raises(EmbeddingsError, match="is no folder of parts: it lacks shards"):
        merged(place / "images")


def test_times_are_part_of_what_workers_agree_on(place):
    for hour in ("08", "09"):
        (place / f"{hour}.csv").write_text(
            "path,time\n" + "".join(f"images/{n:04d}.png,2024-05-01T{hour}:00\n" for n in range(8))
        )
    assert images_sha256(load_source(f"csv:{place / '08.csv'}")) != images_sha256(
        load_source(f"csv:{place / '09.csv'}")
    )


PLAN = ShardPlan(
    shards=3, images=23, images_sha256="a" * 64, batch_size=4, source="s",
    model=ModelIdentity("b" * 64, "fp32", "fused", 6),
)  # fmt: skip
OTHERS = {
    "source is s and t": replace(PLAN, source="t"),
    "batch_size is 4 and 2": replace(PLAN, batch_size=2),
    "model.precision is fp32 and fp16": replace(PLAN, model=replace(PLAN.model, precision="fp16")),
    f"images_sha256 is {'a' * 64} and {'c' * 64}": replace(PLAN, images_sha256="c" * 64),
}


@pytest.mark.parametrize("text", OTHERS)
def test_of_workers_that_begin_at_once_the_first_decides(tmp_path, text, monkeypatch):
    """The second finds no plan, and the first writes its own before the second does."""
    real = shard_plan.write_text

    def late(path, content, **how):
        monkeypatch.setattr(shard_plan, "write_text", real)
        agree(tmp_path / "parts", PLAN)
        real(path, content, **how)

    monkeypatch.setattr(shard_plan, "write_text", late)
    with pytest.raises(EmbeddingsError, match=re.escape(f"{text}, the second as asked for now")):
        agree(tmp_path / "parts", OTHERS[text])
    assert read_plan(tmp_path / "parts") == PLAN
    agree(tmp_path / "parts", PLAN)


def test_one_of_many_that_begin_at_once_decides(tmp_path):
    plans = [replace(PLAN, source=f"source {n}") for n in range(4)]
    for attempt in range(15):
        folder, begin = tmp_path / str(attempt), threading.Barrier(len(plans))

        def worker(plan, folder=folder, begin=begin):
            begin.wait()
            try:
                agree(folder, plan)
            except EmbeddingsError as error:
                assert "source is source" in str(error)
                return None
            return plan

        with ThreadPoolExecutor(len(plans)) as pool:
            agreed = [plan for plan in pool.map(worker, plans) if plan]
        assert agreed == [read_plan(folder)]
        assert [path.name for path in folder.iterdir()] == ["shards.json"]


def test_a_file_system_without_hard_links_is_told(tmp_path, monkeypatch, caplog):
    def refused(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refused)
    agree(tmp_path / "parts", PLAN)
    assert read_plan(tmp_path / "parts") == PLAN
    assert "without hard links: start the command that writes it alone" in caplog.text


def test_a_part_of_another_set_is_named(place):
    for number in (1, 2):
        assert shard(place, f"{number}/2").exit_code == 0
    parts = [Shard(number, 2).path(place / "parts") for number in (1, 2)]
    rows = Embeddings.load(parts[1])
    parts[1].unlink()
    dataclasses.replace(rows, source="other").save(parts[1])
    with pytest.raises(EmbeddingsError, match=r"part-00002.* is other and .*images; remove"):
        merged(place / "parts")
    dataclasses.replace(Embeddings.concat([rows, rows]), source=rows.source).save(parts[1])
    with pytest.raises(EmbeddingsError, match="22 rows, where at most 11 images belong"):
        merged(place / "parts")


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/0", "-1/3"])
def test_what_is_no_shard(place, text):
    result = shard(place, text)
    assert result.exit_code == 2 and "shard" in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("--merge", "parts", "--shard", "1/2"),
        ("--images", "x"),
        (),
        ("--merge", "p", "--resume"),
        ("--merge", "p", "--engine", "ray"),
        ("--merge", "p", "--workers", "2"),
    ],
)
def test_words_that_do_not_go_together(place, words):
    assert run("embed", "--out", place / "x.npz", *words).exit_code == 2
    assert shard(place, "1/2", "--resume").exit_code == 2
    assert shard(place, "1/2", "--engine", "ray").exit_code == 2
    assert shard(place, "1/2", "--shards", "2").exit_code == 2
    assert np.all([path.name != "x.npz" for path in place.iterdir()])
