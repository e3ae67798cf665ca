"""Writes a synthetic set as a folder in the layout of VeRi-776."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path

from PIL import Image

from mtml_deploy.errors import BackendError
from mtml_deploy.files import write_text
from mtml_deploy.outputs import output_folder
from mtml_train.synthetic.render import render_shot
from mtml_train.synthetic.set_folder import RECORD, SYNTHETIC, record_text
from mtml_train.synthetic.shot_plan import PlannedShot, plan_shots
from mtml_train.synthetic.spec import SyntheticSpec, SyntheticSummary
from mtml_train.synthetic.vehicle import build_vehicle


@dataclass(frozen=True)
class WrittenVehicle:
    """Label lines of the images of one vehicle, in the order of their names.

    Attributes:
        shots: what was planned and written.
        items: one `Item` element each.
        keypoints: one line of 42 fields each.
    """

    shots: tuple[PlannedShot, ...]
    items: tuple[str, ...]
    keypoints: tuple[str, ...]


def write_synthetic(
    folder: Path,
    spec: SyntheticSpec,
    *,
    processes: int = 1,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> SyntheticSummary:
    """Write a synthetic set, whole or not at all; counts of what was written.

    Args:
        folder: becomes the set's folder.
        spec: settings; the files depend on nothing else.
        processes: worker processes; 1 renders in this one.
        overwrite: replace a synthetic set that is there.
        progress: called with images done and images in all, after each vehicle.

    Raises:
        OutputExistsError: `folder` exists and `overwrite` is false, or it is no synthetic set, or
            holds other files.
        BackendError: a worker process was killed.
        ValueError: `processes` is less than 1.
    """
    if processes < 1:
        raise ValueError(f"processes is 1 or more, found {processes}")
    started = time.perf_counter()
    written: list[WrittenVehicle] = []
    with output_folder(folder, SYNTHETIC, overwrite=overwrite) as target:
        for name in ("image_train", "image_query", "image_test"):
            (target / name).mkdir()
        total = spec.vehicles * spec.images_per_vehicle
        for vehicle in _write_all(target, spec, processes):
            written.append(vehicle)
            if progress is not None:
                progress(len(written) * spec.images_per_vehicle, total)
        train, test = written[: spec.train_vehicles], written[spec.train_vehicles :]
        _write_labels(target, "train", "Training", train)
        _write_labels(target, "test", "Testing", test)
        _write_queries(target, test)
        write_text(target / RECORD, record_text(spec))
    return SyntheticSummary(
        train_images=spec.train_vehicles * spec.images_per_vehicle,
        query_images=spec.test_vehicles * spec.queries_per_vehicle,
        gallery_images=spec.test_vehicles * spec.images_per_vehicle,
        train_vehicles=spec.train_vehicles,
        test_vehicles=spec.test_vehicles,
        cameras=spec.cameras,
        seconds=time.perf_counter() - started,
    )


def _write_all(target: Path, spec: SyntheticSpec, processes: int) -> Iterator[WrittenVehicle]:
    """The vehicles in order, each after its images are written."""
    write = partial(_write_vehicle, target, spec)
    if processes == 1:
        yield from map(write, range(spec.vehicles))
        return
    # spawn: a fork of a process with torch's threads can hang
    pool = ProcessPoolExecutor(
        processes,
        mp_context=get_context("spawn"),
        initializer=signal.signal,  # Ctrl-C is for the first process; workers would print it too
        initargs=(signal.SIGINT, signal.SIG_IGN),
    )
    try:
        yield from pool.map(write, range(spec.vehicles))
    except BrokenProcessPool as error:
        raise BackendError(
            f"one of the {processes} processes that render was killed, for example for want of "
            "memory; lower --processes"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _write_vehicle(target: Path, spec: SyntheticSpec, vehicle: int) -> WrittenVehicle:
    """Write the images of one vehicle; runs in a worker process."""
    model = build_vehicle(spec, vehicle).model
    split = "image_train" if vehicle < spec.train_vehicles else "image_test"
    shots = plan_shots(spec, vehicle)
    items, keypoints = [], []
    for shot in shots:
        rendered = render_shot(spec, vehicle, shot.orientation, shot.camera, shot.shot)
        encoded = BytesIO()
        Image.fromarray(rendered.pixels).save(encoded, format="JPEG", quality=rendered.quality)
        (target / split / shot.name).write_bytes(encoded.getvalue())
        if shot.query:
            (target / "image_query" / shot.name).write_bytes(encoded.getvalue())
        items.append(
            f'<Item imageName="{shot.name}" vehicleID="{vehicle + 1:04d}" '
            f'cameraID="c{shot.camera + 1:03d}" colorID="{model.veri_color}" '
            f'typeID="{model.plan.veri_type}" />'
        )
        coordinates = " ".join(map(str, rendered.keypoints.ravel().tolist()))
        keypoints.append(f"VeRi/{split}/{shot.name} {coordinates} {shot.orientation}")
    return WrittenVehicle(shots, tuple(items), tuple(keypoints))


def _write_labels(target: Path, split: str, title: str, vehicles: Sequence[WrittenVehicle]) -> None:
    """Write name list, XML labels and keypoints of one split."""
    names = [shot.name for vehicle in vehicles for shot in vehicle.shots]
    items = [f"        {item}" for vehicle in vehicles for item in vehicle.items]
    xml = [
        '<?xml version="1.0" encoding="utf-8" ?>',
        f'<{title}Images Version="1.0">',
        f'    <Items number="{len(items)}">',
        *items,
        "    </Items>",
        f"</{title}Images>",
    ]
    _write_lines(target / f"name_{split}.txt", names)
    _write_lines(target / f"{split}_label.xml", xml)
    _write_lines(
        target / f"keypoint_{split}.txt",
        [line for vehicle in vehicles for line in vehicle.keypoints],
    )


def _write_queries(target: Path, vehicles: Sequence[WrittenVehicle]) -> None:
    """Write the query list with its matches and junk as line numbers of name_test.txt, from 1."""
    names, matches, junk = [], [], []
    line = 1
    for vehicle in vehicles:
        for query in vehicle.shots:
            if not query.query:
                continue
            # the same vehicle by the same camera is junk: too easy, and the query itself
            numbered = list(enumerate(vehicle.shots, start=line))
            names.append(query.name)
            matches.append([str(at) for at, shot in numbered if shot.camera != query.camera])
            junk.append([str(at) for at, shot in numbered if shot.camera == query.camera])
        line += len(vehicle.shots)
    _write_lines(target / "name_query.txt", names)
    _write_lines(target / "gt_image.txt", [" ".join(row) for row in matches])
    _write_lines(target / "jk_image.txt", [" ".join(row) for row in junk])


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    """Write `lines` with Unix line ends, on every system the same bytes."""
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
