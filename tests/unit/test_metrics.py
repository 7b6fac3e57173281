"""Metric lines are read once, whole, in order; NaN and null are told from absent."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.metrics import MetricReader, parse
from harness.types import MetricPoint


def line(step: int, **data: object) -> bytes:
    return json.dumps({"step": step, "data": data}).encode() + b"\n"


def test_a_file_that_is_not_there_yet_has_no_points(tmp_path: Path) -> None:
    assert list(MetricReader(tmp_path / "metrics.jsonl").new_points()) == []


def test_each_point_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    reader = MetricReader(path)
    path.write_bytes(line(1, x=0.5))
    assert list(reader.new_points()) == [MetricPoint(step=1, values={"x": 0.5})]
    assert list(reader.new_points()) == []
    with path.open("ab") as log:
        log.write(line(2, x=1) + line(3, x=2))
    assert [point.step for point in reader.new_points()] == [2, 3]


def test_a_torn_last_line_waits_until_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    whole = line(1, x=0.5) + line(2, x=0.25)
    path.write_bytes(whole[:-4])
    reader = MetricReader(path)
    assert [point.step for point in reader.new_points()] == [1]
    with path.open("ab") as log:
        log.write(whole[-4:])
    assert list(reader.new_points()) == [MetricPoint(step=2, values={"x": 0.25})]


@settings(max_examples=30)
@given(cuts=st.lists(st.integers(min_value=0, max_value=400), max_size=8))
def test_however_the_writes_are_cut_the_points_are_the_same(cuts: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("cuts") / "metrics.jsonl"
    whole = b"".join(line(step, reward=step / 3, text="ä") for step in range(1, 9))
    reader, points = MetricReader(path), []
    for end in [*sorted(cuts), len(whole)]:
        path.write_bytes(whole[:end])
        points += reader.new_points()
    assert [(point.step, point.values) for point in points] == [(step, {"reward": step / 3}) for step in range(1, 9)]


def test_null_is_nan_and_other_values_that_are_no_numbers_are_left_out() -> None:
    values = parse(line(1, a=None, b=True, c="text", d=[1], e=2)).values
    assert math.isnan(values.pop("a"))
    assert values == {"b": 1.0, "e": 2.0}


def test_several_lines_of_a_step_are_several_points(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(line(1, x=1) + line(1, y=2))
    assert list(MetricReader(path).new_points()) == [MetricPoint(step=1, values={"x": 1.0}), MetricPoint(step=1, values={"y": 2.0})]


def test_blank_lines_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"\n" + line(1, x=1) + b"\n")
    assert [point.step for point in MetricReader(path).new_points()] == [1]


NO_METRICS = [
    b"not json",
    b'{"step": 1}',
    b'{"step": "one", "data": {}}',
    b'{"step": null, "data": {}}',
    b'{"step": -1, "data": {"x": 1}}',
    b'{"step": 99999999999999999999, "data": {"x": 1}}',
    b'{"step": NaN, "data": {"x": 1}}',
    b"[]",
    b"17",
    b'{"step": 1, "data": {"\xff": 1}}',
    b'{"step": 1, "data": {"\\ud800": 1}}',
    b'{"step": 1, "data": {"x": ' + b"[" * 100_000,
    b'\x1b[32m{"step": 1, "data": {"x": 1}}\x1b[0m',
    b'(TaskRunner pid=123) {"step": 1, "data": {"x": 1}}',
    b'{"step": 1, "da{"step": 1, "data": {"x": 1}}',
    b"\0" * 100,
]


@pytest.mark.parametrize("broken", NO_METRICS, ids=lambda line: line[:30].decode(errors="replace"))
def test_a_line_that_is_no_metric_line_is_left_out_and_counted(broken: bytes, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(line(1, x=1) + broken + b"\n" + line(2, x=2))
    reader = MetricReader(path)
    assert [point.step for point in reader.new_points()] == [1, 2]
    assert reader.left_out == 1


def test_pythons_own_json_says_nan_and_infinity_and_so_do_its_points() -> None:
    values = parse(b'{"step": 3, "data": {"a": NaN, "b": -Infinity, "c": 1e999, "d": ' + b"9" * 400 + b', "e": "text"}}').values
    assert math.isnan(values.pop("a"))
    assert values == {"b": -math.inf, "c": math.inf, "d": math.inf}


def test_a_line_that_is_longer_than_any_record_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    reader, points = MetricReader(path), []
    with path.open("ab", buffering=0) as log:
        for part in (line(1, x=1), b'{"step": 2, "data": {"x": "', *[b"x" * 2**20] * 10, b'"}}\n' + line(3, x=3)[:-5], line(3, x=3)[-5:]):
            log.write(part)
            points += reader.new_points()
    assert [point.step for point in points] == [1, 3]
    assert reader.left_out == 1
