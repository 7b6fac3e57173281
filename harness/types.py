"""The nouns, as plain immutable data; imports the standard library only and decides nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Params = dict[str, Any]  # a point of the space: knob name -> None | bool | int | float | str


class RunState(StrEnum):
    """Where an attempt stands (the words of Ray Jobs)."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    STOPPED = "STOPPED"


class TrialState(StrEnum):
    """How a trial ended, or that it has not; the last three are Optuna's words."""

    WAITING = "WAITING"
    RUNNING = "RUNNING"
    COMPLETE = "COMPLETE"
    PRUNED = "PRUNED"
    FAIL = "FAIL"

    @property
    def ended(self) -> bool:
        return self in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


class Reason(StrEnum):
    """Why an attempt or a trial ended: the short code beside the sentence."""

    FINISHED = "finished"  # trained to its last step
    PRUNED = "pruned"  # the pruner's decision, or the plan's
    PAUSED = "paused"  # the plan's decision: it may go on later, from its checkpoint
    GUARDED = "guarded"  # a guard's decision: the training had gone wrong, whatever its rank
    REFUSED = "refused"  # the preflight's decision; never got a slot
    USER = "user"  # asked for by a person
    INTERRUPTED = "interrupted"  # the study was interrupted (Ctrl-C, SIGTERM)
    CRASHED = "crashed"  # the engine died or raised
    STALLED = "stalled"  # silent for longer than its limit
    TIMEOUT = "timeout"  # longer than its wall-clock limit
    NON_FINITE = "non_finite"  # the objective became NaN or infinite
    NO_METRIC = "no_metric"  # finished, but never logged the objective
    LOST = "lost"  # nobody wrote how it ended
    UNTRUSTED = "untrusted"  # the engine failed its own check before or at the first step; run again on a new one

    @property
    def goes_on(self) -> bool:
        """Whether a trial that was asked to stop for it saves a checkpoint, to go on from there in another attempt."""
        return self in (Reason.INTERRUPTED, Reason.PAUSED)


class Role(StrEnum):
    """What a trial is good for in its study."""

    TUNING = "tuning"  # the first one of a configuration, of which samplers learn
    REPLICATE = "replicate"  # a contender with another of the seeds that choose
    CONFIRMATION = "confirmation"  # one of the best with a seed that chose nothing


class FailureKind(StrEnum):
    """What ended an attempt that failed."""

    GPU_MEMORY = "gpu_memory"
    GPU_BUSY = "gpu_busy"  # somebody else's use of it changed while it was measured
    HOST_MEMORY = "host_memory"
    PORT = "port"  # one that somebody else listens on
    COLLECTIVE = "collective"  # NCCL's or Gloo's
    HANG = "hang"  # no metric and no log line for too long
    NON_FINITE = "non_finite"
    CHECKPOINT_SPACE = "checkpoint_space"  # or none for whatever else the trial writes
    CONFIG = "config"
    MISSING_FILE = "missing_file"
    KILLED = "killed"  # from outside
    TIMEOUT = "timeout"
    ERROR = "error"  # an exception that is none of these
    UNKNOWN = "unknown"  # it ended without a word

    @property
    def transient(self) -> bool:
        """Whether the same attempt may succeed another time."""
        return self in _TRANSIENT


_TRANSIENT = (
    FailureKind.GPU_BUSY,
    FailureKind.HOST_MEMORY,
    FailureKind.PORT,
    FailureKind.COLLECTIVE,
    FailureKind.HANG,
    FailureKind.KILLED,
    FailureKind.UNKNOWN,
)


class Part(StrEnum):
    """The model at work where memory ran out."""

    ROLLOUT = "rollout"
    ACTOR = "actor"
    REFERENCE = "reference"
    CRITIC = "critic"


class GuardAction(StrEnum):
    """What follows when a guard fires."""

    STOP = "stop"  # the trial ends
    MARK = "mark"  # it goes on, and its record says so


class Direction(StrEnum):
    MAXIMIZE = "maximize"
    MINIMIZE = "minimize"


class Reduction(StrEnum):
    """How a curve becomes one number."""

    LAST = "last"
    BEST = "best"
    MEAN_LAST = "mean_last"  # mean of the last `window` values
    AREA = "area"  # area under the curve over its span of steps: the time-averaged value


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """What Optuna is told. `metric` may hold `*` and `?` (which also match `/`); several matches at a step are averaged."""

    metric: str
    direction: Direction = Direction.MAXIMIZE
    reduction: Reduction = Reduction.LAST
    window: int = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricPoint:
    """One line of verl's file logger. NaN stands for verl's null."""

    step: int
    values: dict[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How long an attempt may take; 0 switches a limit off."""

    wall_s: float = 0.0
    startup_s: float = 1800.0  # without a metric since the attempt was handed over
    silence_s: float = 1800.0  # without a metric or a log line
    stop_grace_s: float = 30.0  # from a stop request to SIGTERM
    term_grace_s: float = 10.0  # from SIGTERM to SIGKILL


@dataclass(frozen=True, kw_only=True, slots=True)
class LevelGuard:
    """Watches the level of one metric, which is out of bounds where it is beyond the bound, its own beginning and its peers at once."""

    code: str
    metric: str
    above: float | None  # the bound; exactly one of the two
    below: float | None
    own_factor: float | None  # beyond so many times the trial's own beginning, or that part of it; None: whatever it began with
    peer_factor: float | None  # the same of the median of its peers at that step
    patience: int  # values out of bounds in a row
    unless_learning: bool  # not while most of the reward that was gained is kept
    action: GuardAction


@dataclass(frozen=True, kw_only=True, slots=True)
class NoSignalGuard:
    """Watches for rewards that are all alike, of which there is nothing to learn, and no better than those of the beginning."""

    patience: int  # steps in a row
    action: GuardAction


@dataclass(frozen=True, kw_only=True, slots=True)
class RewardHackingGuard:
    """Watches for a training reward that rises while validation falls."""

    validation: str  # a pattern of metrics, the mean of which is taken
    fall: float  # of validation since its best, as a share of that
    rise: float  # of the mean reward since then, as a share of that
    patience: int  # validations in a row
    action: GuardAction


@dataclass(frozen=True, kw_only=True, slots=True)
class NonFiniteGuard:
    """Watches every metric of actor and critic, and every loss, for NaN and infinities."""

    patience: int  # steps in a row
    action: GuardAction


@dataclass(frozen=True, kw_only=True, slots=True)
class GuardSettings:
    """Which guards stand over each trial of a study; None: that one does not."""

    grace_steps: int  # values of a metric that are the trial's beginning, and are not judged
    peers: int  # the latest trials, whose metrics are remembered
    least_peers: int  # with fewer at a step, none are asked
    levels: tuple[LevelGuard, ...]
    no_signal: NoSignalGuard | None
    reward_hacking: RewardHackingGuard | None
    non_finite: NonFiniteGuard | None


@dataclass(frozen=True, kw_only=True, slots=True)
class GuardVerdict:
    """That a guard has fired, with the evidence."""

    code: str
    metric: str
    steps: tuple[int, ...]
    values: tuple[float | None, ...]  # at those steps; None: not finite
    threshold: float | None  # that the last of them is beyond; None: any such value is one too many
    message: str  # begins with the code
    action: GuardAction


@dataclass(frozen=True, kw_only=True, slots=True)
class GuardRecord:
    """What the guards said of an attempt, in the order in which they fired."""

    verdicts: tuple[GuardVerdict, ...]

    @property
    def stop(self) -> GuardVerdict | None:
        """The one that ended the attempt."""
        return next((verdict for verdict in self.verdicts if verdict.action is GuardAction.STOP), None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Slot:
    """Room for one engine: on the host's processors, on GPUs of its own, or on one part of a GPU that several slots share."""

    index: int
    gpus: tuple[str, ...] = ()  # values for CUDA_VISIBLE_DEVICES; empty: a CPU slot
    part: int = 0  # which one, of a GPU in so many parts
    parts: int = 1

    @property
    def name(self) -> str:
        if not self.gpus:
            return f"cpu:{self.index}"
        gpus = f"gpu:{'+'.join(self.gpus)}"
        return gpus if self.parts == 1 else f"{gpus}#{self.part + 1}/{self.parts}"

    @property
    def gpu_count(self) -> float:
        """How many GPUs it takes up: less than one where it shares one."""
        return len(self.gpus) / self.parts

    @classmethod
    def named(cls, name: str) -> Slot:
        """The slot of that name; of one with GPUs its index is not known any more."""
        kind, _, rest = name.partition(":")
        if kind != "gpu":
            return cls(index=int(rest))
        gpus, _, shared = rest.partition("#")
        part, _, parts = shared.partition("/")
        return cls(index=0, gpus=tuple(gpus.split("+")), part=int(part or 1) - 1, parts=int(parts or 1))


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialSpec:
    """What a trial will run: written before anything starts."""

    study: str
    number: int
    configuration: str  # identifies the point without its seed; replicates share it
    params: Params
    overrides: tuple[str, ...]  # Hydra overrides that make the study's base configuration this trial's
    seed: int
    created_at: float  # seconds since the epoch, as every *_at
    role: Role = Role.TUNING


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptSpec:
    """One try at running a trial: everything an engine needs, and no secret. Without a trial it trains nothing: an engine gets ready."""

    study: str
    trial: int | None
    attempt: int
    run_id: str  # the tracker's run; the same for every attempt of a trial
    environment: dict[str, str]  # for the processes of this attempt only (the tracker's settings)
    fingerprint: str  # of the structural part of `config`
    config: dict[str, Any]  # verl's complete tree, resolved


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineSpec:
    """A process tree to be started on a slot. `environment` is added to the supervisor's own; secrets are inherited, never recorded."""

    engine: str
    slot: Slot
    argv: tuple[str, ...]
    environment: dict[str, str]
    scratch: str  # the capsule's short temporary folder: removed with the engine
    limits: Limits
    fingerprint: str
    serves: int  # attempts that it may serve one after the other
    growth: float = 1.0  # share by which its processes' memory may grow after its first attempt before it is replaced
    idle_s: float = 600.0  # leaves after so long without an attempt
    preload: bool = False  # imports once what its processes are made of, which are then forks


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """Who holds something: a pid alone can be another process tomorrow."""

    pid: int
    started: float  # the process's start time in seconds since the epoch
    boot_id: str
    host: str


@dataclass(frozen=True, kw_only=True, slots=True)
class StopRequest:
    """Asks an engine to end the running attempt at the next step boundary."""

    reason: Reason
    message: str
    requested_at: float
    grace_s: float  # after it the supervisor ends the engine by force


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """Something that happened, with its time and who saw it."""

    at: float
    who: str
    name: str
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptResult:
    """How an attempt ended; written once, by the engine, or by the supervisor where the engine could not."""

    state: RunState
    reason: Reason
    message: str
    ended_at: float
    steps: int  # the last training step that was logged
    exit_code: int | None = None
    forced: bool = False  # the engine had to be ended


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Why an attempt failed, as far as exit status, log and last metrics tell."""

    kind: FailureKind
    lines: tuple[str, ...]  # of the engine's log, two at most, that say it
    part: Part | None = None
    repair: dict[str, Any] = field(default_factory=dict)  # verl's throughput settings that further attempts have otherwise


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineResult:
    """How an engine ended; all that it started is gone."""

    exit_code: int | None  # None: its supervisor died before it, and another one cleaned up
    killed: int  # processes that did not hear SIGTERM
    served: int  # attempts that it concluded, or that were concluded for it
    ended_at: float
    oom_kills: int = 0  # by the kernel on this host, while the engine lived


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuUse:
    """What an attempt took of its GPUs; where it shared one, power and the rollout's memory are not its own alone, and are left out."""

    peak_gib: dict[str, float]  # by role: rollout, actor, reference, critic
    mfu: float | None  # of the actor's updates: share of the GPUs' peak FLOP/s
    tokens_per_s: float | None  # prompts and responses, of one GPU
    energy_kj: float | None  # of all its GPUs, over its steps


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialResult:
    """How a trial ended; what Optuna was told."""

    number: int
    state: TrialState
    reason: Reason
    message: str
    values: tuple[float, ...] | None
    steps: int
    attempts: int
    seconds: float  # from the first slot to the end
    gpu_seconds: float
    startup_s: float | None  # from being given a slot to the first training step, of the last attempt
    slot: str | None
    ended_at: float
    warm: bool = False  # the last attempt was given to an engine that had served others
    failure: FailureKind | None = None  # of the last attempt, where the trial failed
    restores: int = 0  # attempts that went on where the plan had paused the one before
    phases: dict[str, float] = field(default_factory=dict)  # seconds, of the last attempt; `harness.measures` says of what
    gpu: GpuUse | None = None  # of the last attempt


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyRecord:
    """One question: what a study was asked, and with what it was asked."""

    name: str
    created_at: float
    objectives: tuple[Objective, ...]
    knobs: tuple[str, ...]
    space: dict[str, str]  # knob -> Optuna's JSON of its distribution
    n_trials: int
    seed: int | None
    storage: str
    slots: tuple[Slot, ...]
    command: tuple[str, ...]  # the arguments after verl-sweep, as typed
    sampler: str
    pruner: str
    versions: dict[str, str]
    total_steps: int | None = None
    note: str = ""
    stopped: str = ""  # why it was ended before its last trial, by its own budget
    plan: str = "Once"
    restore_cost: float | None = None  # of going on after a pause, where n_trials is a number of full runs; None: it is one of trials
    finished: bool = False  # the plan wants no more, where n_trials does not tell
    made_of: str = ""  # what it was made of, where no command began it: trainings that ran without this harness
    defaults: Params = field(default_factory=dict)  # knob -> what it replaces, verl's own or the recipe's; some have none
