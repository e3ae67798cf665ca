"""The files that hold rows of embeddings, for fuzz tests: whole ones and interrupted runs."""

from __future__ import annotations

import io
import json
import random
import warnings
import zipfile
from pathlib import Path

import numpy as np
from fuzz_kinds import Kind
from fuzz_mutations import damaged_bytes, damaged_json

from mtml_deploy.embed.embeddings import Embeddings, ModelIdentity
from mtml_deploy.embed.resume import PartialRows, RowsManifest
from mtml_deploy.embed.shard_plan import PLAN_FILE, ShardPlan, agree
from mtml_deploy.embed.shards import Shard, merged

MODEL = ModelIdentity("a" * 64, "fp32", "fused", 3)


def damaged_array(content: bytes, draw: random.Random) -> tuple[str, bytes]:
    """A .npz whose checksums are right and one of whose members is damaged, doubled or missing."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    at = draw.randrange(len(members))
    name, inner = members[at]
    kind = draw.choice(("head", "head", "head", "shape", "bytes", "twice", "drop", "add", "packed"))
    what = kind
    if kind == "head":
        what, head = damaged_bytes(inner[:128], draw)
        members[at] = name, head + inner[128:]
    elif kind == "shape":
        start = inner.index(b"(") + 1
        end = inner.index(b")", start)
        shape = draw.choice(
            (b"9" * 18 + b",", b"0,", b"-1,", b"1,1,1,", b"2**40,", b"1e9,", b"True,", b"(" * 50)
        )
        members[at] = name, inner[:start] + shape + inner[end:]
    elif kind == "bytes":
        what, damaged = damaged_bytes(inner, draw)
        members[at] = name, damaged
    elif kind == "twice":
        members.append(members[at])
    elif kind == "drop":
        del members[at]
    elif kind == "add":
        members.append((draw.choice(("x.npy", "../x.npy", "x")), inner))
    out = io.BytesIO()
    how = zipfile.ZIP_DEFLATED if kind == "packed" else zipfile.ZIP_STORED
    with zipfile.ZipFile(out, "w", how) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the doubled name
        for entry, inner in members:
            archive.writestr(entry, inner)
    return f"member {name} {what}", out.getvalue()


def damaged_line(content: bytes, draw: random.Random) -> tuple[str, bytes]:
    """One line of JSON lines, or the whole of a JSON text, with a wrong value."""
    try:
        json.loads(content)
        return damaged_json(content, draw)
    except ValueError:
        lines = content.splitlines(keepends=True)
    try:
        at = draw.randrange(len(lines))
        what, lines[at] = damaged_json(lines[at], draw)
        return f"line {at} {what}", b"".join(lines)
    except ValueError:  # no JSON at all
        return damaged_bytes(content, draw)


def embeddings(folder: Path) -> Kind:
    """A file of embeddings."""
    path = folder / "a.npz"
    numbers = np.arange(4, dtype=np.int32)
    Embeddings(
        features=np.arange(12, dtype=np.float32).reshape(4, 3),
        vehicle_ids=numbers,
        camera_ids=numbers,
        orientations=numbers,
        tracklet_ids=numbers,
        names=("a.jpg", "b.jpg", "ü.jpg", "d"),
        root="/r",
        source="s",
        model=MODEL,
        pixels=numbers + 1,
    ).save(path)

    def read() -> object:
        found = Embeddings.load(path)
        return {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in vars(found).items()
        }

    return Kind("embeddings", (path,), read, sealed=True)


def crafted_embeddings(folder: Path) -> Kind:
    """A file of embeddings whose checksums are right whatever it holds."""
    whole = embeddings(folder)
    return Kind("crafted embeddings", whole.files, whole.read, (damaged_array,) * 9)


def partial_rows(folder: Path) -> Kind:
    """The rows of an interrupted run: every one that is taken over is as it was."""
    part = folder / "a.npz.part"
    manifest = RowsManifest(MODEL, "s", "/r", "b" * 64)
    rows = np.arange(15, dtype=np.float32).reshape(5, 3)
    pixels = np.arange(1, 6, dtype=np.int32)
    with PartialRows(part, manifest, resume=False) as opened:
        opened.append(rows[:2], pixels=pixels[:2], position=2, bad=())
        opened.append(rows[2:4], pixels=pixels[2:4], position=5, bad=((3, "broken"),))
        opened.append(rows[4:], pixels=pixels[4:], position=6, bad=())
    files = tuple(sorted(part.iterdir()))
    content = {path: path.read_bytes() for path in files}
    known = {
        (0, 0, ()), (2, 2, ()), (4, 5, ((3, "broken"),)), (5, 6, ((3, "broken"),))
    }  # fmt: skip

    def read() -> object:
        try:
            with PartialRows(part, manifest, resume=True) as opened:
                assert (opened.count, opened.position, opened.bad) in known
                assert np.array_equal(opened.rows(), rows[: opened.count])
                assert np.array_equal(opened.pixels(), pixels[: opened.count])
        finally:  # what is damaged is cut off: put the other files back
            for path, whole in content.items():
                if path.is_file() and path.stat().st_size < len(whole):
                    path.write_bytes(whole)
        return None

    return Kind("partial rows", files, read, (damaged_line,) * 2)


def parts_of_a_set(folder: Path) -> Kind:
    """The plan of a set that workers embed, and its parts: never rows of something else."""
    plan = ShardPlan(
        shards=3, images=10, images_sha256="b" * 64, batch_size=2, source="s", model=MODEL
    )
    agree(folder, plan)
    rows = np.arange(30, dtype=np.float32).reshape(10, 3)
    shards = [Shard(number, 3) for number in (1, 2, 3)]
    for shard in shards:
        part = shard.rows(10, 2)
        unknown = np.full(len(part), -1, dtype=np.int32)
        Embeddings(
            features=rows[part.start : part.stop], vehicle_ids=unknown, camera_ids=unknown,
            orientations=unknown, tracklet_ids=unknown, names=tuple(f"{i}.jpg" for i in part),
            root="/r", source="s", model=MODEL,
        ).save(shard.path(folder))  # fmt: skip

    def read() -> object:
        found = merged(folder)
        assert found.names == tuple(f"{i}.jpg" for i in range(10))
        assert np.array_equal(found.features, rows)
        return None

    def damaged(content: bytes, draw: random.Random) -> tuple[str, bytes]:
        change = damaged_json if content.startswith(b"{") else damaged_bytes
        return change(content, draw)

    files = (folder / PLAN_FILE,) * 6 + tuple(shard.path(folder) for shard in shards)
    return Kind("parts", files, read, (damaged,) * 3)


ROW_KINDS = (embeddings, crafted_embeddings, partial_rows, parts_of_a_set)
"""Each makes its files in an empty folder."""
