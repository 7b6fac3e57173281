"""Verdicts on the driver, CUDA, the GPUs and their memory."""

from __future__ import annotations

from collections.abc import Iterator

from harness.doctor.nouns import Facts, Gpu, Line, Needs, Verdict


def driver(needs: Needs, facts: Facts) -> Iterator[Line]:
    if not needs.gpus_per_slot:
        return
    if facts.driver is None:
        cure = "install NVIDIA's driver; in a container, start it with the GPUs (docker run --gpus all)"
        yield Line(name="driver", verdict=Verdict.LACKS, what=facts.driver_problem, cure=cure)
    else:
        yield Line(name="driver", verdict=Verdict.OK, what=f"{facts.driver.version}, for CUDA up to {facts.driver.cuda}")


def cuda(needs: Needs, facts: Facts) -> Iterator[Line]:
    """What torch itself says; without a driver there is nothing to ask."""
    found = facts.torch_cuda
    if not (needs.gpus_per_slot and needs.trains) or found is None:
        return
    if found.built_for is None:
        what = f"torch {facts.packages.get('torch', '')} is a build without CUDA"
        yield Line(name="CUDA", verdict=Verdict.LACKS, what=what, cure="pip install 'verl-sweep[gpu]'")
    elif not found.available:
        what = f"torch is built for CUDA {found.built_for} and cannot use it here: {found.problem or 'it finds no GPU'}"
        yield Line(name="CUDA", verdict=Verdict.LACKS, what=what, cure="update the driver, or install a torch for the CUDA that it serves")
    else:
        yield Line(name="CUDA", verdict=Verdict.OK, what=f"torch's {found.built_for} works with the driver")


def slots(needs: Needs, facts: Facts) -> Iterator[Line]:
    """The launcher's own answer."""
    if facts.slots_problem:
        yield Line(name="slots", verdict=Verdict.LACKS, what=facts.slots_problem, cure=_fewer(needs))
        return
    names = ", ".join(slot.name for slot in facts.slots)
    if len(facts.slots) < needs.slots:
        what = f"{len(facts.slots)} of the {needs.slots} that are asked for: {names}"
        yield Line(name="slots", verdict=Verdict.NOTE, what=what, cure="the study takes longer, or needs more GPUs")
    else:
        yield Line(name="slots", verdict=Verdict.OK, what=names)


def memory(needs: Needs, facts: Facts) -> Iterator[Line]:
    """The rollout takes its share at its start or refuses to; what the training takes beside it is only known when it runs."""
    for gpu in facts.gpus:
        sharing = sum(gpu.name in slot.gpus for slot in facts.slots)
        taken = needs.rollout_share * gpu.total * sharing
        verdict = Verdict.OK if gpu.free >= taken else Verdict.LACKS
        what = f"{gpu.model}: {_gib(gpu.free)} of {_gib(gpu.total)} GiB free"
        if taken:
            what += f", of which the rollout takes {_gib(taken)}"
        yield Line(name=f"GPU {gpu.name}", verdict=verdict, what=what, cure="" if verdict is Verdict.OK else _smaller(gpu, sharing))


def _fewer(needs: Needs) -> str:
    return "a smaller resources.gpus_per_slot; none is needed with resources=cpu rollout=hf" if needs.gpus_per_slot else ""


def _smaller(gpu: Gpu, sharing: int) -> str:
    share = gpu.free / gpu.total / sharing
    return f"free it (nvidia-smi names who holds it), or actor_rollout_ref.rollout.gpu_memory_utilization below {share:.2f}"


def _gib(mib: float) -> str:
    return f"{mib / 1024:.1f}"
