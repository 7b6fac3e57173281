"""Why an attempt failed: a class, and the two lines of the log that say it; pure.

A failure leaves many exceptions behind: the one that caused it, and those of all who waited for the process that raised it. What ended the
attempt is asked first. Where that is only a consequence (a process is gone, a connection is closed), the log is searched for the cause.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.types import AttemptResult, Failure, FailureKind, Part, Reason

_LONGEST = 300  # characters of a line that is kept
_TRACEBACK = 80  # lines above an exception in which its frames are looked for
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_PREFIX = re.compile(
    r"^(?:\[rank\d+\]:\s|(?:\([^()]{1,80} pid=\d+[^()]*\)\s?)+)"
    r"(?:(?:ERROR|WARNING|INFO) \d\d-\d\d [\d:]+ (?:\[[^\]]*\] ?)+)?"
)
_RAISED = re.compile(r"^\s*(?:E\s+)?(?:[\w.]+\.)?(?P<name>\w*(?:Error|Exception|Died|Interrupt))\b(?:\(\w+\))?(?::|$)")
_FRAME = re.compile(r'^\s*File "([^"]+)", line (\d+), in (\S+)')


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sign:
    kind: FailureKind
    pattern: re.Pattern[str]


def _sign(kind: FailureKind, *patterns: str) -> _Sign:
    return _Sign(kind=kind, pattern=re.compile("|".join(patterns)))


_CAUSES = (  # the first that is found counts
    _sign(FailureKind.GPU_BUSY, r"Error in memory profiling"),  # vLLM measures, and somebody else frees or takes memory meanwhile
    _sign(
        FailureKind.CHECKPOINT_SPACE,
        r"no space for a checkpoint",
        r"No space left on device",
        r"Disk quota exceeded",
        r"\bErrno (?:28|122|27)\b",
        r"PytorchStreamWriter failed",
        r"inline_container\.cc:\d+\] \. unexpected pos",  # what torch.save says of a file that could not grow
        r"I/O error: No space",
    ),
    _sign(
        FailureKind.GPU_MEMORY,
        r"(?:CUDA|NPU|HIP) out of memory",
        r"(?i:CUDA (?:driver )?error: out of memory)",
        r"Triton Error \[CUDA\]: out of memory",
        r"Cuda failure 2\b",  # NCCL's words
        r"CUBLAS_STATUS_ALLOC_FAILED",
        r"less than desired GPU memory utilization",
        r"No available memory for the cache blocks",
        r"larger than the (?:available KV cache memory|maximum number of tokens that can be stored in KV cache)",
    ),
    _sign(
        FailureKind.HOST_MEMORY,
        r"\bray\.exceptions\.OutOfMemoryError",
        r"node running low on memory",
        r"^\s*MemoryError\b",
        r"[Cc]annot allocate memory",
        r"can't allocate memory",
        r"std::bad_alloc",
        r"\bErrno 12\b",
        r"ObjectStoreFullError",
    ),
    _sign(
        FailureKind.PORT,
        r"[Aa]ddress already in use",
        r"EADDRINUSE",
        r"\bErrno 98\b",
        r"[Ff]ailed to bind",
        r"[Pp]ort \d+ is (?:already )?(?:in use|occupied)",
    ),
    _sign(
        FailureKind.NON_FINITE,
        r"probability tensor contains either `?inf`?, `?nan`?",
        r"(?i:\b(?:loss|grad\w*|logits|logprobs?|rewards?|advantages?|values?|weights?|tensor|metrics?)\b[^.]{0,60}"
        r"\b(?:is|are|contains?|was|has) (?:not finite|non-finite|nan|inf)\b)",
        r"Out of range float values are not JSON compliant",
    ),
    _sign(
        FailureKind.MISSING_FILE,
        r"FileNotFoundError",
        r"NotADirectoryError",
        r"No such file or directory",
        r"does not appear to have a file named",
        r"HFValidationError",
        r"Repo id must be",
        r"LocalEntryNotFoundError",
        r"is not a local folder and is not a valid model identifier",
        r"[Cc]an't load (?:the )?(?:tokenizer|configuration|model|image processor)",
        r"ModuleNotFoundError",
    ),
    _sign(
        FailureKind.CONFIG,
        r"\bomegaconf\.errors\.",
        r"\bhydra\.errors\.",
        r"\bConfig(?:Attribute|Key|Type|Value)Error\b",
        r"MissingMandatoryValue",
        r"InstantiationException",
        r"ValidationError",
    ),
)
_CONSEQUENCES = (
    _sign(
        FailureKind.COLLECTIVE,
        r"\bNCCL\b",
        r"ncclInternalError|ncclSystemError|ncclRemoteError|ncclUnhandled",
        r"(?i:\bgloo\b)",
        r"\bDist(?:Backend|Network|Store)Error\b",
        r"\bc10d\b",
        r"ProcessGroup\w*",
        r"Connection closed by peer",
    ),
    _sign(
        FailureKind.KILLED,
        r"\bActor(?:Died|Unavailable)Error\b",
        r"\bWorkerCrashedError\b",
        r"\bNodeDiedError\b",
        r"\b(?:Local)?Raylet\w*Error\b",
        r"\bOwnerDiedError\b",
        r"\bEngineDeadError\b",
        r"[Aa]ctor died unexpectedly",
        r"raylet.{0,40}(?:died|has been killed|is dead)",
        r"Failed to connect to GCS",
        r"\bRpcError\b",
        r"\bsignal SIG(?:KILL|TERM|INT|HUP)\b",
        r"'EngineCore\w*': -(?:9|15)\b",
    ),
)
_ECHO = re.compile(  # of an exception that another process has raised
    r"RayTaskError|Received an empty list as keys|[Ss]ee root cause above|Engine core initialization failed"
)
_CORE = re.compile(r"^\[\d{4}-\d\d-\d\d [\d:,]+ [EFC] \d+ \d+\]")  # Ray's own processes
_NOISE = re.compile(r"^(?:WARNING|INFO|DEBUG)\b|^\S+ (?:WARNING|INFO|DEBUG) |^Training Progress:|^step:\d+ - ")
_BEFORE_A_STEP = re.compile(r"^\s*(?:[\w.]+\.)?(?:ValueError|AssertionError|NotImplementedError)\b")
_TRAINED = ("actor/", "critic/")  # metrics of the training itself; correlations may be undefined at any time
_PARTS = (  # in frames and in Ray's names of tasks, the innermost first
    (Part.REFERENCE, re.compile(r"ref_log_prob|\bref_(?:policy|worker|module)|_ref\b")),
    (Part.CRITIC, re.compile(r"critic|compute_values|infer_values")),
    (Part.ROLLOUT, re.compile(r"vllm|sglang|EngineCore|generate|rollout|agent_loop")),
    (Part.ACTOR, re.compile(r"update_actor|actor|compute_log_prob|train_(?:mini_)?batch|update_policy|forward_backward|optimizer_step")),
)


def diagnose(
    result: AttemptResult, log: str, *, last: Mapping[str, float] | None = None, exit_code: int | None = None, oom_kills: int = 0
) -> Failure:
    """`log`: the engine's since the attempt was handed over; `last`: the metrics of its last step; `exit_code`: the engine's."""
    lines = [clean(line) for line in log.splitlines()]
    given = _by_reason(result.reason)
    if given is not None:
        return Failure(kind=given, lines=_tail(lines))
    kind = _kind(result.message, _CAUSES)
    if kind is None and not _is_consequence(result.message):
        kind = _of_exception(result.message, steps=result.steps, last=last)
    found = _place_of(result.message, lines) if kind is not None else None
    if kind is None:
        kind, found = _search(lines)
    if kind is None:
        kind, found = _of_end(result, lines, exit_code=exit_code, oom_kills=oom_kills)
    return Failure(kind=kind, lines=_evidence(lines, found), part=_part(lines, found) if kind is FailureKind.GPU_MEMORY else None)


def clean(line: str) -> str:
    """A line of a log without colours, and without what Ray and vLLM put before another process's words."""
    return _PREFIX.sub("", _COLOURS.sub("", line)).rstrip()


def likeness(failure: Failure) -> str:
    """Equal for two failures of the same cause: numbers, addresses and paths do not count."""
    said = failure.lines[-1] if failure.lines else ""
    return f"{failure.kind}: {re.sub(r'(?:0x)?[0-9a-fA-F]*[0-9][0-9a-fA-F.]*|/[^ ]+', '#', said)}"


def _by_reason(reason: Reason) -> FailureKind | None:
    known = {
        Reason.STALLED: FailureKind.HANG,
        Reason.TIMEOUT: FailureKind.TIMEOUT,
        Reason.NON_FINITE: FailureKind.NON_FINITE,
        Reason.LOST: FailureKind.KILLED,
    }
    return known.get(reason)


def _kind(text: str, signs: Sequence[_Sign]) -> FailureKind | None:
    return next((sign.kind for sign in signs if sign.pattern.search(text)), None)


def _is_consequence(text: str) -> bool:
    return _RAISED.match(text) is None or _ECHO.search(text) is not None or _kind(text, _CONSEQUENCES) is not None


def _of_exception(text: str, *, steps: int, last: Mapping[str, float] | None) -> FailureKind:
    """Of one that no sign names. What is raised before a first step is mostly a setting that verl does not take."""
    if last and any(not math.isfinite(value) for name, value in last.items() if name.startswith(_TRAINED)):
        return FailureKind.NON_FINITE
    if steps == 0 and _BEFORE_A_STEP.match(text):
        return FailureKind.CONFIG
    return FailureKind.ERROR


def _search(lines: Sequence[str]) -> tuple[FailureKind | None, int | None]:
    """The cause among the log's exceptions: the foremost kind, where it was raised last."""
    raised = [index for index, line in enumerate(lines) if _RAISED.match(line)]
    for sign in _CAUSES:
        for index in reversed(raised):
            if sign.pattern.search(lines[index]) and _kind(lines[index], _CONSEQUENCES) is not FailureKind.KILLED:
                return sign.kind, index
    return None, None


def _of_end(result: AttemptResult, lines: Sequence[str], *, exit_code: int | None, oom_kills: int) -> tuple[FailureKind, int | None]:
    """Of an attempt whose log names no cause."""
    raised = [index for index, line in enumerate(lines) if (_RAISED.match(line) or _CORE.match(line)) and not _ECHO.search(line)]
    gone = _kind(result.message, _CONSEQUENCES) is FailureKind.KILLED or exit_code in (-9, -15)
    here = _place_of(result.message, lines)
    if oom_kills and (gone or exit_code == -9):
        return FailureKind.HOST_MEMORY, here
    for index in reversed(raised):
        if _kind(lines[index], _CONSEQUENCES[:1]):
            return FailureKind.COLLECTIVE, index
    if _kind(result.message, _CONSEQUENCES) is FailureKind.COLLECTIVE:
        return FailureKind.COLLECTIVE, here
    lost = [index for index in raised if _kind(lines[index], _CONSEQUENCES)]
    if gone or lost:
        return FailureKind.KILLED, here if here is not None else lost[-1] if lost else None
    if raised and _RAISED.match(lines[raised[-1]]):
        return FailureKind.ERROR, raised[-1]
    return FailureKind.UNKNOWN, None


def _place_of(message: str, lines: Sequence[str]) -> int | None:
    """The last line of the log that holds a message, which was cut and had its spaces folded."""
    start = " ".join(message.split())[:60]
    return next((index for index in range(len(lines) - 1, -1, -1) if start in " ".join(lines[index].split())), None)


def _evidence(lines: Sequence[str], found: int | None) -> tuple[str, ...]:
    if found is None:
        return _tail(lines)
    frame = next((lines[index] for index in range(found - 1, max(found - _TRACEBACK, -1), -1) if _FRAME.match(lines[index])), None)
    return tuple(line.strip()[:_LONGEST] for line in (frame, lines[found]) if line is not None)


def _tail(lines: Sequence[str]) -> tuple[str, ...]:
    told = [line for line in lines if line.strip()]
    return tuple(line.strip()[:_LONGEST] for line in ([line for line in told if not _NOISE.match(line)] or told)[-2:])


def _part(lines: Sequence[str], found: int | None) -> Part | None:
    """Whose memory ran out, as the frames above the exception tell, the innermost first."""
    if found is None:
        return None
    for index in range(found, max(found - _TRACEBACK, -1), -1):
        frame = _FRAME.match(lines[index])
        text = f"{frame[1]} {frame[3]}" if frame else lines[index] if index == found else ""
        part = next((part for part, pattern in _PARTS if pattern.search(text)), None)
        if part is not None:
            return part
    return None
