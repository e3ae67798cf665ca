"""Lists, tables, labels, images and records for fuzz tests."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
from fuzz_kinds import Kind
from fuzz_mutations import DEEP, damaged_json
from helpers_artifact import write_images
from helpers_calibration import chosen
from helpers_datasets import write_veri
from PIL import Image

from benchmarks.measure.machine import Environment, GpuState, Machine
from benchmarks.measure.rounds import Ratio, Series
from benchmarks.report import compare as compare_runs
from benchmarks.report.compare_report import compare_markdown
from benchmarks.report.page import records_html
from benchmarks.report.read import load_records
from benchmarks.report.record import Record, write_record
from mtml_deploy.data.decode import decode_whole
from mtml_deploy.data.records import ImageSet
from mtml_deploy.data.source import load_source
from mtml_deploy.data.thumbnails import make_thumbnail
from mtml_deploy.embed.embeddings import Embeddings, ModelIdentity
from mtml_deploy.evaluation.aicity.track2_file import read_submission
from mtml_deploy.evaluation.ground_truth import read_ground_truth
from mtml_deploy.gallery.times import load_times
from mtml_deploy.precision.calibration_list import read_calibration, write_calibration
from mtml_train.config import TrainConfig
from mtml_train.settings import build_config, parse_setting

WORDS = (
    b"-1", b"99999999999999999999", b"1e400", b"nan", b"inf", b"", b'"', b"'", b"\x00", b"../..",
    b"\xff\xfe", b"\r", b"\n\n", b"\xef\xbb\xbf", b"=1+1", b"1_0", "٣".encode(), b"&a;", b"<!--",
    b"x" * 50_000, b"[" * DEEP, b"{a=" * 1000, b"true", b"1979-05-27", b"0x" + b"f" * 400, b"-0.0",
)  # fmt: skip


def damaged_word(content: bytes, draw: random.Random) -> tuple[str, bytes]:
    """A text with one word or line replaced, doubled or taken out."""
    separator = draw.choice((b"\n", b" ", b",", b"=", b'"'))
    words = content.split(separator)
    at = draw.randrange(len(words))
    kind = draw.choice(("word", "word", "word", "drop", "twice", "swap"))
    if kind == "word":
        words[at] = draw.choice(WORDS)
    elif kind == "drop":
        del words[at]
    elif kind == "twice":
        words.insert(at, words[at])
    else:
        other = draw.randrange(len(words))
        words[at], words[other] = words[other], words[at]
    return f"text {kind} {at} {words[at : at + 1]!r:.60}", separator.join(words)


def _labels(images: ImageSet) -> object:
    """What a set tells, checked as no reader's own check does."""
    assert images.records
    for record in images.records:
        assert -1 <= record.orientation <= 7
        for number in (record.vehicle_id, record.camera_id, record.tracklet_id):
            assert -1 <= number < 2**63
    return images.records


def _files(root: Path) -> tuple[Path, ...]:
    return tuple(sorted(p for p in root.rglob("*") if p.suffix in (".txt", ".xml", ".csv")))


def veri(folder: Path) -> Kind:
    """Lists and label files of VeRi-776."""
    root = write_veri(folder / "veri")

    def read() -> object:
        for split in ("train", "query", "gallery"):
            _labels(load_source(f"veri:{root}#{split}"))
        return None

    return Kind("label files", _files(root), read, (damaged_word,) * 2)


def table(folder: Path) -> Kind:
    """A table of labels, and a list of images."""
    write_images(folder, 4)
    (folder / "t.csv").write_text(
        "path,vehicle_id,camera_id,orientation\n0000.png,1,2,3\n0001.png,4,,\n0002.png,5,6,-1\n"
    )
    (folder / "l.txt").write_text("0000.png\n0003.png\n")

    def read() -> object:
        return _labels(load_source(f"csv:{folder / 't.csv'}")), _labels(
            load_source(str(folder / "l.txt"))
        )

    return Kind("tables and lists", _files(folder), read, (damaged_word,) * 2)


def times(folder: Path) -> Kind:
    """Times of images."""
    path = folder / "times.csv"
    path.write_text("path,time\na.jpg,2024-05-01T10:00:00\nb.jpg,1714557600.25\nc.jpg,\n")

    def read() -> object:
        assert all(-(2**63) <= time < 2**63 for time in load_times(path).values())
        return None

    return Kind("times", (path,), read, (damaged_word,) * 2)


def _named(names: tuple[str, ...]) -> Embeddings:
    numbers = np.arange(len(names), dtype=np.int32)
    return Embeddings(
        features=np.zeros((len(names), 1), np.float32),
        vehicle_ids=numbers,
        camera_ids=numbers,
        orientations=np.minimum(numbers, 7),
        tracklet_ids=numbers,
        names=names,
        root="",
        source="s",
        model=ModelIdentity("0" * 64, "fp32", "fused", 1),
    )


def ground_truth(folder: Path) -> Kind:
    """Files of matches and junk, and the lists that give their order."""
    texts = {"gt.txt": "1 2\n\n4\n", "jk.txt": "3\n1\n\n"}
    texts |= {"name_query.txt": "q1.jpg\nq2.jpg\nq3.jpg\n"}
    texts |= {"name_test.txt": "a.jpg\nb.jpg\nc.jpg\nd.jpg\n"}
    for name, text in texts.items():
        (folder / name).write_text(text)
    query = _named(("q1.jpg", "q2.jpg", "q3.jpg"))
    gallery = _named(("a.jpg", "b.jpg", "c.jpg", "d.jpg"))

    def read() -> object:
        found = read_ground_truth(folder / "gt.txt", folder / "jk.txt", query, gallery)
        for rows in (*found.matches, *found.junk):
            assert len(np.unique(rows)) == len(rows) and (rows >= 0).all() and (rows < 4).all()
        return None

    return Kind("ground truth", _files(folder), read, (damaged_word,) * 2)


def submission(folder: Path) -> Kind:
    """A ranking of AI City's track 2."""
    path = folder / "track2.txt"
    order = random.Random(0)
    lines = [" ".join(map(str, order.sample(range(1, 121), 100))) for _ in range(3)]
    path.write_text("\n".join(lines) + "\n")

    def read() -> object:
        rows = read_submission(path, queries=3, gallery=120).rows
        assert rows.shape == (3, 100) and rows.min() >= 0 and rows.max() < 120
        assert all(len(set(row)) == 100 for row in rows.tolist())
        return None

    return Kind("ranking file", (path,), read, (damaged_word,) * 2)


def calibration(folder: Path) -> Kind:
    """A list to calibrate on and the manifest beside it."""
    made = chosen(write_images(folder / "images", 5), heldout=2)
    write_calibration(folder / "list.txt", made)

    def read() -> object:
        found = read_calibration(folder / "list.txt")
        assert found.calibration and found.heldout
        return None

    def damaged(content: bytes, draw: random.Random) -> tuple[str, bytes]:
        change = damaged_json if content.startswith(b"{") else damaged_word
        return change(content, draw)

    files = (folder / "list.txt", folder / "list.json")
    return Kind("calibration list", files, read, (damaged,) * 3)


def pictures(folder: Path) -> Kind:
    """Images of several formats, one of them with EXIF data."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "x" * 200
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))
    for name in ("a.jpg", "b.png", "c.webp", "d.bmp", "e.gif", "f.tif"):
        image.save(folder / name, exif=exif) if name[0] in "abc" else image.save(folder / name)
    files = tuple(sorted(folder.iterdir()))

    def read() -> object:
        for path in files:
            pixels = decode_whole(path)
            assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3
            make_thumbnail(path, side=16)
        return None

    return Kind("images", files, read)


def thumbnails(folder: Path) -> Kind:
    """The same images on a page, which shows a placeholder for what it cannot read."""
    made = pictures(folder)

    def read() -> object:
        for path in made.files:
            make_thumbnail(path, side=16)
        return None

    return Kind("thumbnails", made.files, read)


def benchmark(folder: Path) -> Kind:
    """A record of a benchmark, compared with itself and shown."""
    machine = Machine("A CPU", ("avx2",), 8, 4, 2**34, "Linux", 0.5)
    gpu = GpuState("NVIDIA X", "9.0", 2**36, "580.1", "13.0", {"sm_clock_mhz": 1980.0})
    environment = Environment("2026-01-02", "f" * 40, False, machine, {"numpy": "2"}, (gpu,))
    record = Record(
        kind="latency",
        title="Latency",
        environment=environment,
        model={"sha256": "a" * 64, "branches": ("identity", "gray")},
        settings={"device": "cuda:0"},
        series=(Series("a", "A", "What.", "s", (1.0, 2.0, 3.0, 4.0)),),
        ratios=(Ratio("r", "R", 1.5, 1.0),),
        notes=("A note.",),
        percentiles=True,
    )
    write_record(folder, record, overwrite=False)
    (folder / "compare.toml").write_text("change = 0.05\np = 0.05\n[series]\n'latency:a' = 0.1\n")
    path = folder / "latency.json"

    def read() -> object:
        found = load_records(path)
        bounds = compare_runs.load_thresholds(folder / "compare.toml")
        compare_markdown(compare_runs.compare_records((record,), found, bounds), bounds)
        records_html(found)
        for each in found:
            assert all(np.isfinite(item.values).all() for item in each.series)
        return None

    def damaged(content: bytes, draw: random.Random) -> tuple[str, bytes]:
        change = damaged_json if content.startswith(b"{") else damaged_word
        return change(content, draw)

    return Kind("benchmark record", (path, folder / "compare.toml"), read, (damaged,) * 3)


def settings(folder: Path) -> Kind:
    """Settings of a training run, and each of its lines as --set."""
    path = folder / "run.toml"
    path.write_text(
        'data = ["veri:x"]\nepochs = 3\nlr = 1e-3\nseed = 7\nsampler = "pk"\nflip = 0.5\n'
        "deterministic = true\ninstances = 4\nwarmup_epochs = 2\nbatch_size = 16\n"
    )

    def read() -> object:
        flags: dict[str, object] = {}
        text = path.read_text("utf-8", "surrogateescape") if path.is_file() else ""
        found = build_config("paper", path, {})
        for line in text.splitlines():
            if "=" in line and not line.startswith("["):
                flags |= parse_setting(line)
        for config in (found, build_config("paper", None, flags)):
            _require_declared(config)
        return None

    return Kind("settings", (path,), read, (damaged_word,) * 3)


def set_words(folder: Path) -> Kind:
    """One --set after the other, without a file that would refuse the same first."""
    path = folder / "words.txt"
    path.write_text("epochs=3\nlr=1e-3\nseed=7\nsampler=pk\nflip=0.5\ndata=['a','b']\nseed=1\n")

    def read() -> object:
        text = path.read_text("utf-8", "surrogateescape") if path.is_file() else ""
        for line in text.split("\n"):
            if line:
                _require_declared(build_config("paper", None, parse_setting(line)))
        return None

    return Kind("--set", (path,), read, (damaged_word,) * 3)


def _require_declared(config: TrainConfig) -> None:
    """Every setting is of the default's type, and a number that any program can hold."""
    for name, default in vars(TrainConfig()).items():
        value = getattr(config, name)
        assert type(value) is type(default), name
        assert not isinstance(value, int | float) or abs(value) < 2**63, name


LIST_KINDS: tuple[Callable[[Path], Kind], ...] = (
    veri, table, times, ground_truth, submission, calibration, pictures, thumbnails, benchmark,
    settings, set_words,
)  # fmt: skip
"""Each makes its files in an empty folder."""
