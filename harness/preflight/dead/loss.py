"""Dead knobs of the policy loss: each mode reads a few of them, and a ratio of 1 silences the limits on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from harness.preflight.algorithm import LOSSES
from harness.preflight.dead.entry import Dead, Reason
from harness.preflight.view import ACTOR, View

RATIO, LOW, HIGH = f"{ACTOR}.clip_ratio", f"{ACTOR}.clip_ratio_low", f"{ACTOR}.clip_ratio_high"

# verl/trainer/ppo/core_algos.py, one compute_policy_loss_* a mode: the keys below the actor that each reads.
CLIPPED = frozenset({"clip_ratio", "clip_ratio_low", "clip_ratio_high"})
READS: Mapping[str, frozenset[str]] = {
    "vanilla": CLIPPED | {"clip_ratio_c"},
    "dppo_tv": CLIPPED | {"clip_ratio_c"},
    "dppo_kl": CLIPPED | {"clip_ratio_c"},
    "gspo": CLIPPED,
    "sapo": frozenset({"tau_pos", "tau_neg"}),
    "gpg": frozenset(),
    "clip_cov": CLIPPED | {"policy_loss.clip_cov_ratio", "policy_loss.clip_cov_lb", "policy_loss.clip_cov_ub"},
    "kl_cov": frozenset({"policy_loss.kl_cov_ratio", "policy_loss.ppo_kl_coef"}),
    "geo_mean": CLIPPED,
    "dro": frozenset({"policy_loss.dro_beta"}),
    "cispo": CLIPPED,
    "bypass_mode": CLIPPED | {"clip_ratio_c"},
}
OF_THE_LOSS = frozenset().union(*READS.values())
# Limits on the importance ratio. clip_cov is left out: it picks tokens by covariance, at a ratio of 1 too.
OF_THE_RATIO = CLIPPED | {"clip_ratio_c", "tau_pos", "tau_neg", "policy_loss.dro_beta"}


def of_the_loss(key: str) -> Iterator[Dead]:
    name = key.removeprefix(f"{ACTOR}.")
    if key == name or name not in OF_THE_LOSS:
        return
    yield Dead(keys=(key,), why=lambda view: _unread(view, name))
    if key == RATIO:
        yield Dead(keys=(key,), why=_stood_in_for)
    if name in OF_THE_RATIO:
        yield Dead(keys=(key,), why=_ratio_is_one, limited=True)


def _unread(view: View, name: str) -> Reason | None:
    mode = view.loss_mode
    if mode not in LOSSES or name in READS[mode]:
        return None
    readers = ", ".join(reader for reader in LOSSES if name in READS[reader])
    return f"the loss {mode} does not read it", f"set {ACTOR}.policy_loss.loss_mode to one of {readers}"


def _stood_in_for(view: View) -> Reason | None:
    """core_algos.py: clip_ratio stands in for a limit that is null, and the default of both limits is 0.2."""
    low, high = view.find(LOW), view.find(HIGH)
    if low is None or high is None:
        return None
    return f"{LOW}={low} and {HIGH}={high} take its place", f"sweep those two, or set {LOW}=null and {HIGH}=null"


def _ratio_is_one(view: View) -> Reason | None:
    """trainer_base.py _step_once: the old log-probabilities are those of the weights that the one update starts from."""
    if view.loss_mode not in LOSSES or view.loss_mode == "clip_cov" or not view.one_update_per_batch:
        return None
    cure = f"set {ACTOR}.ppo_mini_batch_size below data.train_batch_size, or {ACTOR}.ppo_epochs above 1"
    return "each batch is learned from once, by the policy that generated it, so every importance ratio is 1", cure
