"""How much each knob matters for the first objective, by Optuna's PED-ANOVA (Watanabe et al., arXiv 2304.10255).

Of its evaluators the one that needs no further package and takes milliseconds; evaluators disagree, so whoever shows it names it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import optuna

from harness.result import is_candidate
from harness.trial_status import TrialStatus
from harness.types import StudyRecord

EVALUATOR = "PED-ANOVA"
LEAST = 8  # complete trials, below which the top tenth that the evaluator looks at is a trial or none


def importance(record: StudyRecord, trials: Iterable[TrialStatus]) -> dict[str, float]:
    """Knob -> its share, which add up to 1; empty where too little is known."""
    distributions = {name: optuna.distributions.json_to_distribution(text) for name, text in record.space.items()}
    complete = [trial for trial in trials if is_candidate(trial) and trial.params.keys() >= distributions.keys()]
    if len(complete) < LEAST or not distributions:
        return {}
    study = optuna.create_study(direction=record.objectives[0].direction.value, storage=optuna.storages.InMemoryStorage())
    for trial in complete:
        params = {name: trial.params[name] for name in distributions}
        value = (trial.values or ())[0]
        study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=value))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an evaluator that is called experimental
        found = optuna.importance.get_param_importances(study, evaluator=optuna.importance.PedAnovaImportanceEvaluator())
    return {name: float(share) for name, share in found.items()}
