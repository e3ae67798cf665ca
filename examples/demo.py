"""The whole main job on rendered vehicles, in a few minutes on two CPU cores.

Renders a data set, trains a small MTML-OSG, exports it and the same network untrained, embeds,
evaluates, and writes `demo/report.html`. Every step is a command a user would type; it is printed
before it runs. Exit status 1 if training did not clearly help.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

FOLDER = Path("demo")
MARKER = FOLDER / ".made-by-demo"
MIN_GAIN = 0.10  # of mAP over the untrained network

TRAIN = (
    "mtml-train --data veri:demo/data --variant MTML-OSG --backbone resnet18 --weights none "
    "--image-size 64 --batch-size 16 --lr 3e-4 --epochs 3 --workers 1"
)
STEPS = (
    "mtml-train synthetic demo/data --train-vehicles 40 --test-vehicles 20 --longest-side 96",
    f"{TRAIN} --out demo/untrained --max-steps 0",
    f"{TRAIN} --out demo/run",
    *(
        command
        for run, name in (("untrained", "untrained"), ("run", "trained"))
        for command in (
            f"mtml-export demo/{run} --out demo/model-{name}",
            f"mtml-deploy embed demo/model-{name} --images veri:demo/data#query "
            f"--out demo/query-{name}.npz",
            f"mtml-deploy embed demo/model-{name} --images veri:demo/data#gallery "
            f"--out demo/gallery-{name}.npz",
            f"mtml-deploy evaluate --query demo/query-{name}.npz --gallery "
            f"demo/gallery-{name}.npz --protocol veri776 --label {name} "
            f"--json demo/{name}.json --plot demo/cmc-{name}.svg",
        )
    ),
    "mtml-deploy rank --query demo/query-trained.npz --gallery demo/gallery-trained.npz "
    "--compare-query demo/query-untrained.npz --compare-gallery demo/gallery-untrained.npz "
    "--label trained --label untrained --protocol veri776 --max-queries 12 "
    "--html demo/report.html",
)


def run_steps(steps: Iterable[str]) -> int:
    """Print and run commands up to the first that fails; returns its exit status, or 0."""
    for step in steps:
        print(f"\n$ {step}", flush=True)
        program, *arguments = shlex.split(step)
        # the commands installed beside this Python, whatever PATH says
        status = subprocess.run([Path(sys.executable).parent / program, *arguments]).returncode
        if status:
            print(f"error: that step ended with status {status}")
            return status
    return 0


def main() -> int:
    """Run every step; returns the exit status."""
    if FOLDER.exists() and not MARKER.exists():
        print(f"error: {FOLDER} exists and was not made by this demo; move it away")
        return 1
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    MARKER.touch()
    started = time.monotonic()
    if status := run_steps(STEPS):
        return status
    results = {
        name: json.loads((FOLDER / f"{name}.json").read_text()) for name in ("untrained", "trained")
    }
    print(f"\n{'':<12}{'mAP':>8}{'CMC@1':>8}{'CMC@5':>8}   (percent, protocol veri776)")
    for name, result in results.items():
        values = (result["mean_ap"], result["cmc"][0], result["cmc"][4])
        print(f"{name:<12}" + "".join(f"{100 * value:8.1f}" for value in values))
    minutes = (time.monotonic() - started) / 60
    print(f"\nrank lists of both: {FOLDER / 'report.html'}   ({minutes:.1f} minutes)")
    gain = results["trained"]["mean_ap"] - results["untrained"]["mean_ap"]
    if gain < MIN_GAIN:
        print(f"error: training raised mAP by {gain:.3f} only, expected {MIN_GAIN} or more")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
