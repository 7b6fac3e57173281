"""THE LOOP: asks Optuna, fills slots one by one, reports what trials log, stops the weak ones, tells each result once.

It knows nothing of verl, processes or files: a `Runner` makes trials happen.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import optuna
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from harness.errors import HarnessError
from harness.types import Reason, Role, TrialState
from sweeps import notes
from sweeps.plans.course import MESSAGE, REASON, ROLE, SEED, UNCOUNTED, Course
from sweeps.plans.once import Once
from sweeps.plans.plan import BasePlan, Decision, Explore, Phase, Replicate, Resume, Terms
from sweeps.pruners import spending
from sweeps.runner import Adopter, Audience, Outcome, Proposal, Runner, Update


class TooManyFailures(HarnessError):
    """More trials failed than `max_failure_rate` allows; `trial` is the last of them."""

    def __init__(self, message: str, *, trial: int) -> None:
        super().__init__(message)
        self.trial = trial


_Asked = tuple[optuna.Trial, Proposal]


@dataclass(slots=True)
class Loop:
    """One study, from its next trial to its last."""

    study: optuna.Study
    runner: Runner
    propose: Callable[[optuna.Trial], Proposal]
    distributions: Mapping[str, optuna.distributions.BaseDistribution]
    n_trials: int
    max_failure_rate: float
    at_once: int
    audience: Audience
    fail_alike: int = 0  # the study ends when so many trials were the first to end and failed of one cause; 0: it goes on
    wish_to_stop: Callable[[], Reason | None] = lambda: None
    wish_to_drain: Callable[[], bool] = lambda: False  # whether no more trials are to be started
    wish_to_conclude: Callable[[], bool] = lambda: (
        False
    )  # whether no more configurations are to be started: the plan goes on with those there
    sampler_for: Callable[[int], optuna.samplers.BaseSampler] | None = None  # a trial's number -> the sampler that proposes it
    adopter: Adopter | None = None  # the runner itself, where it is one
    plan: BasePlan = field(default_factory=Once)
    terms: Terms | None = None  # of the plan; None: n_trials is all that it needs
    note_on: Callable[[int, Outcome], str] | None = None  # what Optuna's dashboard is to show beside a trial that has ended
    _waiting: list[_Asked] = field(default_factory=list)  # were asked for, and are to be started, or started again
    _running: dict[int, _Asked] = field(default_factory=dict)
    _paused: dict[int, _Asked] = field(default_factory=dict)
    _reported: dict[int, set[int]] = field(default_factory=dict)
    _doomed: set[int] = field(default_factory=set)  # asked to end for the pruner
    _pausing: set[int] = field(default_factory=set)  # asked to end for the plan
    _stopping: Reason | None = None
    _counted: int = 0
    _failed: int = 0
    _alike: list[str] = field(default_factory=list)  # of the trials that ended first; "" for one that did not fail
    _in_vain: str | None = None  # why the other trials would fail as well
    _last: int = 0  # the trial that showed it
    _course: Course = field(init=False)

    def __post_init__(self) -> None:
        self._course = Course(self.study, self.plan, self.terms or Terms(budget=self.n_trials))

    def run(self) -> None:
        """Returns when the plan wants no more, or all that ran has ended after a wish to stop or drain. Raises TooManyFailures."""
        self._counted, self._failed = len(counted(self.study)), len(failures(self.study))
        if self.adopter is not None:
            self._adopt(self.adopter)
        while True:
            self._heed_wish()
            last_ones = self._stopping is not None or self.wish_to_drain()
            if not last_ones:
                self._give_up_hopeless()
                self._fill()
            if not self._running and (last_ones or not (self._waiting or self._decision())):
                break  # with trials still wanted, a slot is only being cleared
            for update in self.runner.updates():
                self._take(update)
            self.audience.tick()
        self._check_failures()

    def stop(self, reason: Reason, message: str) -> None:
        """Asks every running trial to end and starts no other."""
        self._stopping = reason
        for number in self._running:
            self.runner.stop(number, reason, message)

    @property
    def stopped(self) -> Reason | None:
        return self._stopping

    @property
    def is_whole(self) -> bool:
        """Whether the plan wants no more of this study, and nothing is left unfinished."""
        return not (self._running or self._waiting or self._paused) and self._course.next(counted=self._counted, unfinished=0) is None

    def _heed_wish(self) -> None:
        """Between two rounds, when every running trial is one that the runner knows."""
        if self._stopping is None and (reason := self.wish_to_stop()) is not None:
            self.stop(reason, "the study was interrupted" if reason is Reason.INTERRUPTED else "the study was asked to stop")

    def _fill(self) -> None:
        while len(self._running) < self.at_once and self.runner.free() > 0 and (asked := self._next()) is not None:
            trial, proposal = asked
            self._running[trial.number] = asked
            outcome = self.runner.start(proposal)
            if outcome is None:
                self.audience.started(proposal)
            else:
                self._tell(trial.number, outcome)

    def _next(self) -> _Asked | None:
        """What is to be started now: what was asked for already, then what the plan says."""
        if self._waiting:
            return self._waiting.pop(0)
        match self._decision():
            case Explore():
                return self._ask()
            case Replicate() as decision:
                trial = self._course.replicate(decision)
                return trial, self._proposal(trial)
            case Resume(number=number, goal=goal) if number in self._paused:
                self._course.let_go_on(self._paused[number][0], goal)
                return self._paused.pop(number)
        return None  # where one is to go on that is still coming to rest: as soon as it has

    def _decision(self) -> Decision | None:
        unfinished = len(self._running) + len(self._waiting) + len(self._paused)
        return self._course.next(counted=self._counted, unfinished=unfinished, concluding=self.wish_to_conclude())

    def _ask(self) -> _Asked:
        sampler = self.sampler_for(len(self.study.get_trials(deepcopy=False))) if self.sampler_for is not None else None
        trial = self._course.ask(self.distributions, sampler)
        return trial, self._proposal(trial)

    def _proposal(self, trial: optuna.Trial) -> Proposal:
        """A replicate's has its own seed behind all that its point says."""
        proposal, attributes = self.propose(trial), trial.user_attrs
        if SEED not in attributes:
            return proposal
        seed = attributes[SEED]
        return replace(proposal, overrides=(*proposal.overrides, f"{SEED}={seed}"), seed=seed, role=Role(attributes[ROLE]))

    def _give_up_hopeless(self) -> None:
        if not self._paused:
            return
        for number, why in self._course.hopeless(concluding=self.wish_to_conclude()).items():
            if number in self._paused:
                self._running[number] = self._paused.pop(number)
                self.runner.stop(number, Reason.PRUNED, why)

    def _adopt(self, adopter: Adopter) -> None:
        """Every trial that was asked for and never told goes on from where it is."""
        for frozen in self.study.get_trials(deepcopy=False, states=(OptunaState.RUNNING,)):
            trial = self._course.complete(frozen, self.distributions, self.sampler_for(frozen.number) if self.sampler_for else None)
            proposal = self._proposal(trial)
            self._reported[trial.number] = set(frozen.intermediate_values)
            found = adopter.adopt(proposal)
            if found is None:
                self._rest(trial, proposal)
                continue
            self._running[trial.number] = (trial, proposal)
            self.audience.started(proposal)
            self._take(found)
        adopter.adopted()

    def _rest(self, trial: optuna.Trial, proposal: Proposal) -> None:
        """A trial that does not run is paused where it is at its goal, else it is to be started."""
        if self._course.standing(trial).phase is Phase.PAUSED:
            self._paused[trial.number] = (trial, proposal)
        else:
            self._waiting.append((trial, proposal))

    def _take(self, update: Update) -> None:
        if update.points:
            self._report(update)
        if update.outcome is not None:
            self._tell(update.number, update.outcome)

    def _report(self, update: Update) -> None:
        """Tells Optuna, the pruner and the plan; the first step at which the pruner wants the trial stopped ends the reports."""
        number, ended = update.number, update.outcome is not None
        if len(self.study.directions) > 1 or number in self._doomed:
            return  # Optuna has no pruning for several objectives
        (trial, proposal), known = self._running[number], self._reported.setdefault(number, set())
        last = max(known, default=-1)
        for step, value in update.points:
            if step not in known:
                known.add(step)
                last = max(last, step)
                if step in update.spent:  # before the report, with which the storage tells all that the pruner decides by
                    spending.note(trial, step, update.spent[step])
                trial.report(value, step)
            elif step < last:
                continue  # of the last one it may not be known what the pruner said
            if ended or self._stopping is not None or number in self._pausing:
                continue
            if proposal.role is Role.TUNING and not self._course.is_default(proposal.params) and trial.should_prune():
                self._doomed.add(number)
                pruner = type(self.study.pruner).__name__.removesuffix("Pruner")
                self.runner.stop(number, Reason.PRUNED, f"{value:.4g} at step {step}: too weak for the {pruner.lower()} pruner")
                return
            if self._is_at_rest(trial):
                self._pause(number, f"{value:.4g} at step {step}")

    def _is_at_rest(self, trial: optuna.Trial) -> bool:
        """Whether it has come to its goal, and is not what the slot that it would free would do next."""
        if not self._course.has_goals or self._course.standing(trial).phase is not Phase.PAUSED:
            return False
        match self._decision():
            case Resume(number=trial.number, goal=goal):
                self._course.let_run_on(trial, goal)
                return False
        return True

    def _pause(self, number: int, where: str) -> None:
        self._pausing.add(number)
        if self.plan.pauses:
            self.runner.stop(number, Reason.PAUSED, f"{where}: paused until it is among the best that have come so far")
        else:
            self.runner.stop(number, Reason.PRUNED, f"{where}: not among the best that have come so far")

    def _tell(self, number: int, outcome: Outcome) -> None:
        trial, proposal = (self._running if number in self._running else self._paused).pop(number)
        self._doomed.discard(number)
        self._pausing.discard(number)
        if outcome.state is TrialState.WAITING:
            if self._stopping is None:  # else it goes on with the study's next launch
                self._rest(trial, proposal)
            self.audience.ended(number, outcome)
            return
        self._reported.pop(number, None)
        if self.note_on is not None:
            notes.save(self.study, trial._trial_id, self.note_on(number, outcome))
        with proposed(self.study, given=self._course.was_given(trial)):
            tell(self.study, trial, outcome)
        self._counted += outcome.reason.value not in UNCOUNTED
        self._failed += outcome.state is TrialState.FAIL and outcome.reason.value not in UNCOUNTED
        self.audience.ended(number, outcome)
        self._compare(number, outcome)
        if self._stopping is None and (self._in_vain or self._too_many_failed()):
            self.stop(Reason.INTERRUPTED, "too many trials of the study failed")

    def _compare(self, number: int, outcome: Outcome) -> None:
        """What fails the first trials alike is no trial's own: none has shown that the study can run at all."""
        if self._counted > self.fail_alike or outcome.reason.value in UNCOUNTED:
            return
        self._alike.append(outcome.likeness if outcome.state is TrialState.FAIL else "")
        if len(self._alike) == self.fail_alike == self._counted and self._alike[0] and len(set(self._alike)) == 1:
            self._in_vain = f"the first {self.fail_alike} trials failed alike, and so would the others; trial {number}: {outcome.message}"
            self._last = number

    def _too_many_failed(self) -> bool:
        return self._failed > self.max_failure_rate * self.n_trials

    def _check_failures(self) -> None:
        if self._in_vain is not None:
            raise TooManyFailures(self._in_vain, trial=self._last)
        if self._too_many_failed():
            last = failures(self.study)[-1]
            raise TooManyFailures(
                f"{self._failed} of {self.n_trials} trials failed, more than max_failure_rate={self.max_failure_rate:g} allows; "
                f"trial {last.number}: {last.user_attrs.get(MESSAGE, 'no message')}",
                trial=last.number,
            )


def tell(study: optuna.Study, trial: optuna.Trial | FrozenTrial, outcome: Outcome) -> None:
    """Tells Optuna, once, with the reason beside the state where there is more to say than that the trial finished."""
    handle = trial if isinstance(trial, optuna.Trial) else optuna.Trial(study, trial._trial_id)
    if outcome.reason is not Reason.FINISHED:  # each attribute costs a journal as much as the telling
        handle.set_user_attr(REASON, outcome.reason.value)
    if outcome.message:
        handle.set_user_attr(MESSAGE, outcome.message)
    with contextlib.suppress(RuntimeError) if _ends_itself(study) else contextlib.nullcontext():
        if outcome.state is TrialState.COMPLETE:
            assert outcome.values is not None
            study.tell(trial.number, list(outcome.values))
        else:
            study.tell(trial.number, state=OptunaState[outcome.state.value])


@contextlib.contextmanager
def proposed(study: optuna.Study, *, given: bool) -> Iterator[None]:
    """A sampler is told of what it proposed: it looks for its own notes on a trial, which one that was given its point does not have."""
    sampler = study.sampler
    if given:
        study.sampler = optuna.samplers.RandomSampler()
    try:
        yield
    finally:
        study.sampler = sampler


def counted(study: optuna.Study) -> list[FrozenTrial]:
    """The ended trials that count towards `n_trials`: all but those that were interrupted."""
    return [
        trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished() and trial.user_attrs.get(REASON) not in UNCOUNTED
    ]


def failures(study: optuna.Study) -> list[FrozenTrial]:
    return [trial for trial in counted(study) if trial.state is OptunaState.FAIL]


def _ends_itself(study: optuna.Study) -> bool:
    """These samplers call Study.stop() from tell() once every point is tried, which Optuna allows inside Study.optimize() only."""
    return isinstance(study.sampler, optuna.samplers.GridSampler | optuna.samplers.BruteForceSampler)
