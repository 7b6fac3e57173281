"""Claims about reading a study's records, at any moment of its life."""

from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path

import pytest
from factory import DEAD, KL, METRIC, START, StudyFactory, conclude, drill_curve, metric_line, opened_files, whole_study

from harness import records
from harness.errors import RecordError
from harness.paths import StudyPaths
from harness.status import StudyStatus, StudyWatch, find_studies, load_study, load_trial
from harness.trial_status import NOBODY, engine_paths
from harness.types import AttemptResult, Direction, Objective, Reason, RunState, StudyRecord, TrialResult, TrialState
from harness.wording import changes

PER_ENDED_TRIAL = 4  # files: trial.json, result.json, events.jsonl, metrics.jsonl


def trial(status: StudyStatus, number: int = 0):
    return next(trial for trial in status.trials if trial.number == number)


def test_ended_trial_is_what_its_result_says(tmp_path):
    study = StudyFactory(tmp_path)
    study.ended(0, TrialState.PRUNED, message="below the median", steps=12, gpu_seconds=800.0)
    status = trial(load_study(study.paths))
    assert (status.state, status.reason, status.message, status.steps) == (TrialState.PRUNED, Reason.PRUNED, "below the median", 12)
    assert (status.seconds, status.startup_s, status.gpu_seconds, status.engine) == (400.0, 60.0, 800.0, "engine-0")
    assert status.started_at == START
    assert status.ended_at == START + 400
    assert len(status.curve) == 12


def test_running_trial_is_derived_from_events_and_metrics(tmp_path):
    study = StudyFactory(tmp_path)
    study.controller()
    study.running(0, steps=10, slot="gpu:0+1")
    status = trial(StudyWatch(study.paths).refresh(START + 200))
    assert (status.state, status.slot, status.engine, status.steps, status.total_steps) == (
        TrialState.RUNNING,
        "gpu:0+1",
        "engine-0",
        10,
        30,
    )
    assert (status.seconds, status.startup_s, status.gpu_seconds) == (200.0, 60.0, 400.0)
    assert status.curve == tuple(enumerate(drill_curve(0, 10, 30), start=1))
    assert not status.deserted


def test_trial_without_an_attempt_is_waiting(tmp_path):
    study = StudyFactory(tmp_path)
    study.waiting(0)
    status = trial(load_study(study.paths))
    assert (status.state, status.attempts, status.seconds) == (TrialState.WAITING, 0, None)
    assert status.params[KL] > 0


def test_attempt_that_was_given_no_slot_yet_is_waiting(tmp_path):
    study = StudyFactory(tmp_path)
    study.waiting(0)
    study.paths.trial(0).attempt(0).root.mkdir()
    assert trial(load_study(study.paths)).state is TrialState.WAITING


def test_empty_trial_folder_is_not_a_trial_yet(tmp_path):
    study = StudyFactory(tmp_path)
    study.paths.trial(0).root.mkdir()
    watch = StudyWatch(study.paths)
    assert watch.refresh().trials == ()
    study.paths.trial(0).root.rmdir()
    study.waiting(0)
    assert len(watch.refresh().trials) == 1


def test_trial_that_the_preflight_refused_needs_no_attempt(tmp_path):
    study = StudyFactory(tmp_path)
    study.waiting(0)
    study.ended(1, TrialState.FAIL)
    result = records.read(study.paths.trial(1).result, TrialResult)
    refused = dataclasses.replace(result, number=0, reason=Reason.REFUSED, attempts=0, steps=0, seconds=0.0, slot=None, startup_s=None)
    records.write(study.paths.trial(0).result, refused)
    status = trial(load_study(study.paths))
    assert (status.reason, status.attempts, status.curve, status.started_at) == (Reason.REFUSED, 0, (), None)


def test_running_trial_without_controller_and_supervisor_is_deserted(tmp_path):
    study = StudyFactory(tmp_path)
    study.controller(DEAD)
    study.engine(0, study.running(0, steps=10), lease=DEAD)
    status = trial(load_study(study.paths))
    assert (status.state, status.message, status.deserted) == (TrialState.RUNNING, NOBODY, True)
    assert status.seconds == 60 + 10 * 10, "the time of a deserted trial stands still at its last sign of life"


def test_running_trial_whose_supervisor_outlived_the_controller_is_not_deserted(tmp_path):
    study = StudyFactory(tmp_path)
    study.controller(DEAD)
    study.engine(0, study.running(0))
    status = load_study(study.paths)
    assert not trial(status).deserted
    assert not status.controller_alive


def test_attempt_that_ended_without_a_controller_to_tell_is_deserted(tmp_path):
    study = StudyFactory(tmp_path)
    attempt = study.running(0)
    study.engine(0, attempt)
    conclude(attempt)
    assert trial(load_study(study.paths)).deserted


def test_attempt_that_passed_over_a_torn_checkpoint_says_so_once(tmp_path):
    study = StudyFactory(tmp_path)
    study.controller()
    attempt = study.running(0)
    watch = StudyWatch(study.paths)
    before = watch.refresh()
    message = "goes on from step 4: the checkpoint of step 8 was never finished"
    records.append(attempt.events, "engine", "torn_checkpoint", message=message)
    told = watch.refresh()
    assert trial(told).message == message
    assert list(changes(before, told)) == [f"trial 0: {message}"]
    assert list(changes(told, watch.refresh())) == []


def test_controller_on_another_host_is_named(tmp_path):
    study = StudyFactory(tmp_path)
    study.controller(dataclasses.replace(DEAD, host="node-7"))
    study.running(0)
    status = load_study(study.paths)
    assert status.elsewhere
    assert "node-7" in trial(status).message


def test_second_attempt_goes_on_with_the_curve_and_keeps_the_clock(tmp_path):
    study = StudyFactory(tmp_path)
    study.controller()
    study.running(0, steps=10)
    study.attempt(0, 1, steps=5, first=11, slot="cpu:1", engine=1, startup_s=20.0)
    status = trial(StudyWatch(study.paths).refresh(START + 500))
    assert (status.attempts, status.slot, status.engine, status.startup_s) == (2, "cpu:1", "engine-1", 20.0)
    assert (status.first_step, status.steps, status.seconds) == (11, 15, 500.0)
    assert [step for step, _ in status.curve] == list(range(1, 16))


def test_torn_last_lines_wait_for_their_end(tmp_path):
    study = StudyFactory(tmp_path)
    study.controller()
    attempt = study.running(0, steps=3)
    line = metric_line(4, 0.5)
    with attempt.metrics.open("ab") as metrics, attempt.events.open("ab") as events:
        metrics.write(line[:-7])
        events.write(b'{"at": 17')
    watch = StudyWatch(study.paths)
    assert trial(watch.refresh()).steps == 3
    with attempt.metrics.open("ab") as metrics:
        metrics.write(line[-7:])
    assert trial(watch.refresh()).curve[-1] == (4, 0.5)


def test_broken_lines_are_left_out(tmp_path):
    study = StudyFactory(tmp_path)
    attempt = study.running(0, steps=0)
    attempt.metrics.write_bytes(b"\0\0\0\n" + metric_line(1, 0.25) + b'{"step": "x"}\n' + metric_line(2, 0.5))
    with attempt.events.open("ab") as events:
        events.write(b"not json\n[]\n")
    assert trial(load_study(study.paths)).curve == ((1, 0.25), (2, 0.5))


def test_torn_trial_records_never_fail_a_look(tmp_path):
    study = StudyFactory(tmp_path)
    study.ended(0)
    study.waiting(1)
    study.paths.trial(0).result.write_bytes(b'{"schema": 1, "rec')
    study.paths.trial(1).spec.write_bytes(b"")
    study.paths.lock.write_bytes(b"4711\n")
    status = load_study(study.paths)
    assert [trial.state for trial in status.trials] == [TrialState.RUNNING, TrialState.WAITING]
    assert [trial.message for trial in status.trials] == ["result.json cannot be read", "trial.json cannot be read"]


def test_torn_study_record_is_an_error_of_ours(tmp_path):
    study = StudyFactory(tmp_path)
    study.paths.record.write_text("name: [")
    with pytest.raises(RecordError, match=r"study\.yaml"):
        load_study(study.paths)


def test_nan_stays_in_the_curve(tmp_path):
    study = StudyFactory(tmp_path)
    study.running(0, values=[0.1, None])
    curve = trial(load_study(study.paths)).curve
    assert curve[0] == (1, 0.1)
    assert math.isnan(curve[1][1])


def test_pattern_averages_its_matches_and_a_later_line_of_a_step_wins(tmp_path):
    study = StudyFactory(tmp_path, objectives=(Objective(metric="val-core/*/acc/mean@1"),))
    attempt = study.running(0, steps=0)
    lines = [
        b'{"step": 1, "data": {"actor/lr": 1e-5}}\n',
        b'{"step": 2, "data": {"val-core/a/b/acc/mean@1": 0.2, "val-core/c/acc/mean@1": 0.4, "other": 9}}\n',
        b'{"step": 3, "data": {"val-core/c/acc/mean@1": 0.1}}\n',
        b'{"step": 3, "data": {"val-core/c/acc/mean@1": 0.7}}\n',
        b'{"step": 5, "data": {"actor/lr": 1e-5}}\n',
    ]
    attempt.metrics.write_bytes(b"".join(lines))
    status = trial(load_study(study.paths))
    assert status.curve == ((2, pytest.approx(0.3)), (3, 0.7))
    assert (status.first_step, status.steps) == (1, 5)


def test_empty_study_has_no_best_and_has_not_ended(tmp_path):
    status = load_study(StudyFactory(tmp_path).paths)
    assert (status.trials, status.best, status.startup_share, status.ended) == ((), None, None, False)
    assert status.counts == dict.fromkeys(TrialState, 0)


def test_best_is_complete_and_the_first_of_equal_ones(tmp_path):
    study = StudyFactory(tmp_path)
    study.ended(0, TrialState.FAIL, values=(9.0,))
    study.ended(1, values=(0.5,))
    study.ended(2, values=(0.5,))
    assert load_study(study.paths).best.number == 1


def test_best_follows_the_direction(tmp_path):
    study = StudyFactory(tmp_path, objectives=(Objective(metric=METRIC, direction=Direction.MINIMIZE),))
    study.ended(0, values=(0.5,))
    study.ended(1, values=(0.25,))
    assert load_study(study.paths).best.number == 1


def test_front_of_several_objectives_holds_those_that_none_beats(tmp_path):
    cost = Objective(metric="timing_s/step", direction=Direction.MINIMIZE)
    study = StudyFactory(tmp_path, objectives=(Objective(metric=METRIC), cost))
    for number, values in enumerate([(0.9, 10.0), (0.5, 5.0), (0.4, 6.0), (0.9, 12.0), (0.5, 5.0), (0.1, 1.0)]):
        study.ended(number, values=values)
    status = load_study(study.paths)
    assert status.pareto == (0, 1, 4, 5)
    assert status.best.number == 0


def test_ended_means_that_every_trial_was_told(tmp_path):
    study = StudyFactory(tmp_path, n_trials=2)
    study.ended(0)
    watch = StudyWatch(study.paths)
    assert not watch.refresh().ended
    study.ended(1, TrialState.FAIL)
    assert watch.refresh().ended


def test_startup_share_is_of_the_seconds_of_all_trials(tmp_path):
    study = StudyFactory(tmp_path)
    study.ended(0, seconds=100.0)
    study.ended(1, seconds=500.0)
    assert load_study(study.paths).startup_share == pytest.approx(120 / 600)


def test_trials_own_override_of_its_steps_wins(tmp_path):
    study = StudyFactory(tmp_path, total_steps=30)
    study.waiting(0, params={"trainer.total_training_steps": 50})
    assert trial(load_study(study.paths)).total_steps == 50


def test_one_trial_can_be_loaded_alone(tmp_path):
    study = whole_study(tmp_path)
    number = 22
    alone = load_trial(study.paths.trial(number), study.objectives, total_steps=30)
    among = trial(load_study(study.paths), number)
    assert dataclasses.replace(alone, seconds=0, gpu_seconds=0) == dataclasses.replace(among, seconds=0, gpu_seconds=0)


def test_engine_is_found_by_folder_number_and_name(tmp_path):
    study = StudyFactory(tmp_path)
    engine = study.engine(3)
    for name in ("engine-3", "3", "kl-and-lr-3-0123abcd"):
        assert engine_paths(study.paths, name) == engine
    assert engine_paths(study.paths, "engine-4") is None


def test_engine_that_the_event_names_by_its_number_is_named_by_its_folder(tmp_path):
    study = StudyFactory(tmp_path)
    study.waiting(0)
    attempt = study.paths.trial(0).attempt(0)
    attempt.root.mkdir()
    records.append(attempt.events, "controller", "given_slot", slot="cpu:0", engine=3)
    study.engine(3, attempt)
    status = trial(load_study(study.paths))
    assert (status.engine, status.deserted) == ("engine-3", False)


def test_studies_are_the_folders_with_a_record(tmp_path):
    StudyFactory(tmp_path, "b")
    StudyFactory(tmp_path, "a")
    (tmp_path / "2026-01-01").mkdir()
    (tmp_path / "file").touch()
    assert [study.name for study in find_studies(tmp_path)] == ["a", "b"]
    assert find_studies(tmp_path / "nowhere") == []


def test_changed_study_record_is_read_again(tmp_path):
    study = StudyFactory(tmp_path, n_trials=10)
    watch = StudyWatch(study.paths)
    record = watch.refresh().record
    records.replace(study.paths.record, dataclasses.replace(record, n_trials=20))
    assert watch.refresh().record.n_trials == 20


def test_refresh_of_2000_trials_opens_files_of_running_ones_only(tmp_path):
    study = StudyFactory(tmp_path, n_trials=2002)
    for number in range(2000):
        study.ended(number, steps=1)
    study.running(2000)
    study.waiting(2001)
    study.controller()
    watch = StudyWatch(study.paths)
    first = record_reads(study.paths, watch.refresh)
    assert len(first) <= 2000 * PER_ENDED_TRIAL + 10
    again = record_reads(study.paths, watch.refresh)
    assert {Path(path).parent.name for path in again} <= {study.paths.root.name, "trial-2000", "attempt-0", "trial-2001"}
    assert len(again) <= 8


def test_look_without_details_opens_two_files_an_ended_trial(tmp_path):
    study = StudyFactory(tmp_path)
    for number in range(50):
        study.ended(number)
    opened = record_reads(study.paths, lambda: load_study(study.paths, details=False))
    assert len(opened) <= 2 * 50 + 2


def record_reads(study: StudyPaths, action) -> list[str]:
    return [path for path in opened_files(action) if path.startswith(str(study.root) + os.sep)]


def test_a_paused_trial_waits_and_its_pause_costs_nothing(tmp_path):
    study = StudyFactory(tmp_path, n_trials=4)
    study.controller()
    attempt = study.running(0, steps=9, slot="gpu:0")
    paused = AttemptResult(state=RunState.STOPPED, reason=Reason.PAUSED, message="0.3 at step 9: paused", ended_at=START + 150, steps=9)
    records.write(attempt.result, paused)
    status = trial(StudyWatch(study.paths).refresh(START + 1000))
    assert (status.state, status.reason, status.message) == (TrialState.WAITING, Reason.PAUSED, "0.3 at step 9: paused")
    assert (status.seconds, status.gpu_seconds, status.steps, status.restores) == (150.0, 150.0, 9, 0)


def test_a_trial_that_went_on_after_a_pause_took_what_its_attempts_took(tmp_path):
    study = StudyFactory(tmp_path, n_trials=4)
    study.controller()
    attempt = study.running(0, steps=9, slot="gpu:0")
    paused = AttemptResult(state=RunState.STOPPED, reason=Reason.PAUSED, message="", ended_at=START + 30, steps=9)
    records.write(attempt.result, paused)
    study.attempt(0, 1, steps=3, first=10, slot="gpu:0")  # given its slot at 100
    status = trial(StudyWatch(study.paths).refresh(START + 140))
    assert (status.state, status.seconds, status.restores, status.steps) == (TrialState.RUNNING, 70.0, 1, 12)


def test_a_study_whose_plan_counts_full_runs_says_what_it_has_spent(tmp_path):
    study = StudyFactory(tmp_path, n_trials=4)
    study.ended(0)
    study.ended(1, TrialState.PRUNED, steps=9)
    record = dataclasses.replace(records.read(study.paths.record, StudyRecord), plan="Halving", restore_cost=0.02)
    records.replace(study.paths.record, record)
    status = load_study(study.paths)
    assert status.full_runs == pytest.approx(1.3)
    assert not status.ended, "trials are not what it counts"
    assert status.progress == pytest.approx(1.3 / 4)
    assert next(changes(None, status)).startswith("study kl-and-lr: 2 trials ended (1 COMPLETE, 1 PRUNED), 1.3 of 4 full runs")
    records.replace(study.paths.record, dataclasses.replace(record, finished=True))
    assert load_study(study.paths).ended
