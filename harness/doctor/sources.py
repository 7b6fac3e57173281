"""Verdicts on what the experiment reads and whom it tells: models, data, W&B."""

from __future__ import annotations

from collections.abc import Iterator

from harness.doctor.nouns import Facts, Line, Needs, Verdict, Whence


def configuration(needs: Needs, _: Facts) -> Iterator[Line]:
    """What the launch itself would refuse, a sentence a line."""
    for sentence in needs.refused.splitlines():
        yield Line(name="configuration", verdict=Verdict.LACKS, what=sentence)


def made(needs: Needs, _: Facts) -> Iterator[Line]:
    for name in needs.made:
        yield Line(name=name, verdict=Verdict.OK, what="made at the launch")


def read(needs: Needs, facts: Facts) -> Iterator[Line]:
    """Most files that are not there are the preflight's to refuse; here is above all what only a network can bring."""
    for source in needs.sources if needs.trains else ():
        whence = facts.sources[source]
        if whence is Whence.NOWHERE:
            if source not in needs.refused:
                yield Line(name="model and data", verdict=Verdict.LACKS, what=f"{source}: {whence}", cure="name one that exists")
        elif whence in (Whence.OFFLINE, Whence.UNREACHABLE):
            cure = "download it where there is a network (`hf download`) and name the folder, or copy the cache (HF_HOME)"
            yield Line(name="model and data", verdict=Verdict.LACKS, what=f"{source}: {whence}", cure=cure)
        else:
            yield Line(name="model and data", verdict=Verdict.OK, what=f"{source}: {whence}")


def wandb(needs: Needs, facts: Facts) -> Iterator[Line]:
    """Never shows the key."""
    match needs.wandb:
        case None | "disabled":
            return
        case "offline":
            yield Line(name="W&B", verdict=Verdict.OK, what="offline: nothing leaves the host until `wandb sync`")
        case _ if facts.wandb_key:
            yield Line(name="W&B", verdict=Verdict.OK, what="online, with a key")
        case _:
            cure = "WANDB_API_KEY or `wandb login`; or tracking.mode=offline"
            yield Line(name="W&B", verdict=Verdict.LACKS, what="online, and there is no key", cure=cure)
