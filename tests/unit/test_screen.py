"""Claims about what a study looks like: in numbers and words, on a wide and on a narrow terminal, and line by line."""

from __future__ import annotations

import dataclasses
import math

import pytest
from factory import DEAD, KL, LR, METRIC, START, N, StudyFactory, metric_line, point, whole_study
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from harness.answer import ranked
from harness.digest import next_commands, rows_to_show, study_left_s, trial_left_s
from harness.screen import Screen, closing, table
from harness.status import StudyWatch, load_study
from harness.types import Direction, Objective, Reason, Role, Slot, TrialState
from harness.wording import aligned, changes, compact, duration, ended_line, knob_cells, short_names, sparkline, started_line, step_line

NOW = START + 3000


def rendered(renderable, width: int, height: int = 40) -> list[str]:
    console = Console(width=width, height=height, color_system=None, force_terminal=True)
    with console.capture() as capture:
        console.print(renderable)
    return [line.rstrip() for line in capture.get().splitlines()]


def test_short_names_are_the_last_words_and_stay_unique():
    assert list(short_names([LR, "algorithm.kl_ctrl.kl_coef", N]).values()) == ["lr", "kl_coef", "rollout_n"]
    assert list(short_names(["actor.optim.lr", "critic.optim.lr"]).values()) == ["actor_lr", "critic_lr"]
    assert list(short_names(["+a.b.lr", "a.b.lr"]).values()) == ["+a.b.lr", "a.b.lr"]


@given(st.lists(st.from_regex(r"\+?[a-d](\.[a-d]{1,2}){0,3}", fullmatch=True), unique=True))
def test_short_names_never_collide(knobs):
    names = short_names(knobs)
    assert list(names) == knobs
    assert len(set(names.values())) == len(knobs)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.2e-5, "1.2e-05"),
        (0.003, "0.003"),
        (16, "16"),
        (True, "true"),
        (None, "null"),
        (math.nan, "nan"),
        ("grpo", "grpo"),
        (1 / 3, "0.333"),
    ],
)
def test_knobs_are_compact(value, text):
    assert compact(value) == text


def test_long_words_are_cut():
    assert compact("a" * 50) == "a" * 17 + "…"


def test_values_of_a_column_have_the_same_decimals():
    assert aligned([0.5, None, 0.12345]) == ["0.5000", "", "0.1235"]
    assert aligned([12.5, 0.1]) == ["12.50", "0.10"]
    assert aligned([1e-6]) == ["1.000e-06"]
    assert aligned([math.nan, 0.5]) == ["nan", "0.5000"]
    assert aligned([0.0, None]) == ["0.0", ""]


def test_decimal_points_of_a_knob_stand_below_each_other():
    cells = knob_cells([0.003, 0.00012, 0.25])
    assert len({len(cell) - cell.index(".") for cell in cells}) == 1
    assert knob_cells([1e-5, 2.5e-6]) == ["1.00e-05", "2.50e-06"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0s"), (59.4, "59s"), (59.6, "1m00s"), (185, "3m05s"), (4320, "1h12m"), (183600, "2d03h"), (None, "")],
)
def test_durations_are_short(seconds, text):
    assert duration(seconds) == text


def test_sparkline_of_a_half_done_run_fills_half_the_width():
    curve = [(step, step / 10) for step in range(1, 6)]
    assert sparkline(curve, total_steps=10, low=0.0, high=1.0, width=10) == "▂▂▃▄▅"


def test_sparkline_carries_the_last_value_between_validations():
    assert sparkline([(5, 0.0), (10, 1.0)], total_steps=10, low=0, high=1, width=10) == "    ▁▁▁▁▁█"


def test_sparkline_shows_a_nan_and_a_flat_curve():
    assert sparkline([(1, 0.5), (2, math.nan)], total_steps=2, low=0.5, high=0.5, width=2) == "▅!"
    assert sparkline([], total_steps=2, low=0, high=1) == ""


@given(st.lists(st.tuples(st.integers(-5, 10_000), st.floats(allow_nan=True)), max_size=50), st.none() | st.integers(0, 100))
def test_sparkline_never_exceeds_its_width(curve, total):
    values = [value for _, value in curve if math.isfinite(value)]
    for low, high in ((0.0, 1.0), (min(values, default=0.0), max(values, default=1.0))):
        assert len(sparkline(curve, total_steps=total, low=low, high=high, width=12)) <= 12


@pytest.mark.parametrize("width", [140, 100, 80, 60, 40])
def test_nothing_wraps_on_a_narrow_terminal(tmp_path, width):
    study = whole_study(tmp_path)
    lines = rendered(Screen(StudyWatch(study.paths).refresh(NOW), NOW), width)
    assert max(len(line) for line in lines) <= width
    assert sum(line.lstrip(" ★").split(" ")[0].isdigit() for line in lines) == 23


def test_wide_terminal_shows_every_column_and_narrow_one_the_needed(tmp_path):
    status = StudyWatch(whole_study(tmp_path).paths).refresh(NOW)
    wide, narrow = (rendered(Screen(status, NOW), width)[5].split() for width in (140, 80))
    assert wide == ["trial", "state", "lr", "kl_loss_coef", "rollout_n", "step", "value", "best", "curve", "slot", "time", "left"]
    assert narrow == ["trial", "state", "lr", "kl_loss_…", "rollout_n", "step", "value", "curve"]


def test_header_counts_and_estimates(tmp_path):
    lines = rendered(Screen(StudyWatch(whole_study(tmp_path).paths).refresh(NOW), NOW), 140)
    assert lines[1].startswith(" kl-and-lr  running  50m00s, about ")
    assert lines[2].endswith("21/30   2 running  12 complete  6 pruned  3 fail")
    assert lines[3] == f" best 0.8917  trial 6  maximize the last value of {METRIC}"


def test_many_trials_leave_the_running_the_best_and_the_latest(tmp_path):
    study = StudyFactory(tmp_path, n_trials=120)
    for number in range(100):
        study.ended(number, values=(1.0 if number == 3 else 0.5,))
    study.running(100)
    study.waiting(101)
    study.controller()
    status = StudyWatch(study.paths).refresh(NOW)
    assert [trial.number for trial in rows_to_show(status, 6)] == [3, 97, 98, 99, 100]
    assert rendered(table(status, NOW, rows=6), 140)[-1].strip() == "… 97 more"


def test_seed_is_shown_where_it_varies(tmp_path):
    study = StudyFactory(tmp_path)
    study.ended(0, seed=1, configuration="a")
    assert "seed" not in rendered(table(load_study(study.paths), NOW), 140)[0].split()
    study.ended(1, seed=2, configuration="a")
    assert "seed" in rendered(table(load_study(study.paths), NOW), 140)[0].split()


def test_study_without_a_trial_says_so(tmp_path):
    status = load_study(StudyFactory(tmp_path).paths)
    assert "no trial yet" in "\n".join(rendered(Screen(status, NOW), 80))
    assert "no trial is COMPLETE" in "\n".join(rendered(closing(status), 80))


def test_deserted_trial_is_not_called_running_alone(tmp_path):
    study = StudyFactory(tmp_path)
    study.controller(DEAD)
    study.running(0)
    text = "\n".join(rendered(Screen(load_study(study.paths), NOW), 140))
    assert "RUNNING nobody" in text
    assert "no controller is alive" in text


def test_time_left_is_by_the_pace_of_the_last_attempt(tmp_path):
    study = StudyFactory(tmp_path, total_steps=30)
    study.controller()
    study.running(0, steps=10)
    study.attempt(0, 1, first=11, steps=5, startup_s=40.0)  # given its slot at START + 100
    trial = StudyWatch(study.paths).refresh(START + 190).trials[0]
    assert trial_left_s(trial, START + 190) == pytest.approx(50 / 5 * 15)


def test_study_left_counts_the_trials_to_come(tmp_path):
    study = StudyFactory(tmp_path, n_trials=5)  # two slots
    study.controller()
    study.ended(0, seconds=100.0)
    status = StudyWatch(study.paths).refresh(START + 100)
    assert study_left_s(status, START + 100) == pytest.approx(4 * 100 / 2)


def test_dead_study_promises_nothing(tmp_path):
    study = StudyFactory(tmp_path, n_trials=5)
    study.ended(0)
    assert study_left_s(load_study(study.paths), NOW) is None


def test_ranking_is_best_first_and_complete_first(tmp_path):
    study = StudyFactory(tmp_path)
    study.ended(0, TrialState.FAIL, steps=3)
    study.ended(1, values=(0.1,))
    study.ended(2, TrialState.PRUNED)
    study.ended(3, values=(0.9,))
    study.waiting(4)
    assert [trial.number for trial in ranked(load_study(study.paths), None)] == [3, 1, 2, 0, 4]


def test_closing_gives_answer_ranking_failures_cost_and_next_commands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status = StudyWatch(whole_study(tmp_path / "outputs", gpus=True).paths).refresh(NOW)
    text = "\n".join(rendered(closing(status), 140))
    assert "Best trial 6 of 23 in kl-and-lr" in text
    assert f"0.891662  maximize the last value of {METRIC}" in text
    assert f"{LR}      = 3.860825451272159e-05" in text
    assert "One seed each: treat close values as ties." in text
    assert "trials 4, 18  crashed  the engine ended with signal SIGKILL" in text
    assert "of trials on 2 slots, 14 % of that start-up, 1.81 GPU-hours" in text
    for command in ("verl-study show kl-and-lr", "verl-study repro 6 --study kl-and-lr", "optuna-dashboard outputs/kl-and-lr/journal.log"):
        assert command in text


def test_a_note_that_is_longer_than_a_line_stays_under_itself(tmp_path):
    study = StudyFactory(tmp_path)
    study.ended(0, seed=1)
    lines = rendered(closing(load_study(study.paths)), 30)
    first = next(place for place, line in enumerate(lines) if "One seed each" in line)
    assert [line[:3] for line in lines[first : first + 2]] == ["   ", "   "]
    assert lines[first + 1].strip()


def test_replicated_configurations_need_no_warning(tmp_path):
    study = StudyFactory(tmp_path)
    study.ended(0, seed=1, configuration="a")
    study.ended(1, seed=2, configuration="a")
    assert "One seed each" not in "\n".join(rendered(closing(load_study(study.paths)), 140))


def replicated_study(folder, *, confirmed=False):
    """Three configurations with three seeds, the first two close; and one with a single lucky seed."""
    study = StudyFactory(folder)
    values = {"a": (0.70, 0.71, 0.72), "b": (0.72, 0.70, 0.70), "c": (0.40, 0.41, 0.42), "d": (0.95,)}
    for index, (configuration, of_seeds) in enumerate(values.items()):
        for seed, value in enumerate(of_seeds):
            role = Role.CONFIRMATION if confirmed and seed else Role.TUNING
            number = len(study.paths.trials())
            study.ended(number, params=point(index), seed=seed, configuration=configuration, values=(value,), role=role)
    return study


def test_closing_of_replicated_configurations_gives_mean_interval_seeds_and_ties(tmp_path):
    status = load_study(replicated_study(tmp_path).paths)
    lines = rendered(closing(status), 140)
    text = "\n".join(lines)
    assert "Best configuration of 4 in kl-and-lr: trials 0, 1, 2" in text
    assert f"0.710 ± 0.012  maximize the last value of {METRIC}" in text
    assert "Mean of 3 seeds (0, 1, 2), with its 90 % interval. They also chose it: expect a little worse." in text
    assert "With 90 % confidence it cannot be told from the configuration of trial 3." in text
    assert "1 configuration has too few seeds to be compared with it." in text
    rows = [line.split() for line in lines if "COMPLETE" in line]
    assert [row[:3] for row in rows[:4]] == [["1", "★", "2"], ["★", "1", "0.7100"], ["★", "0", "0.7000"], ["2", "≈", "3"]]
    assert rows[0][3:6] == ["0.7100", "±", "0.0116"]
    assert rows[-1][:3] == ["4", "9", "0.9500"], "a lucky seed stands last"


def test_closing_of_a_confirmed_configuration_says_that_its_seeds_chose_nothing(tmp_path):
    status = load_study(replicated_study(tmp_path, confirmed=True).paths)
    text = "\n".join(rendered(closing(status), 140))
    assert "Mean of 2 seeds (1, 2) that had no part in choosing it, with its 90 % interval." in text
    assert "0.715 ± " in text


def test_the_best_is_told_with_its_mean_where_it_has_one(tmp_path):
    study = replicated_study(tmp_path)
    status = load_study(study.paths)
    assert "best 0.71  mean of 3 seeds, trial 2" in "\n".join(rendered(Screen(status, NOW), 140))
    assert next(iter(changes(None, status))).endswith("best 0.71 (mean of 3 seeds, trial 2)")


def test_closing_of_several_objectives_stars_the_front(tmp_path):
    cost = Objective(metric="timing_s/step", direction=Direction.MINIMIZE)
    study = StudyFactory(tmp_path, objectives=(Objective(metric=METRIC), cost))
    for number, values in enumerate([(0.9, 10.0), (0.5, 5.0), (0.4, 6.0)]):
        study.ended(number, values=values)
    text = "\n".join(rendered(closing(load_study(study.paths)), 140))
    assert "none beats trials 0, 1 in all of them" in text
    assert text.count("★") == 2
    assert "10.00" in text


def test_password_of_a_shared_storage_is_never_shown(tmp_path):
    study = StudyFactory(tmp_path)
    status = load_study(study.paths)
    shared = dataclasses.replace(status, record=dataclasses.replace(status.record, storage="postgresql://me:secret@host/studies"))
    text = " ".join(command for command, _ in next_commands(shared))
    assert "secret" not in text
    assert "postgresql://me@host/studies" in text


def test_plain_lines_say_what_happened(tmp_path):
    params = {LR: 1.2e-5, KL: 0.003, N: 4}
    assert started_line(3, Slot(index=0), params) == "trial 3 started on cpu:0  lr=1.2e-05 kl_loss_coef=0.003 rollout_n=4"
    assert started_line(3, "cpu:0", {}, attempt=1) == "trial 3 started again (attempt 1) on cpu:0"
    assert step_line(3, 10, 30, METRIC, 0.41) == f"trial 3 step 10/30 {METRIC}=0.41"
    study = StudyFactory(tmp_path)
    study.ended(3, TrialState.PRUNED, message="below the median")
    study.ended(4, TrialState.FAIL, reason=Reason.STALLED, message="no metric for 60 s", steps=2)
    study.ended(5, values=(0.5,), seconds=185)
    pruned, failed, complete = load_study(study.paths).trials
    assert ended_line(pruned, study.objectives) == "trial 3 PRUNED at step 12: below the median"
    assert ended_line(failed, study.objectives) == "trial 4 FAIL stalled at step 2: no metric for 60 s"
    assert ended_line(complete, study.objectives) == f"trial 5 COMPLETE at step 30: {METRIC}=0.5 after 3m05s"


def test_changes_are_told_once(tmp_path):
    study = StudyFactory(tmp_path, n_trials=2)
    study.controller()
    watch = StudyWatch(study.paths)
    empty = watch.refresh()
    attempt = study.running(0, steps=1)
    began = watch.refresh()
    first = list(changes(empty, began))
    assert [line.split("  ")[0] for line in first] == ["trial 0 started on cpu:0", first[1]]
    assert list(changes(began, watch.refresh())) == []
    with attempt.metrics.open("ab") as metrics:
        metrics.write(metric_line(2, 0.75))
    assert list(changes(began, watch.refresh())) == [f"trial 0 step 2/30 {METRIC}=0.75"]


def test_first_look_is_one_summary_and_what_runs(tmp_path):
    lines = list(changes(None, StudyWatch(whole_study(tmp_path).paths).refresh(NOW)))
    assert lines[0].startswith("study kl-and-lr: 21 of 30 trials ended (12 COMPLETE, 6 PRUNED, 3 FAIL), 2 RUNNING, best 0.8917 (trial 6)")
    assert len([line for line in lines if " started on " in line]) == 2
