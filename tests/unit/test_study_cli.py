"""Claims about `verl-study`, run as the process that a person starts."""

from __future__ import annotations

import json
import math
import os
import pty
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from factory import DEAD, KL, LR, METRIC, N, StudyFactory, conclude, metric_line, whole_study

from analysis.export import to_json
from analysis.repro import repro_command
from harness import records
from harness.types import Objective, Reason, StopRequest, StudyRecord, TrialSpec

ROOT = Path(__file__).parents[2]
TRIAL_FIELDS = {
    "number", "state", "reason", "message", "params", "value", "values", "steps",
    "attempts", "seconds", "startup_s", "slot", "seed", "configuration",
}  # fmt: skip
STUDY_FIELDS = {"name", "objective", "counts", "best", "path", "created_at", "controller_alive"}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "analysis.cli", *arguments]


def environment(outputs: Path) -> dict[str, str]:
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "VERL_SWEEP_OUTPUTS": str(outputs), "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def study_cli(outputs: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, env=environment(outputs), timeout=60, check=False)


def strict(text: str):
    def refuse(constant: str):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_help_imports_nothing_heavy():
    loaded = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "analysis.cli", "--help"], capture_output=True, text=True, cwd=ROOT, check=True
    )
    modules = {line.rpartition("|")[2].strip() for line in loaded.stderr.splitlines()}
    assert not modules & {"rich", "msgspec", "psutil", "yaml", "optuna", "hydra", "torch", "asyncio"}


def test_list_names_every_study_newest_first(tmp_path):
    StudyFactory(tmp_path, "old", created_at=1.0)
    whole_study(tmp_path, "new")
    done = study_cli(tmp_path, "list")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()[2:]] == ["new", "old"]


def test_list_without_a_study_is_no_error(tmp_path):
    done = study_cli(tmp_path, "list")
    assert (done.returncode, done.stdout) == (0, f"no study in {tmp_path}\n")


def test_list_leaves_out_a_study_that_cannot_be_read_and_says_so(tmp_path):
    StudyFactory(tmp_path, "good")
    StudyFactory(tmp_path, "bad").paths.record.write_text("{")
    done = study_cli(tmp_path, "list", "--json")
    assert [study["name"] for study in strict(done.stdout)] == ["good"]
    assert "left out" in done.stderr
    assert "Traceback" not in done.stderr


def test_list_json_holds_the_promised_fields(tmp_path):
    study = whole_study(tmp_path)
    (only,) = strict(study_cli(tmp_path, "list", "--json").stdout)
    assert set(only) >= STUDY_FIELDS
    assert only["counts"] == {"WAITING": 0, "RUNNING": 2, "COMPLETE": 12, "PRUNED": 6, "FAIL": 3}
    assert (only["best"]["number"], only["controller_alive"], only["path"]) == (6, True, str(study.paths.root))
    assert only["objective"]["metric"] == METRIC


def test_json_tells_the_result_as_a_configuration(tmp_path):
    study = StudyFactory(tmp_path)
    for number, (configuration, seed, value) in enumerate([("a", 0, 0.5), ("a", 1, 0.7), ("b", 0, 0.1), ("b", 1, 0.1)]):
        study.ended(number, configuration=configuration, seed=seed, values=(value,))
    (only,) = strict(study_cli(tmp_path, "list", "--json").stdout)
    result = only["result"]
    assert (result["best"]["configuration"], result["best"]["trials"], result["best"]["seeds"]) == ("a", [0, 1], [0, 1])
    assert (result["best"]["mean"], result["confidence"]) == (0.6, 0.9)
    assert [one["configuration"] for one in result["configurations"]] == ["a", "b"]
    assert only["best"]["number"] == 1


def test_json_is_strict_even_with_nan():
    assert strict(to_json({"value": math.nan, "values": (0.5, -math.inf), "params": {"lr": math.nan}})) == {
        "value": None,
        "values": [0.5, None],
        "params": {"lr": None},
    }


def test_show_json_holds_every_trial(tmp_path):
    whole_study(tmp_path)
    shown = strict(study_cli(tmp_path, "show", "kl-and-lr", "--json").stdout)
    assert [trial["number"] for trial in shown["trials"]] == list(range(23))
    assert all(set(trial) >= TRIAL_FIELDS for trial in shown["trials"])


def test_show_of_one_trial_as_json_has_its_fields(tmp_path):
    whole_study(tmp_path)
    trial = strict(study_cli(tmp_path, "show", "kl-and-lr", "4", "--json").stdout)
    assert set(trial) >= TRIAL_FIELDS
    assert (trial["state"], trial["reason"], trial["slot"]) == ("FAIL", "crashed", "cpu:0")


def test_show_prints_the_closing_and_the_trial(tmp_path):
    whole_study(tmp_path)
    assert "Best trial 6 of 23" in study_cli(tmp_path, "show", "kl-and-lr").stdout
    assert "CUDA out of memory" in study_cli(tmp_path, "show", "kl-and-lr", "11").stdout


def test_show_without_a_name_is_the_newest(tmp_path):
    StudyFactory(tmp_path, "older", created_at=1.0)
    StudyFactory(tmp_path, "newer", created_at=2.0)
    assert strict(study_cli(tmp_path, "show", "--json").stdout)["name"] == "newer"


def test_study_can_be_named_by_its_folder(tmp_path):
    study = StudyFactory(tmp_path / "here")
    assert strict(study_cli(tmp_path, "show", str(study.paths.root), "--json").stdout)["name"] == "kl-and-lr"


def test_outputs_stands_before_or_behind_the_command(tmp_path):
    StudyFactory(tmp_path / "x")
    for arguments in (["--outputs", str(tmp_path / "x"), "list", "--json"], ["list", "--json", "--outputs", str(tmp_path / "x")]):
        assert len(strict(study_cli(tmp_path, *arguments).stdout)) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["show", "kl-and-ls"], "did you mean 'kl-and-lr'?"),
        (["show", "zzz"], "there is kl-and-lr"),
        (["show", "kl-and-lr", "99"], "no trial 99 in study kl-and-lr: its trials are 0 to 22"),
        (["repro", "99"], "no trial 99"),
        (["stop", "kl-and-lr", "0"], "trial 0 is COMPLETE"),
        (["logs", "kl-and-lr", "7"], "no log"),
        (["watch", "kl-and-lr", "--interval", "0"], "above 0"),
        (["bogus"], "invalid choice"),
        ([], "required"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(tmp_path, arguments, words):
    study = whole_study(tmp_path)
    study.paths.trial(7).attempt(0).events.unlink()
    done = study_cli(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("verl-study: ")
    assert done.stderr.count("\n") == 1
    assert words in done.stderr


def test_unreadable_study_is_one_sentence(tmp_path):
    StudyFactory(tmp_path).paths.record.write_text("{")
    done = study_cli(tmp_path, "show", "kl-and-lr")
    assert done.returncode == 2
    assert done.stderr.startswith("verl-study: ")
    assert "Traceback" not in done.stderr


def test_closed_pipe_is_quiet(tmp_path):
    study = StudyFactory(tmp_path, n_trials=400)
    for number in range(400):
        study.ended(number, steps=1)
    shell = f"{shlex.join(command('show', 'kl-and-lr', '--json'))} | head -1"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, env=environment(tmp_path), timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("{\n", "")


def test_repro_drops_what_is_about_the_sweep_and_what_the_trial_sets(tmp_path):
    words = ("-m", "--config-name=grpo", f"{LR}=tag(log, interval(1e-6, 1e-4))", f"+{KL}=choice(0.001,0.01)", "hydra/sweeper/sampler=tpe",
             "hydra.sweeper.n_trials=30", "study.name=kl-and-lr", "data.train_files=[a b.parquet]")  # fmt: skip
    study = StudyFactory(tmp_path, command=words)
    study.waiting(7, params={LR: 1e-5, KL: 0.003})
    line = study_cli(tmp_path, "repro", "7").stdout
    assert shlex.split(line) == [
        "verl-sweep", "study.name=kl-and-lr-repro-7", "--config-name=grpo", "data.train_files=[a b.parquet]", f"{LR}=1e-05", f"{KL}=0.003",
    ]  # fmt: skip
    record, spec = records.read(study.paths.record, StudyRecord), records.read(study.paths.trial(7).spec, TrialSpec)
    assert line == repro_command(record, spec) + "\n"


def test_stop_of_a_trial_asks_its_running_attempt(tmp_path):
    study = whole_study(tmp_path)
    done = study_cli(tmp_path, "stop", "kl-and-lr", "21")
    assert "by force after 7 s" in done.stdout
    request = records.read(study.paths.trial(21).attempt(0).stop, StopRequest)
    assert (request.reason, request.grace_s) == (Reason.USER, 7.0)
    again = study_cli(tmp_path, "stop", "kl-and-lr", "21")
    assert (again.returncode, again.stderr) == (2, "verl-study: trial 21 was already asked to stop\n")


def test_stop_of_a_study_asks_its_controller(tmp_path):
    study = whole_study(tmp_path)
    assert study_cli(tmp_path, "stop", "kl-and-lr").returncode == 0
    assert records.read(study.paths.stop, StopRequest).reason is Reason.USER


def test_stop_of_a_study_without_a_controller_asks_the_attempts_that_live(tmp_path):
    study = whole_study(tmp_path)
    study.controller(DEAD)
    assert study_cli(tmp_path, "stop", "kl-and-lr").returncode == 0
    assert not study.paths.stop.exists(), "it would stop the next controller"
    assert study.paths.trial(22).attempt(0).stop.exists()


def test_stop_where_nobody_runs_is_refused(tmp_path):
    study = StudyFactory(tmp_path)
    study.running(0)
    done = study_cli(tmp_path, "stop", "kl-and-lr")
    assert (done.returncode, done.stderr) == (2, "verl-study: nobody runs study kl-and-lr: there is nothing to stop\n")
    assert study_cli(tmp_path, "stop", "kl-and-lr", "0").returncode == 2


def test_logs_are_the_engines_and_metrics_the_attempts(tmp_path):
    study = StudyFactory(tmp_path)
    attempt = study.running(0, steps=2)
    study.engine(0, attempt, log="hello\nworld\n")
    assert study_cli(tmp_path, "logs", "kl-and-lr", "0").stdout == "hello\nworld\n"
    lines = study_cli(tmp_path, "logs", "kl-and-lr", "0", "--metrics").stdout.splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2]


def test_logs_of_an_engine_that_serves_several_are_cut_where_the_events_say(tmp_path):
    study = StudyFactory(tmp_path)
    attempts = [study.running(number) for number in range(3)]
    study.engine(0, *attempts, log="zero\none\ntwo\n")
    done = study_cli(tmp_path, "logs", "kl-and-lr", "1")
    assert (done.stdout, "served trials 0, 1, 2" in done.stderr) == ("zero\none\ntwo\n", True)
    for attempt, offset in zip(attempts, (0, 5, 9), strict=True):
        attempt.events.unlink()
        records.append(attempt.events, "controller", "given_slot", slot="cpu:0", engine="engine-0", log_offset=offset)
    assert [study_cli(tmp_path, "logs", "kl-and-lr", str(number)).stdout for number in range(3)] == ["zero\n", "one\n", "two\n"]


def test_followed_logs_end_with_the_attempt(tmp_path):
    study = StudyFactory(tmp_path)
    attempt = study.running(0)
    engine = study.engine(0, attempt, log="first\n")
    follower = subprocess.Popen(command("logs", "kl-and-lr", "0", "-f"), stdout=subprocess.PIPE, text=True, env=environment(tmp_path))
    assert follower.stdout is not None
    with follower:
        assert follower.stdout.readline() == "first\n"
        with engine.log.open("a") as log:
            log.write("second\n")
        assert follower.stdout.readline() == "second\n"
        conclude(attempt)
        assert follower.wait(timeout=20) == 0


def test_watch_without_a_terminal_prints_a_line_a_change_until_the_study_ends(tmp_path):
    study = StudyFactory(tmp_path, n_trials=1)
    study.controller()
    attempt = study.running(0, steps=1)
    watcher = subprocess.Popen(
        command("watch", "kl-and-lr", "--interval", "0.1"), stdout=subprocess.PIPE, text=True, env=environment(tmp_path)
    )
    assert watcher.stdout is not None
    with watcher:
        assert watcher.stdout.readline().startswith("study kl-and-lr: 0 of 1 trials ended, 1 RUNNING")
        assert watcher.stdout.readline().startswith("trial 0 started on cpu:0")
        assert watcher.stdout.readline().startswith("trial 0 step 1/30")
        with attempt.metrics.open("ab") as metrics:
            metrics.write(metric_line(2, 0.5))
        assert watcher.stdout.readline() == f"trial 0 step 2/30 {METRIC}=0.5\n"
        other = StudyFactory(tmp_path / "elsewhere", n_trials=1)
        other.ended(0, values=(0.5,), steps=2)
        other.paths.trial(0).result.rename(study.paths.trial(0).result)
        assert watcher.stdout.read().splitlines() == [
            f"trial 0 COMPLETE at step 2: {METRIC}=0.5 after 6m40s",
            "best so far: trial 0 with 0.5",
            "study kl-and-lr: 1 of 1 trials ended (1 COMPLETE), best 0.5 (trial 0)",
        ]
        assert watcher.wait(timeout=20) == 0


def test_watch_gives_up_where_nobody_works_and_says_so(tmp_path):
    study = StudyFactory(tmp_path)
    study.running(0)
    done = study_cli(tmp_path, "watch", "kl-and-lr", "--interval", "0.05")
    assert done.returncode == 0
    assert "trial 0: nobody is running it" in done.stdout
    assert "nobody works on kl-and-lr any more" in done.stderr


def test_watch_is_left_with_ctrl_c(tmp_path):
    study = StudyFactory(tmp_path)
    study.controller()
    watcher = subprocess.Popen(
        command("watch", "kl-and-lr"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(tmp_path)
    )
    assert watcher.stdout is not None
    watcher.stdout.readline()
    watcher.send_signal(signal.SIGINT)
    _, errors = watcher.communicate(timeout=20)
    assert (watcher.returncode, errors) == (0, "")


def test_watch_on_a_terminal_ends_with_the_closing(tmp_path):
    study = StudyFactory(tmp_path, n_trials=1)
    study.ended(0, values=(0.5,))
    screen, terminal = pty.openpty()
    watcher = subprocess.Popen(command("watch"), stdout=terminal, env={**environment(tmp_path), "TERM": "xterm-256color", "COLUMNS": "100"})
    os.close(terminal)
    text = b""
    while chunk := read_terminal(screen):
        text += chunk
    os.close(screen)
    assert watcher.wait(timeout=20) == 0
    assert b"maximize the last value of" in text
    assert b"verl-study" in text


def read_terminal(screen: int) -> bytes:
    try:
        return os.read(screen, 65536)
    except OSError:  # Linux's word for the other end having closed
        return b""


def test_report_is_markdown_with_the_answer_first(tmp_path):
    study = whole_study(tmp_path)
    path = Path(study_cli(tmp_path, "report", "kl-and-lr").stdout.strip())
    assert path == study.paths.root / "report" / "report.html"
    text = path.with_suffix(".md").read_text()
    assert (
        text.index("Best is trial 6")
        < text.index("## Not resolved")
        < text.index("## Trials")
        < text.index("## Went wrong")
        < text.index("## Cost")
    )
    assert f"{N}: 8" in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len({line.count("|") for line in rows}) == 1
    assert len(rows) == 2 + 23


def test_report_of_several_objectives_and_of_no_trial_can_be_written(tmp_path):
    StudyFactory(tmp_path, "none")
    two = StudyFactory(tmp_path, "two", objectives=(Objective(metric=METRIC), Objective(metric="x|y")))
    two.ended(0, values=(0.5, 1.0), message="a | b")
    for name in ("none", "two"):
        assert study_cli(tmp_path, "report", name).returncode == 0


def test_help_answers_at_once():
    began = time.monotonic()
    subprocess.run(command("--help"), cwd=ROOT, capture_output=True, check=True)
    assert time.monotonic() - began < 5.0


def test_leet_says_where_there_is_nothing_to_show(tmp_path: Path) -> None:
    study = StudyFactory(tmp_path)
    ran = study_cli(tmp_path, "watch", study.name, "--leet")
    assert ran.returncode == 2
    assert ran.stderr.startswith("verl-study: study kl-and-lr has no offline W&B run yet")


def test_leet_wants_a_terminal_and_finds_the_runs_of_running_trials(tmp_path: Path) -> None:
    study = StudyFactory(tmp_path)
    run = study.running(0).root / "wandb" / "offline-run-20260101_000000-first-abc123-0000"
    run.mkdir(parents=True)
    ran = study_cli(tmp_path, "watch", study.name, "--leet")
    assert (ran.returncode, ran.stderr) == (2, "verl-study: watch --leet needs a terminal\n")
    assert (study.paths.wandb / run.name).resolve() == run
