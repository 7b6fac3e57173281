"""Metric lines are read once, whole, in order; NaN and null are told from absent."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import RecordError
from harness.metrics import MetricReader, parse
from harness.types import MetricPoint


def line(step: int, **data: object) -> bytes:
    return json.dumps({"step": step, "data": data}).encode() + b"\n"


def test_a_file_that_is_not_there_yet_has_no_points(tmp_path: Path) -> None:
    assert MetricReader(tmp_path / "metrics.jsonl").new_points() == []


def test_each_point_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    reader = MetricReader(path)
    path.write_bytes(line(1, x=0.5))
    assert reader.new_points() == [MetricPoint(step=1, values={"x": 0.5})]
    assert reader.new_points() == []
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
    assert reader.new_points() == [MetricPoint(step=2, values={"x": 0.25})]


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
    assert MetricReader(path).new_points() == [MetricPoint(step=1, values={"x": 1.0}), MetricPoint(step=1, values={"y": 2.0})]


def test_blank_lines_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"\n" + line(1, x=1) + b"\n")
    assert [point.step for point in MetricReader(path).new_points()] == [1]


@pytest.mark.parametrize("broken", [b"not json\n", b'{"step": 1}\n', b'{"step": "one", "data": {}}\n', b"[]\n"])
def test_a_broken_line_is_refused_with_the_files_path(broken: bytes, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(line(1, x=1) + broken)
    with pytest.raises(RecordError, match="not a line of verl's file logger") as caught:
        MetricReader(path).new_points()
    assert caught.value.path == path
