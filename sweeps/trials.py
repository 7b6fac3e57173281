"""Makes trials happen on engines: writes their specifications, hands attempts to engines on slots, follows their files to the end."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness import command, preflight, records
from harness.engine import was_taken
from harness.errors import ConfigError, NonFiniteMetric
from harness.expense import Resource
from harness.fingerprint import fingerprint
from harness.launchers.base import EngineLauncher
from harness.metrics import MetricReader
from harness.paths import AttemptPaths, StudyPaths, TrialPaths
from harness.trackers.base import Accompanying, Tracker
from harness.types import (
    AttemptResult,
    GuardVerdict,
    Reason,
    RunState,
    Slot,
    StopRequest,
    StudyRecord,
    TrialResult,
    TrialSpec,
    TrialState,
)
from sweeps import endings, failing, guarding, trial_records
from sweeps.compose import Composer
from sweeps.config import Settings, interpolations, trainer_config
from sweeps.disk import CheckpointKeeper, Paused
from sweeps.engines import EnginePool, LiveEngine
from sweeps.guarding import Guarding
from sweeps.live_trial import NOT_ITS_FAULT, LiveTrial, curve_of, excused, expense_of, next_attempt, update_of
from sweeps.runner import Outcome, Proposal, Update
from sweeps.trial_records import Ended

POLL_S = 0.1


@dataclass(slots=True)
class TrialRunner:
    """A `sweeps.loop.Runner` whose trials are supervised process trees."""

    study: StudyPaths
    record: StudyRecord
    settings: Settings
    composer: Composer
    launcher: EngineLauncher
    tracker: Tracker
    say: Callable[[str], None]
    structures: dict[str, Mapping[str, Any]]  # fingerprint -> a configuration of it: what trials may ask for
    resource: Resource = Resource.STEPS  # that the pruner counts in
    _engines: EnginePool = field(init=False)
    _trials: dict[int, LiveTrial] = field(default_factory=dict)  # by number
    _homeless: list[tuple[TrialSpec, TrialPaths, Mapping[str, object]]] = field(default_factory=list)  # have to wait for a slot to settle
    _given_up: dict[int, Outcome] = field(default_factory=dict)  # of those and of paused ones, by number
    _paused: dict[int, Paused] = field(default_factory=dict)  # hold a checkpoint and no slot
    _asked: Counter[str] = field(default_factory=Counter)  # fingerprint -> how many trials asked for it
    _keeper: CheckpointKeeper = field(init=False)
    _guarding: Guarding = field(init=False)
    _swept: frozenset[str] = field(init=False)  # dotted keys that the knobs set

    def __post_init__(self) -> None:
        acts_on = interpolations(self.composer.base)
        self._swept = frozenset(key for knob in self.record.knobs for key in (knob, *acts_on.get(knob, ())))
        self._keeper = CheckpointKeeper(
            self.study, self.record.objectives, self.settings.keep_best, self.settings.checkpoint_cap, say=self.say
        )
        self._guarding = Guarding(self.study, self.settings.guards)
        self._engines = EnginePool(self.study, self.settings, self.launcher, self.say)
        self._engines.adopt()

    def free(self) -> int:
        return max(0, len(self._engines.free()) - len(self._homeless))

    def start(self, proposal: Proposal) -> Outcome | None:
        """Writes the trial's specification and gives it a slot; a point that cannot be run is refused and costs none."""
        if proposal.number in self._given_up:
            return self._given_up.pop(proposal.number)
        paths = self.study.trial(proposal.number)
        try:
            config = self.composer.compose(proposal.overrides)
            tree = trainer_config(config)
            preflight.refuse(tree)
        except ConfigError as error:
            outcome = Outcome(state=TrialState.PRUNED, reason=Reason.REFUSED, message=str(error))
            trial_records.write_spec(self.study, proposal, seed=0)
            trial_records.write_result(paths, outcome)
            return outcome
        spec = trial_records.write_spec(self.study, proposal, seed=int(tree["data"].get("seed") or 0), config=config)
        self._paused.pop(proposal.number, None)
        self._launch(spec, paths, tree)
        return None

    def adopt(self, proposal: Proposal) -> Update | None:
        """The records say how far a trial has come."""
        paths = self.study.trial(proposal.number)
        told = records.read_if_there(paths.result, TrialResult)
        attempts = paths.attempts()
        if told is not None:
            outcome = Outcome(state=told.state, reason=told.reason, message=told.message, values=told.values)
            values = curve_of(self.record.objectives[0], attempts).values
            slot = Slot.named(told.slot) if told.slot else None
            expense = expense_of(self.resource, slot.gpu_count if slot else 0.0, attempts)
            return update_of(proposal.number, sorted(values.items()), expense, outcome)
        if not attempts or not attempts[-1].spec.exists():
            return None
        result = records.read_if_there(attempts[-1].result, AttemptResult)
        engine = self._engines.serving(attempts[-1])
        lost = (result is None and engine is None) or (result is not None and result.reason in NOT_ITS_FAULT)
        if lost and guarding.outcome(guarding.verdicts(attempts[-1])) is None:
            if result is not None and result.reason is Reason.PAUSED:
                self._note_pause(attempts[-1], result)
            return None
        tree = failing.mended(trainer_config(self.composer.compose(proposal.overrides)), attempts)
        trial = self._follow_from_now(records.read(paths.spec, TrialSpec), attempts[-1], tree, engine or self._engines.gone(attempts[-1]))
        trial.adopted = True
        trial.stop = records.read_if_there(attempts[-1].stop, StopRequest)
        if trial.trouble is not None:  # the verdict was written, and maybe no more
            self.stop(proposal.number, trial.trouble.reason, trial.trouble.message)
        return Update(number=proposal.number)

    def adopted(self) -> None:
        self._engines.end_strays()

    def updates(self) -> Iterable[Update]:
        """One round over all that runs; sleeps first, so that the files can grow."""
        time.sleep(POLL_S)
        waiting, self._homeless = self._homeless, []
        for spec, paths, tree in waiting:
            self._launch(spec, paths, tree)
        for number in list(self._given_up):
            yield Update(number=number, outcome=self._given_up.pop(number))
        for number in list(self._trials):
            yield self._follow(self._trials[number])
        if self.settings.standby:
            for trial in self._trials.values():
                if trial.steps:
                    self._engines.stand_by(trial.engine, trial.steps, self._likely())

    def stop(self, number: int, reason: Reason, message: str) -> None:
        trial = self._trials.get(number)
        if number in self._given_up:
            return  # its end is about to be told
        if number in self._paused:
            self._give_up_paused(number, reason, message)
            self._tidy()
        elif trial is None:
            self._homeless = [waiting for waiting in self._homeless if waiting[0].number != number]
            self._given_up[number] = Outcome(state=TrialState.WAITING, reason=Reason.INTERRUPTED, message=message)
        elif trial.stop is None or (trial.adopted and trial.stop.reason is Reason.INTERRUPTED):
            trial.adopted = False
            grace_s = self.settings.limits.stop_grace_s
            trial.stop = StopRequest(reason=reason, message=message, requested_at=time.time(), grace_s=grace_s)
            records.replace(trial.attempt.stop, trial.stop)

    def stop_all(self, reason: Reason, message: str) -> None:
        for number in self._trials:
            self.stop(number, reason, message)

    def hurry(self) -> None:
        """Ends every engine by force: the user is in haste."""
        self._engines.hurry()

    def leave(self) -> None:
        """Lets idle engines go, and waits until all that was started is gone."""
        self._engines.leave()

    # --- attempts ------------------------------------------------------------------------------------------------------------------

    def _launch(self, spec: TrialSpec, paths: TrialPaths, tree: Mapping[str, object]) -> None:
        """Gives the trial's next attempt to an engine; now, or in the first round that finds a slot for it."""
        attempt = next_attempt(paths)
        tree = failing.mended(tree, paths.attempts())
        if self._keeper.full:
            tree["trainer"] = {**tree["trainer"], "save_freq": -1}
        engine = self._place(spec, attempt, tree)
        if engine is None:
            self._homeless.append((spec, paths, tree))
        else:
            self._follow_from_now(spec, attempt, tree, engine)

    def _follow_from_now(self, spec: TrialSpec, attempt: AttemptPaths, tree: Mapping[str, object], engine: LiveEngine) -> LiveTrial:
        engine.busy = True
        trial = LiveTrial(
            spec=spec,
            paths=attempt.trial,
            config=dict(tree),
            engine=engine,
            attempt=attempt,
            metrics=MetricReader(attempt.metrics),
            curves=tuple(curve_of(objective, attempt.trial.attempts()[: attempt.number]) for objective in self.record.objectives),
            guards=self._guarding.watch(attempt),
            expense=expense_of(self.resource, engine.slot.gpu_count, attempt.trial.attempts()[: attempt.number]),
            warm=engine.served > 1,
            excused=excused(attempt),
            trouble=guarding.outcome(guarding.verdicts(attempt)),
        )
        self._trials[spec.number] = trial
        if isinstance(self.tracker, Accompanying):
            self.tracker.runs(trial.paths)
        return trial

    def _place(self, spec: TrialSpec, attempt: AttemptPaths, tree: Mapping[str, object]) -> LiveEngine | None:
        """Finds a slot and an engine for the attempt; the engine that takes it, or None where no slot is ready."""
        structure = fingerprint(tree)
        if self.settings.standby:
            self.structures.setdefault(structure, tree)
        while (slot := self._engines.choose(structure)) is not None and (engine := self._engines.engine_for(slot, structure, tree)):
            if self._hand_over(spec, attempt, tree, engine):
                self._asked[structure] += 1
                return engine
            # That engine has just closed its inbox: the next one is new.
        return None

    def _likely(self) -> list[tuple[str, Mapping[str, Any]]]:
        """The structures that trials may ask for, the most asked for first."""
        return sorted(self.structures.items(), key=lambda item: -self._asked[item[0]])

    def _hand_over(self, spec: TrialSpec, attempt: AttemptPaths, tree: Mapping[str, object], engine: LiveEngine) -> bool:
        """False where the engine does not take it any more."""
        run_id = command.run_id(self.study.name, self.record.created_at, spec.number)
        attempt_spec = command.attempt_spec(
            spec,
            attempt,
            tree,
            run_id=run_id,
            tracking=self.tracker.environment(spec, attempt, run_id=run_id),
            loggers=tuple(self.tracker.loggers),
            scratch=command.scratch_folder(self.study, engine.paths.number),
            object_store_mib=self.settings.resources.object_store_mib,
        )
        attempt.root.mkdir(exist_ok=True)
        records.replace(attempt.spec, attempt_spec)
        offset = engine.paths.log.stat().st_size if engine.paths.log.exists() else 0
        given = {"slot": engine.slot.name, "engine": engine.paths.number, "served": engine.served, "log_offset": offset}
        records.append(attempt.events, "controller", "given_slot", **given)
        return self._engines.hand_over(engine, attempt)

    def _was_never_taken(self, trial: LiveTrial) -> bool:
        """Whether an engine that had worked before died with the attempt still in its inbox; a new one is the attempt's own trouble."""
        return (trial.engine.served > 1 or trial.adopted) and not was_taken(trial.attempt)

    def _hand_over_again(self, trial: LiveTrial) -> None:
        trial.engine.busy = False
        del self._trials[trial.spec.number]
        self._launch(trial.spec, trial.paths, trial.config)

    # --- following -----------------------------------------------------------------------------------------------------------------

    def _follow(self, trial: LiveTrial) -> Update:
        """State first, then metrics: what was written before the result is never missed."""
        result = records.read_if_there(trial.attempt.result, AttemptResult)
        if result is None and not self._engines.is_alive(trial.engine):
            result = records.read_if_there(trial.attempt.result, AttemptResult)
            if result is None and trial.stop is None and self._was_never_taken(trial):
                self._hand_over_again(trial)
                return Update(number=trial.spec.number)
            result = result or endings.lost(trial.steps)
        points = self._read(trial)
        if result is None or not self._is_settled(trial, result):
            return update_of(trial.spec.number, points, trial.expense)
        if self._try_again(trial, result):
            return update_of(trial.spec.number, points, trial.expense)
        return update_of(trial.spec.number, points, trial.expense, self._end(trial, result))

    def _read(self, trial: LiveTrial) -> Sequence[tuple[int, float]]:
        """New values of the first objective; a value that is not finite stops the trial."""
        new: list[tuple[int, float]] = []
        for point in trial.metrics.new_points():
            trial.steps = max(trial.steps, point.step)
            if trial.expense is not None:
                trial.expense.add(point)
            try:
                values = [curve.add(point) for curve in trial.curves]
            except NonFiniteMetric as error:
                if trial.trouble is None:
                    trial.trouble = Outcome(state=TrialState.FAIL, reason=Reason.NON_FINITE, message=str(error))
                    self.stop(trial.spec.number, Reason.NON_FINITE, str(error))
                break
            if values[0] is not None:
                new.append((point.step, values[0]))
            self._heed(trial, trial.guards.add(point))
        if trial.metrics.left_out and not trial.told_of_lines:
            trial.told_of_lines = True
            path = trial.metrics.path.relative_to(self.study.root)
            self.say(f"trial {trial.spec.number}: {path} holds lines that are no metrics; they are left out")
        return new

    def _heed(self, trial: LiveTrial, verdicts: Sequence[GuardVerdict]) -> None:
        """Of a trial that is ending anyway, guards have nothing to say."""
        if not verdicts or trial.trouble is not None or (trial.stop is not None and not trial.stop.reason.goes_on):
            return
        guarding.keep(trial.attempt, verdicts)
        for verdict in verdicts:
            trial.guards.dismiss(verdict.code)
        trial.trouble = guarding.outcome(verdicts)
        if trial.trouble is not None:
            self.stop(trial.spec.number, trial.trouble.reason, trial.trouble.message)
        else:
            self.say(f"trial {trial.spec.number}: {verdicts[0].message}; it goes on")

    def _is_settled(self, trial: LiveTrial, result: AttemptResult) -> bool:
        """Whether all is known of how the attempt ended: one that failed is looked into when its engine is gone and the log is whole."""
        if result.state is not RunState.FAILED or result.reason is Reason.UNTRUSTED:
            return True
        if not trial.engine.spent:  # in which an attempt failed: not trusted again
            trial.engine.spent = True
            trial.engine.paths.leave.touch()
        if self._engines.is_alive(trial.engine):
            return False
        trial.failure = failing.examine(trial.attempt, trial.engine.paths, result, trial.config, self._swept)
        return True

    def _try_again(self, trial: LiveTrial, result: AttemptResult) -> bool:
        if trial.adopted and result.reason in (Reason.LOST, Reason.INTERRUPTED):  # with the controller of before
            retry = trial.trouble is None
        else:
            retry = trial.stop is None and self._is_hopeful(trial, result)
        if not retry:
            return False
        if trial.failure is not None and trial.failure.repair:
            why, how = failing.sentence(trial.failure, result.message), failing.changes(trial.failure)
            self.say(f"{trial.paths.root.name}: {why}; again with {how}")
        if result.state is RunState.FAILED or result.forced:
            self._engines.end(trial.engine)  # one in which an attempt failed is not trusted again
        trial.engine.busy = False
        del self._trials[trial.spec.number]
        self._launch(trial.spec, trial.paths, trial.config)
        return True

    def _is_hopeful(self, trial: LiveTrial, result: AttemptResult) -> bool:
        """Whether another attempt may do what this one failed to do."""
        if result.state is not RunState.FAILED or trial.trouble is not None:
            return False
        # Only an engine that served others before says that it does not trust itself.
        hopeful = trial.failure is not None and (trial.failure.kind.transient or bool(trial.failure.repair))
        counted = trial.attempt.number + 1 - trial.excused
        return result.reason is Reason.UNTRUSTED or (hopeful and counted < self.settings.attempts)

    def _end(self, trial: LiveTrial, result: AttemptResult) -> Outcome:
        outcome = trial.trouble or endings.outcome(trial.curves, result, trial.failure)
        if trial.stop is not None and trial.stop.reason is Reason.PAUSED and self._is_hopeful(trial, result):
            outcome = Outcome(state=TrialState.WAITING, reason=Reason.PAUSED, message=trial.stop.message)
        engine = trial.engine
        engine.busy = False
        if result.state is RunState.FAILED or result.forced:
            engine.spent = True  # its supervisor is ending it
            engine.paths.leave.touch()
        if outcome.state is not TrialState.WAITING:
            kind = trial.failure.kind if trial.failure is not None and outcome.state is TrialState.FAIL else None
            ended = Ended(attempt=trial.attempt, slot=engine.slot, steps=trial.steps, warm=trial.warm, failure=kind)
            trial_records.write_result(trial.paths, outcome, ended)
        elif outcome.reason is Reason.PAUSED:
            self._note_pause(trial.attempt, result)
        self._tell_end(trial.paths)
        del self._trials[trial.spec.number]
        self._tidy()
        return outcome

    def _tell_end(self, paths: TrialPaths) -> None:
        if isinstance(self.tracker, Accompanying):
            self.tracker.ended(paths)

    # --- pauses --------------------------------------------------------------------------------------------------------------------

    def _note_pause(self, attempt: AttemptPaths, result: AttemptResult) -> None:
        curve = curve_of(self.record.objectives[0], attempt.trial.attempts()).values
        self._paused[attempt.trial.number] = Paused(steps=result.steps, value=curve[max(curve)] if curve else None)

    def _give_up_paused(self, number: int, reason: Reason, message: str) -> None:
        """It never had another slot, so nobody else tells how it ended."""
        del self._paused[number]
        paths = self.study.trial(number)
        outcome = Outcome(state=TrialState.PRUNED, reason=reason, message=message)
        trial_records.write_result(paths, outcome, trial_records.last_slot(paths))
        self._tell_end(paths)
        self._given_up[number] = outcome

    def _tidy(self) -> None:
        """Where the checkpoints' cap is reached, paused trials are given up, the least promising first."""
        while numbers := self._keeper.tidy(self._paused):
            for number in numbers:
                self._give_up_paused(number, Reason.PRUNED, "paused, and its checkpoint had to make room (checkpoints.cap_gib)")
            self._keeper.remove(numbers)
