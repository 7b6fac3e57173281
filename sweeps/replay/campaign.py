"""Plays a policy on every task, over and over, on all processors."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

from harness.processes import die_with_parent
from sweeps.replay.play import Game, play
from sweeps.replay.policy import Policy
from sweeps.replay.tasks import Task
from sweeps.replay.verdict import TaskVerdict, judge


def play_all(tasks: Sequence[Task], policy: Policy, game: Game, repeat: int) -> list[TaskVerdict]:
    """Task by task, each in a process of its own where there are several."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # more threads than processors would wait for one another
    workers = min(len(tasks), len(os.sched_getaffinity(0)))
    if workers < 2:
        return [_play_task(task, policy, game, repeat) for task in tasks]
    # A limit of tasks makes the pool start its processes afresh: one that was forked would have half of our threads' locks.
    with ProcessPoolExecutor(workers, initializer=_belong_to, initargs=(os.getpid(),), max_tasks_per_child=len(tasks)) as pool:
        return list(pool.map(_play_task, tasks, *([one] * len(tasks) for one in (policy, game, repeat))))


def _belong_to(parent: int) -> None:
    """Without this a process whose parent was killed would wait for its next task for ever."""
    die_with_parent()
    if os.getppid() != parent:
        os._exit(1)


def _play_task(task: Task, policy: Policy, game: Game, repeat: int) -> TaskVerdict:
    return judge(task, [play(task, policy, game, repetition) for repetition in range(repeat)])
