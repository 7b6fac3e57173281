"""The curve of a trial whose attempts went on with each other."""

from __future__ import annotations

from pathlib import Path

from factory import METRIC, metric_line

from harness.attempt_watch import AttemptWatch, stitched
from harness.paths import StudyPaths


def attempts(folder: Path, *curves: dict[int, float]) -> list[AttemptWatch]:
    trial = StudyPaths(folder).trial(0)
    found = []
    for number, curve in enumerate(curves):
        paths = trial.attempt(number)
        paths.root.mkdir(parents=True)
        paths.metrics.write_bytes(b"".join(metric_line(step, value) for step, value in curve.items()))
        watch = AttemptWatch(paths, METRIC)
        watch.follow()
        found.append(watch)
    return found


def test_what_was_logged_after_the_checkpoint_does_not_count(tmp_path: Path) -> None:
    found = attempts(tmp_path, {1: 0.1, 2: 0.2, 3: 0.3, 4: 0.9}, {3: 0.31, 4: 0.4, 5: 0.5})
    assert stitched(found) == ((1, 0.1), (2, 0.2), (3, 0.31), (4, 0.4), (5, 0.5))


def test_an_attempt_that_began_anew_replaces_the_one_before(tmp_path: Path) -> None:
    assert stitched(attempts(tmp_path, {1: 0.1, 2: 0.2, 3: 0.3}, {1: 0.15})) == ((1, 0.15),)


def test_an_attempt_that_has_logged_nothing_yet_changes_nothing(tmp_path: Path) -> None:
    assert stitched(attempts(tmp_path, {1: 0.1, 2: 0.2}, {})) == ((1, 0.1), (2, 0.2))
