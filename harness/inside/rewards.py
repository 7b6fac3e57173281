"""Scores for answers that end in a whole number; a text without one scores nothing. Standard library only.

verl calls them with the answer's text; the keys beside `score` become metrics: `acc` is what `val-core/<source>/acc/mean@1` averages.
"""

from __future__ import annotations

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


def last_number(text: str) -> int | None:
    found = _NUMBER.findall(text)
    return int(found[-1]) if found else None
