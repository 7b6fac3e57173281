"""Whatever a training writes into its files, those who read them neither fail nor grow."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from factory import METRIC, OBJECTIVE, StudyFactory, metric_line
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from test_study_cli import command, environment, study_cli

from harness import records
from harness.attempt_watch import AttemptWatch
from harness.errors import NonFiniteMetric
from harness.lines import LINE_BYTES, LineReader
from harness.metrics import MetricReader
from harness.objective import Curve
from harness.plain import CHARACTERS, plain
from harness.screen import Screen, closing
from harness.status import load_study
from harness.types import TrialState

NUMBERS = st.one_of(st.none(), st.floats(), st.integers(-(10**400), 10**400), st.text(max_size=5))
STEPS = st.one_of(st.integers(-2, 12), st.integers(-(2**70), 2**70), st.none(), st.floats())
VALUES = st.dictionaries(st.sampled_from([METRIC, "x"]), NUMBERS)
METRIC_LINES = st.builds(lambda step, values: json.dumps({"step": step, "data": values}).encode(), STEPS, VALUES)
WORDS = [b"\x1b[31m", b"(TaskRunner pid=123) ", b"\r", b"{", b'{"step":', b"\xff\xfe", b"[]", b"17", b"null", b"NaN", b"\0" * 50]
CODES = ["\x1b[31m", "\x1b]0;title\x07", "\x1b[2J", "[bold]", "[/]", "\x9b31m", "\x07", "(pid=1) "]
NOISE = st.one_of(st.binary(max_size=40), st.sampled_from(WORDS))
INPUTS = st.lists(st.one_of(METRIC_LINES, NOISE, st.just(b"\n")), max_size=30)
# Reads a file through one of our readers, in a process that may use no more memory than `limit_mib` beyond what it has.
CHILD = """
import resource, sys
from pathlib import Path
from harness import records
from harness.lines import LineReader
from harness.metrics import MetricReader
from harness.paths import AttemptPaths, TrialPaths
from harness.attempt_watch import AttemptWatch
kind, path, limit_mib = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
pages = int(Path("/proc/self/statm").read_text().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + limit_mib * 2**20,) * 2)
if kind == "watch":
    watch = AttemptWatch(TrialPaths(path.parent.parent).attempt(0), "x")
    watch.follow()
    print(len(watch.curve))
elif kind == "metrics":
    reader = MetricReader(path)
    print(sum(1 for _ in reader.new_points()), reader.left_out)
else:
    print(sum(1 for _ in records.events(path)))
"""


@settings(max_examples=100, deadline=None)
@given(parts=INPUTS, ends=st.lists(st.booleans(), max_size=30))
def test_every_reader_reads_on(parts: list[bytes], ends: list[bool], tmp_path_factory: pytest.TempPathFactory) -> None:
    study = StudyFactory(tmp_path_factory.mktemp("hostile"))
    study.controller()
    attempt = study.running(0, steps=0)
    reader, watch, curve = MetricReader(attempt.metrics), AttemptWatch(attempt, METRIC), Curve(OBJECTIVE)
    for part, end in zip(parts, [*ends, *[True] * 30], strict=False):
        for path in (attempt.metrics, attempt.events):
            with path.open("ab") as file:
                file.write(part + b"\n" * end)
        watch.follow()
        for point in reader.new_points():
            assert 0 <= point.step < 2**63
            with contextlib.suppress(NonFiniteMetric):
                curve.add(point)
    assert len(list(records.events(attempt.events))) >= 2  # of the factory's
    with attempt.metrics.open("ab") as file:
        file.write(b"\n" + metric_line(2**40, 0.5))
    assert [point.step for point in reader.new_points()][-1:] == [2**40]
    watch.follow()
    assert watch.curve[-1:] == ((2**40, 0.5),) or watch.steps > 2**40
    assert list(watch.curve) == sorted(watch.curve, key=lambda point: point[0])
    drawn(study)


@settings(max_examples=100, deadline=None)
@given(
    values=st.lists(st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)), max_size=20),
    message=st.text(st.characters(codec="utf-8"), max_size=60),
    codes=st.lists(
        st.sampled_from(["\x1b[31m", "\x1b]0;title\x07", "\x1b[2J", "[bold]", "[/]", "\x9b31m", "\x07", "(pid=1) "]), max_size=4
    ),
)
def test_a_screen_shows_no_terminal_code_that_a_training_wrote(
    values: list[float | None], message: str, codes: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    study = StudyFactory(tmp_path_factory.mktemp("hostile"))
    study.controller()
    study.running(0, values=values)
    study.ended(1, TrialState.FAIL, message=message.join(["", *codes, ""]))
    text = drawn(study)
    assert not {character for character in text if ord(character) < 32 or 127 <= ord(character) < 160} - {"\n"}


def drawn(study: StudyFactory) -> str:
    """All that a terminal would show, without colours."""
    console = Console(file=io.StringIO(), width=120, no_color=True)
    status = load_study(study.paths)
    console.print(Screen(status, status.at), closing(status))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_message_is_cut_in_the_middle() -> None:
    assert len(plain("x" * 10**7)) < CHARACTERS + 10
    assert plain("begin" + "x" * 10**7 + "end").startswith("begin")
    assert plain("begin" + "x" * 10**7 + "end").endswith("end")


@pytest.mark.parametrize("way", ["truncated", "replaced"])
def test_a_file_that_begins_anew_is_read_from_its_beginning(way: str, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"".join(metric_line(step, 0.5) for step in range(5)) + b'{"half')
    reader = MetricReader(path)
    assert len(list(reader.new_points())) == 5
    if way == "truncated":
        path.write_bytes(metric_line(7, 0.5))
    else:
        (tmp_path / "new").write_bytes(b"".join(metric_line(step, 0.5) for step in range(7, 17)))
        (tmp_path / "new").replace(path)
    assert next(point.step for point in reader.new_points()) == 7
    assert reader.left_out == 0


def test_a_file_that_is_truncated_while_it_is_read_is_read_to_where_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    line = metric_line(1, 0.5)
    path.write_bytes(line * (3 * LINE_BYTES // len(line)))
    reader = LineReader(path)
    lines = reader.new_lines()
    next(lines)
    path.write_bytes(b"")
    assert 0 < len(list(lines)) <= LINE_BYTES // len(line)
    path.write_bytes(line)
    assert list(reader.new_lines()) == [line.strip()]


@pytest.mark.parametrize("mib", [40, pytest.param(400, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["metrics", "events", "one line", "empty lines"])
def test_a_large_file_takes_no_large_memory(kind: str, mib: int, tmp_path: Path) -> None:
    attempt = tmp_path / "attempt-0"
    attempt.mkdir()
    line = {
        "metrics": b'{"step": 1, "data": {"x": 1, ' + b", ".join(b'"actor/%d": 0.5' % name for name in range(60)) + b"}}\n",
        "events": b'{"at": 1.0, "who": "engine", "name": "y", "data": {"text": "%s"}}\n' % (b"x" * 500),
        "one line": b"x",
        "empty lines": b"\n",
    }[kind]
    lines, mib = 2**20 // len(line), mib // 8 if kind == "empty lines" else mib  # a million of them in each
    for name in ("metrics.jsonl", "events.jsonl"):
        with (attempt / name).open("wb") as file:
            file.writelines([line * lines] * mib if kind != "events" or name == "events.jsonl" else [])

    def read(what: str, name: str) -> list[int]:
        child = [sys.executable, "-c", CHILD, what, str(attempt / name), "36"]
        done = subprocess.run(child, capture_output=True, text=True, timeout=250, check=False)
        assert done.returncode == 0, done.stderr
        return [int(word) for word in done.stdout.split()]

    assert read("metrics", "metrics.jsonl") == [lines * mib if kind == "metrics" else 0, int(kind == "one line")]
    assert read("events", "events.jsonl") == [lines * mib if kind == "events" else 0]
    if kind != "events":  # it keeps them
        assert read("watch", "metrics.jsonl") == [int(kind == "metrics")]


def test_logs_are_copied_byte_by_byte(tmp_path: Path) -> None:
    study = StudyFactory(tmp_path)
    log = b"\x1b[31m(TaskRunner pid=123) half\xff\xfe\r50%|###  |\0" + b"x" * 10**7 + b"\nno newline at the end"
    attempt = study.ended(0)
    engine = study.engine(0, attempt)
    engine.log.write_bytes(log)
    attempt.metrics.write_bytes(log)
    for arguments in ([], ["-f"], ["--metrics"], ["--metrics", "-f"]):
        words = command("logs", study.name, "0", *arguments)
        done = subprocess.run(words, capture_output=True, env=environment(tmp_path), timeout=60, check=True)
        assert done.stdout == log


def test_logs_go_on_with_a_file_that_begins_anew(tmp_path: Path) -> None:
    study = StudyFactory(tmp_path)
    study.controller()
    attempt = study.running(0, steps=0)
    engine = study.engine(0, attempt, log="the first, and it is long\n")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    following = subprocess.Popen(command("logs", study.name, "0", "-f"), env=environment(tmp_path), **pipes)
    assert following.stdout is not None
    assert following.stdout.readline() == b"the first, and it is long\n"
    engine.log.write_text("the second\n")
    assert following.stdout.readline() == b"the second\n"
    study.paths.trial(0).attempt(0).result.write_text("{}")
    out, err = following.communicate(timeout=60)
    assert (following.returncode, out, err) == (0, b"", b"verl-study: engine.log was begun anew\n")


def test_a_trial_whose_files_are_hostile_is_shown(tmp_path: Path) -> None:
    study = StudyFactory(tmp_path)
    study.controller()
    attempt = study.running(0, steps=3)
    for path in (attempt.metrics, attempt.events):
        with path.open("ab") as file:
            file.write(b"\xff\xfe\n[" * 1000 + b"\n" + b"[" * 100_000 + b"\n" + metric_line(4, None))
    study.ended(1, TrialState.FAIL, message="\x1b[31mred\x1b[0m \x07" + "long " * 10**5)
    for arguments in (["show", study.name], ["show", study.name, "0"], ["show", study.name, "1"], ["list"], ["report", study.name]):
        done = study_cli(tmp_path, *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert "\x1b" not in done.stdout
