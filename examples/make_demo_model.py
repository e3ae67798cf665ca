"""Trains the model of `mtml-deploy demo` anew, and renders the pictures that it is shown on.

Renders vehicles, trains a small MTML-OSG, exports it in half precision, passes it through the
parity gate, evaluates it on vehicles that it has not seen, writes its card, and puts model and
pictures into the package. Every step is a command a user would type; it is printed before it runs.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from demo import run_steps

# a model names the places of its training data, so this is the same on every machine
WORK = Path("/tmp/mtml-demo-model")
PACKAGE = Path(__file__).resolve().parents[1] / "mtml_deploy" / "demo"

STEPS = tuple(
    step.format(work=WORK)
    for step in (
        "mtml-train synthetic {work}/data --train-vehicles 400 --test-vehicles 100 "
        "--images-per-vehicle 8 --longest-side 96 --seed 7",
        "mtml-train --data veri:{work}/data --recipe strong --variant MTML-OSG "
        "--backbone timm:test_resnet --weights none --image-size 64 --epochs 10 "
        "--set warmup_epochs=1 --seed 0 --workers 1 --out {work}/run",
        "mtml-export {work}/run --out {work}/fp32 --target onnx --licence 'Apache-2.0; made of "
        "rendered vehicles alone, to try the toolkit: of no use on real pictures'",
        "mtml-deploy convert {work}/fp32 --out {work}/model --fp16",
        "mtml-deploy parity {work}/model --reference {work}/fp32 --data veri:{work}/data",
        "mtml-deploy embed {work}/model --images veri:{work}/data#query --out {work}/query.npz",
        "mtml-deploy embed {work}/model --images veri:{work}/data#gallery --out {work}/gallery.npz",
        "mtml-deploy evaluate --query {work}/query.npz --gallery {work}/gallery.npz "
        "--protocol veri776 --json {work}/metrics.json",
        "mtml-deploy card {work}/model --result {work}/metrics.json "
        "--name 'The model of mtml-deploy demo' --out {work}/model/README.md",
        "mtml-train synthetic {work}/cars --train-vehicles 2 --test-vehicles 12 "
        "--images-per-vehicle 8 --longest-side 112 --twins 1 --seed 11",
    )
)
MADE = """
## What it is for

To have something to run. It has seen rendered vehicles alone and is small: on pictures of real
vehicles it is of no use. `make demo-model` in a checkout makes it anew, which these commands do:

```
{commands}
```
"""


def main() -> int:
    """Run every step; returns the exit status."""
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir()
    if status := run_steps(STEPS):
        return status
    with (WORK / "model" / "README.md").open("a", encoding="utf-8") as card:
        card.write(MADE.format(commands="\n".join(STEPS)))
    for part in ("model", "cars"):
        shutil.rmtree(PACKAGE / part, ignore_errors=True)
        shutil.copytree(WORK / part, PACKAGE / part)
    size = sum(path.stat().st_size for path in PACKAGE.rglob("*") if path.is_file())
    print(f"\n{PACKAGE}: {size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
