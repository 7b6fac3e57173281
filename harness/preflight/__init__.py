"""Says before anything starts what verl, or its workers minutes later, would refuse or silently distort, and the nearest legal value.

Read from verl 0.9.1, without importing it. A rule whose keys are absent, or of another type than it reads, does not apply.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from harness.errors import PreflightError
from harness.preflight import algorithm, batches, files, models, placement, ranges, training
from harness.preflight.dead import dead_knobs
from harness.preflight.finding import Finding, Severity
from harness.preflight.view import Absent, View

__all__ = ["Finding", "Severity", "check", "dead_knobs", "refuse", "steps", "validates"]

Rule = Callable[[View], Iterator[Finding]]

# In the order in which a reader would mend them: what is missing, what is no number, what does not fit.
RULES: tuple[Rule, ...] = (
    training.rollout_name,
    files.model_path,
    models.hub,
    models.architecture,
    models.weights,
    models.tokenizer,
    models.chat_template,
    models.remote_code,
    models.vocabulary,
    models.images,
    files.data_files,
    files.reward_function,
    training.strategy,
    ranges.numbers,
    ranges.betas,
    placement.rollout_over_gpus,
    placement.rollout_over_nodes,
    placement.pipeline_parallel,
    placement.expert_parallel,
    placement.sequence_parallel,
    placement.sharding,
    batches.rows_over_gpus,
    batches.batch_feeds_workers,
    batches.mini_within_batch,
    batches.mini_over_workers,
    batches.critic_mini_batch,
    batches.padded_batch,
    batches.micro_batch_is_set,
    batches.critic_micro_batch,
    batches.micro_divides,
    batches.same_batching,
    batches.tokens_fit,
    batches.generation_batch,
    training.context,
    training.lengths,
    algorithm.estimator,
    algorithm.lone_rollout,
    algorithm.policy_loss,
    algorithm.aggregation,
    algorithm.kl,
    algorithm.filter_groups,
    algorithm.rollout_correction,
    algorithm.bypass,
    training.schedule,
    training.warmup,
    training.lora,
    training.validation,
    training.reward,
    training.overlong,
    training.trainer_mode,
    training.separate_async,
    training.off_policy,
    training.resume,
    training.warm_critic,
)


def check(config: Mapping[str, Any]) -> tuple[Finding, ...]:
    """Every finding about a resolved verl config, in the order of RULES; one key is refused at most once."""
    view = View(config)
    found: dict[tuple[str, Severity], Finding] = {}
    for rule in RULES:
        for finding in _apply(rule, view):
            found.setdefault((finding.key, finding.severity), finding)
    return tuple(finding for finding in found.values() if not _mended_anyway(finding, found))


def refuse(config: Mapping[str, Any]) -> None:
    """Raises PreflightError with every REFUSE finding, one a line."""
    findings = [finding for finding in check(config) if finding.severity is Severity.REFUSE]
    if findings:
        raise PreflightError("\n".join(finding.message for finding in findings), findings=findings)


def validates(config: Mapping[str, Any], *, before_training: bool = False) -> bool:
    """Whether a val-* metric of a trained model will ever be logged; `before_training` counts step 0, the untrained model, too."""
    view = View(config)
    frequency = view.find("trainer.test_freq", -1)
    if isinstance(frequency, int) and frequency > 0 and not view.find("trainer.val_only", False):
        return True
    return before_training and bool(view.find("trainer.val_before_train", True))


def steps(config: Mapping[str, Any]) -> int | None:
    """Training steps that the config fixes; None where the length follows from epochs and the data's size."""
    return View(config).steps


def _apply(rule: Rule, view: View) -> Iterator[Finding]:
    try:
        yield from rule(view)
    except Absent:
        return


def _mended_anyway(finding: Finding, found: Mapping[tuple[str, Severity], Finding]) -> bool:
    """A warning about a key that is refused as well says nothing more."""
    return finding.severity is Severity.WARN and (finding.key, Severity.REFUSE) in found
