"""Scores for answers: the last whole number of a text, or what reasoning-gym makes of it; a text without an answer scores nothing.

verl calls them with the answer's text; the keys beside `score` become metrics: `acc` is what `val-core/<source>/acc/mean@1` averages.
"""

from __future__ import annotations

import json
import re
from typing import Any

_NUMBER = re.compile(r"-?\d+")
CLOSE = 5  # an answer that is off by so much or more has no credit for being near


def exact(*, solution_str: str, ground_truth: str, **_: Any) -> dict[str, float]:
    """1 for the right number, else 0."""
    right = float(last_number(solution_str) == int(ground_truth))
    return {"score": right, "acc": right}


def graded(*, solution_str: str, ground_truth: str, **_: Any) -> dict[str, float]:
    """1 for the right number; up to 0.2 for one that is near, so that a group of wrong answers still differs."""
    answer = last_number(solution_str)
    if answer is None:
        return {"score": 0.0, "acc": 0.0, "answered": 0.0}
    error = abs(answer - int(ground_truth))
    score = 1.0 if error == 0 else 0.2 * max(0.0, 1 - error / CLOSE)
    return {"score": score, "acc": float(error == 0), "answered": 1.0}


def reasoning_gym(*, solution_str: str, ground_truth: str, extra_info: dict[str, Any], **_: Any) -> dict[str, float]:
    """The dataset's own score, from 0 to 1, for what stands in the last <answer>; `acc` is 1 for a full score.

    Source: reasoning_gym.get_score_answer_fn, with the entry that `harness.inside.tasks` keeps beside the problem.
    """
    import reasoning_gym  # only here: the other scores do without

    answer = reasoning_gym.utils.extract_answer(solution_str)
    entry = {"answer": ground_truth, **json.loads(extra_info["entry"])}
    score = 0.0 if answer is None else float(reasoning_gym.get_score_answer_fn(extra_info["dataset"])(answer, entry))
    return {"score": score, "acc": float(score >= 1.0), "answered": float(answer is not None)}


def last_number(text: str) -> int | None:
    found = _NUMBER.findall(text)
    return int(found[-1]) if found else None
