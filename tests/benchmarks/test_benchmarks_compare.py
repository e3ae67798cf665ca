"""Comparing and reporting: statistics against hand-worked values, verdicts, pages."""

from __future__ import annotations

import itertools
import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result
from helpers_engine import a_gpu
from helpers_records import check_json_reader, check_toml_reader

from benchmarks.__main__ import main
from benchmarks.measure import machine
from benchmarks.measure.machine import Environment, GpuState, Machine, parse_state
from benchmarks.measure.rounds import Ratio, Series, ratio
from benchmarks.report.action_json import action_json
from benchmarks.report.bars import bars, percentiles, plot_groups
from benchmarks.report.compare import (
    CompareThresholds,
    compare_records,
    compare_series,
    least_p,
    load_thresholds,
    processes_needed,
    rank_sum,
    require_same_machine,
)
from benchmarks.report.compare_report import compare_markdown
from benchmarks.report.headline import findings
from benchmarks.report.join import join_records
from benchmarks.report.page import records_html
from benchmarks.report.read import load_record, load_records
from benchmarks.report.record import Record, record_json, record_markdown, write_record
from benchmarks.report.summary import SUMMARY_LIMIT_BYTES, summary_markdown
from mtml_deploy.engine.gpu import GpuSearch
from mtml_deploy.errors import DataError, MissingExtraError

NEAR = 1e-12
"""Of hand-worked fractions in float64."""

ROUNDED = 5e-5
"""Of a table of the normal distribution with four digits."""


def series(key: str, *values: float, unit="s") -> Series:
    """What one process measured."""
    return Series(key, f"Title of {key}", "What was timed.", unit, values)


def processes(key: str, *medians: float, unit="s") -> Series:
    """What several processes measured, one run each."""
    return Series(key, f"Title of {key}", "What was timed.", unit, medians, medians)


def record(*found: Series, kind: str = "latency", **changes) -> Record:
    machine = Machine("A CPU", ("avx2",), 8, 4, 2**34, "Linux", 0.5)
    gpu = GpuState("NVIDIA X", "9.0", 2**36, "580.1", "13.0", {"sm_clock_mhz": 1980.0})
    made = Record(
        kind=kind,
        title=kind.title(),
        environment=Environment("2026-01-02T03:04:05+00:00", "f" * 40, False, machine,
                                {"numpy": "2"}, (gpu,)),
        model={"sha256": "a" * 64, "branches": ("identity", "gray")},
        settings={"device": "cuda:0"},
        series=found,
        ratios=(),
        notes=("A note with <angles> & ampersands.",),
        percentiles=True,
    )  # fmt: skip
    return replace(made, **changes)


# --- the test of Mann and Whitney -----------------------------------------------------------------


def test_exact_p_of_orders_counted_by_hand():
    # 20 orders of 3 and 3; U = 0 and U = 9 are one order each
    assert rank_sum([1, 2, 3], [4, 5, 6]).p == pytest.approx(2 / 20, abs=NEAR)
    # 70 orders of 4 and 4
    found = rank_sum([5, 6, 7, 8], [1, 2, 3, 4])
    assert (found.u, found.superiority) == (16, 1)
    assert found.p == pytest.approx(2 / 70, abs=NEAR)
    # U = 1: of the orders one has U = 0 and one U = 1, so (1 + 1) / 20 on each side
    found = rank_sum([1, 2, 4], [3, 5, 6])
    assert found.u == 1
    assert found.p == pytest.approx(4 / 20, abs=NEAR)
    assert found.superiority == pytest.approx(2 / 9 - 1, abs=NEAR)


@pytest.mark.parametrize(("n", "m"), [(2, 5), (4, 3), (1, 4)])
def test_exact_p_is_the_share_of_all_orders(n: int, m: int):
    places = range(n + m)
    orders = list(itertools.combinations(places, n))
    us = [sum(x > y for x in xs for y in set(places) - set(xs)) for xs in orders]
    for xs, u in zip(orders, us, strict=True):
        ys = sorted(set(places) - set(xs))
        lower = sum(other <= min(u, n * m - u) for other in us)
        expected = min(1.0, 2 * lower / len(orders))
        assert rank_sum(xs, ys).p == pytest.approx(expected, abs=NEAR)


def test_ties_use_the_normal_distribution_with_corrections():
    # x = 1 2 2, y = 2 3 4: no x above a y, two ties -> U = 1; middle 4.5; three equal values, so
    # variance 9 / 12 x (7 - 24 / 30) = 4.65; z = (3.5 - 0.5) / 2.1564 = 1.3912 -> p = 0.1642
    found = rank_sum([1, 2, 2], [2, 3, 4])
    assert found.u == 1
    assert found.p == pytest.approx(0.1642, abs=ROUNDED)
    assert rank_sum([5.0] * 4, [5.0] * 6).p == 1  # no difference at all
    assert rank_sum([5.0] * 4, [5.0] * 6).superiority == 0


def test_large_samples_without_ties_use_the_normal_distribution():
    # 0..29 and 15..44 + 0.5: x > y for i > j + 15.5: pairs sum over i=16..29 of (i - 15) = 105
    x, y = range(30), [value + 15.5 for value in range(30)]
    found = rank_sum(x, y)
    assert found.u == 105
    # middle 450, variance 900 x 61 / 12 = 4575, z = 344.5 / 67.64 = 5.093
    assert found.p == pytest.approx(3.52e-7, rel=0.01)


def test_the_least_p_says_when_runs_are_too_few():
    assert least_p(3, 3) == pytest.approx(0.1, abs=NEAR)
    assert least_p(4, 4) == pytest.approx(2 / 70, abs=NEAR)
    assert least_p(1, 1) == 1
    with pytest.raises(ValueError, match="both samples"):
        rank_sum([], [1.0])


# --- verdicts -------------------------------------------------------------------------------------


def verdict(base: Series, new: Series, change: float = 0.05) -> str:
    return compare_series("latency:x", base, new, CompareThresholds(change=change)).verdict


def shifted(factor: float, count: int = 10, unit="s") -> Series:
    return processes("x", *(factor * (1 + 0.001 * n) for n in range(count)), unit=unit)


def test_a_regression_needs_size_and_significance():
    base = shifted(1.0)
    assert verdict(base, shifted(1.2)) == "worse"
    assert verdict(base, shifted(0.8)) == "better"
    assert verdict(base, shifted(1.03)) == "same"  # significant but small
    noisy = processes("x", *([0.5, 2.5] * 4), 1.2, 1.2)  # median 1.2, all over the place
    assert verdict(base, noisy) == "same"
    assert verdict(shifted(1.0, 3), shifted(1.2, 3)) == "cannot tell"  # p is 0.1 at best
    assert verdict(base, shifted(1.2), change=0.3) == "same"


def test_runs_inside_one_process_are_no_evidence():
    # 200 runs around 1.0 and 200 around 1.1, none of the one among the other: over runs p would be
    # far below 1e-60; over processes there is one value on each side, of 2 orders p is 1
    base = series("x", *(1 + 1e-4 * n for n in range(200)))
    new = series("x", *(1.1 + 1e-4 * n for n in range(200)))
    assert rank_sum(new.values, base.values).p < 1e-60
    found = compare_series("latency:x", base, new, CompareThresholds())
    assert (found.verdict, found.test.p) == ("cannot tell", 1)
    assert found.change == pytest.approx(1.10995 / 1.00995 - 1, abs=NEAR)
    # nor is a difference of nothing a verdict: a regression could hide in it
    assert verdict(base, base) == "cannot tell"


def test_the_medians_of_processes_are_compared():
    def joined(*parts: tuple[float, ...]) -> Series:
        (found,) = join_records([record(series("x", *part)) for part in parts])
        return found.series[0]

    # medians 1, 2, 3, 4 and 2.5, 5, 6, 7; by all runs the base would look slower (40 and 2.5)
    base = joined((1, 1, 40), (2, 2, 40), (3, 3, 40), (4, 4, 40))
    new = joined((2.5, 2.5, 2), (5, 5, 2), (6, 6, 2), (7, 7, 2))
    assert base.values == (1, 1, 40, 2, 2, 40, 3, 3, 40, 4, 4, 40)
    assert (base.process_medians, new.of_processes) == ((1, 2, 3, 4), (2.5, 5, 6, 7))
    found = compare_series("latency:x", base, new, CompareThresholds())
    # 2.5 is above 1 and 2, the others above all 4: U = 14 of 16. Of 70 orders one has U = 16, one
    # 15 and two 14, so p = 2 x 4 / 70; the median rises from 2.5 to 5.5
    assert found.test.u == 14
    assert found.test.p == pytest.approx(8 / 70, abs=NEAR)
    assert found.change == pytest.approx(5.5 / 2.5 - 1, abs=NEAR)
    assert found.verdict == "same"
    # without overlap p is 2 / 70; three processes can never tell
    assert verdict(base, joined((5,), (6,), (7,), (8,))) == "worse"
    assert verdict(joined((5,), (6,), (7,), (8,)), base) == "better"
    three = verdict(joined((1,), (2,), (3,)), joined((50,), (60,), (70,)))
    assert three == "cannot tell"


def test_how_many_processes_a_verdict_needs():
    # the least p is 2 over the orders of n and n: 2, 6, 20, 70, 252
    assert [processes_needed(p) for p in (1.0, 0.4, 0.11, 0.05, 0.01, 0.008)] == [2, 2, 3, 4, 5, 5]


def test_speeds_are_worse_when_smaller():
    fast, slow = shifted(120.0, unit="images/s"), shifted(100.0, unit="images/s")
    found = compare_series("t:x", fast, slow, CompareThresholds())
    assert found.verdict == "worse"
    assert found.change == pytest.approx(0.2, abs=NEAR)  # 120 / 100: as much longer per image
    assert compare_series("t:x", slow, fast, CompareThresholds()).verdict == "better"
    with pytest.raises(DataError, match="measure both"):
        compare_series("t:x", fast, shifted(1.0), CompareThresholds())


def test_series_are_matched_by_kind_and_key():
    base = [record(series("a", 1.0), series("gone", 1.0)), record(series("a", 5.0), kind="other")]
    new = [record(series("a", 1.0), series("fresh", 1.0)), record(series("a", 5.0), kind="other")]
    found = compare_records(base, new, CompareThresholds())
    assert [item.name for item in found.comparisons] == ["latency:a", "other:a"]
    assert (found.missing, found.added) == (("latency:gone",), ("latency:fresh",))
    page = compare_markdown(found, CompareThresholds())
    assert page.startswith("## ⚠️ Benchmarks: no regression in 0 series, no verdict on 2\n")
    assert "4 on each side are needed" in page
    assert "python -m benchmarks join" in page
    assert "Only in BASE: `latency:gone`." in page
    with pytest.raises(DataError, match=r"2 records of latency, expected one; .* benchmarks join"):
        compare_records([base[0], base[0]], new, CompareThresholds())
    sure = [record(shifted(1.0))]
    page = compare_markdown(compare_records(sure, sure, CompareThresholds()), CompareThresholds())
    assert page.startswith("## ✅ Benchmarks: no regression in 1 series\n")
    assert "4 on each side" not in page
    with pytest.raises(DataError, match="no series in common"):
        compare_records(base, [record(series("b", 1.0), kind="third")], CompareThresholds())


def test_another_machine_is_refused():
    here = record(series("a", 1.0))
    machine = msgspec.structs.replace(here.environment.machine, cpu="B CPU")
    there = replace(here, environment=replace(here.environment, machine=machine))
    require_same_machine([here], [here])
    with pytest.raises(DataError, match=r"A CPU, NVIDIA X.*B CPU, NVIDIA X.*--across-machines"):
        require_same_machine([here], [there])


def test_thresholds_of_a_project(tmp_path: Path):
    path = tmp_path / "bounds.toml"
    path.write_text('change = 0.1\n[series]\n"latency:*" = 0.2\n"*/decode" = 0.5\n')
    bounds = load_thresholds(path)
    assert (bounds.change, bounds.p) == (0.1, 0.05)
    assert bounds.of("throughput:b1/ort") == 0.1
    assert bounds.of("latency:b1/ort") == 0.2
    assert bounds.of("latency:b1/decode") == 0.5  # the last that fits
    for text, problem in (
        ("chnage = 0.1", "unknown chnage, expected change, p, series"),
        ("change = 5", "change must be a number in 0..1, found 5"),
        ("p = 0", "p is 0, which no chance is below"),
        ("series = 3", "series must be a table, each value a number in 0..1, found 3"),
        ("change = ", "cannot be read as thresholds"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=problem):
            load_thresholds(path)
    assert load_thresholds(None) == CompareThresholds()
    own = load_thresholds(Path(__file__).parents[2] / "benchmarks" / "thresholds.toml")
    assert own.of("latency:b8/decode") > own.of("latency:b8/ort") == 0.05


# --- records and pages ----------------------------------------------------------------------------


def test_any_damage_of_thresholds_and_records_is_refused(tmp_path: Path):
    path = tmp_path / "bounds.toml"
    path.write_text('change = 0.1\n[series]\n"latency:*" = 0.2\n"*/decode" = 0.5\n')
    check_toml_reader(path, lambda: load_thresholds(path), DataError)
    write_record(tmp_path, record(series("a", 1.0, 3.0), ratios=(Ratio("a/b", "A / B", 0.5, 0.9),)),
                 overwrite=False)  # fmt: skip
    path = tmp_path / "latency.json"
    later = frozenset(
        {"title", "gpus", "percentiles", "lead"}
    )  # and of series what is removed below
    check_json_reader(path, lambda: load_record(path), DataError, optional=later)
    values = json.loads(path.read_text())
    old = {name: value for name, value in values.items() if name not in later}
    for name in ("p50", "p95", "p99", "process_medians"):
        del old["series"][0][name]
    path.write_text(json.dumps(old))
    found = load_record(path)
    assert (found.title, found.environment.gpus, found.percentiles) == ("latency", (), False)
    path.write_text("[" * 100_000)
    with pytest.raises(DataError, match="holds no record"):
        load_records(tmp_path)


def test_a_record_is_read_back_as_written(tmp_path: Path):
    made = record(series("a", 1.0, 3.0), ratios=(Ratio("a/b", "A / B", 0.5, 0.9),))
    write_record(tmp_path, made, overwrite=False)
    (tmp_path / "doctor.json").write_text('{"schema": 7, "kind": "doctor"}')
    (tmp_path / "list.json").write_text("[]")
    (found,) = load_records(tmp_path)
    assert record_json(found) == record_json(made)
    assert load_records(tmp_path / "latency.json")[0].ratios == made.ratios
    path = tmp_path / "latency.json"
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 99'))
    with pytest.raises(DataError, match="schema is 99, this version reads 1"):
        load_record(path)
    path.write_text(path.read_text().replace('"schema": 99', '"schema": 1').replace('"s"', '"ft"'))
    with pytest.raises(DataError, match=r"series\[0\].unit must be one of .*, found 'ft'"):
        load_record(path)
    path.unlink()
    with pytest.raises(DataError, match="holds no record"):
        load_records(tmp_path)


def test_only_repetitions_are_joined(tmp_path: Path):
    parts = [
        record(
            *(series("a", 1.0, 3.0), processes("m", 5.0)),
            ratios=(Ratio("r", "R", value, 1.0),),
            notes=("Always.", f"Of {value}."),
        )
        for value in (0.5, 2.0, 4.0)
    ]
    (found,) = join_records(parts)
    assert [item.process_medians for item in found.series] == [(2, 2, 2), (5, 5, 5)]
    assert found.ratios == (Ratio("r", "R", 2.0, 1.0),)
    assert found.notes == ("Always.", "Of 0.5.", "Of 2.0.", "Of 4.0.")
    for changes, name in (
        ({"settings": {"device": "cpu"}}, "settings"),
        ({"model": {"sha256": "b"}}, "model"),
        ({"series": found.series[:1]}, "series"),
        ({"environment": replace(found.environment, git_changed=True)}, "commit"),
        ({"environment": replace(found.environment, gpus=())}, "GPUs"),
    ):
        with pytest.raises(DataError, match=f"two records of latency differ in their {name}: "):
            join_records([parts[0], replace(parts[0], **changes)])

    for number, part in enumerate([*parts, record(series("b", 1.0), kind="other")]):
        write_record(tmp_path / str(number), part, overwrite=False)
    words = ("join", *(tmp_path / str(number) for number in range(4)), "--out", tmp_path / "all")
    assert run(*words).exit_code == 0
    both = load_records(tmp_path / "all")
    assert [item.kind for item in both] == ["latency", "other"]
    assert record_json(both[0]) == record_json(found)
    again = run(*words)
    assert (again.exit_code, "exists already" in again.stderr) == (1, True)
    assert run(*words, "--overwrite").exit_code == 0
    # a part is not replaced by what is made of it
    before = (tmp_path / "0" / "latency.json").read_bytes()
    again = run(*words[:-1], tmp_path / "0", "--overwrite")
    assert (again.exit_code, "is what this command reads" in again.stderr) == (1, True)
    assert (tmp_path / "0" / "latency.json").read_bytes() == before


def test_percentiles_between_neighbours():
    # 101 values 0..100: the percentiles are the values themselves
    assert percentiles(range(101)) == pytest.approx((50, 95, 99), abs=NEAR)
    # two values: 95 % of the way from 1 to 3
    assert percentiles([1.0, 3.0]) == pytest.approx((2.0, 2.9, 2.98), abs=NEAR)
    made = record(series("a", *(n / 1000 for n in range(1, 102))))
    page = record_markdown(made)
    assert "| measured |  | p50 | p95 | p99 | runs | processes |" in page
    # the axis ends at the 95th percentile: 51 / 96 of it are 42 of 80 eighths
    assert "| Title of a | █████▎ | 51.0 ms | 96.0 ms | 100.0 ms | 101 | 1 |" in page
    assert "GPU: NVIDIA X, compute capability 9.0, 64 GiB, driver 580.1, CUDA 13.0; sm" in page
    item = json.loads(record_json(made))["series"][0]
    assert (item["p50"], item["p95"], item["p99"]) == pytest.approx((0.051, 0.096, 0.1), abs=NEAR)


def test_what_nvidia_smi_says_and_does_not():
    found = parse_state("1980, 1980, 2619, 700.00, 34")
    assert (found["sm_clock_mhz"], found["power_limit_w"]) == (1980.0, 700.0)
    assert parse_state("210, [N/A], 405, [Not Supported], 30") == {
        "sm_clock_mhz": 210.0, "memory_clock_mhz": 405.0, "temperature_c": 30.0,
    }  # fmt: skip
    assert parse_state("") == {}


def test_a_gpu_is_asked_for_by_its_bus(monkeypatch: pytest.MonkeyPatch):
    # the second and the fourth GPU of the machine, the only ones that this process may see
    gpus = tuple(replace(a_gpu(), index=n, pci_bus_id=f"0000:{bus}:00.0")
                 for n, bus in enumerate(("5E", "D8")))  # fmt: skip
    clocks = {"0000:5E:00.0": "1500", "0000:D8:00.0": "1600"}

    def asked(words: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        (place,) = (word.removeprefix("--id=") for word in words if word.startswith("--id="))
        return subprocess.CompletedProcess(words, 0, stdout=f"{clocks[place]}, 1980, 2619, 700, 30")

    monkeypatch.setattr(machine, "find_gpus", lambda: GpuSearch(gpus, ""))
    monkeypatch.setattr(machine.subprocess, "run", asked)
    assert [one.state["sm_clock_mhz"] for one in machine.gpu_states()] == [1500, 1600]


def test_each_direction_gets_its_own_list():
    made = record(series("a", 0.001, 0.003), series("b", 2e9, unit="FLOP/s"),
                  series("m", 2.0**21, unit="B"))  # fmt: skip
    smaller = json.loads(action_json([made], smaller_is_better=True))
    assert [(item["name"], item["unit"]) for item in smaller] == [
        ("latency: Title of a", "ms"), ("latency: Title of m", "MiB"),
    ]  # fmt: skip
    assert smaller[0]["value"] == pytest.approx(2.0, abs=NEAR)
    assert smaller[0]["range"] == "± 1"
    assert smaller[1]["value"] == pytest.approx(2.0, abs=NEAR)
    (bigger,) = json.loads(action_json([made], smaller_is_better=False))
    assert (bigger["unit"], bigger["value"]) == ("GFLOP/s", 2.0)


def test_the_summary_tells_verdicts_first_and_folds_the_rest():
    ratios = (Ratio("x", "Good", 0.5, 0.4), Ratio("y", "Bad", 0.3, 0.4), Ratio("z", "Plain", 1.0))
    page = summary_markdown([record(series("a", 1.0), ratios=ratios)], before="## Verdict\n")
    assert page.startswith("## Verdict\n\n## ❌ Targets: 1 of 2 reached")
    assert page.index("missed: Bad: 30.0 %") < page.index("reached: Good") < page.index("<details>")
    assert page.count("<details>") == page.count("</details>") == 1
    huge = record(series("a", 1.0), notes=("x" * SUMMARY_LIMIT_BYTES,))
    page = summary_markdown([huge, record(series("a", 1.0), kind="small")])
    assert len(page.encode()) < SUMMARY_LIMIT_BYTES
    assert "too long for this page, see latency.md" in page
    assert "<summary>Small</summary>" in page


def test_the_page_stands_alone_and_has_a_plot_per_unit_and_batch():
    made = record(series("b1/ort", 1.0), series("b8/ort", 2.0), series("b8/torch", 4.0),
                  series("speed", 3.0, unit="images/s"))  # fmt: skip
    groups = {title: [item.key for item in group] for title, group in plot_groups(made.series)}
    assert groups == {
        "Time, shorter is better, batch 1": ["b1/ort"],
        "Time, shorter is better, batch 8": ["b8/ort", "b8/torch"],
        "Images per second, longer is better": ["speed"],
    }
    page = records_html([made])
    assert page == records_html([made])  # no dates, no random identifiers
    assert page.count('class="axis"') == 3
    assert page.count("http") == 0
    assert "&lt;angles&gt; &amp; ampersands" in page
    assert "<angles>" not in page
    assert " id=" not in page  # of two plots, they would collide


HARMFUL = "</title><script>alert('$x$')</script>&amp;\""


def test_text_of_a_record_stays_text_in_the_page():
    odd = Series("b1/x", f"title {HARMFUL}", f"what {HARMFUL}", "s", (1.0, 2.0))
    made = record(
        odd,
        title=f"head {HARMFUL}",
        ratios=(Ratio("r", f"ratio {HARMFUL}", 0.5, 0.4), Ratio("q", "below", 0.25, 0.4)),
        notes=(f"note {HARMFUL}",),
        settings={"device": HARMFUL},
    )
    tree = Tree()
    tree.feed(records_html([made]))
    tree.close()
    assert tree.open == []  # every element is closed, in order
    assert "script" not in tree.seen
    for word in ("title", "what", "head", "ratio", "note"):
        assert f"{word} {HARMFUL}" in tree.text
    assert tree.text.count("at least 40.0 %: reached") == 2  # first, and in the table
    assert tree.text.count("at least 40.0 %: missed") == 2
    assert "✗ 1 of 2 targets reached" in tree.text
    # everything that was known about the run is on the page
    for fact in ("commit ffffffffffff", "A CPU, 4 CPUs, load 0.5", "NVIDIA X, driver 580.1"):
        assert fact in tree.text
    assert "branches identity+gray" in tree.text


class Tree(HTMLParser):
    """The elements and the text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_bars_are_as_long_as_their_medians():
    found = bars([series("a", 1.0), series("b", 2.0, 2.0, 3.0)])
    assert not found.logarithmic
    # the axis ends at the 95th percentile, 2 + 0.9 x 1
    short, long = found.rows
    assert (short.length, short.low, short.high) == pytest.approx((1 / 2.9, 1 / 2.9, 1 / 2.9))
    assert (long.length, long.low, long.high) == pytest.approx((2 / 2.9, 2 / 2.9, 1))
    assert (long.title, long.what, long.words) == ("Title of b", "What was timed.", "2.00 s")
    found = bars([series("a", 1.0), series("b", 500.0, 500.0, 750.0)])
    assert found.logarithmic
    # from half the least value, 0.5, to 725
    assert found.rows[0].length == pytest.approx(math.log(2) / math.log(1450))
    assert found.rows[1].length == pytest.approx(math.log(1000) / math.log(1450))
    with pytest.raises(ValueError, match="one unit"):
        bars([series("a", 1.0), series("b", 1.0, unit="B")])


def test_a_page_has_a_box_for_each_bar_and_range():
    page = records_html([record(series("a", 1.0), series("b", 2.0, 2.0, 3.0))])
    assert re.findall(r'class="bar" style="width:([\d.]+)%"', page) == ["34.48", "68.97"]
    ranges = re.findall(r'class="range" style="left:([\d.]+)%;width:([\d.]+)%"', page)
    assert ranges == [("34.48", "0.00"), ("68.97", "31.03")]
    assert page.index('class="bar"') < page.index("All values") < page.index("A CPU, 4 CPUs")


@pytest.mark.parametrize(
    ("unit", "above", "below", "words"),
    [
        ("s", 0.25, 1.0, "is 4.00 times as fast as Title of b (250.0 ms, 1.00 s)"),
        ("s", 2.5, 1.0, "takes 2.50 times as long as Title of b (2.50 s, 1.00 s)"),
        (
            "images/s",
            30.0,
            20.0,
            "is 1.50 times as fast as Title of b (30.0 images/s, 20.0 images/s)",
        ),
        ("FLOP/s", 2e9, 8e9, "reaches 25.0 % of Title of b (2.0 GFLOP/s, 8.0 GFLOP/s)"),
        ("B", 2.0**21, 2.0**20, "needs 2.00 times the memory of Title of b (2 MiB, 1 MiB)"),
    ],
)
def test_a_ratio_is_told_in_words(unit, above, below, words):
    pair = (series("b1/a", above, unit=unit), series("b", below, unit=unit))
    (found,) = findings(pair, [ratio(*pair)])
    assert (found.text, found.target, found.reached) == (f"Title of b1/a {words}", "", None)


def test_missed_targets_are_told_first_and_other_ratios_where_none_is_set():
    good, bad = Ratio("x", "Good", 0.5, 0.4), Ratio("y", "Bad", 0.3, 0.4)
    others = [Ratio(str(number), f"R{number}", 1.0) for number in range(5)]
    assert [(item.text, item.target) for item in findings((), [*others, good, bad])] == [
        ("Bad: 30.0 %", "at least 40.0 %: missed"),
        ("Good: 50.0 %", "at least 40.0 %: reached"),
    ]
    assert [item.text for item in findings((), others)] == [f"R{n}: 100.0 %" for n in range(3)]
    page = record_markdown(record(series("a", 1.0), ratios=(good, bad)))
    assert page.index("- ❌ at least 40.0 %: missed. Bad") < page.index("| measured |")
    assert page.index("| measured |") < page.index("What was timed.") < page.index("Versions:")


def test_the_tables_of_a_record_are_kept_but_not_of_joined_processes(tmp_path: Path):
    made = record(series("a", 1.0), lead=("| a | table |", "", "<b>"))
    write_record(tmp_path, made, overwrite=False)
    found = load_record(tmp_path / "latency.json")
    assert found.lead == made.lead
    assert "| a | table |\n\n&lt;b&gt;\n</pre>" in records_html([found])
    assert "| a | table |" in summary_markdown([found])
    (joined,) = join_records([made, made])
    assert joined.lead == ()


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    with pytest.raises(MissingExtraError, match=r"comparing .*'mtml-reid\[bench\]'"):
        rank_sum([1.0], [2.0])


# --- command line ---------------------------------------------------------------------------------


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def test_compare_fails_on_a_regression_and_report_shows_it(tmp_path: Path):
    base, new = tmp_path / "base", tmp_path / "new"
    write_record(base, record(shifted(1.0)), overwrite=False)
    write_record(new, record(shifted(1.5)), overwrite=False)
    words = ("compare", base, new, "--out", new)
    result = run(*words)
    assert result.exit_code == 1
    assert "1 of 1 series got worse, most latency:x: 50.0 %" in result.stderr
    assert result.stdout.startswith("## ❌ Benchmarks: 1 regression in 1 series")
    assert "| +50.0 % | 5 % |" in result.stdout
    assert (new / "compare.md").read_text().strip() == result.stdout.strip()
    assert "exists already" in run(*words).stderr
    assert run(*words, "--overwrite").stdout == result.stdout
    back = run("compare", new, base)
    assert (back.exit_code, "better" in back.stdout) == (0, True)
    (new / "parity.md").write_text("# Parity: PASSED\n")
    assert run("report", new).exit_code == 0
    names = {path.name for path in new.iterdir()}
    assert names >= {"report.html", "summary.md", "smaller-is-better.json"}
    summary = (new / "summary.md").read_text()
    assert summary.index("PASSED") < summary.index("1 regression") < summary.index("<details>")
    again = run("report", new)  # its own files are no records
    assert again.exit_code == 0, again.output


def test_compare_tells_what_it_cannot_read(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    result = run("compare", tmp_path / "empty", tmp_path / "empty")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "holds no record of a benchmark" in result.stderr
