"""A program that logs as verl does, to its JSON lines and to the real client of W&B, from the environment alone; for tests.

`python wandb_client.py <rows> <seconds between rows> <metrics.jsonl> [exit code]`: rows go on behind those that the file already names.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import wandb


def main(rows: int, pause_s: float, path: Path, exit_code: int) -> None:
    run = wandb.init(project="tests", name="trial-0007", config={"trainer": {"device": "cpu"}, "actor": {"lr": 1e-3}})
    begin = len(path.read_text().splitlines()) if path.exists() else 0
    with path.open("ab", buffering=0) as log:
        for step in range(begin, begin + rows):
            data = {"training/global_step": step, "critic/rewards/mean": step / 100, "val-core/sums/acc/mean@1": step / 200}
            log.write(json.dumps({"step": step, "data": data}).encode() + b"\n")
            run.log(data, step=step)
            time.sleep(pause_s)
    run.finish(exit_code=exit_code)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else 0)
