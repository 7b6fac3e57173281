"""Whatever a user gets wrong is one sentence on stderr and exit status 2, before anything starts and before anything is written."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import commands
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, distribution_to_json

from harness import records
from harness.paths import StudyPaths
from harness.types import Objective, StudyRecord

DRILL = ("-m", "experiment=drill")
PLAN = (*DRILL, "hydra/sweeper/plan=halving")
ACCURACY = Objective(metric="val-core/*/acc/mean@1")

Refused = Callable[..., str]


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], fresh_hydra: None) -> Refused:
    """Runs `verl-sweep` in this process, for speed; returns its sentence."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VERL_SWEEP_OUTPUTS", raising=False)
    monkeypatch.setenv("VERL_SWEEP_ASSETS", str(tmp_path / "assets"))
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")

    def run(*arguments: str) -> str:
        before = commands.listing(tmp_path)
        monkeypatch.setattr(sys, "argv", ["verl-sweep", *arguments])
        with pytest.raises(SystemExit) as caught:
            importlib.import_module("sweeps.app").main()
        out, err = capfd.readouterr()
        return the_sentence(caught.value.code, out, err, before, tmp_path)

    return run


def the_sentence(status: object, out: str, err: str, before: list[str], folder: Path) -> str:
    """Of a refusal that is one, and that changed nothing."""
    assert status == 2
    assert out == ""
    assert err.startswith("verl-sweep: ")
    assert err.count("\n") == 1, err
    assert commands.listing(folder) == before
    return err.removeprefix("verl-sweep: ").rstrip("\n")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        pytest.param((*DRILL, "policy=tyny"), "policy: there is no option 'tyny'; did you mean tiny?", id="option of a group"),
        pytest.param(
            (*DRILL, "hydra/sweeper/sampler=tep"), "hydra/sweeper/sampler: there is no option 'tep'; did you mean tpe?", id="sampler"
        ),
        pytest.param(
            (*DRILL, "actor_rollout_ref.actor.optim.lrr=1"),
            "actor_rollout_ref.actor.optim.lrr: there is no such key in the configuration; did you mean actor_rollout_ref.actor.optim.lr",
            id="key",
        ),
        pytest.param(
            ("experiment=drill", "actor_rollout_ref.actor.optim.lrr=1"),
            "actor_rollout_ref.actor.optim.lrr: there is no such key in the configuration; did you mean actor_rollout_ref.actor.optim.lr",
            id="key of one trial alone",
        ),
        pytest.param(
            (*DRILL, "actor_rollout_ref.actor.optim.lrr=choice(1e-6,1e-5)"),
            "actor_rollout_ref.actor.optim.lrr: there is no such key in the configuration; did you mean actor_rollout_ref.actor.optim.lr",
            id="swept key",
        ),
        pytest.param(
            (*DRILL, "rollout_m=choice(4,8)"),
            "rollout_m: there is no such key in the configuration; did you mean rollout_n",
            id="swept knob",
        ),
        pytest.param(("-m",), "the search space is empty: sweep one key at least", id="nothing swept"),
        pytest.param((*DRILL, "lr=interval(1e-3,1e-6)"), "lr: expected interval(low, high) with low < high", id="low above high"),
        pytest.param((*DRILL, "lr=tag(log,interval(0,1))"), "lr: expected tag(log, interval(low, high)) with low > 0", id="log of 0"),
        pytest.param((*DRILL, "lr=choice(1e-6,nan)"), "lr: nan is no number to choose", id="nan as a choice"),
        pytest.param((*DRILL, "data=choice({seed:1},{seed:2})"), "data: {seed:1} cannot be a choice", id="choice of mappings"),
        pytest.param((*DRILL, "hydra.verbose=true,false"), "Sweeping over Hydra's configuration is not supported", id="sweep over Hydra"),
        pytest.param((*DRILL, "engine.preload=yes"), "engine.preload: expected auto, always or never, got 'yes'", id="preload"),
        pytest.param(
            (*DRILL, "objective.direction=maximise"),
            "objective.direction: expected one of maximize, minimize, got 'maximise'",
            id="direction",
        ),
        pytest.param(
            (*DRILL, "objective.metric=critic/score/meen"),
            "objective.metric: verl logs no metric 'critic/score/meen'; did you mean critic/score/mean?",
            id="metric",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            (*DRILL, "trainer.test_freq=-1"),
            "objective.metric: val-core/*/acc/mean@1 is never logged without validation; set trainer.test_freq to 1",
            id="no validation",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            (*DRILL, "hydra.sweeper.n_trials=0"), "hydra.sweeper.n_trials: expected a whole number, 1 or more, got 0", id="no trials"
        ),
        pytest.param(
            (*DRILL, "hydra.sweeper.n_trials=-1"), "hydra.sweeper.n_trials: expected a whole number, 1 or more, got -1", id="negative"
        ),
        pytest.param(
            ("-m", "lr=choice(1e-6,1e-5)", "trainer.test_freq=1", "actor_rollout_ref.model.path=/no/such"),
            "actor_rollout_ref.model.path: there is no folder /no/such",
            id="model's folder",
        ),
        pytest.param(
            (*DRILL, "actor_rollout_ref.actor.use_kl_loss=false"),
            "kl_coef would change nothing: actor_rollout_ref.actor.kl_loss_coef: has no effect: the loss has no KL term",
            id="dead knob",
        ),
        pytest.param(
            (*DRILL, "study.name='my study'"), "study.name: expected up to 64 letters, digits, '.', '_' or '-', got 'my study'", id="name"
        ),
        pytest.param((*DRILL, "study.name=../elsewhere"), "study.name: expected up to 64 letters", id="name that leads elsewhere"),
        pytest.param(
            (*DRILL, "+hydra.sweeper.sampler.sigma=1"), "hydra/sweeper/sampler: TPESampler has no parameter 'sigma'", id="sampler's key"
        ),
        pytest.param(
            (*DRILL, "hydra.sweeper.sampler.sigma=1"), "hydra.sweeper.sampler.sigma: there is no such key", id="sampler's new key"
        ),
        pytest.param(
            (*PLAN, "seed=choice(1,2)"),
            "seed: the plan Halving chooses seeds itself; do not sweep it, or use",
            id="plan with swept seed",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            (*PLAN, "actor_rollout_ref.rollout.seed=choice(1,2)"),
            "actor_rollout_ref.rollout.seed: the plan",
            id="plan, verl's seed",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            (*PLAN, "data.seed=3"),
            "data.seed: the plan Halving sets other seeds by the knob seed",
            id="plan with fixed seed",
            marks=pytest.mark.slow,
        ),
        pytest.param((*PLAN, "steps=choice(10,20)"), "steps: the plan Halving counts full runs, which have one length", id="plan, lengths"),
        pytest.param(
            (*PLAN, "trainer.total_training_steps=null"),
            "trainer.total_training_steps: the plan Halving needs",
            id="plan, no length",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            (*PLAN, "objective.metric=[val-core/*/acc/mean@1,critic/score/mean]"),
            "hydra/sweeper/plan: the plan Halving ranks trials by one objective, and there are 2",
            id="plan with two objectives",
        ),
        pytest.param(
            (*DRILL, "hydra/sweeper/sampler=surrogate", "objective.metric=[val-core/*/acc/mean@1,critic/score/mean]"),
            "hydra/sweeper/sampler: SurrogateSampler ranks trials by one objective, and there are 2; take nsgaii or motpe",
            id="surrogate with two objectives",
        ),
        pytest.param(
            (*PLAN, "hydra.sweeper.n_trials=1"), "hydra.sweeper.n_trials: one full run leaves nothing to choose", id="plan, too little"
        ),
        pytest.param(
            (*PLAN, "hydra.sweeper.plan.rungs=[0.6,0.3]"), "hydra/sweeper/plan: sweeps.plans.halving.Halving refuses its", id="plan's rungs"
        ),
        pytest.param(
            (*DRILL, "study.default_trial=true", "rollout_n=choice(2,4)"),
            "rollout_n: its default 8 lies outside choice(2,4); widen that, or leave study.default_trial false",
            id="default outside its range",
        ),
        pytest.param(
            (*PLAN, "study.default_trial=true", "hydra.sweeper.n_trials=2"),
            "hydra.sweeper.n_trials: beside the default 2 full runs leave nothing to choose from; 3 is the least",
            id="plan, too little beside the default",
            marks=pytest.mark.slow,
        ),
        pytest.param((*DRILL, "study.default_trial=1"), "study.default_trial: expected true or false, got 1", id="default, no or yes"),
        pytest.param((*DRILL, "hydra/sweeper/plan=havling"), "hydra/sweeper/plan: there is no option 'havling'; did you", id="plan's name"),
        pytest.param((*DRILL, "hydra.sweeper.storage=nosql://x"), "hydra.sweeper.storage: cannot open nosql://x", id="storage"),
        pytest.param(
            (*DRILL, "hydra/launcher=basic"),
            "hydra/launcher: this one starts plain task functions only",
            id="launcher",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            (*DRILL, "resources.gpus_per_slot=1", "resources.gpus=[]"), "resources.gpus_per_slot: 1 asked for a trial, 0 there", id="GPUs"
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(refused: Refused, arguments: tuple[str, ...], sentence: str) -> None:
    assert refused(*arguments).startswith(sentence)


def known_study(folder: Path, **changes: object) -> StudyPaths:
    """A study named drill that swept a learning rate, as its record says."""
    study = StudyPaths(folder / "outputs" / "drill")
    study.root.mkdir(parents=True)
    asked: dict[str, object] = {
        "objectives": (ACCURACY,),
        "space": {
            "kl_coef": distribution_to_json(FloatDistribution(1e-4, 1e-1, log=True)),
            "lr": distribution_to_json(FloatDistribution(1e-6, 1e-3, log=True)),
            "rollout_n": distribution_to_json(CategoricalDistribution((4, 8, 16, 32))),
        },
        "storage": "journal",
    } | changes
    rest = {
        "created_at": 0.0,
        "knobs": (),
        "n_trials": 1,
        "seed": 0,
        "slots": (),
        "command": (),
        "sampler": "",
        "pruner": "",
        "versions": {},
    }
    records.write(study.record, StudyRecord(name="drill", **{**rest, **asked}))  # type: ignore[arg-type]
    return study


@pytest.mark.parametrize(
    ("arguments", "changes", "difference"),
    [
        (("lr=tag(log,interval(1e-6,1e-4))",), {}, "lr: was tag(log, interval(1e-06, 0.001)), now tag(log, interval(1e-06, 0.0001))"),
        (("objective.reduction=best",), {}, "objective: was max val-core/*/acc/mean@1 (last), now max val-core/*/acc/mean@1 (best)"),
        ((), {"storage": "sqlite:///study.db"}, "hydra.sweeper.storage: was sqlite:///study.db, now journal"),
    ],
)
def test_a_study_of_that_name_with_another_question_is_refused_with_the_difference(
    refused: Refused, tmp_path: Path, arguments: tuple[str, ...], changes: dict[str, object], difference: str
) -> None:
    known_study(tmp_path, **changes)
    assert refused(*DRILL, *arguments) == f"study.name: drill exists and asks another question ({difference}); give this one another name"


def test_a_record_that_cannot_be_read_is_refused_with_its_path(refused: Refused, tmp_path: Path) -> None:
    known_study(tmp_path).record.write_text("schema: 99\nrecord: StudyRecord\n")
    assert refused(*DRILL).startswith("outputs/drill/study.yaml: expected StudyRecord of schema 1, found StudyRecord of schema 99")


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_refused_before_the_study_has_a_folder(refused: Refused, tiny_disk: Path) -> None:
    sentence = refused(*DRILL, f"paths.outputs={tiny_disk}/outputs")
    assert sentence == f"paths.outputs: {tiny_disk} has 1 MiB left on its disk, a study needs 200 MiB at least"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_not_writable_is_refused(refused: Refused, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert refused(*DRILL, f"paths.outputs={locked}").startswith(f"paths.outputs: {locked} is not writable")


# --- the same as real processes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((*DRILL, "hydra.sweeper.n_trials=0"), "hydra.sweeper.n_trials: expected a whole number"),
        (("experiment=drill", "actor_rollout_ref.actor.use_kl_loss=false", "kl_coef=0.1"), "kl_coef would change nothing"),
    ],
)
def test_a_real_process_says_it_too(tmp_path: Path, arguments: tuple[str, ...], sentence: str) -> None:
    before = commands.listing(tmp_path)
    ran = commands.run("verl-sweep", *arguments, cwd=tmp_path)
    assert the_sentence(ran.returncode, ran.stdout, ran.stderr, before, tmp_path).startswith(sentence)


def test_without_verl_the_cure_is_named(tmp_path: Path) -> None:
    before = commands.listing(tmp_path)
    # None in sys.modules is what find_spec takes for a package that is not installed.
    script = f"import sys; sys.modules['verl'] = None; sys.argv = ['verl-sweep', *{DRILL!r}]; from sweeps.app import main; main()"
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=commands.environment(tmp_path), capture_output=True, text=True, check=False
    )
    sentence = the_sentence(ran.returncode, ran.stdout, ran.stderr, before, tmp_path)
    assert sentence.startswith(
        "verl is not installed in this environment; install the extra that fits the machine: pip install 'verl-sweep[gpu]'"
    )
