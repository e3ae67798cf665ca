"""The damage of fuzz tests is what it says, and their judge sees hangs and foreign errors."""

from __future__ import annotations

import json
import random
import stat
import time
from pathlib import Path

import pytest
from fuzz_mutations import (
    ENTRIES,
    HangError,
    Outcome,
    damaged_bytes,
    damaged_json,
    outcome_of,
    replace_entry,
)

from mtml_deploy.errors import DataError


def test_damage_repeats_with_its_seed():
    content = json.dumps({"a": [1, {"b": "c"}], "d": 2.5}).encode()
    for damage in (damaged_bytes, damaged_json):
        one = [damage(content, random.Random(seed)) for seed in range(200)]
        assert one == [damage(content, random.Random(seed)) for seed in range(200)]
        changed = [new for _, new in one if new != content]
        assert len(changed) > 150 and len(set(changed)) > 80
        assert any(new.startswith(b"\xef\xbb\xbf") for new in changed) == (damage is damaged_json)
    assert damaged_bytes(b"", random.Random(0))[0].startswith("bytes ")


@pytest.mark.parametrize("kind", ENTRIES)
def test_entries(tmp_path: Path, kind):
    path = tmp_path / ("deep" * 30) / "x"
    path.parent.mkdir()
    path.write_bytes(b"content")
    replace_entry(path, kind)
    found = "nothing"
    if path.is_symlink():
        found = {"x": "loop", "/dev/zero": "device"}.get(str(path.readlink()), "dangling")
    elif path.exists():
        kinds = {stat.S_IFIFO: "pipe", stat.S_IFDIR: "folder", stat.S_IFSOCK: "socket"}
        found = kinds.get(stat.S_IFMT(path.lstat().st_mode), "empty")
        if found == "empty":
            assert path.read_bytes() == b""
    assert found == kind


def test_outcomes():
    assert outcome_of(lambda: 3) == Outcome(3, "")

    def refuse() -> None:
        raise DataError("no")

    assert outcome_of(refuse) == Outcome(None, "no")
    with pytest.raises(ZeroDivisionError):
        outcome_of(lambda: 1 // 0)
    with pytest.raises(HangError):
        outcome_of(lambda: time.sleep(30), limit_s=0.05)
