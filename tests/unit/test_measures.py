"""Where an attempt's time went, and what it took of its GPUs: told from its events and metrics alone, whatever those hold."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from harness import records
from harness.measures import ENDS, ENERGY, PEAK, Meter
from harness.types import Event, GpuUse, MetricPoint, Reason, TrialResult, TrialState

COLD = ("accepted", "imported", "ray", "queue", "data", "processes", "models", "server", "workers", "agent_loops", "rollout", "handed_over")


def events(names: tuple[str, ...], *, given_at: float = 100.0) -> list[Event]:
    """One a second from the moment when the attempt was given its slot."""
    given = Event(at=given_at, who="controller", name="given_slot", data={"slot": "cpu:0"})
    return [given, *(Event(at=given_at + 1 + index, who="engine", name=name) for index, name in enumerate(names))]


def metered(*rows: dict[str, float]) -> Meter:
    meter = Meter()
    for step, row in enumerate(rows, start=1):
        meter.add(MetricPoint(step=step, values=row))
    return meter


def test_the_phases_of_a_cold_start_add_up_to_it() -> None:
    told = metered().phases(events((*COLD, "validated", "training")), asked_at=93.0, ended_at=200.0)
    assert list(told) == ["queue", *(phase for _, phase in ENDS)]
    assert told["queue"] == 7.0
    assert sum(told.values()) - told["queue"] == 13.0
    assert told["Ray"] == 2.0, "Ray and the transfer queue"


def test_an_engine_that_was_running_leaves_out_what_it_had_done() -> None:
    told = metered().phases(events(("accepted", "rollout", "handed_over", "training")), asked_at=100.0, ended_at=200.0)
    assert told == {"queue": 0.0, "spawn": 1.0, "hand-over": 2.0}


def test_an_attempt_that_was_handed_over_twice_counts_from_the_second_time() -> None:
    twice = [*events(()), *events(("accepted",), given_at=150.0)]
    assert metered().phases(twice, asked_at=90.0, ended_at=200.0) == {"queue": 60.0, "spawn": 1.0}


def test_steps_are_told_without_their_checkpoints_and_validations_are_summed() -> None:
    meter = metered(
        {"timing_s/step": 9.0},
        {"timing_s/step": 2.0, "timing_s/testing": 3.0},
        {"timing_s/step": 7.0, "timing_s/save_checkpoint": 5.0, "timing_s/testing": 4.0},
        {"timing_s/step": 2.5},
    )
    told = meter.phases([*events(("accepted",)), Event(at=190.0, who="engine", name="trained")], asked_at=100.0, ended_at=192.5)
    assert told == {
        "queue": 0.0,
        "spawn": 1.0,
        "first step": 9.0,
        "steady step": 2.0,
        "validation": 7.0,
        "checkpoint": 5.0,
        "teardown": 2.5,
    }


def test_an_attempt_without_a_slot_has_no_phases_and_one_without_a_gpu_no_use() -> None:
    meter = metered({"timing_s/step": 1.0, "perf/mfu/actor": 0.1})
    assert meter.phases([], asked_at=0.0, ended_at=1.0) == {}
    assert meter.gpu() is None


def test_memory_is_the_most_of_any_step_rates_are_means_and_energy_is_a_sum() -> None:
    meter = metered(
        {PEAK + "actor": 10.0, PEAK + "rollout": 40.0, "perf/mfu/actor": 0.2, "perf/throughput": 1000.0, ENERGY: 1.5},
        {PEAK + "actor": 12.5, PEAK + "rollout": 40.0, "perf/mfu/actor": 0.4, "perf/throughput": 3000.0, ENERGY: 2.0},
        {"val-core/gsm8k/acc/mean@1": 0.5},
    )
    use = meter.gpu()
    assert use is not None
    assert use.peak_gib == {"actor": 12.5, "rollout": 40.0}
    assert math.isclose(use.mfu or 0, 0.3)
    assert (use.tokens_per_s, use.energy_kj) == (2000.0, 3.5)


def test_an_architecture_whose_flops_verl_cannot_count_has_no_mfu() -> None:
    use = metered({PEAK + "actor": 10.0, "perf/mfu/actor": 0.0}).gpu()
    assert use is not None
    assert use.mfu is None


NAMES = ("timing_s/step", "timing_s/save_checkpoint", "timing_s/testing", PEAK + "actor", "perf/mfu/actor", "perf/throughput", ENERGY)


@given(st.lists(st.dictionaries(st.sampled_from(NAMES), st.floats(allow_nan=True, allow_infinity=True)), max_size=5))
def test_whatever_a_training_logs_the_record_can_be_read_again(rows: list[dict[str, float]]) -> None:
    meter = metered(*rows)
    result = TrialResult(
        number=0,
        state=TrialState.COMPLETE,
        reason=Reason.FINISHED,
        message="",
        values=(0.5,),
        steps=1,
        attempts=1,
        seconds=1.0,
        gpu_seconds=0.0,
        startup_s=None,
        slot="gpu:0",
        ended_at=1.0,
        phases=meter.phases(events(("accepted",)), asked_at=0.0, ended_at=200.0),
        gpu=meter.gpu(),
    )
    fields = records.msgspec.json.decode(records.encode(result))
    assert records.msgspec.convert(fields, TrialResult) == result
    assert isinstance(result.gpu, GpuUse | None)
