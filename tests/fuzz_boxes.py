"""Files of detectors and trackers for fuzz tests, of every format that a source `crops:` reads."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

from fuzz_kinds import Kind
from fuzz_lists import damaged_word
from fuzz_mutations import damaged_bytes, damaged_json
from helpers_artifact import write_images

from mtml_deploy.data.clock import FIRST_US, LAST_US
from mtml_deploy.data.decode import decode_whole
from mtml_deploy.data.source import load_source
from mtml_deploy.errors import ImageError

BOXES = ((1, 4, 5, 10, 9), (1, 14, 10.5, 20, 8.2), (2, 6, 5, 3, 25))
"""Number of the frame, and x, y, w, h."""


def _rows() -> list[dict[str, object]]:
    return [
        {"image_id": f, "category_id": 3, "bbox": [x, y, w, h], "score": 0.9, "track_id": n}
        for n, (f, x, y, w, h) in enumerate(BOXES)
    ]


def _write(folder: Path) -> dict[str, Path]:
    """A file of every format, by name of format and kind of file."""
    texts = {
        "mot txt": "".join(f"{f},{n},{x},{y},{w},{h},0.9,-1,-1,-1\n"
                           for n, (f, x, y, w, h) in enumerate(BOXES)),
        "aicity txt": "".join(f"7 {n} {f} {x} {y} {w} {h} -1 -1\n"
                              for n, (f, x, y, w, h) in enumerate(BOXES)),
        "yolo txt": "3 0.5 0.5 0.25 0.25 0.9 7\n3 0.25 0.5 0.1 0.3 0.8 8\n",
        "supervision csv": "x_min,y_min,x_max,y_max,class_id,confidence,tracker_id,frame_index\n"
                           "4,5,14,14,3,0.9,7,1\n6,5,9,30,3,0.9,,2\n",
        "coco json": json.dumps(_rows()),
        "coco set.json": json.dumps({
            "images": [{"id": f, "file_name": f"{f:04d}.png"} for f in (1, 2)],
            "annotations": _rows(),
        }),
        "supervision json": json.dumps([
            {"x_min": x, "y_min": y, "x_max": x + w, "y_max": y + h, "class_id": 3,
             "confidence": 0.9, "tracker_id": n, "file_name": f"{f:04d}.png"}
            for n, (f, x, y, w, h) in enumerate(BOXES)
        ]),
    }  # fmt: skip
    made = {}
    for name, text in texts.items():
        kind, _, end = name.partition(" ")
        # YOLO: a file for each image, of its name
        made[name] = folder / f"{'0001' if kind == 'yolo' else kind}.{end}"
        made[name].write_text(text)
    return made


def _detections(name: str, more: str) -> Callable[[Path], Kind]:
    """The kind of one file, read with frames in a folder and with one image for all."""

    def make(folder: Path) -> Kind:
        frames = folder / "frames"
        write_images(frames, 4)
        path = _write(folder)[name]
        options = f"format={name.partition(' ')[0]}{more}"

        def read() -> object:
            answers: list[object] = []
            for place in (frames, frames / "0001.png"):
                images = load_source(f"crops:{path}@frames={place},{options}")
                assert images.crops is not None and len(images.crops) == len(images.records) > 0
                for crop, record in zip(images.crops, images.records, strict=True):
                    assert record.time_us is None or FIRST_US <= record.time_us <= LAST_US
                    for id_ in (record.vehicle_id, record.camera_id, record.tracklet_id):
                        assert -1 <= id_ < 2**63 and len(str(id_)) <= 200
                    answers.append((record.vehicle_id, record.tracklet_id, record.time_us))
                    try:
                        decode_whole(crop)
                    except ImageError as error:
                        assert len(str(error)) < 20_000
            return answers

        def damaged(content: bytes, draw: random.Random) -> tuple[str, bytes]:
            return (damaged_json if content.startswith(b"{") else damaged_list)(content, draw)

        texts = path.suffix in (".txt", ".csv")
        return Kind(f"{name} {more}", (path,), read, (damaged_word if texts else damaged,) * 3)

    make.__name__ = "boxes_" + name.replace(" ", "_").replace(".", "_")
    return make


def damaged_list(content: bytes, draw: random.Random) -> tuple[str, bytes]:
    """A JSON list, one of whose records is damaged."""
    if not content.startswith(b"["):
        return damaged_bytes(content, draw)
    head, mark = b'{"rows": ', b"}"
    what, changed = damaged_json(head + content + mark, draw)
    if changed.startswith(head) and changed.endswith(mark):
        changed = changed[len(head) : -len(mark)]
    return what, changed


BOX_KINDS: tuple[Callable[[Path], Kind], ...] = (
    _detections("mot txt", ",start=2024-05-01,fps=25,camera=north gate"),
    _detections("aicity txt", ",ids=vehicle,min_score=0.1"),
    _detections("yolo txt", ""),
    _detections("coco json", ",start=0,fps=0.001,first=1"),
    _detections("coco set.json", ""),
    _detections("supervision csv", ",classes=3"),
    _detections("supervision json", ""),
)
"""Each makes its files in an empty folder."""
