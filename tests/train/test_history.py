"""The curves of a run: kept through kills and resumed runs, and refused where they are damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtml_deploy.errors import DataError
from mtml_train.history import HISTORY, HISTORY_KIND, HistoryWriter, Point, read_history

FIRST = Point(2, "loss", {"total": 3.5, "gray/id": 1.25})
JUDGED = Point(4, "validation", {"mAP": 0.5})
LATER = Point(4, "loss", {"total": 3.0})


def write(path: Path, *points: Point, after: int = 0) -> None:
    writer = HistoryWriter(path, after=after)
    for point in points:
        writer.add(point)
    writer.close()


def test_a_resumed_run_goes_on_after_its_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / HISTORY
    write(path, FIRST, LATER, JUDGED)
    assert read_history(path) == (FIRST, LATER, JUDGED)
    assert HISTORY_KIND.known(path)
    again = Point(4, "loss", {"total": 2.75})
    write(path, again, JUDGED, after=3)  # steps behind 3 are done again
    assert read_history(path) == (FIRST, again, JUDGED)
    better = Point(4, "validation", {"mAP": 0.75})
    write(path, better, after=4)  # the same validation once more: the last one counts
    assert read_history(path) == (FIRST, again, better)


def test_a_line_that_a_kill_cut_off_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / HISTORY
    write(path, FIRST, LATER)
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        expected = (FIRST,) if cut > whole.index(b"\n") else ()
        assert read_history(path) == expected
    write(path, JUDGED, after=9)
    assert read_history(path) == (FIRST, JUDGED)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("{}", "line 2: it lacks step, group, values"),
        ('{"step": -1, "group": "loss", "values": {}}', "line 2: step must be"),
        ('{"step": 1, "group": "mood", "values": {}}', "line 2: group must be one of"),
        ('{"step": 1, "group": "loss", "values": {"total": "x"}}', r"line 2: values\['total'\]"),
        ('{"step": 1, "group": "loss", "values": {"total": NaN}}', "line 2: JSON is malformed"),
    ],
)
def test_damage_is_named(tmp_path: Path, line: str, text: str) -> None:
    path = tmp_path / HISTORY
    write(path, FIRST)
    with path.open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(DataError, match=f"{text}.*move it away"):
        read_history(path)
    path.unlink()
    with pytest.raises(DataError, match=r"has no curves\.jsonl, expected the folder of a run"):
        read_history(path)
    path.mkdir()
    with pytest.raises(DataError, match=r"curves\.jsonl cannot be read"):
        read_history(path)
