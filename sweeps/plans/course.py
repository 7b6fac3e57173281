"""A plan at work in one study: reads the trials from the storage for it, and writes there what it decided, before anything follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from harness.command import configuration_id
from harness.types import Reason, Role
from sweeps.plans.configurations import Configurations
from sweeps.plans.plan import BasePlan, Decision, Overview, Phase, Replicate, Standing, Terms

REASON = "reason"  # user attributes of an Optuna trial
MESSAGE = "message"
CONFIGURATION = "configuration"  # this and the next two: of a replicate; a trial without them is its configuration's first
SEED = "seed"
ROLE = "role"
GOAL = "goal"  # [step or null, number of restores], of a trial that was let go on from where its plan lets all begin
FIXED = "fixed_params"  # Optuna's own system attribute
UNCOUNTED = (Reason.INTERRUPTED.value, Reason.LOST.value)  # asked again by a study that goes on

_PHASES = {OptunaState.COMPLETE: Phase.COMPLETE, OptunaState.RUNNING: Phase.RUNNING}


class Course:
    """What a plan has decided so far in a study is what the storage says, and nothing else."""

    def __init__(self, study: optuna.Study, plan: BasePlan, terms: Terms) -> None:
        self.study, self.plan, self.terms = study, plan, terms
        self.has_goals = plan.first_goal(terms) is not None
        self._ended: dict[int, Standing] = {}  # these change no more
        # Where each point is tried once, a sampler sees the study itself.
        self._seen = Configurations(study, self.standings) if plan.full_runs else study

    def next(self, *, counted: int, unfinished: int, concluding: bool = False) -> Decision | None:
        return self.plan.next(self.overview(counted=counted, unfinished=unfinished, concluding=concluding))

    def hopeless(self, *, concluding: bool = False) -> Mapping[int, str]:
        return self.plan.hopeless(self.overview(concluding=concluding))

    def overview(self, *, counted: int = 0, unfinished: int = 0, concluding: bool = False) -> Overview:
        return Overview(self.terms, counted, unfinished, self.standings, concluding)

    def standings(self) -> Sequence[Standing]:
        return [self._ended.get(trial.number) or self._read(trial) for trial in self.study.get_trials(deepcopy=False)]

    def standing(self, trial: optuna.Trial) -> Standing:
        """Of one trial, now."""
        return self._read(self.study._storage.get_trial(trial._trial_id))

    def ask(self, distributions: Mapping[str, BaseDistribution], sampler: BaseSampler | None) -> optuna.Trial:
        """A new configuration's first trial: the default where it lacks, else by that sampler or the one that the study has."""
        if self.terms.default is not None and self.overview().lacks_default:
            return self._create(self.terms.default, {name: distributions[name] for name in self.terms.default}, {})
        self.study.sampler = self._seen.sampler = sampler or self.study.sampler
        trial = self._seen.ask(dict(distributions))
        trial.study = self.study  # whose pruner judges it
        return trial

    def complete(self, frozen: FrozenTrial, distributions: Mapping[str, BaseDistribution], sampler: BaseSampler | None) -> optuna.Trial:
        """A running trial's handle. Knobs that it was not given yet get the values that they would have got, were it asked for now."""
        self.study.sampler = self._seen.sampler = sampler or self.study.sampler
        self._seen._thread_local.cached_all_trials = None
        trial = completed(self._seen, frozen, distributions)
        trial.study = self.study
        return trial

    def let_go_on(self, trial: optuna.Trial, goal: int | None) -> None:
        """Notes a trial's next goal; from rest, it costs a restore."""
        self._note_goal(trial, goal, restores=self.standing(trial).restores + 1)

    def let_run_on(self, trial: optuna.Trial, goal: int | None) -> None:
        """The same for a trial that is not made to stop at all."""
        self._note_goal(trial, goal, restores=self.standing(trial).restores)

    def replicate(self, decision: Replicate) -> optuna.Trial:
        """A new trial of the same point, whole in one write."""
        model = self.study.get_trials(deepcopy=False)[decision.of]
        attributes = {CONFIGURATION: configuration_id(model.params), SEED: decision.seed, ROLE: decision.role.value}
        return self._create(model.params, model.distributions, attributes)

    def is_default(self, params: Mapping[str, Any]) -> bool:
        return self.terms.default is not None and configuration_id(params) == self.terms.default_configuration

    def was_given(self, trial: optuna.Trial) -> bool:
        """Whether no sampler has proposed its point: a replicate's, or the default."""
        return FIXED in self.study._storage.get_trial(trial._trial_id).system_attrs

    def _create(
        self, params: Mapping[str, Any], distributions: Mapping[str, BaseDistribution], attributes: Mapping[str, Any]
    ) -> optuna.Trial:
        template = optuna.trial.create_trial(
            state=OptunaState.RUNNING,
            params=dict(params),
            distributions=dict(distributions),
            user_attrs=dict(attributes),
            system_attrs={FIXED: dict(params)},  # as of an enqueued trial: no sampler takes it for its own
        )
        return optuna.Trial(self.study, self.study._storage.create_new_trial(self.study._study_id, template_trial=template))

    def _note_goal(self, trial: optuna.Trial, goal: int | None, *, restores: int) -> None:
        trial.set_user_attr(GOAL, [goal, restores])

    def _read(self, trial: FrozenTrial) -> Standing:
        standing = read(trial, self.plan, self.terms, maximize=self.study.direction == StudyDirection.MAXIMIZE)
        if trial.state.is_finished():
            self._ended[trial.number] = standing
        return standing


def read(trial: FrozenTrial, plan: BasePlan, terms: Terms, *, maximize: bool) -> Standing:
    """A trial of the storage as a plan sees it."""
    sign = 1 if maximize else -1
    attributes = trial.user_attrs
    role, configuration = Role(attributes.get(ROLE, Role.TUNING)), attributes.get(CONFIGURATION) or configuration_id(trial.params)
    pauses = role is Role.TUNING and configuration != terms.default_configuration
    goal, restores = attributes.get(GOAL) or (plan.first_goal(terms) if pauses else None, 0)
    reports = {step: sign * value for step, value in trial.intermediate_values.items() if step > 0}
    return Standing(
        number=trial.number,
        configuration=configuration,
        role=role,
        seed=attributes.get(SEED, terms.seed),
        phase=_phase(trial.state, attributes, reports, goal),
        reports=reports,
        value=sign * trial.values[0] if trial.state is OptunaState.COMPLETE else None,
        goal=goal,
        went_on=GOAL in attributes,
        restores=restores,
    )


def _phase(state: OptunaState, attributes: Mapping[str, Any], reports: Mapping[int, float], goal: int | None) -> Phase:
    if state is OptunaState.RUNNING and goal is not None and max(reports, default=0) >= goal:
        return Phase.PAUSED
    if attributes.get(REASON) in UNCOUNTED and state.is_finished():
        return Phase.VOID
    if attributes.get(REASON) == Reason.REFUSED.value:
        return Phase.REFUSED
    return _PHASES.get(state, Phase.ENDED)


def completed(study: optuna.Study, frozen: FrozenTrial, distributions: Mapping[str, BaseDistribution]) -> optuna.Trial:
    """Draws what a trial was not given yet.

    A sampler draws knob after knob: for those that are known it draws again, in vain, so that the others find its random numbers where they
    would have been.
    """
    trial = optuna.Trial(study, frozen._trial_id)
    if distributions.keys() <= frozen.params.keys():
        return trial
    for name, distribution in distributions.items():
        if name in frozen.params and not distribution.single() and name not in (trial.relative_params or {}):
            study.sampler.sample_independent(study, frozen, name, distribution)
        trial._suggest(name, distribution)
    return trial
