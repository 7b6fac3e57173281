"""Records are written whole or not at all, never over one another, and read back as what they were."""

from __future__ import annotations

import dataclasses
import multiprocessing
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import records
from harness.engine import Assignment
from harness.errors import RecordError
from harness.types import (
    AttemptResult,
    AttemptSpec,
    Direction,
    EngineResult,
    EngineSpec,
    Event,
    Failure,
    FailureKind,
    GpuUse,
    GuardAction,
    GuardRecord,
    GuardVerdict,
    Lease,
    Limits,
    Objective,
    Part,
    Reason,
    Reduction,
    RunState,
    Slot,
    StopRequest,
    StudyRecord,
    TrialResult,
    TrialSpec,
    TrialState,
)

SPEC = AttemptSpec(
    study="s",
    trial=1,
    attempt=0,
    run_id="s-1",
    environment={"A": "1"},
    fingerprint="f",
    config={"lr": 1e-06, "none": None, "yes": True, "list": [1, "2", {"a": 1.0}], "text": "null", "number": "1e-6"},
)
EXAMPLES: tuple[Any, ...] = (
    EngineResult(exit_code=None, killed=2, served=3, ended_at=1.5),
    Failure(kind=FailureKind.GPU_MEMORY, lines=("a", "b"), part=Part.ACTOR, repair={"x.y": 1, "z": True}),
    GuardRecord(
        verdicts=(
            GuardVerdict(
                code="non_finite",
                metric="actor/grad_norm",
                steps=(3, 4),
                values=(None, 1e3),
                threshold=2.5,
                message="non_finite: actor/grad_norm",
                action=GuardAction.STOP,
            ),
        )
    ),
    SPEC,
    Assignment(attempt="trial-0001/attempt-0"),
    AttemptResult(state=RunState.FAILED, reason=Reason.CRASHED, message="öä\n'x'", ended_at=1.5, steps=3, exit_code=-9, forced=True),
    EngineSpec(
        engine="s-0",
        slot=Slot(index=1, gpus=("0", "1")),
        argv=("python", "-m", "x"),
        environment={},
        scratch="here",
        limits=Limits(wall_s=1.0),
        fingerprint="f",
        serves=2,
    ),
    Lease(pid=1, started=2.5, boot_id="b", host="h"),
    StopRequest(reason=Reason.PRUNED, message="weak", requested_at=1.0, grace_s=2.0),
    TrialResult(
        number=7,
        state=TrialState.COMPLETE,
        reason=Reason.FINISHED,
        message="",
        values=(0.1, 2.0),
        steps=10,
        attempts=1,
        seconds=1.0,
        gpu_seconds=2.0,
        startup_s=None,
        slot="gpu:0+1",
        ended_at=3.0,
        phases={"queue": 0.1, "steady step": 4.0},
        gpu=GpuUse(peak_gib={"actor": 12.5}, mfu=0.3, tokens_per_s=None, energy_kj=3.5),
    ),
    TrialSpec(
        study="s", number=7, configuration="c", params={"lr": 1e-6, "n": 4, "x": None}, overrides=("lr=1e-06",), seed=1, created_at=1.0
    ),
    StudyRecord(
        name="s",
        created_at=1.0,
        objectives=(Objective(metric="val-core/*", direction=Direction.MINIMIZE, reduction=Reduction.AREA),),
        knobs=("lr",),
        space={"lr": "{}"},
        n_trials=3,
        seed=None,
        storage="journal",
        slots=(Slot(index=0),),
        command=("-m", "lr=1,2"),
        sampler="TPESampler",
        pruner="NopPruner",
        versions={"optuna": "5"},
        defaults={"lr": 1e-6, "n": 8, "name": "grpo", "x": None},
    ),
)


def named(example: object) -> str:
    return type(example).__name__


@pytest.mark.parametrize("suffix", [".json", ".yaml"])
@pytest.mark.parametrize("example", EXAMPLES, ids=named)
def test_every_record_comes_back_equal(example: Any, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"record{suffix}"
    records.write(path, example)
    assert records.read(path, type(example)) == example


def test_there_is_an_example_of_every_noun_that_is_written() -> None:
    from harness import types

    nouns = {noun for noun in vars(types).values() if isinstance(noun, type) and dataclasses.is_dataclass(noun)}
    parts = {
        types.MetricPoint,
        types.Event,
        types.GpuUse,
        types.GuardVerdict,
        types.Limits,
        types.Objective,
        types.Slot,
    }  # lines of a log, and fields of others
    asked = {types.GuardSettings, types.LevelGuard, types.NoSignalGuard, types.RewardHackingGuard, types.NonFiniteGuard}  # of a yaml
    assert {type(example) for example in EXAMPLES} == nouns - parts - asked | {Assignment}


@settings(max_examples=30)
@given(number=st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_keeps_every_bit_in_json_and_yaml(number: float, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("float")
    for name in ("record.json", "record.yaml"):
        records.replace(folder / name, dataclasses.replace(SPEC, config={"x": number}))
        assert records.read(folder / name, AttemptSpec).config["x"].hex() == number.hex()


def test_a_record_is_never_written_over_another(tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    records.write(path, Lease(pid=1, started=1.0, boot_id="b", host="first"))
    with pytest.raises(FileExistsError):
        records.write(path, Lease(pid=2, started=1.0, boot_id="b", host="second"))
    assert records.read(path, Lease).host == "first"
    assert [file.name for file in tmp_path.iterdir()] == ["lease.json"]


def test_replace_writes_over_another(tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    for host in ("first", "second"):
        records.replace(path, Lease(pid=1, started=1.0, boot_id="b", host=host))
    assert records.read(path, Lease).host == "second"
    assert [file.name for file in tmp_path.iterdir()] == ["lease.json"]


def test_a_writer_that_is_killed_leaves_the_old_record_whole(tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    script = f"""
from pathlib import Path
from harness import records
from harness.types import Lease
number = 0
while True:
    records.replace(Path({str(path)!r}), Lease(pid=number, started=1.0, boot_id="b" * 100_000, host="h"))
    number += 1
"""
    writer = subprocess.Popen([sys.executable, "-c", script])
    while not path.exists():
        assert writer.poll() is None
    for _ in range(20):
        assert len(records.read(path, Lease).boot_id) == 100_000
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert len(records.read(path, Lease).boot_id) == 100_000


def write_first(path: Path, host: str, won: Any) -> None:
    try:
        records.write(path, Lease(pid=1, started=1.0, boot_id="b", host=host))
    except FileExistsError:
        return
    won.put(host)


def test_of_many_writers_exactly_one_wins(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    won = context.SimpleQueue()
    writers = [context.Process(target=write_first, args=(tmp_path / "lease.json", str(number), won)) for number in range(6)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert records.read(tmp_path / "lease.json", Lease).host == won.get()
    assert won.empty()


def cut(text: str) -> str:
    return text[: len(text) // 2]


def other_schema(text: str) -> str:
    return text.replace('"schema": 1', '"schema": 99')


def other_record(text: str) -> str:
    return text.replace('"Lease"', '"Slot"')


def other_field(text: str) -> str:
    return text.replace('"pid": 1', '"pid": "one"')


@pytest.mark.parametrize(
    ("spoil", "sentence", "version"),
    [
        (cut, "not readable", None),
        (lambda _: "", "not readable", None),
        (lambda _: "[]", "expected Lease of schema 1, found list", None),
        (lambda _: "{}", "expected Lease of schema 1, found no record of schema None", None),
        (other_schema, "expected Lease of schema 1, found Lease of schema 99", 99),
        (other_record, "expected Lease of schema 1, found Slot of schema 1", 1),
        (other_field, "not a Lease: Expected `int`, got `str`", 1),
    ],
)
def test_a_spoilt_record_is_refused_with_its_path(spoil: Callable[[str], str], sentence: str, version: int | None, tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    records.write(path, Lease(pid=1, started=1.0, boot_id="b", host="h"))
    path.write_text(spoil(path.read_text()))
    with pytest.raises(RecordError) as caught:
        records.read(path, Lease)
    assert str(caught.value).startswith(f"{path}: {sentence}")
    assert (caught.value.path, caught.value.version) == (path, version)


def test_a_torn_yaml_record_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text('schema: 1\nrecord: "StudyRec')
    with pytest.raises(RecordError, match="not readable"):
        records.read(path, StudyRecord)


def test_a_missing_record_is_none_only_where_that_was_asked_for(tmp_path: Path) -> None:
    assert records.read_if_there(tmp_path / "lease.json", Lease) is None
    with pytest.raises(FileNotFoundError):
        records.read(tmp_path / "lease.json", Lease)


def test_events_come_back_in_order_with_their_data(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    written = [records.append(path, "engine", "training"), records.append(path, "supervisor", "ended", exit_code=0, killed=[1, 2])]
    assert list(records.events(path)) == written
    assert list(records.events(tmp_path / "missing.jsonl")) == []


def test_a_torn_last_event_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    event = records.append(path, "engine", "training")
    with path.open("ab") as log:
        log.write(msgspec.json.encode(event)[:-5])
    assert list(records.events(path)) == [event]


def test_a_line_that_was_torn_takes_no_later_one_along(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    first = records.append(path, "engine", "started")
    with path.open("ab") as log:
        log.write(b'{"at": 1.0, "wh')
    later = [records.append(path, "controller", "given_slot"), records.append(path, "engine", "accepted")]
    assert list(records.events(path)) == [first, *later]


def test_a_line_that_is_no_event_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"no": "event"}\n{"at": 17\n\xff\n')
    event = records.append(path, "engine", "training")
    assert list(records.events(path)) == [event]


def append_many(path: Path, who: str) -> None:
    for number in range(200):
        records.append(path, who, "x" * 300, number=number)


def test_several_processes_append_to_one_log_without_tearing_a_line(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=append_many, args=(tmp_path / "events.jsonl", str(number))) for number in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    read: list[Event] = list(records.events(tmp_path / "events.jsonl"))
    for number in range(3):
        assert [event.data["number"] for event in read if event.who == str(number)] == list(range(200))
