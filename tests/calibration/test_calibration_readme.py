"""The commands of calibration/README.md, run as written; only sizes are cut."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from helpers_precision import mini_artifact

from mtml_deploy.artifact.artifact import open_artifact

ROOT = Path(__file__).parents[2]
README = (ROOT / "calibration" / "README.md").read_text(encoding="utf-8")

# the size of VeRi-776 -> that of the tiny set
SMALLER = {"--count 512": "--count 12"}


def test_the_commands_run_in_order(tmp_path: Path, tiny_set: Path) -> None:
    (tmp_path / "VeRi").symlink_to(tiny_set)
    mini_artifact(tmp_path / "fp32", training={"sources": ["veri:VeRi"]})
    (block,) = re.findall(r"<!-- calibration: [^\n]*-->\n```bash\n(.*?)```", README, re.S)
    commands = block.strip().splitlines()
    assert len(commands) == 4 and all(printed in block for printed in SMALLER)
    for command in commands:
        line = command
        for printed, small in SMALLER.items():
            line = line.replace(printed, small)
        program, *arguments = shlex.split(line)
        if program == "python":
            start = [sys.executable]
        else:
            start = [str(Path(sys.executable).parent / program)]
        done = subprocess.run(
            [*start, *arguments],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
    assert (tmp_path / "calibrators.md").read_text().startswith("# Calibrators")
    values = json.loads((tmp_path / "calibrators.json").read_text())
    assert set(values["calibrators"]) == {"entropy", "percentile", "minmax"}
    conversion = open_artifact(tmp_path / "int8").manifest.conversion
    assert conversion is not None
    assert conversion["calibration_images"] == 12
    assert conversion["calibration_verified"] is True
