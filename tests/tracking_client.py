"""Logs with verl's own tracking, from the environment alone, trial after trial in one process as an engine does; for tests.

`python tracking_client.py <backend> <environments.json>`: a list of {experiment, environment, begin, rows}. verl's module is loaded by its
file: the package around it imports torch.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path


def main(backend: str, attempts: list[dict]) -> None:
    where = Path(importlib.util.find_spec("verl").submodule_search_locations[0]) / "utils" / "tracking.py"
    spec = importlib.util.spec_from_file_location("verl_tracking", where)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for attempt in attempts:
        os.environ.update(attempt["environment"])
        tracking = module.Tracking("first", attempt["experiment"], [backend], config={"trainer": {"device": "cpu", "logger": [backend]}})
        for step in range(attempt["begin"], attempt["begin"] + attempt["rows"]):
            tracking.log({"val-core/sums/acc/mean@1": step / 10, "actor/entropy": 1.0}, step=step)
        tracking.finish(exit_code=0)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(Path(sys.argv[2]).read_text()))
