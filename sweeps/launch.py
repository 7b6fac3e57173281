"""Launches a study of verl trials, or one trial alone; shows it while it runs and closes with what it found."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

import optuna
from hydra.core.config_loader import ConfigLoader
from hydra.types import HydraContext
from hydra.utils import instantiate
from omegaconf import DictConfig

from harness import command, records
from harness.errors import ConfigError, HarnessError, StudyInterrupted
from harness.fingerprint import fingerprint
from harness.launchers.base import EngineLauncher
from harness.paths import StudyPaths
from harness.trackers.base import OfStudies, Paged, Preparing, refuse_missing
from harness.types import Reason, StudyRecord, TrialResult, TrialState
from sweeps import assets, damage, report, storage, study, study_run
from sweeps.budget import BudgetWatch
from sweeps.compose import Composer
from sweeps.config import Settings, interpolations, read_settings, with_hydra
from sweeps.defaults import defaults, refuse_untriable
from sweeps.loop import Loop, TooManyFailures
from sweeps.notes import trial_note
from sweeps.outages import Outages
from sweeps.plans.build import SEED, build_plan, terms_of
from sweeps.plans.once import Once
from sweeps.plans.plan import BasePlan, Terms
from sweeps.pruners.build import build_pruner
from sweeps.pruners.spending import resource_of
from sweeps.rehearse import refuse_oversubscribed, rehearse, reuse_note
from sweeps.samplers.build import build_sampler, refuse_objectives, remembers_nothing
from sweeps.space import Space
from sweeps.spectator import Spectator
from sweeps.sweeper import directions_of, is_exhaustive, number_of_trials, proposer, read_space
from sweeps.trials import TrialRunner

log = logging.getLogger("verl_sweep")


def launch_study(context: HydraContext, config: DictConfig, options: Mapping[str, Any], arguments: list[str]) -> float | None:
    """`verl-sweep -m`: returns the best value of a single objective. Raises ConfigError before anything starts."""
    settings = read_settings(config)
    _refuse_other_direction(options["direction"], settings)
    space, custom = read_space(options, arguments, context)
    paths = StudyPaths(settings.outputs / (settings.study or study.moment_name("study")))
    sampler = build_sampler(options["sampler"], space, trials_so_far=study.trials_so_far(paths), study_seed=settings.sampler_seed)
    refuse_objectives(sampler, len(settings.objectives))
    pruner, plan = build_pruner(options["pruner"]), build_plan(options["plan"])
    n_trials = options["n_trials"] if plan.full_runs else number_of_trials(options["n_trials"], space, sampler)
    return _Launch(
        config=config,
        loader=context.config_loader,
        settings=settings,
        space=space,
        paths=paths,
        sampler=sampler,
        pruner=pruner,
        plan=plan,
        n_trials=n_trials,
        options=options,
        custom=custom,
    ).run()


def launch_trial(loader: ConfigLoader, config: DictConfig, overrides: list[str]) -> float | None:
    """`verl-sweep`: one trial in the foreground, as a study of one point that has no knobs; returns its value."""
    settings = read_settings(config)
    named = settings.study is not None and any(line.startswith("study.name=") for line in overrides)
    goes_on = named and settings.study is not None and study.is_unfinished_trial(StudyPaths(settings.outputs / settings.study))
    taken = settings.study is None or not named or (settings.outputs / settings.study).exists()  # an experiment's name is its study's
    name = study.moment_name(settings.study or "trial") if settings.study is None or (taken and not goes_on) else settings.study
    options = {"n_trials": 1, "n_jobs": 1, "max_failure_rate": 1.0, "storage": None}
    paths = StudyPaths(settings.outputs / name)
    value = _Launch(
        config=with_hydra(config),
        loader=loader,
        settings=settings,
        space=Space(distributions={}, fixed=tuple(overrides)),
        paths=paths,
        sampler=optuna.samplers.RandomSampler(seed=0),
        pruner=optuna.pruners.NopPruner(),
        plan=Once(),
        n_trials=1,
        options=options,
        custom=None,
    ).run()
    result = records.read(paths.trial(0).result, TrialResult)
    if result.state is not TrialState.COMPLETE:
        raise HarnessError(f"the trial ended as {result.state} ({result.reason}): {result.message}")
    return value


class _Launch:
    """What one launch has decided, and its course."""

    def __init__(
        self,
        *,
        config: DictConfig,
        loader: ConfigLoader,
        settings: Settings,
        space: Space,
        paths: StudyPaths,
        sampler: optuna.samplers.BaseSampler,
        pruner: optuna.pruners.BasePruner,
        plan: BasePlan,
        n_trials: int,
        options: Mapping[str, Any],
        custom: Any,
    ) -> None:
        self.settings, self.space, self.paths, self.options = settings, space, paths, options
        self.sampler, self.pruner, self.plan, self.n_trials = sampler, pruner, plan, n_trials
        self.composer = Composer(loader, config)
        self.propose, self.custom = proposer(space, custom, config), custom is not None
        self.config = config

    def run(self) -> float | None:
        study.refuse_taken(self.paths)
        to_be_made = assets.missing(self.settings.assets)
        folders, cures = {asset.folder for asset in to_be_made}, self.settings.cures
        corners = rehearse(self.composer, self.space, self.settings.objectives, to_be_made=folders, cures=cures)
        replaced = self._replaced()
        default = replaced if self.settings.default_trial and self.space.distributions else None
        terms = self._terms(corners, default)
        launcher = engine_launcher(self.config)
        refuse_oversubscribed(launcher.slots(), corners[0], self.settings.rollout_share)
        tracker = instantiate(self.settings.tracking)
        if self.settings.trains:
            refuse_missing(tracker.loggers)
        asked = study.describe(
            self.settings,
            self.space,
            name=self.paths.name,
            n_trials=self.n_trials,
            url=self.options["storage"],
            slots=launcher.slots(),
            arguments=sys.argv[1:],
            sampler=type(self.sampler).__name__,
            pruner=type(self.pruner).__name__,
            plan=self.plan,
            total_steps=corners[0]["trainer"].get("total_training_steps"),
            defaults=replaced,
        )
        study.refuse_mismatch(self.paths, asked)
        if default is not None:
            refuse_untriable(default, self.space, self.sampler, custom=self.custom)
        url = self.options["storage"]
        kept = storage.database(url) if url else None
        if kept is not None:
            study.refuse_anothers(kept, asked.name, self.paths)
        assets.make(to_be_made, say=print)
        if to_be_made:  # now the files are there, and their own rules apply
            rehearse(self.composer, self.space, self.settings.objectives)
        with study.opened(asked, self.paths) as record, Spectator(self.paths) as spectator:
            if self.settings.trains and isinstance(tracker, Preparing):
                tracker.prepare(self.paths, spectator.say)
            if self.n_trials > 1 and isinstance(tracker, OfStudies) and (run := tracker.run_of_study(record)) is not None:
                study_run.start(self.paths, run)
            interrupts = _Interrupts(spectator.say)
            structures: dict[str, Mapping[str, Any]] = {fingerprint(tree): tree for tree in corners}

            def course(kept: optuna.storages.BaseStorage) -> float | None:
                handle = study.handle(record, self.paths, kept, sampler=self.sampler, pruner=self.pruner)
                damage.refuse(self.paths, {trial.number for trial in handle.get_trials(deepcopy=False) if trial.state.is_finished()})
                if interrupts.runner is None and self.settings.serves > 1 and self.n_trials > 1:
                    spectator.say(reuse_note(corners))
                interrupts.runner = TrialRunner(
                    self.paths,
                    record,
                    self.settings,
                    self.composer,
                    launcher,
                    tracker,
                    say=spectator.say,
                    structures=structures,
                    resource=resource_of(self.options.get("pruner")),
                )
                return self._course(record, handle, terms, interrupts.runner, spectator, interrupts)

            with interrupts.heeded():
                if kept is None:
                    return course(storage.journal(self.paths.journal))
                return Outages(url, self.settings.storage_s, interrupts, spectator.say).outlive(course, kept)

    def _course(
        self,
        record: StudyRecord,
        handle: optuna.Study,
        terms: Terms,
        runner: TrialRunner,
        spectator: Spectator,
        interrupts: _Interrupts,
    ) -> float | None:
        spectator.look()  # what was spent before this launch
        budget = BudgetWatch(self.settings.budget, spectator.seen, spectator.say)
        loop = Loop(
            study=handle,
            runner=runner,
            propose=self.propose,
            distributions=self.space.distributions,
            n_trials=self.n_trials,
            plan=self.plan,
            terms=terms,
            max_failure_rate=self.options["max_failure_rate"],
            at_once=min(self.options["n_jobs"], len(record.slots)),
            audience=spectator,
            fail_alike=self.settings.fail_alike,
            wish_to_stop=lambda: _wish(self.paths, interrupts, budget),
            wish_to_drain=lambda: interrupts.wish_to_drain() or budget.is_spent(),
            wish_to_conclude=budget.is_flat,
            sampler_for=self._sampler if remembers_nothing(self.sampler) else None,
            adopter=runner,
            note_on=lambda number, outcome: trial_note(self.paths, number, outcome, page=_page(runner, record, number)),
        )
        try:
            loop.run()
        except TooManyFailures as error:
            runner.leave()
            spectator.close_with_result()
            raise TooManyFailures(f"{error}; its log: verl-study logs {self.paths.name} {error.trial}", trial=error.trial) from error
        # After any other error the engines go on without us: the same command takes them over.
        runner.leave()
        study.write_results(handle, self.paths.results)
        whole = loop.is_whole
        if whole or budget.reason:
            records.replace(self.paths.record, replace(record, finished=whole, stopped="" if whole else budget.reason))
        spectator.close_with_result()
        if self.settings.report and record.knobs and interrupts.seen is None:
            report.write_and_show(self.paths, spectator.say)
        if interrupts.seen is not None and not whole:
            raise StudyInterrupted(f"{interrupts.seen.name}: interrupted; the same command goes on with the study")
        return _best_value(handle)

    def _replaced(self) -> Mapping[str, Any]:
        """What the knobs replace; a study that goes on keeps what it began with."""
        known = study.known_record(self.paths)
        return (known.defaults if known is not None else {}) or defaults(self.composer, self.space)

    def _terms(self, corners: Sequence[Mapping[str, Any]], default: Mapping[str, Any] | None) -> Terms:
        """Raises ConfigError where the plan cannot carry this study."""
        if not self.plan.full_runs:
            return Terms(budget=self.n_trials, default=default)
        return terms_of(
            self.plan,
            self.space,
            corners,
            n_trials=self.n_trials,
            objectives=len(self.settings.objectives),
            follow_seed=interpolations(self.composer.compose(self.space.fixed)).get(SEED, ()),
            exhaustive=is_exhaustive(self.sampler),
            default=default,
        )

    def _sampler(self, trial: int) -> optuna.samplers.BaseSampler:
        """A new one for each trial: what it proposes follows from the study's seed and its trials, whichever controller asks."""
        node = self.options.get("sampler")
        return self.sampler if node is None else build_sampler(node, self.space, trials_so_far=trial, study_seed=self.settings.sampler_seed)


def engine_launcher(config: DictConfig) -> EngineLauncher:
    """Where the engines of a study run. Raises ConfigError where this host lacks their GPUs, or the launcher starts none."""
    from hydra_plugins.verl_local_launcher import LocalLauncher

    launcher = instantiate(config.hydra.launcher)
    if not isinstance(launcher, LocalLauncher):
        raise ConfigError(
            f"hydra/launcher: {type(launcher).__name__} starts plain task functions only; verl trials need hydra/launcher=local"
        )
    return launcher.engine_launcher()


@dataclass(slots=True)
class _Interrupts:
    """What signals ask for. Ctrl-C: no more trials; again: the running ones stop at a step boundary; a third time: at once, by force.

    SIGTERM, a scheduler's warning, goes straight to the second. SIGHUP, a terminal that is gone, only ends the output.
    """

    say: Callable[[str], None]
    runner: TrialRunner | None = None
    seen: signal.Signals | None = None
    rung: int = 0
    _said: int = 0

    def __call__(self, number: int, _: FrameType | None) -> None:
        """Only notes it: what it came in the midst of has to be finished."""
        self.seen = signal.Signals(number)
        self.rung = self.rung + 1 if number == signal.SIGINT else max(self.rung + 1, _STOP)
        if self.rung > _STOP and self.runner is not None:
            self.runner.hurry()

    @contextmanager
    def heeded(self) -> Iterator[None]:
        before = {number: signal.signal(number, self) for number in (signal.SIGINT, signal.SIGTERM)}
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, _go_quiet)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def wish_to_drain(self) -> bool:
        self._explain()
        return self.rung >= _DRAIN

    def wish_to_stop(self) -> bool:
        self._explain()
        return self.rung >= _STOP

    def stop_all(self) -> StudyInterrupted:
        """Without a study to tell it to: how the trials ended is read from their records when it goes on."""
        assert self.seen is not None
        if self.runner is not None:
            self.runner.stop_all(Reason.INTERRUPTED, "the study was interrupted")
            self.runner.leave()
        return StudyInterrupted(f"{self.seen.name}: interrupted; the same command goes on with the study")

    def _explain(self) -> None:
        """Once for each rung that was reached."""
        if self.seen is None or self._said >= self.rung:
            return
        self._said = self.rung
        if self.rung == _DRAIN:
            self.say(f"{self.seen.name}: no more trials are started, the running ones go on; once more to stop them at their next step")
        elif self.rung == _STOP:
            self.say(f"{self.seen.name}: stopping the running trials at their next step; once more to end them at once")


_DRAIN, _STOP = 1, 2  # rungs


def _go_quiet(*_: object) -> None:
    """The study's log and its records go on; writing to a terminal that is gone would fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _wish(paths: StudyPaths, interrupts: _Interrupts, budget: BudgetWatch) -> Reason | None:
    if interrupts.wish_to_stop() or budget.is_over():
        return Reason.INTERRUPTED
    return Reason.INTERRUPTED if paths.stop.exists() else None  # as a signal would: the study can go on


def _page(runner: TrialRunner, record: StudyRecord, number: int) -> str | None:
    """Of the trial's run, where the tracker has pages."""
    if not isinstance(runner.tracker, Paged):
        return None
    return runner.tracker.page(record.name, command.run_id(record.name, record.created_at, number))


def _best_value(handle: optuna.Study) -> float | None:
    if len(handle.directions) > 1:
        return None
    complete = handle.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    return handle.best_value if complete else None


def _refuse_other_direction(option: Any, settings: Settings) -> None:
    wanted = [objective.direction for objective in settings.objectives]
    if directions_of(option) not in (wanted, wanted[:1]):
        raise ConfigError(
            "hydra.sweeper.direction: the direction of a verl study belongs to its objective; set objective.direction instead"
        )
