"""`python -m harness.trackers.past_project JSON` asks W&B for runs of a project: a line for each row, one for each run, one for the end.

It writes nothing anywhere, the key least of all. What W&B does not give is one line `{"error": ...}`.
"""

from __future__ import annotations

import os
import sys

import msgspec

from harness.errors import TrackerError
from harness.trackers import companion
from harness.trackers.past_runs import AskedRuns, PastRun


def main(asked: AskedRuns) -> int:
    os.environ["WANDB_SILENT"] = "true"
    from harness.trackers.wandb_client import Account

    try:
        for told in Account().past_runs(asked):
            _say(msgspec.json.encode({"run": told}) + b"\n" if isinstance(told, PastRun) else told)
        _say(b'{"end": true}\n')
    except TrackerError as error:
        _say(msgspec.json.encode({"error": str(error)}) + b"\n")
        return 1
    return 0


def _say(line: bytes) -> None:
    sys.stdout.buffer.write(line)


if __name__ == "__main__":
    companion.leave(main(msgspec.json.decode(sys.argv[1], type=AskedRuns)))
