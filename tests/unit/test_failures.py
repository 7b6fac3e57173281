"""What an attempt died of, told from logs of real deaths; tests/failures/README.md says how each was brought about."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.failures import clean, diagnose, likeness
from harness.types import AttemptResult, Failure, FailureKind, Part, Reason, RunState

LOGS = Path(__file__).parents[1] / "failures"
BY_SIGNAL = "the engine ended with signal SIGKILL"
ACTOR_DIED = (
    "ActorDiedError: The actor died unexpectedly before finishing this task. class_name: WorkerDict pid: 15032 The actor is dead because "
    "its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker unexpectedly exits with a connection error "
    "code 2. End of file. There are some potential root causes. (1) The process is killed by SIGKILL by OOM killer due to high memory "
    "usage. (2) ray stop --force is called. (3) The worker is crashed unexpectedly due to SIGSEGV or other unexpected errors."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Death:
    log: str
    kind: FailureKind
    message: str
    says: str  # is in the last of the lines that are kept
    steps: int = 0
    code: int = 1
    reason: Reason = Reason.CRASHED
    oom_kills: int = 0


DEATHS = (
    Death(
        log="bad_config_estimator",
        kind=FailureKind.CONFIG,
        message="ValueError: Unknown advantage estimator simply: nonsense",
        says="Unknown advantage estimator simply: nonsense",
    ),
    Death(
        log="missing_data",
        kind=FailureKind.MISSING_FILE,
        message="FileNotFoundError: Unable to find '/data/not/there.parquet'",
        says="Unable to find '/data/not/there.parquet'",
    ),
    Death(
        log="missing_model",
        kind=FailureKind.MISSING_FILE,
        message="InstantiationException: Error in call to target 'verl.workers.config.model.HFModelConfig': OSError(\"Repo id must be in "
        "the form 'repo_name' or 'namespace/repo_name': '/models/not-there'.\") full_key: actor_rollout_ref.model",
        says="Error in call to target 'verl.workers.config.model.HFModelConfig'",
    ),
    # What ended it is verl's, which found no answer in its queue: each of them had raised in the reward function.
    Death(
        log="reward_error",
        kind=FailureKind.ERROR,
        message="ValueError: Received an empty list as keys.",
        says="KeyError: 'not_there'",
        steps=0,
    ),
    Death(
        log="no_checkpoint_space",
        kind=FailureKind.CHECKPOINT_SPACE,
        message="RuntimeError: [enforce fail at inline_container.cc:672] . unexpected pos 584448 vs 584340",
        says="unexpected pos 584448 vs 584340",
    ),
    Death(
        log="ray_memory_monitor",
        kind=FailureKind.HOST_MEMORY,
        message="OutOfMemoryError: 1 worker(s) were killed due to the node running low on memory. Memory on the node (IP: 192.0.2.2)",
        says="killed due to the node running low on memory",
    ),
    Death(log="oom_killer", kind=FailureKind.HOST_MEMORY, message=BY_SIGNAL, code=-9, oom_kills=3, says=""),
    Death(log="killed_worker", kind=FailureKind.HOST_MEMORY, message=ACTOR_DIED, oom_kills=1, says="The actor died unexpectedly"),
    Death(log="killed_worker", kind=FailureKind.KILLED, message=ACTOR_DIED, says="The actor died unexpectedly"),
    Death(log="killed_root", kind=FailureKind.KILLED, message=BY_SIGNAL, code=-9, says=""),
    Death(log="killed_raylet", kind=FailureKind.KILLED, message=ACTOR_DIED, says="The actor died unexpectedly"),
    Death(
        log="killed_gcs",
        kind=FailureKind.KILLED,
        message="the engine ended with exit status 1",
        says="Failed to connect to GCS within 60 seconds",
    ),
    Death(log="vllm_killed", kind=FailureKind.KILLED, message=BY_SIGNAL, code=-9, says=""),
    Death(
        log="hang", kind=FailureKind.HANG, message="no metric and no log line for 600 s", reason=Reason.STALLED, code=-9, steps=2, says=""
    ),
    Death(
        log="port_taken",
        kind=FailureKind.PORT,
        message="DistNetworkError: The server socket has failed to listen on any local network address. port: 53091, code: -98, "
        "name: EADDRINUSE, message: address already in use",
        says="EADDRINUSE",
    ),
    Death(
        log="peer_lost",
        kind=FailureKind.COLLECTIVE,
        message="RuntimeError: [third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:54929",
        says="Connection closed by peer",
        steps=3,
    ),
    Death(
        log="host_allocator",
        kind=FailureKind.HOST_MEMORY,
        message="RuntimeError: [enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried",
        says="DefaultCPUAllocator: can't allocate memory",
    ),
    Death(
        log="diverged_sampling",
        kind=FailureKind.NON_FINITE,
        message="RuntimeError: probability tensor contains either `inf`, `nan` or element < 0",
        says="probability tensor contains either `inf`, `nan`",
        steps=3,
    ),
)


def failed(message: str, *, reason: Reason = Reason.CRASHED, steps: int = 0) -> AttemptResult:
    return AttemptResult(state=RunState.FAILED, reason=reason, message=message, ended_at=0.0, steps=steps)


@pytest.mark.parametrize("death", DEATHS, ids=lambda death: f"{death.log}-{death.kind}")
def test_a_real_death_gets_its_class_and_the_lines_that_say_it(death: Death) -> None:
    log = (LOGS / f"{death.log}.log").read_text()
    found = diagnose(failed(death.message, reason=death.reason, steps=death.steps), log, exit_code=death.code, oom_kills=death.oom_kills)
    assert found.kind is death.kind
    assert 1 <= len(found.lines) <= 2
    assert death.says in found.lines[-1]


def test_every_log_of_the_corpus_is_judged_and_explained() -> None:
    logs = {path.stem for path in LOGS.glob("*.log")}
    assert logs == {death.log for death in DEATHS}
    told = (LOGS / "README.md").read_text()
    assert [log for log in sorted(logs) if f"`{log}.log`" not in told] == []


# --- GPU memory: words of the libraries' sources, in the frames where verl calls them ---------------------------------------------------

OUT_OF_MEMORY = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB"


def traceback(*frames: str, error: str = OUT_OF_MEMORY, prefix: str = "\x1b[36m(WorkerDict pid=4711)\x1b[0m ") -> str:
    lines = [
        "Traceback (most recent call last):",
        *(f'  File "/venv/{frame.split(":")[0]}", line 1, in {frame.split(":")[1]}' for frame in frames),
    ]
    return "\n".join(prefix + line for line in [*lines, error])


@pytest.mark.parametrize(
    ("frames", "part"),
    [
        (("verl/workers/engine_workers.py:update_actor", "torch/autograd/graph.py:_engine_run_backward"), Part.ACTOR),
        (("verl/workers/engine_workers.py:compute_ref_log_prob", "transformers/models/llama/modeling_llama.py:forward"), Part.REFERENCE),
        (("verl/workers/critic.py:update_critic", "torch/optim/adamw.py:step"), Part.CRITIC),
        (("vllm/v1/worker/gpu_worker.py:load_model", "torch/nn/modules/module.py:_apply"), Part.ROLLOUT),
    ],
)
def test_the_frames_tell_whose_memory_ran_out(frames: tuple[str, ...], part: Part) -> None:
    found = diagnose(failed("OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.", steps=2), traceback(*frames))
    assert (found.kind, found.part) == (FailureKind.GPU_MEMORY, part)
    assert found.lines[-1] == OUT_OF_MEMORY
    assert found.lines[0].startswith("File ")


@pytest.mark.parametrize(
    "cause",
    [
        "ValueError: Free memory on device cuda:0 (20.1/79.1 GiB) on startup is less than desired GPU memory utilization (0.5, 39.6 GiB).",
        "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the engine.",
        "ValueError: To serve at least one request with max seq len 32768, 4.0 GiB KV cache is needed, which is larger than the available "
        "KV cache memory (1.1 GiB).",
    ],
)
def test_what_vllms_core_said_counts_and_not_what_its_parent_says(cause: str) -> None:
    log = traceback(
        "vllm/v1/engine/core.py:__init__",
        error=cause,
        prefix="(vLLMHttpServer pid=9) (EngineCore_DP0 pid=11) ERROR 11-24 02:00:00 [core.py:9] ",
    )
    parent = "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}"
    found = diagnose(failed(parent), f"{log}\n{parent}\n")
    assert (found.kind, found.part, found.lines[-1]) == (FailureKind.GPU_MEMORY, Part.ROLLOUT, cause)


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("RuntimeError: CUDA Error: out of memory at cumem_allocator.cpp:62", FailureKind.GPU_MEMORY),
        ("RuntimeError: CUDA driver error: out of memory", FailureKind.GPU_MEMORY),
        ("RuntimeError: Triton Error [CUDA]: out of memory", FailureKind.GPU_MEMORY),
        ("DistBackendError: NCCL error, Cuda failure 2 'out of memory'", FailureKind.GPU_MEMORY),
        ("AssertionError: Error in memory profiling. Initial free memory 20.1 GiB, current free memory 30.2 GiB.", FailureKind.GPU_BUSY),
        ("RuntimeError: Engine core initialization failed. Failed core proc(s): {'EngineCore': -9}", FailureKind.KILLED),
        ("EngineDeadError: EngineCore encountered an issue. See stack trace (above) for the root cause.", FailureKind.KILLED),
    ],
)
def test_the_libraries_other_words_are_known(message: str, kind: FailureKind) -> None:
    assert diagnose(failed(message, steps=1), f"{message}\n", exit_code=1).kind is kind


def test_the_others_who_lost_a_process_do_not_hide_why_it_died() -> None:
    log = (
        traceback("verl/workers/engine_workers.py:update_actor")
        + "\ntorch.distributed.DistBackendError: NCCL error in ProcessGroupNCCL.cpp:1"
    )
    found = diagnose(failed("DistBackendError: NCCL error in ProcessGroupNCCL.cpp:1", steps=2), log)
    assert (found.kind, found.part) == (FailureKind.GPU_MEMORY, Part.ACTOR)
    alone = diagnose(failed("DistBackendError: NCCL error in ProcessGroupNCCL.cpp:1", steps=2), log.splitlines()[-1])
    assert alone.kind is FailureKind.COLLECTIVE


# --- what no log says -------------------------------------------------------------------------------------------------------------------


def test_an_exception_after_a_step_without_finite_losses_is_a_divergence() -> None:
    crash = failed("RuntimeError: shape mismatch", steps=4)
    assert diagnose(crash, "", last={"actor/pg_loss": float("nan")}).kind is FailureKind.NON_FINITE
    assert (
        diagnose(crash, "", last={"actor/pg_loss": 1.0, "training/rollout_actor_probs_pearson_corr": float("nan")}).kind
        is FailureKind.ERROR
    )


def test_a_value_error_is_a_setting_only_before_the_first_step() -> None:
    assert diagnose(failed("ValueError: no", steps=0), "").kind is FailureKind.CONFIG
    assert diagnose(failed("ValueError: no", steps=1), "").kind is FailureKind.ERROR


def test_an_end_without_a_word_is_unknown() -> None:
    assert diagnose(failed("the engine ended with exit status 3"), "", exit_code=3) == Failure(kind=FailureKind.UNKNOWN, lines=())


def test_failures_of_one_cause_are_alike_whatever_their_numbers() -> None:
    one, two = (traceback("verl/workers/engine_workers.py:update_actor").replace("2.00", size) for size in ("2.00", "3.50"))
    message = "OutOfMemoryError: CUDA out of memory."
    assert likeness(diagnose(failed(message), one)) == likeness(diagnose(failed(message), two))
    assert likeness(diagnose(failed("ValueError: a"), "")) != likeness(diagnose(failed("KeyError: a"), ""))


def test_colours_and_other_processes_names_are_taken_off() -> None:
    assert clean("\x1b[36m(WorkerDict pid=415, ip=192.0.2.2)\x1b[0m ValueError: x\r\n") == "ValueError: x"
    assert clean("(A pid=1) (EngineCore_DP0 pid=2) ERROR 11-24 01:02:03 [core.py:842] KeyError: 1") == "KeyError: 1"
    assert clean("[rank0]: RuntimeError: y") == "RuntimeError: y"


@given(log=st.text(max_size=300), message=st.text(max_size=80), code=st.sampled_from([None, 0, 1, -9, -11]))
def test_any_log_gets_a_class(log: str, message: str, code: int | None) -> None:
    found = diagnose(failed(message), log, exit_code=code)
    assert isinstance(found.kind, FailureKind)
    assert len(found.lines) <= 2
